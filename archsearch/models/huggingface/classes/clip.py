"""CLIP text encoders of transformers."""

from __future__ import annotations

from archsearch.models.huggingface.classes.format import TRANSFORMER_SIZES, Document, Fields, Format, Values
from archsearch.models.language.clip import CLIPTextConfig


def _complete(fields: Fields, values: Values, where: str) -> None:
    projected = "CLIPTextModelWithProjection" in (values.get("architectures") or ())
    fields["projection_dim"] = (values.get("projection_dim") or 512) if projected else 0


def _finish(config: CLIPTextConfig, document: Document) -> None:
    projected = bool(config.projection_dim)
    document["architectures"] = ["CLIPTextModelWithProjection" if projected else "CLIPTextModel"]
    document["projection_dim"] = int(config.projection_dim) or int(config.hidden_size)


FORMATS = {
    "clip_text_model": Format(
        family=CLIPTextConfig,
        sizes={k: v for k, v in TRANSFORMER_SIZES.items() if k not in ("vocab_size", "max_position_embeddings")},
        options={
            "vocab_size": ("vocab_size", 49408),
            "max_position_embeddings": ("max_position_embeddings", 77),
            "activation": ("hidden_act", "quick_gelu"),
        },
        examined={"projection_dim": int},
        immaterial=("initializer_factor",),
        heads={"CLIPTextModelWithProjection": {}, "CLIPTextModel": {}, None: {}},
        library="transformers",
        complete=_complete,
        finish=_finish,
    ),
}
