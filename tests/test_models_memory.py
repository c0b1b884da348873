"""Memory formulas against tensors that live in the real modules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from models_reference import MODULES, Dispatched, dispatch, fused_sdpa, latents, on_meta, tokens
from test_models_kernels import BATCH, FAMILIES, GPT2, SEQ, run

from archsearch.dtypes import DType
from archsearch.models import Phase, Workload, load_preset

FORMATS = [(DType.BF16, torch.bfloat16), (DType.FP32, torch.float32)]


def saved_bytes(module: torch.nn.Module, inputs: dict[str, Any], **options: Any) -> int:
    """Distinct storages that autograd keeps for the backward pass, parameters aside."""
    own = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    held: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        key = tensor.untyped_storage()._cdata
        if key not in own:
            held[key] = tensor
        return tensor

    with fused_sdpa(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = module(**inputs, **options)
    del output
    return sum(t.untyped_storage().nbytes() for t in held.values())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("dtype", "torch_dtype"), FORMATS)
def test_inference_peak(name: str, dtype: DType, torch_dtype: torch.dtype) -> None:
    workload = Workload(batch_size=BATCH, seq_len=SEQ, height=256, width=256, dtype=dtype)
    ours = float(replace(FAMILIES[name][1], num_layers=4).memory(workload).activations)
    assert ours == pytest.approx(run(name, 4, torch_dtype).peak_bytes, rel=0.04)


@pytest.mark.parametrize("name", ["llama-3.2-1b", "gpt2", "modernbert-base"])
def test_inference_peak_of_presets(name: str) -> None:
    """Also where logits are the peak (a vocabulary of 128256 against a width of 2048)."""
    config = load_preset(name)
    seen = dispatch(on_meta(MODULES[name]), tokens(2, 512), **({} if "bert" in name else {"use_cache": False}))
    assert float(config.memory(Workload(batch_size=2, seq_len=512)).activations) == pytest.approx(
        seen.peak_bytes, rel=0.04
    )


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("dtype", "torch_dtype"), FORMATS)
def test_training_saves_per_layer(name: str, dtype: DType, torch_dtype: torch.dtype) -> None:
    """The third layer's saved tensors (without attention's statistics, a number per head and token)."""
    inputs = latents(BATCH, 256, torch_dtype) if name == "dit" else tokens(BATCH, SEQ)
    options = {} if name in ("dit", "bert", "modernbert") else {"use_cache": False}
    modules = [on_meta(lambda n=n: FAMILIES[name][0](n), torch_dtype) for n in (2, 3)]
    theirs = np.diff([saved_bytes(module, inputs, **options) for module in modules])[0]
    config = FAMILIES[name][1]
    workload = Workload(phase=Phase.TRAIN, batch_size=BATCH, seq_len=SEQ, height=256, width=256, dtype=dtype)
    ours = [float(replace(config, num_layers=n).memory(workload).activations) for n in (2, 3)]
    assert ours[1] - ours[0] == pytest.approx(theirs, rel=0.01)


def test_training_peak_of_gpt2() -> None:
    """A whole step: the formula is above what lives, by less than 30 % (not all gradients exist at the loss)."""
    module = on_meta(lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=6, **GPT2)), torch.float32)
    inputs = tokens(BATCH, SEQ)

    with Dispatched() as seen:
        module(**inputs, labels=inputs["input_ids"], use_cache=False).loss.backward()
    config = replace(FAMILIES["gpt2"][1], num_layers=6, tie_word_embeddings=True)
    workload = Workload(phase=Phase.TRAIN, batch_size=BATCH, seq_len=SEQ, dtype=DType.FP32)
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
