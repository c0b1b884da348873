"""Phases by hand, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models.language.decoder.config import DecoderConfig
from archsearch.models.language.encoder import EncoderConfig
from archsearch.models.registry.families import get_family, load_preset
from archsearch.ops import Attention, FusedGroup, MatMul, MemoryOp, OpList
from archsearch.workload import Phase, Workload


def by_name(ops: OpList) -> dict[str, Any]:
    names = [op.name for op in ops]
    assert len(set(names)) == len(names)
    return {op.name: op for op in ops}


def test_llama_decode_by_hand() -> None:
    """Llama 3 8B, 4 sequences at 1000 tokens of context: one row per sequence, grouped queries, a cached context."""
    ops = by_name(load_preset("llama-3-8b").lower(Workload(phase=Phase.DECODE, batch_size=4, seq_len=1000)))
    q, kv = ops["attention.q_proj"], ops["attention.k_proj+v_proj"]
    assert (int(q.m), int(q.n), int(q.k), int(q.count)) == (4, 4096, 4096, 32)
    assert (int(kv.m), int(kv.n), int(kv.k), int(kv.count)) == (4, 1024, 4096, 64)
    core = ops["attention.core"]
    assert (core.seq_q, core.seq_kv, core.heads_q, core.heads_kv, int(core.head_dim)) == (1, 1000, 32, 8, 128)
    assert core.causal is False
    assert core.memory_bytes() == 2 * 4 * 128 * (2 * 32 + 2 * 8 * 1000)
    cache = ops["attention.kv_cache"]
    assert cache.memory_bytes() == 2 * (4 * 2 * 1024) * 2  # keys and values read and written in 2 bytes
    assert (int(ops["lm_head"].m), int(ops["lm_head"].n)) == (4, 128256)


def test_llama_prefill_by_hand() -> None:
    workload = Workload(phase=Phase.PREFILL, batch_size=4, seq_len=1000)
    config = load_preset("llama-3-8b")
    ops = by_name(config.lower(workload))
    assert int(ops["attention.q_proj"].m) == 4000
    assert int(ops["lm_head"].m) == 4
    assert ops["attention.core"].causal is True
    assert (config.tokens(workload), config.tokens(replace(workload, phase=Phase.DECODE))) == (4000, 4)
    assert "attention.kv_cache" not in by_name(config.lower(Workload(seq_len=1000)))


def test_modernbert_layers_by_hand() -> None:
    """Of 22 layers 0, 3, ..., 21 are global: 8, and 14 look 64 tokens either way."""
    ops = by_name(load_preset("modernbert-base").lower(Workload(batch_size=2, seq_len=1024)))
    assert (int(ops["attention.global"].count), ops["attention.global"].window) == (8, None)
    assert (int(ops["attention.local"].count), int(ops["attention.local"].window)) == (14, 128)
    pairs = sum(min(i, 64) + min(1023 - i, 64) + 1 for i in range(1024))
    assert ops["attention.local"].attended_pairs() == pairs


def test_dit_by_hand() -> None:
    """DiT-XL/2 at 256 pixels: 32 x 32 latents, 16 x 16 patches of 2 x 2 x 4 values."""
    ops = by_name(load_preset("dit-xl-2").lower(Workload(batch_size=2, height=256, width=256)))
    conv = ops["patchify.conv"].as_matmul()
    assert (int(conv.m), int(conv.n), int(conv.k)) == (512, 1152, 16)
    assert (int(ops["modulation.linear"].m), int(ops["modulation.linear"].n)) == (2, 6 * 1152)
    assert int(ops["final.linear"].n) == 2 * 2 * 8
    assert (int(ops["attention.core"].seq_q), int(ops["attention.core"].head_dim)) == (256, 72)


def test_training_has_both_gradients_of_every_product() -> None:
    config = load_preset("gpt2")
    forward = config.lower(Workload(batch_size=2, seq_len=128))
    step = by_name(config.lower(Workload(phase=Phase.TRAIN, batch_size=2, seq_len=128)))
    for op in forward:
        if isinstance(op, MatMul):
            inputs, weights = step[f"{op.name}.backward.input"], step[f"{op.name}.backward.weight"]
            assert inputs.flops() == weights.flops() == op.flops()
            assert (int(weights.m), int(weights.n), int(weights.k)) == (int(op.n), int(op.k), int(op.m))
        elif isinstance(op, Attention):
            assert step[f"{op.name}.backward"].flops() == 2.5 * op.flops()
        elif isinstance(op, MemoryOp | FusedGroup):
            assert f"{op.name}.backward" in step
    # AdamW on 32-bit master weights: w, m, v and a 16-bit gradient in, w, m, v and the 16-bit weight out.
    moved = step["optimizer.adamw"].memory_bytes()
    assert moved == pytest.approx(28 * float(config.parameters()), rel=1e-4)


def test_eight_bit_formats_apply_to_the_layers_products_alone() -> None:
    ops = by_name(load_preset("llama-3-8b").lower(Workload(seq_len=64, dtype=DType.FP8)))
    eight_bit = {name for name, op in ops.items() if op.dtype is DType.FP8}
    assert eight_bit == {
        "attention.q_proj",
        "attention.k_proj+v_proj",
        "attention.o_proj",
        "mlp.gate_proj+up_proj",
        "mlp.down_proj",
    }


@pytest.mark.parametrize(
    ("name", "workload", "says"),
    [
        ("llama-3-8b", {}, "sequence length: seq_len"),
        ("bert-base", {}, "sequence length: seq_len"),
        ("dit-xl-2", {"seq_len": 256}, "pixels: height and width"),
        ("dit-xl-2", {"height": 256}, "pixels: width"),
        ("dit-xl-2", {"height": 256, "width": 250}, "width 250 must be a multiple of 16"),
        ("dit-xl-2", {"height": 0, "width": 256}, "height 0"),
        ("dit-xl-2", {"height": 256, "width": 256, "frames": 8}, "leave out frames"),
        ("gpt2", {"seq_len": 1025}, "1025 exceeds the model's 1024"),
        ("opt-1.3b", {"seq_len": 4096}, "2048"),
        ("bert-large", {"seq_len": 513}, "512"),
    ],
)
def test_refused_workloads(name: str, workload: dict[str, Any], says: str) -> None:
    config = load_preset(name)
    for ask in (config.lower, config.memory, config.tokens):
        with pytest.raises(InvalidInputError, match=says):
            ask(Workload(**workload))


@pytest.mark.parametrize("name", ["batch_size", "seq_len", "height", "width", "frames"])
@pytest.mark.parametrize("value", [0, -5, 8.5, 8.0, True, "8", 2**31 + 1, 10**23, np.array([8, 0]), np.array([8.0])])
def test_sizes_of_a_workload_are_whole_and_positive(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name} .* must be a whole number from 1") as error:
        Workload(**{name: value})
    assert error.value.field == name


def test_sizes_of_a_workload_may_be_arrays() -> None:
    """Four batch sizes against three lengths are the twelve workloads one by one."""
    config = load_preset("llama-3.2-1b")
    batches, lengths = np.array([[1], [2], [8], [64]]), np.array([128, 1000, 2**31])
    for phase in config.phases:
        grid = Workload(phase=phase, batch_size=batches, seq_len=lengths)
        flops, use, tokens = config.lower(grid).flops(), config.memory(grid).total, config.tokens(grid)
        for row, batch in enumerate((1, 2, 8, 64)):
            for column, length in enumerate((128, 1000, 2**31)):
                one = Workload(phase=phase, batch_size=batch, seq_len=length)
                for many, single in (
                    (flops, config.lower(one).flops()),
                    (use, config.memory(one).total),
                    (tokens, config.tokens(one)),
                ):
                    value = float(np.broadcast_to(many, (4, 3))[row, column])
                    assert value > 0
                    assert value == pytest.approx(float(single), rel=1e-12)


@pytest.mark.parametrize("name", ["bert-base", "dit-s-2"])
@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE])
def test_phases_that_a_family_lacks(name: str, phase: Phase) -> None:
    with pytest.raises(UnsupportedError, match=phase.value):
        load_preset(name).lower(Workload(phase=phase, seq_len=64, height=256, width=256))


def test_rotary_positions_have_no_end() -> None:
    assert load_preset("llama-2-7b").lower(Workload(seq_len=8192)).flops() > 0


LLAMA = {
    "num_layers": 2,
    "hidden_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "vocab_size": 100,
}
BERT = {"num_layers": 2, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256}
DIT = {**BERT}


@pytest.mark.parametrize(
    ("family", "base", "change", "says"),
    [
        ("decoder", LLAMA, {"num_key_value_heads": 3}, "num_key_value_heads must divide"),
        ("decoder", LLAMA, {"num_attention_heads": 6}, "num_attention_heads must divide hidden_size"),
        ("decoder", LLAMA, {"head_dim": 33}, "even"),
        ("decoder", LLAMA, {"head_dim": 0}, "head_dim must be at least 1"),
        ("decoder", LLAMA, {"num_layers": 0}, "num_layers must be at least 1"),
        ("decoder", LLAMA, {"num_key_value_heads": 0}, "num_key_value_heads must be at least 1"),
        ("decoder", LLAMA, {"num_attention_heads": 0}, "num_attention_heads must be at least 1"),
        ("decoder", LLAMA, {"hidden_size": -128}, "hidden_size must be at least 1"),
        ("decoder", LLAMA, {"hidden_size": 128.5}, "hidden_size must be a whole number, not 128.5"),
        ("decoder", LLAMA, {"hidden_size": "wide"}, "hidden_size must be a whole number"),
        ("decoder", LLAMA, {"num_layers": 10**23}, "num_layers must be at most 2147483648"),
        ("decoder", LLAMA, {"num_attention_heads": 10**23, "head_dim": 64}, "num_attention_heads must be at most"),
        ("decoder", LLAMA, {"num_layers": -(10**23)}, "num_layers must be at most"),
        ("decoder", LLAMA, {"gated_mlp": 1}, "gated_mlp must be true or false"),
        ("decoder", LLAMA, {"norm": "batchnorm"}, "norm must be one of layernorm, rmsnorm"),
        ("decoder", LLAMA, {"positions": "alibi"}, "positions must be rope or learned"),
        ("decoder", LLAMA, {"activation": "mish"}, "activation must be one of gelu"),
        ("decoder", LLAMA, {"width": 3}, "no field 'width'"),
        ("encoder", BERT, {"num_attention_heads": 6}, "must be hidden_size"),
        ("encoder", BERT, {"head_dim": 64}, "must be hidden_size"),
        ("encoder", BERT, {"local_attention": -1}, "local_attention"),
        ("encoder", BERT, {"global_attn_every_n_layers": 0}, "global_attn_every_n_layers"),
        ("dit", DIT, {"num_attention_heads": 6}, "must be hidden_size"),
        ("dit", DIT, {"hidden_size": 66, "num_attention_heads": 2}, "multiple of 4"),
        ("dit", DIT, {"patch_size": 0}, "patch_size"),
        ("dit", DIT, {"layout": "mine"}, "layout must be one of original, diffusers"),
    ],
)
def test_refused_configs(family: str, base: dict[str, Any], change: dict[str, Any], says: str) -> None:
    cls = get_family(family)
    cls.from_dict(base)
    with pytest.raises(InvalidInputError, match=says):
        cls.from_dict({**base, **change})


def test_missing_fields_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"lacks .*hidden_size.*vocab_size"):
        DecoderConfig.from_dict({"num_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4})


def test_requirements_of_a_grid_are_masks() -> None:
    grid = EncoderConfig(
        num_layers=2, hidden_size=np.array([128, 130, 192]), num_attention_heads=4, intermediate_size=64
    )
    valid = np.logical_and.reduce([np.broadcast_to(r.holds, (3,)) for r in grid.requirements()])
    assert valid.tolist() == [True, False, True]
