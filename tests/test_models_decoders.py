"""Decoders with windows and with experts: caches, decoding and training steps, by hand and against real modules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from references import PRESETS, SMALL
from references.tools import Reference, count_parameters, fused_sdpa, tokens
from torch.utils.flop_counter import FlopCounterMode

from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError
from archsearch.models.language.decoder.config import DecoderConfig
from archsearch.models.registry.families import load_preset
from archsearch.ops import Attention, MatMul
from archsearch.workload import Phase, Workload

MIXTURES = ["mixtral", "qwen2-moe", "qwen3-moe"]


def named(config: Any, workload: Workload) -> dict[str, Any]:
    return {op.name: op for op in config.lower(workload)}


def counted_module(reference: Reference) -> Any:
    """The module, experts one copy at a time: the FLOP counter does not see grouped products."""
    module = reference.module()
    if reference.config.is_moe:
        module.set_experts_implementation("batched_mm")
    return module


def decoded(reference: Reference, batch: int, context: int) -> int:
    """FLOPs of one more token per sequence, its keys in transformers' own cache of this model's layers."""
    module = counted_module(reference)
    config = module.config
    cache = hf.DynamicCache(config=config)
    shape = (batch, int(reference.config.num_key_value_heads), context - 1, int(reference.config.head_width))
    keys = torch.zeros(shape, dtype=torch.bfloat16, device="meta")
    for layer in range(config.num_hidden_layers):
        cache.update(keys, keys, layer)
    inputs = tokens(batch, context) | {"input_ids": torch.zeros((batch, 1), dtype=torch.long, device="meta")}
    with torch.no_grad(), fused_sdpa(), FlopCounterMode(display=False) as counter:
        module(**inputs, past_key_values=cache)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["pythia", "qwen2", "gemma", "gemma-2", "gemma-3", *MIXTURES])
def test_decode_as_transformers_does(name: str) -> None:
    """Seven layers: with windows of 64 tokens, layers attend to 64 or to all 200 tokens."""
    reference = SMALL[name](7)
    workload = Workload(phase=Phase.DECODE, batch_size=3, seq_len=200)
    flops = float(reference.config.lower(workload).flops())
    assert flops == pytest.approx(decoded(reference, 3, 200), rel=1e-9)


def test_mistral_window_by_hand() -> None:
    """Mistral 7B v0.1 at 10,000 tokens: every layer keeps, and attends to, the last 4096."""
    config = load_preset("mistral-7b-v0.1")
    workload = Workload(phase=Phase.DECODE, batch_size=2, seq_len=10000)
    assert config.memory(workload).kv_cache == 2 * 32 * 2 * 8 * 128 * 4096 * 2
    (attention,) = (op for op in config.lower(workload) if isinstance(op, Attention))
    assert (int(attention.count), int(attention.seq_kv), attention.window) == (32, 4096, None)
    (attention,) = (op for op in config.lower(Workload(seq_len=10000)) if isinstance(op, Attention))
    assert attention.attended_pairs() == sum(min(i + 1, 4096) for i in range(10000))
    short = replace(workload, seq_len=1000)
    assert config.memory(short).kv_cache == replace(config, sliding_window=0).memory(short).kv_cache


def test_gemma_local_and_global_layers_by_hand() -> None:
    """Gemma 3 27B: of 62 layers 10 are global; at 131,072 tokens the other 52 keep 1024 of them."""
    config = load_preset("gemma-3-27b")
    workload = Workload(phase=Phase.DECODE, seq_len=131072)
    ops = named(config, workload)
    assert (int(ops["attention.core"].count), int(ops["attention.core"].seq_kv)) == (10, 131072)
    assert (int(ops["attention.local"].count), int(ops["attention.local"].seq_kv)) == (52, 1024)
    assert config.memory(workload).kv_cache == 2 * 16 * 128 * 2 * (10 * 131072 + 52 * 1024)


def test_windows_that_are_off_in_a_part_of_a_grid() -> None:
    """A window of 0 is none: it attends to, and keeps, everything."""
    base = load_preset("mistral-7b-v0.1")
    grid = replace(base, sliding_window=np.array([0, 256]))
    for phase in (Phase.FORWARD, Phase.TRAIN, Phase.PREFILL, Phase.DECODE):
        workload = Workload(phase=phase, batch_size=2, seq_len=1024)
        for index, window in enumerate((0, 256)):
            alone = replace(base, sliding_window=window)
            flops, use = grid.lower(workload).flops(), grid.memory(workload).total
            assert np.broadcast_to(flops, 2)[index] == pytest.approx(float(alone.lower(workload).flops()), rel=1e-12)
            assert np.broadcast_to(use, 2)[index] == pytest.approx(float(alone.memory(workload).total), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("mixtral-8x7b", 46.7, 12.9),  # https://mistral.ai/news/mixtral-of-experts
        ("mixtral-8x22b", 141, 39),  # https://mistral.ai/news/mixtral-8x22b
        ("qwen1.5-moe-a2.7b", 14.3, 2.7),  # https://qwenlm.github.io/blog/qwen-moe
        ("qwen3-30b-a3b", 30.5, 3.3),  # https://huggingface.co/Qwen/Qwen3-30B-A3B
    ],
)
def test_active_parameters_as_published(name: str, total: float, active: float) -> None:
    """Billions, within the last digit that is told (Qwen3's 3.35 is told as 3.3)."""
    config = load_preset(name)
    digit = 1.0 if isinstance(total, int) else 0.1
    assert float(config.parameters()) / 1e9 == pytest.approx(total, abs=digit)
    assert float(config.active_parameters()) / 1e9 == pytest.approx(active, abs=digit)


@pytest.mark.parametrize("name", MIXTURES)
def test_active_parameters_are_the_module_without_idle_experts(name: str) -> None:
    config = SMALL[name](3).config
    experts = SMALL[name](3).module().model.layers[0].mlp.experts
    idle = 1 - config.num_experts_per_tok / config.num_experts
    assert config.active_parameters() == config.parameters() - 3 * idle * count_parameters(experts)
    assert load_preset("llama-3-8b").active_parameters() == load_preset("llama-3-8b").parameters()


@pytest.mark.parametrize("tokens_", [1, 3, 16, 17, 100])
def test_copies_spread_over_the_experts(tokens_: int) -> None:
    """However many tokens: all copies are computed, and no more experts are read than there are copies."""
    config = SMALL["qwen3-moe"](2).config
    ops = config.lower(Workload(phase=Phase.DECODE, batch_size=tokens_, seq_len=50))
    products = [op for op in ops if isinstance(op, MatMul) and op.name.startswith("moe.down_proj")]
    copies = tokens_ * config.num_experts_per_tok
    assert sum(int(op.m * op.batch) for op in products) == copies
    assert sum(int(op.batch) for op in products) == min(copies, config.num_experts)
    assert max(int(op.m) for op in products) - min(int(op.m) for op in products) <= 1


def test_eight_bit_formats_leave_the_router_alone() -> None:
    """Mixtral 8x7B by hand: experts and attention in one byte, router, norms, embeddings and head in two."""
    config = load_preset("mixtral-8x7b")
    linear = 32 * (4096 * (4096 + 4096 + 1024 + 1024) + 8 * 3 * 4096 * 14336)
    workload = Workload(seq_len=128, dtype=DType.FP8)
    assert config.memory(workload).weights == 2 * config.parameters() - linear
    ops = named(config, workload)
    assert ops["moe.router"].dtype is DType.BF16
    assert ops["moe.down_proj"].dtype is DType.FP8


@pytest.mark.parametrize("name", ["pythia", "gemma-2", "gemma-3", *MIXTURES])
def test_training_step(name: str) -> None:
    reference = SMALL[name](2)
    module, inputs = counted_module(reference).train(), tokens(4, 256)
    with fused_sdpa(), FlopCounterMode(display=False) as counter:
        module(**inputs, labels=inputs["input_ids"], use_cache=False).loss.backward()
    flops = float(reference.config.lower(replace(reference.workload, phase=Phase.TRAIN)).flops())
    assert flops == pytest.approx(counter.get_total_flops(), rel=1e-3)


@pytest.mark.parametrize("name", ["pythia", "gemma-2", *MIXTURES])
def test_checkpointing_runs_the_layers_again(name: str) -> None:
    """The forward FLOPs but the head's are added, and less is kept."""
    config, workload = SMALL[name](6).config, Workload(phase=Phase.TRAIN, batch_size=4, seq_len=256)
    plain, again = (config.lower(replace(workload, checkpointing=on)).flops() for on in (False, True))
    forward = named(config, replace(workload, phase=Phase.FORWARD))
    layers = sum(float(op.flops() * op.count) for name, op in forward.items() if name != "lm_head")
    assert float(again - plain) == pytest.approx(layers, rel=1e-12)
    kept = [config.memory(replace(workload, checkpointing=on)).activations for on in (False, True)]
    assert kept[1] < 0.6 * kept[0]


def test_encoder_ends_at_its_hidden_states() -> None:
    """Gemma 2 2B as SANA's text encoder: the same weights (the head's are the embeddings'), no logits."""
    encoder, whole = load_preset("gemma-2-2b-encoder"), load_preset("gemma-2-2b")
    assert encoder.parameters() == whole.parameters()
    for phase in (Phase.FORWARD, Phase.TRAIN, Phase.PREFILL, Phase.DECODE):
        assert "lm_head" not in named(encoder, Workload(phase=phase, seq_len=300))
    assert PRESETS["gemma-2-2b-encoder"].module().__class__.__name__ == "Gemma2Model"


MOE = {
    "num_layers": 2,
    "hidden_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "vocab_size": 100,
    "num_experts": 4,
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_experts_per_tok": 5}, "num_experts_per_tok must be at least 1 and at most num_experts"),
        ({"num_experts_per_tok": 0}, "num_experts_per_tok must be at least 1"),
        ({"moe_intermediate_size": 0}, "moe_intermediate_size must be at least 1"),
        ({"num_experts": -4}, "num_experts must not be negative"),
        ({"gated_mlp": False}, "gated feed-forwards"),
        ({"sliding_window": -1}, "sliding_window must not be negative"),
        ({"rotary_dim": 34}, "rotary_dim too and at most head_dim"),
        ({"rotary_dim": 0}, "rotary_dim must be at least 1"),
        ({"parallel_residual": True, "post_norms": True}, "exclude each other"),
    ],
)
def test_refused_configs(change: dict[str, Any], says: str) -> None:
    DecoderConfig.from_dict(MOE)
    with pytest.raises(InvalidInputError, match=says):
        DecoderConfig.from_dict({**MOE, **change})


def test_grids_do_not_mix_experts_and_none() -> None:
    """The architectures without are not valid in such a grid."""
    for name in ("num_experts", "shared_expert_intermediate_size"):
        grid = DecoderConfig(**{**MOE, name: np.array([0, 4])})
        valid = np.logical_and.reduce([np.broadcast_to(r.holds, (2,)) for r in grid.requirements()])
        assert valid.tolist() == [False, True]
