"""Configs of transformers and diffusers: written ones build the real class, read ones equal it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import transformers as hf
from references import PRESETS
from references.encoder import bert_config, modernbert_config
from references.tools import count_parameters, on_meta

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.models.huggingface import formats, from_hf_dict, to_hf
from archsearch.models.language.decoder.config import DecoderConfig
from archsearch.models.registry.families import load_preset
from archsearch.models.registry.load import load_model

_SANA = replace(
    load_preset("sana-0.6b"), num_layers=1, hidden_size=224, num_attention_heads=7, num_cross_attention_heads=7
)


def built(document: dict[str, Any]) -> Any:
    """The real module of a document, on the meta device."""
    if "_class_name" in document:
        return on_meta(lambda: getattr(diffusers, document["_class_name"]).from_config(document))
    config = hf.CONFIG_MAPPING[document["model_type"]].from_dict(document)
    return on_meta(lambda: getattr(hf, document["architectures"][0])(config))


@pytest.mark.parametrize("name", PRESETS)
def test_round_trip_and_real_class(name: str) -> None:
    config = PRESETS[name].config
    document = json.loads(json.dumps(to_hf(config)))
    back = from_hf_dict(document)
    assert back.parameters() == config.parameters() == count_parameters(built(document))
    untold = formats()[document.get("_class_name") or document["model_type"]].unwritten
    for field in set(config.to_dict()) - {"head_dim", *untold}:
        assert getattr(back, field) == getattr(config, field), field
    assert to_hf(back) == document


@pytest.mark.parametrize(
    "config",
    [
        replace(load_preset("modernbert-base"), num_layers=7, global_attn_every_n_layers=2, mlm_head=True),
        replace(load_preset("modernbert-base"), num_layers=2, local_attention=0, bias=True),
        replace(load_preset("bert-base"), mlm_head=True, pooler=False, num_layers=2),
        replace(load_preset("llama-3.2-1b"), head_dim=96, attention_bias=True, mlp_bias=True, activation="gelu_tanh"),
        replace(load_preset("gpt2"), intermediate_size=2000, tie_word_embeddings=False, activation="gelu_tanh"),
        replace(load_preset("opt-1.3b"), attention_bias=False, mlp_bias=False, num_layers=2),
        replace(load_preset("opt-1.3b"), lm_head=False, num_layers=2),
        replace(load_preset("pythia-160m"), parallel_residual=False, rotary_dim=22, attention_bias=False),
        replace(load_preset("mistral-7b-v0.1"), num_layers=3, sliding_window=100),
        replace(_SANA, intermediate_size=1952),  # 1952 / 224 · 224 falls below 1952 in 64-bit numbers
        replace(load_preset("qwen2.5-0.5b"), num_layers=6, sliding_window=64, global_attn_every_n_layers=3),
        replace(load_preset("qwen3-0.6b"), num_layers=6, sliding_window=64, attention_bias=True),
        replace(load_preset("gemma-2-2b"), num_layers=3, sliding_window=0, global_attn_every_n_layers=0),
        replace(load_preset("gemma-3-1b"), num_layers=3, logit_softcap=True, lm_head=True),
        replace(load_preset("gemma-3-1b"), num_layers=7, global_attn_every_n_layers=2, lm_head=False),
        replace(load_preset("mixtral-8x7b"), num_layers=2, sliding_window=512, num_experts_per_tok=3),
        replace(load_preset("qwen1.5-moe-a2.7b"), num_layers=2, qkv_bias=False, norm_topk_prob=True, lm_head=False),
        replace(load_preset("qwen3-30b-a3b"), num_layers=2, sliding_window=512, num_experts=16),
    ],
)
def test_round_trip_of_variants(config: Any) -> None:
    document = json.loads(json.dumps(to_hf(config)))
    back = from_hf_dict(document)
    assert count_parameters(built(document)) == config.parameters() == back.parameters()
    assert from_hf_dict(to_hf(back)) == back


SMALL_SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 8,
}
SAVED: dict[str, Any] = {
    "llama": (
        hf.LlamaConfig(
            hidden_size=256, num_attention_heads=4, num_key_value_heads=2, intermediate_size=640, num_hidden_layers=3
        ),
        hf.LlamaForCausalLM,
    ),
    "mistral": (
        hf.MistralConfig(
            hidden_size=256, num_attention_heads=4, num_key_value_heads=2, sliding_window=None, num_hidden_layers=3
        ),
        hf.MistralForCausalLM,
    ),
    "mistral-window": (hf.MistralConfig(**SMALL_SIZES), hf.MistralForCausalLM),
    "qwen2": (hf.Qwen2Config(**SMALL_SIZES), hf.Qwen2ForCausalLM),
    "qwen2-window": (
        hf.Qwen2Config(**SMALL_SIZES, use_sliding_window=True, max_window_layers=0),
        hf.Qwen2ForCausalLM,
    ),
    "gpt-neox": (hf.GPTNeoXConfig(hidden_size=256, num_attention_heads=4, num_hidden_layers=3), hf.GPTNeoXForCausalLM),
    "gemma": (hf.GemmaConfig(**SMALL_SIZES), hf.GemmaForCausalLM),
    "gemma2": (hf.Gemma2Config(**SMALL_SIZES), hf.Gemma2ForCausalLM),
    "gemma2-encoder": (hf.Gemma2Config(**SMALL_SIZES), hf.Gemma2Model),
    "gemma3": (hf.Gemma3TextConfig(**SMALL_SIZES), hf.Gemma3ForCausalLM),
    "mixtral": (hf.MixtralConfig(**SMALL_SIZES, intermediate_size=320), hf.MixtralForCausalLM),
    "qwen2-moe": (hf.Qwen2MoeConfig(**SMALL_SIZES, num_experts=6), hf.Qwen2MoeForCausalLM),
    "qwen3-moe": (hf.Qwen3MoeConfig(**SMALL_SIZES, num_experts=6, num_experts_per_tok=2), hf.Qwen3MoeForCausalLM),
    "qwen3": (
        hf.Qwen3Config(hidden_size=256, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=3),
        hf.Qwen3ForCausalLM,
    ),
    "gpt2": (hf.GPT2Config(n_embd=256, n_head=4, n_layer=3), hf.GPT2LMHeadModel),
    "opt": (
        hf.OPTConfig(hidden_size=256, num_attention_heads=4, ffn_dim=700, word_embed_proj_dim=256),
        hf.OPTForCausalLM,
    ),
    "bert": (bert_config(3, 256, 4), hf.BertModel),
    "bert-mlm": (bert_config(3, 256, 4), hf.BertForMaskedLM),
    "modernbert": (modernbert_config(5, 256, 4, 384), hf.ModernBertModel),
    "modernbert-mlm": (modernbert_config(5, 256, 4, 384), hf.ModernBertForMaskedLM),
}


@pytest.mark.parametrize("name", SAVED)
def test_files_that_transformers_writes(name: str, tmp_path: Path) -> None:
    config, cls = SAVED[name]
    config.architectures = [cls.__name__]
    config.save_pretrained(tmp_path)
    expected = count_parameters(on_meta(lambda: cls(config)))
    assert load_model(str(tmp_path)).parameters() == expected
    assert load_model(str(tmp_path / "config.json")).parameters() == expected


@pytest.mark.parametrize("name", PRESETS)
def test_files_that_the_real_class_of_a_preset_writes(name: str, tmp_path: Path) -> None:
    """Read back, they are the preset: parameters and, under its workload, FLOPs. What no file tells (Kontext's
    reference image, how many text tokens a pipeline takes) is filled in."""
    reference = PRESETS[name]
    module = on_meta(reference.build)
    if hasattr(module, "register_to_config"):
        module.save_config(tmp_path / "transformer")
    else:
        module.config.architectures = [type(module).__name__]
        module.config.save_pretrained(tmp_path)
    config = load_model(str(tmp_path))
    assert config.parameters() == count_parameters(module)
    kind = getattr(module.config, "model_type", None) or type(module).__name__
    config = replace(config, **{field: getattr(reference.config, field) for field in formats()[kind].unwritten})
    flops = [float(c.lower(reference.workload).flops()) for c in (config, reference.config)]
    assert flops[0] == flops[1]


def test_legacy_dit_class_name() -> None:
    document = {
        **to_hf(replace(load_preset("dit-xl-2"), layout="diffusers")),
        "_class_name": "Transformer2DModel",
        "norm_type": "ada_norm_zero",
    }
    assert from_hf_dict(document).parameters() == replace(load_preset("dit-xl-2"), layout="diffusers").parameters()


DIT = replace(load_preset("dit-s-2"), layout="diffusers")
LLAMA = to_hf(load_preset("llama-3-8b"))
QWEN2 = to_hf(load_preset("qwen2.5-7b"))
QWEN3_MOE = to_hf(load_preset("qwen3-30b-a3b"))
MIXTRAL = to_hf(load_preset("mixtral-8x7b"))
GEMMA3 = to_hf(load_preset("gemma-3-1b"))
MODERN = to_hf(load_preset("modernbert-base"))


@pytest.mark.parametrize(
    ("document", "error", "says"),
    [
        ({**LLAMA, "quantization_config": {"bits": 4}}, UnsupportedError, "quantization_config"),
        ({**LLAMA, "num_local_experts": 8}, UnsupportedError, "num_local_experts=8"),
        ({**LLAMA, "auto_map": {"AutoModel": "code.Model"}}, UnsupportedError, "auto_map"),
        ({**LLAMA, "hidden_act": "mish"}, UnsupportedError, "activation 'mish'"),
        ({**LLAMA, "architectures": ["LlamaForSequenceClassification"]}, UnsupportedError, "only LlamaForCausalLM"),
        ({**LLAMA, "hidden_size": None}, InvalidInputError, "lacks hidden_size"),
        ({**LLAMA, "hidden_size": "big"}, InvalidInputError, "hidden_size must be a whole number"),
        ({**LLAMA, "num_key_value_heads": 7}, InvalidInputError, "num_key_value_heads must divide"),
        ({**QWEN2, "use_sliding_window": True, "max_window_layers": 7}, UnsupportedError, "max_window_layers"),
        ({**MIXTRAL, "router_bias": True}, UnsupportedError, "router_bias=true"),
        ({**QWEN3_MOE, "mlp_only_layers": [0]}, UnsupportedError, "mlp_only_layers"),
        ({**QWEN3_MOE, "decoder_sparse_step": 2}, UnsupportedError, "decoder_sparse_step=2"),
        ({**GEMMA3, "use_bidirectional_attention": True}, UnsupportedError, "use_bidirectional_attention"),
        ({**GEMMA3, "layer_types": ["full_attention"] + ["sliding_attention"] * 25}, UnsupportedError, "layer_types"),
        ({**GEMMA3, "model_type": "gemma3"}, UnknownNameError, "did you mean .*gemma3_text"),
        ({**LLAMA, "model_type": "mamba"}, UnknownNameError, "mamba"),
        ({**LLAMA, "model_type": "lama"}, UnknownNameError, "did you mean llama"),
        ({"hidden_size": 3}, InvalidInputError, "model_type"),
        ({**to_hf(load_preset("opt-1.3b")), "word_embed_proj_dim": 512}, UnsupportedError, "word_embed_proj_dim"),
        ({**to_hf(load_preset("gpt2")), "scale_attn_by_inverse_layer_idx": True}, UnsupportedError, "scale_attn_by"),
        ({**to_hf(load_preset("bert-base")), "is_decoder": True}, UnsupportedError, "is_decoder=true"),
        ({**MODERN, "norm_bias": True}, UnsupportedError, "norm_bias"),
        ({**MODERN, "layer_types": ["sliding_attention"] * 22}, UnsupportedError, "layer_types"),
        ({**to_hf(DIT), "norm_type": "layer_norm"}, UnsupportedError, "norm_type"),
        ({**to_hf(DIT), "caption_channels": 4096}, UnsupportedError, "caption_channels"),
    ],
)
def test_refused_fields_are_named(document: dict[str, Any], error: type[ArchSearchError], says: str) -> None:
    with pytest.raises(error, match=says) as told:
        from_hf_dict(document, where="here/config.json")
    assert "here/config.json" in str(told.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (replace(load_preset("llama-3-8b"), norm="layernorm"), "norm=rmsnorm"),
        (replace(load_preset("gpt2"), num_key_value_heads=4), "num_key_value_heads"),
        (replace(load_preset("gpt2"), head_dim=32), "head_dim"),
        (replace(load_preset("bert-base"), pooler=False), "pooler=True"),
        (replace(load_preset("bert-base"), type_vocab_size=0), "type_vocab_size"),
        (replace(load_preset("modernbert-base"), gated_mlp=False), "gated_mlp=True"),
        (replace(load_preset("dit-xl-2"), intermediate_size=4096), "intermediate_size"),
        (load_preset("dit-xl-2"), r"embedders .* in every layer \(749.8 M parameters, not 674.8 M\)"),
    ],
)
def test_shapes_without_a_class(config: Any, says: str) -> None:
    with pytest.raises(UnsupportedError, match=says):
        to_hf(config)


def test_a_grid_is_no_config() -> None:
    values = {**load_preset("llama-3-8b").to_dict(), "num_layers": np.array([2, 3])}
    with pytest.raises(InvalidInputError, match="one architecture at a time"):
        to_hf(DecoderConfig(**values))
