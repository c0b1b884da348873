"""Presets are data with a source each: every field of every preset is read a second time from something else."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import transformers as hf
from references import PRESETS
from references.tools import on_meta

from archsearch.errors import InvalidInputError
from archsearch.models.base import Modality, ModelConfig
from archsearch.models.huggingface import formats, from_hf_dict
from archsearch.models.language.t5 import T5Config
from archsearch.models.registry import families
from archsearch.models.registry.families import (
    FAMILIES,
    family_names,
    load_preset,
    preset_family,
    preset_names,
    presets_of,
    register_family,
    unregister_family,
)
from archsearch.models.registry.presets import PRESETS_DIR, read_presets

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "hf_configs"
"""Configs as they lie on the hub, where this machine has them."""
FILES = {
    "llama-3.1-8b": "meta-llama--Meta-Llama-3.1-8B",
    "llama-3.1-70b": "meta-llama--Meta-Llama-3.1-70B",
    "llama-3.1-405b": "meta-llama--Meta-Llama-3.1-405B",
    "llama-3.2-1b": "meta-llama--Llama-3.2-1B-Instruct",
    "qwen3-0.6b": "Qwen--Qwen3-0.6B",
    "qwen3-1.7b": "Qwen--Qwen3-1.7B",
    "qwen3-8b": "Qwen--Qwen3-8B",
    "qwen3-32b": "Qwen--Qwen3-32B",
    "qwen3-30b-a3b": "Qwen--Qwen3-30B-A3B",
    "mixtral-8x7b": "mistralai--Mixtral-8x7B-v0.1",
    "clip-l-text": "runwayml--stable-diffusion-v1-5--text_encoder",
    "clip-l-text-projected": "stabilityai--stable-diffusion-3-medium-diffusers--text_encoder",
    "clip-bigg-text": "stabilityai--stable-diffusion-xl-base-1.0--text_encoder_2",
    "sana-0.6b": "Efficient-Large-Model--SANA-600M-transformer",
    "sana-1.5-1.6b": "Efficient-Large-Model--SANA1.5-1.6B-transformer",
    "sd3-medium": "stabilityai--stable-diffusion-3-medium-diffusers--transformer",
    "flux1-dev": "black-forest-labs--FLUX.1-dev--transformer",
    "flux1-schnell": "black-forest-labs--FLUX.1-schnell--transformer",
    "wan2.1-1.3b": "Wan-AI--Wan2.1-T2V-1.3B-Diffusers-transformer",
    "sd-vae": "runwayml--stable-diffusion-v1-5--vae",
    "sdxl-vae": "stabilityai--stable-diffusion-xl-base-1.0--vae",
    "sd3-vae": "stabilityai--stable-diffusion-3-medium-diffusers--vae",
    "flux-vae": "black-forest-labs--FLUX.1-dev--vae",
}
"""Preset → its config there. Files that hold keys of other tools, or leave sizes out, are not among them."""
CLASS_DEFAULTS = {
    "gpt2": hf.GPT2LMHeadModel,
    "gemma-7b": hf.GemmaForCausalLM,
    "modernbert-base": hf.ModernBertModel,
    "bert-base": hf.BertModel,
}
"""Presets that are the defaults of their class in transformers."""


def written(module: Any, folder: Path) -> dict[str, Any]:
    """The ``config.json`` that a real module writes."""
    if hasattr(module, "register_to_config"):
        module.save_config(folder)
    else:
        module.config.architectures = [type(module).__name__]
        module.config.save_pretrained(folder)
    document: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return document


def differences(config: ModelConfig, document: Mapping[str, Any]) -> dict[str, tuple[object, object]]:
    """Fields that a ``config.json`` tells otherwise: all fields but those that no file of the class tells.

    Heads' width may be left out; a DiT's layout is the authors' in ours and diffusers' in a file.
    """
    theirs: Any = from_hf_dict(document)
    told = {f.name for f in fields(theirs)} - set(told_by_no_file(config)) - {"layout"}
    found = {}
    for name in sorted(told):
        property_of = "head_width" if name == "head_dim" and hasattr(config, "head_width") else name
        ours, other = getattr(config, property_of), getattr(theirs, property_of)
        if ours != other:
            found[name] = (ours, other)
    return found


def told_by_no_file(config: ModelConfig) -> tuple[str, ...]:
    """Fields of a family that the files of its classes leave out."""
    layouts = [layout for layout in formats().values() if isinstance(config, layout.family)]
    return layouts[0].unwritten


@cache
def document_of(name: str, folder: Path) -> dict[str, Any]:
    """What the real module of ``tests/references`` writes: built from figures that stand there, not from the preset."""
    return written(on_meta(PRESETS[name].build), folder)


@pytest.mark.parametrize("name", preset_names())
def test_every_field_is_that_of_the_real_module(name: str, tmp_path: Path) -> None:
    """Those too that change no parameter count: positions of rotary models, windows, norms, activations."""
    config: Any = load_preset(name)
    document = document_of(name, tmp_path)
    assert differences(config, document) == {}
    for field in presets_of(config.family)[name].values:
        value = getattr(config, field)
        if field in told_by_no_file(config) or isinstance(value, bool | str | tuple):
            continue
        changed = replace(config, **{field: value + max(1, value // 2)})  # a wrong number would be found
        assert field in differences(changed, document), field


@pytest.mark.parametrize("name", FILES)
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published configs are not on this machine")
def test_every_field_is_that_of_the_published_config(name: str) -> None:
    document = json.loads((PUBLISHED / f"{FILES[name]}.json").read_text())
    assert differences(load_preset(name), document) == {}


@pytest.mark.parametrize("name", CLASS_DEFAULTS)
def test_presets_that_are_the_defaults_of_their_class(name: str, tmp_path: Path) -> None:
    cls = CLASS_DEFAULTS[name]
    assert differences(load_preset(name), written(on_meta(lambda: cls(cls.config_class())), tmp_path)) == {}


TEXT_TOKENS = {
    "flux1-dev": diffusers.FluxPipeline,
    "flux1-canny-dev": diffusers.FluxControlPipeline,
    "flux1-depth-dev": diffusers.FluxControlPipeline,
    "flux1-fill-dev": diffusers.FluxFillPipeline,
    "flux1-kontext-dev": diffusers.FluxKontextPipeline,
    "pixart-alpha": diffusers.PixArtAlphaPipeline,
    "pixart-alpha-512": diffusers.PixArtAlphaPipeline,
    "pixart-sigma": diffusers.PixArtSigmaPipeline,
    **dict.fromkeys(("sana-0.6b", "sana-1.6b", "sana-1.5-1.6b", "sana-4.8b"), diffusers.SanaPipeline),
    **dict.fromkeys(("wan2.1-1.3b", "wan2.1-14b"), diffusers.WanPipeline),
    "wan2.1-i2v-14b": diffusers.WanImageToVideoPipeline,
    "ltx-video-2b": diffusers.LTXPipeline,
    "hunyuan-video": diffusers.HunyuanVideoPipeline,
    **dict.fromkeys(("cogvideox-2b", "cogvideox-5b", "cogvideox-1.5-5b"), diffusers.CogVideoXPipeline),
}


@pytest.mark.parametrize("name", TEXT_TOKENS)
def test_text_tokens_are_those_of_the_pipeline(name: str) -> None:
    """No config tells them: they are the default of the pipeline's ``max_sequence_length``."""
    call = inspect.signature(TEXT_TOKENS[name].__call__)
    config: Any = load_preset(name)
    assert config.text_seq_len == call.parameters["max_sequence_length"].default


