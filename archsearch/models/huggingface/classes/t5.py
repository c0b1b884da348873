"""T5 and UMT5 encoders of transformers."""

from __future__ import annotations

from dataclasses import replace

from archsearch.errors import UnsupportedError
from archsearch.models.huggingface.classes.format import Document, Fields, Format, Values
from archsearch.models.language.t5 import T5Config

_FEED_FORWARDS = {"gated-gelu": (True, "gelu_new"), "relu": (False, "relu"), "gated-silu": (True, "silu")}


def _complete(fields: Fields, values: Values, where: str) -> None:
    kind = values.get("feed_forward_proj", "relu")
    if kind not in _FEED_FORWARDS:
        names = ", ".join(_FEED_FORWARDS)
        raise UnsupportedError(f"{where}: feed_forward_proj={kind!r} is not supported, only {names}")
    fields["gated_mlp"], fields["activation"] = _FEED_FORWARDS[kind]


def _obstacles(config: T5Config) -> list[str]:
    if (config.gated_mlp, config.activation) in _FEED_FORWARDS.values():
        return []
    return ["gated_mlp with gelu_new or silu, or relu without"]


def _finish(config: T5Config, document: Document) -> None:
    name_of = {pair: name for name, pair in _FEED_FORWARDS.items()}
    document["feed_forward_proj"] = name_of[config.gated_mlp, config.activation]


_T5 = Format(
    family=T5Config,
    sizes={
        "num_layers": "num_layers",
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "intermediate_size": "d_ff",
        "vocab_size": "vocab_size",
    },
    options={
        "head_dim": ("d_kv", 64),
        "relative_attention_num_buckets": ("relative_attention_num_buckets", 32),
    },
    constants={"shared_bias": True},
    examined={"feed_forward_proj": str},
    immaterial=(
        *("relative_attention_max_distance", "num_decoder_layers", "is_encoder_decoder", "n_positions"),
        *("dense_act_fn", "is_gated_act", "initializer_factor", "dropout_rate", "output_past", "classifier_dropout"),
        *(
            "tie_word_embeddings",
            "scalable_attention",
            "tokenizer_class",
            "is_decoder",
            "hidden_size",
            "num_hidden_layers",
        ),
        *("num_attention_heads", "head_dim", "scale_decoder_outputs"),
    ),
    heads={"T5EncoderModel": {}, None: {}},
    library="transformers",
    complete=_complete,
    obstacles=_obstacles,
    finish=_finish,
)
FORMATS = {
    "t5": _T5,
    "umt5": replace(_T5, constants={"shared_bias": False}, heads={"UMT5EncoderModel": {}, None: {}}),
}
