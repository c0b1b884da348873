"""Memory of whole steps and presets; what a layer keeps is compared in ``test_models_real_modules.py``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers as hf
from references import PRESETS, SMALL
from references.decoder import GPT2
from references.tools import Dispatched, dispatch, on_meta, tokens

from archsearch.dtypes import DType
from archsearch.models import Phase, Workload, load_preset


@pytest.mark.parametrize("name", ["llama-3.2-1b", "gpt2", "modernbert-base"])
def test_inference_peak_of_presets(name: str) -> None:
    """Also where logits are the peak (a vocabulary of 128256 against a width of 2048)."""
    reference = PRESETS[name]
    seen = dispatch(reference)
    assert float(reference.config.memory(reference.workload).activations) == pytest.approx(seen.peak_bytes, rel=0.04)


def test_training_peak_of_gpt2() -> None:
    """A whole step: the formula is above what lives, by less than 30 % (not all gradients exist at the loss)."""
    module = on_meta(lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=6, **GPT2)), torch.float32)
    inputs = tokens(4, 256)

    with Dispatched() as seen:
        module(**inputs, labels=inputs["input_ids"], use_cache=False).loss.backward()
    config = replace(SMALL["gpt2"](6).config, tie_word_embeddings=True)
    workload = Workload(phase=Phase.TRAIN, batch_size=4, seq_len=256, dtype=DType.FP32)
    ours = float(config.memory(workload).activations) + 4 * float(config.parameters())
    assert seen.peak_bytes <= ours <= 1.3 * seen.peak_bytes


def test_mixed_precision_adamw_takes_16_bytes_a_parameter() -> None:
    """ZeRO, https://arxiv.org/abs/1910.02054, section 3.1; so does 32-bit training."""
    config = load_preset("gpt2-xl")
    for dtype in (DType.BF16, DType.FP32, DType.FP8):
        use = config.memory(Workload(phase=Phase.TRAIN, seq_len=1024, dtype=dtype))
        assert use.weights + use.optimizer == 16 * config.parameters()


def test_fp8_halves_the_layers_linear_weights_alone() -> None:
    """Llama 3 8B by hand: 32 layers of 4096·(4096+4096+1024+1024) + 3·4096·14336 weights in one byte."""
    config = load_preset("llama-3-8b")
    linear = 32 * (4096 * (4096 + 4096 + 1024 + 1024) + 3 * 4096 * 14336)
    use = config.memory(Workload(seq_len=128, dtype=DType.FP8))
    assert use.weights == 2 * config.parameters() - linear


def test_kv_cache_by_hand() -> None:
    """Llama 3 70B, 8192 tokens: 80 layers · 2 · 8 heads · 128 · 2 bytes = 327,680 bytes a token."""
    config = load_preset("llama-3-70b")
    for phase in (Phase.DECODE, Phase.PREFILL):
        assert config.memory(Workload(phase=phase, batch_size=3, seq_len=8192)).kv_cache == 3 * 8192 * 327680
    assert config.memory(Workload(seq_len=8192)).kv_cache == 0


def test_prefill_saves_the_logits_of_all_tokens_but_one() -> None:
    config = load_preset("llama-3.2-1b")
    forward, prefill = (
        config.memory(Workload(phase=p, batch_size=4, seq_len=2048)).activations for p in (Phase.FORWARD, Phase.PREFILL)
    )
    assert forward == 4 * 2048 * (128256 + 2 * 2048) * 2
    assert prefill == 4 * 2048 * (4 * 2048 + 3 * 8192) * 2