def test_every_preset_says_its_own_source() -> None:
    for family in FAMILIES:
        for name, preset in presets_of(family).items():
            assert re.fullmatch(r"https://[\w.-]+\.\w+/\S+", preset.source), name
            assert not set(preset.values) & {"source", "family"}
    assert len(set(preset_names())) == len(preset_names())
    assert {path.stem for path in PRESETS_DIR.glob("*.yaml")} == set(FAMILIES)


def presets_file(folder: Path, text: str) -> Path:
    path = folder / "toy.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a:\n  num_layers: 2\n", r"toy\.yaml:1: a\.source: required field is missing"),
        ("a:\n  num_layers: 2\n  source: the paper\n", r"toy\.yaml:3: a\.source: .*pattern"),
        ("a: {source: https://x.org/a}\nb: [1]\n", r"toy\.yaml:2: b: "),
        ("a: {source: https://x.org/a}\na: {source: https://x.org/b}\n", r"toy\.yaml:2: a: given twice"),
    ],
)
def test_a_preset_without_a_source_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=says):
        read_presets(presets_file(tmp_path, text))


class ToyConfig(T5Config):
    family = "toy"
    modality = Modality.TEXT_ENCODER


SIZES = "num_layers: 2\n  hidden_size: 64\n  num_attention_heads: 2\n  intermediate_size: 64\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("depth: 3", r"toy\.yaml:7: a\.depth: unknown field"),
        ("vocab_size: many", r"toy\.yaml:7: a: toy config: vocab_size must be a whole number, not 'many'"),
    ],
)
def test_a_field_that_the_family_does_not_have_is_refused(line: str, says: str, tmp_path: Path) -> None:
    register_family(ToyConfig, presets_file(tmp_path, f"a:\n  source: https://x.org/a\n  {SIZES}  {line}\n"))
    try:
        with pytest.raises(InvalidInputError, match=says):
            load_preset("a")
    finally:
        unregister_family("toy")


def test_a_registered_family_is_known_by_its_name_and_presets(tmp_path: Path) -> None:
    register_family(ToyConfig, presets_file(tmp_path, f"a:\n  source: https://x.org/a\n  {SIZES}"))
    try:
        assert family_names()[-1] == "toy"
        assert preset_names()[-1] == "a"
        assert preset_family("a") == "toy"
        assert type(load_preset("a")) is ToyConfig
        register_family(ToyConfig)
        with pytest.raises(InvalidInputError, match="'toy' exists already"):
            register_family(type("Other", (T5Config,), {"family": "toy"}))
        with pytest.raises(InvalidInputError, match="'t5' exists already"):
            register_family(T5Config)
    finally:
        unregister_family("toy")
    assert family_names() == list(FAMILIES)


def test_a_preset_is_found_without_reading_other_families(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(families, "read_presets", lambda path: read.append(path.stem) or read_presets(path))
    load_preset("gpt2")
    assert set(read) == {"decoder"}
