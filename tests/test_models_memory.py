"""Memory of whole steps and presets; what a layer keeps is compared in ``test_models_real_modules.py``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers as hf
from references import PRESETS, SMALL
from references.decoder import GPT2
from references.tools import Dispatched, Reference, dispatch, fused_sdpa, on_meta, tokens
from torch.utils._pytree import tree_leaves

from archsearch.dtypes import DType
from archsearch.models.registry.families import load_preset
from archsearch.workload import Phase, Workload

WHOLE = (
    *("gpt2", "opt-1.3b", "pythia-6.9b", "llama-3.2-1b", "llama-3-70b", "mistral-7b", "qwen2.5-7b", "qwen3-8b"),
    *("gemma-2b", "gemma-2-2b", "gemma-2-2b-encoder", "gemma-3-1b", "bert-base", "modernbert-base", "clip-bigg-text"),
    *("t5-xxl-encoder", "umt5-xxl-encoder", "dit-xl-2", "dit-s-8", "pixart-alpha", "pixart-sigma", "sana-0.6b"),
    *("sana-1.6b", "sd3-medium", "sd3.5-medium", "sd3.5-large", "flux1-dev", "flux1-fill-dev", "flux1-kontext-dev"),
    *("wan2.1-1.3b", "wan2.1-i2v-14b", "ltx-video-2b", "hunyuan-video", "cogvideox-2b", "cogvideox-5b"),
    *("sd-vae", "flux-vae", "dc-ae-f32c32", "wan-vae", "cogvideox-vae", "hunyuan-video-vae", "ltx-video-vae"),
    "ltx-video-vae-0.9.1",
)


@pytest.mark.parametrize("name", WHOLE)
def test_inference_peak_of_presets(name: str) -> None:
    """Published models whole, also where logits are the peak. Mixtures of experts are left out: on the meta device they
    run a batch of products that copies weights, which the grouped kernel of GPUs does not."""
    reference = PRESETS[name]
    seen = dispatch(reference)
    assert float(reference.config.memory(reference.workload).activations) == pytest.approx(seen.peak_bytes, rel=0.04)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_training_peak(name: str, checkpointing: bool) -> None:
    """What lives in a whole forward and backward pass of six layers: more than 95 % of the activations by formula, and
    less than 105 % of them with all gradients (which come as activations go)."""
    reference = SMALL[name](6)
    config, dtype = reference.config, DType.FP32 if DType.FP32 in reference.dtypes else DType.BF16
    if checkpointing and config.family in AUTOENCODERS:
        pytest.skip("autoencoders checkpoint blocks of their own choice, or none")
    workload = replace(reference.workload, dtype=dtype)
    seen = training_peak(replace(reference, workload=workload), checkpointing)
    use = config.memory(replace(workload, phase=Phase.TRAIN, checkpointing=checkpointing))
    gradients = float(config.parameters()) * dtype.itemsize
    assert float(use.activations) <= 1.05 * seen
    assert float(use.activations) + gradients >= 0.95 * seen


AUTOENCODERS = ("autoencoder-kl", "autoencoder-dc", "wan-vae", "cogvideox-vae", "hunyuan-video-vae", "ltx-video-vae")


def training_peak(reference: Reference, checkpointing: bool) -> int:
    """Peak of live results in forward, loss and backward."""
    module, arguments = reference.module(), reference.arguments()
    if checkpointing:
        module.train()
        for part in module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        if hasattr(module, "register_to_config"):
            module.enable_gradient_checkpointing()
        else:
            module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if "LM" in type(module).__name__:
        arguments["labels"] = arguments["input_ids"]
    with fused_sdpa(), Dispatched() as seen:
        output = reference.call(module, arguments)
        loss = getattr(output, "loss", None)
        if loss is None:
            loss = next(t for t in tree_leaves(output) if isinstance(t, torch.Tensor)).float().mean()
        del output
        loss.backward()
    return seen.peak_bytes


@pytest.mark.parametrize("name", ["bert", "modernbert", "dit", "t5", "flux-single", "sana", "wan", "sd3"])
def test_checkpointing_keeps_inputs_and_runs_layers_again(name: str) -> None:
    """Of two more layers, a checkpointed run keeps two more inputs, and their forward FLOPs come once more."""
    kept, flops = {}, {}
    for layers in (4, 6):
        reference = SMALL[name](layers)
        w = replace(reference.workload, phase=Phase.TRAIN)
        for on in (False, True):
            kept[layers, on] = float(reference.config.memory(replace(w, checkpointing=on)).activations)
            flops[layers, on] = float(reference.config.lower(replace(w, checkpointing=on)).flops())
        flops[layers] = float(reference.config.lower(reference.workload).flops())
    again = [flops[layers, True] - flops[layers, False] for layers in (4, 6)]
    assert again[1] - again[0] == pytest.approx(flops[6] - flops[4], rel=1e-9)
    assert kept[6, True] - kept[4, True] < 0.2 * (kept[6, False] - kept[4, False])


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
    assert forward == 4 * 2048 * (128256 + 2048) * 2
    assert prefill == 4 * 2048 * (4 * 2048 + 3 * 8192) * 2
