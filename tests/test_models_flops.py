"""FLOPs of heads, phases and training, beside the presets' forward passes (``test_models_real_modules.py``).

The counter sees matrix products, convolutions and attention (over the full score matrix, masked or not). It does not
see embeddings, norms, activations, rotary products, softmax or the optimizer, which count no FLOPs here either.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers as hf
from references import decoder, dit
from references.encoder import bert_config, modernbert_config
from references.tools import fused_sdpa, on_meta, tokens
from torch.utils.flop_counter import FlopCounterMode

from archsearch.models.language.decoder.config import DecoderConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Phase, Workload

MODULES = {**decoder.MODULES, **dit.MODULES}


def counted(module: torch.nn.Module, inputs: dict[str, Any], **options: Any) -> int:
    with torch.no_grad(), fused_sdpa(), FlopCounterMode(display=False) as counter:
        module(**inputs, **options)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "gigamacs"), [("dit-xl-2", 118.64), ("dit-xl-4", 29.05), ("dit-l-2", 80.71), ("dit-b-2", 23.01)]
)
def test_dit_as_published(name: str, gigamacs: float) -> None:
    """Table 4 of https://arxiv.org/abs/2212.09748, whose Gflops are multiply-adds."""
    flops = load_preset(name).lower(Workload(height=256, width=256)).flops()
    assert float(flops) / 2e9 == pytest.approx(gigamacs, rel=1e-3)


def test_masked_language_model_heads() -> None:
    for name, module in {
        "bert-large": lambda: hf.BertForMaskedLM(bert_config(24, 1024, 16)),
        "modernbert-base": lambda: hf.ModernBertForMaskedLM(modernbert_config(22, 768, 12, 1152)),
    }.items():
        config = replace(load_preset(name), mlm_head=True, pooler=False)
        expected = counted(on_meta(module), tokens(2, 256))
        assert float(config.lower(Workload(batch_size=2, seq_len=256)).flops()) == pytest.approx(expected, rel=1e-9)


def test_prefill_computes_the_last_logits() -> None:
    module = on_meta(MODULES["llama-3.2-1b"])
    expected = counted(module, tokens(2, 384), logits_to_keep=1)
    workload = Workload(phase=Phase.PREFILL, batch_size=2, seq_len=384)
    assert float(load_preset("llama-3.2-1b").lower(workload).flops()) == pytest.approx(expected, rel=1e-9)


def test_decode_with_a_cache() -> None:
    """One token against a cache of 383: it attends to 384."""
    module = on_meta(MODULES["llama-3.2-1b"])
    cache = hf.DynamicCache()
    keys = torch.zeros((2, 8, 383, 64), dtype=torch.bfloat16, device="meta")
    for layer in range(16):
        cache.update(keys, keys, layer)
    inputs = tokens(2, 384) | {"input_ids": torch.zeros((2, 1), dtype=torch.long, device="meta")}
    expected = counted(module, inputs, past_key_values=cache)
    workload = Workload(phase=Phase.DECODE, batch_size=2, seq_len=384)
    assert float(load_preset("llama-3.2-1b").lower(workload).flops()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["gpt2", "llama-3.2-1b"])
def test_training_step_of_a_decoder(name: str) -> None:
    module = on_meta(MODULES[name]).train()
    inputs = tokens(2, 256)
    with FlopCounterMode(display=False) as counter:
        module(**inputs, labels=inputs["input_ids"]).loss.backward()
    workload = Workload(phase=Phase.TRAIN, batch_size=2, seq_len=256)
    flops = float(load_preset(name).lower(workload).flops())
    assert flops == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_training_step_of_a_dit() -> None:
    """Within 0.1 %: here the timestep's sines get a gradient that no one needs."""
    module = on_meta(MODULES["dit-b-4"]).train()
    workload = Workload(phase=Phase.TRAIN, batch_size=8, height=256, width=256)
    with fused_sdpa(), FlopCounterMode(display=False) as counter:
        module(**dit.latents(workload)).sample.sum().backward()
    config = replace(load_preset("dit-b-4"), layout="diffusers")
    flops = float(config.lower(workload).flops())
    assert flops == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_head_dim_apart_from_hidden_size() -> None:
    sizes = {"hidden_size": 192, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 320}
    theirs = hf.Qwen3Config(num_hidden_layers=3, vocab_size=500, head_dim=80, **sizes)
    ours = DecoderConfig(num_layers=3, vocab_size=500, head_dim=80, qk_norm=True, **sizes)
    expected = counted(on_meta(lambda: hf.Qwen3ForCausalLM(theirs)), tokens(2, 96))
    assert float(ours.lower(Workload(batch_size=2, seq_len=96)).flops()) == pytest.approx(expected, rel=1e-9)
