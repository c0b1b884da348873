"""Parameter counts of options and layouts beside the presets (``test_models_real_modules.py``)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import transformers as hf
from references.dit import MODULES
from references.encoder import bert_config, modernbert_config
from references.tools import count_parameters, on_meta

from archsearch.models.language.decoder.config import DecoderConfig
from archsearch.models.registry.families import load_preset


@pytest.mark.parametrize("name", MODULES)
def test_dit_in_both_layouts(name: str) -> None:
    module = on_meta(MODULES[name])
    config = load_preset(name)
    assert replace(config, layout="diffusers").parameters() == count_parameters(module)
    # The authors' code has one embedder for all layers where diffusers has one in each.
    embedder = count_parameters(module.transformer_blocks[0].norm1.emb)
    assert config.parameters() == count_parameters(module) - (config.num_layers - 1) * embedder


@pytest.mark.parametrize(("size", "millions"), [("s", 33), ("b", 130), ("l", 458), ("xl", 675)])
def test_dit_as_published(size: str, millions: int) -> None:
    """Table 4 of https://arxiv.org/abs/2212.09748."""
    assert round(float(load_preset(f"dit-{size}-2").parameters()) / 1e6) == millions


@pytest.mark.parametrize(
    ("name", "config", "cls"),
    [
        ("bert-large", bert_config(24, 1024, 16), hf.BertForMaskedLM),
        ("modernbert-base", modernbert_config(22, 768, 12, 1152), hf.ModernBertForMaskedLM),
        ("modernbert-large", modernbert_config(28, 1024, 16, 2624), hf.ModernBertForMaskedLM),
    ],
)
def test_masked_language_model_heads(name: str, config: object, cls: type) -> None:
    ours = replace(load_preset(name), mlm_head=True, pooler=False)
    assert ours.parameters() == count_parameters(on_meta(lambda: cls(config)))


@pytest.mark.parametrize("attention_bias", [False, True])
@pytest.mark.parametrize("mlp_bias", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_llama_options(attention_bias: bool, mlp_bias: bool, tied: bool) -> None:
    sizes = {"hidden_size": 192, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 320}
    options = {"attention_bias": attention_bias, "mlp_bias": mlp_bias, "tie_word_embeddings": tied, "head_dim": 48}
    ours = DecoderConfig(num_layers=3, vocab_size=500, **sizes, **options)
    theirs = hf.LlamaConfig(num_hidden_layers=3, vocab_size=500, **sizes, **options)
    assert ours.parameters() == count_parameters(on_meta(lambda: hf.LlamaForCausalLM(theirs)))


def test_modernbert_with_biases() -> None:
    base = modernbert_config(4, 128, 4, 192)
    biased = hf.ModernBertConfig(
        **{**base.to_dict(), "attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True}
    )
    ours = replace(
        load_preset("modernbert-base"),
        num_layers=4,
        hidden_size=128,
        num_attention_heads=4,
        intermediate_size=192,
        bias=True,
        mlm_head=True,
    )
    assert ours.parameters() == count_parameters(on_meta(lambda: hf.ModernBertForMaskedLM(biased)))
