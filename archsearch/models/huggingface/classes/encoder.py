"""Bidirectional encoders of transformers."""

from __future__ import annotations

from archsearch.errors import UnsupportedError
from archsearch.models.huggingface.classes.format import NAME_OF_ACTIVATION, Document, Fields, Format, Values
from archsearch.models.huggingface.classes.format import TRANSFORMER_SIZES as _SIZES
from archsearch.models.language.encoder import EncoderConfig

_BIASES = ("attention_bias", "norm_bias", "classifier_bias")


TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
LARGEST_TOKEN = 50283
"""The largest token that ``ModernBertConfig`` names by default (its padding)."""


def _complete_modernbert(fields: Fields, values: Values, where: str) -> None:
    for key in _BIASES:
        if bool(values.get(key, False)) != fields["bias"]:
            raise UnsupportedError(f"{where}: {key} that differs from mlp_bias is not supported")
    head_activation = NAME_OF_ACTIVATION[fields["activation"]]
    if fields.get("mlm_head") and values.get("classifier_activation", "gelu") != head_activation:
        raise UnsupportedError(f"{where}: classifier_activation that differs from hidden_activation is not supported")
    types = values.get("layer_types")
    if not types:
        return
    period = next((i for i, kind in enumerate(types) if i and kind == "full_attention"), len(types))
    if all(kind == "full_attention" for kind in types):
        fields["local_attention"] = 0
        period = 1
    if types != _layer_types(fields["num_layers"], period):
        raise UnsupportedError(
            f"{where}: layer_types must be global in the first of every n layers and local in others"
        )
    fields["global_attn_every_n_layers"] = period


def _layer_types(layers: int, period: int) -> list[str]:
    return ["sliding_attention" if i % period else "full_attention" for i in range(layers)]


def _finish_modernbert(config: EncoderConfig, document: Document) -> None:
    document["classifier_activation"] = NAME_OF_ACTIVATION[config.activation]
    if int(config.vocab_size) <= LARGEST_TOKEN:  # the class's own lie beyond a small vocabulary
        document |= {name: min(i, int(config.vocab_size) - 1) for i, name in enumerate(TOKENS)}
    document |= dict.fromkeys(_BIASES, config.bias)
    local = int(config.local_attention)
    period = int(config.global_attn_every_n_layers) if local else 1
    document["layer_types"] = _layer_types(int(config.num_layers), period)
    document["local_attention"] = local or 128


def _obstacles_bert(config: EncoderConfig) -> list[str]:
    return [] if config.type_vocab_size else ["type_vocab_size of 1 or more"]


FORMATS = {
    "bert": Format(
        family=EncoderConfig,
        sizes=_SIZES | {"type_vocab_size": "type_vocab_size"},
        options={"activation": ("hidden_act", "gelu")},
        constants={
            "post_norm": True,
            "positions": "learned",
            "gated_mlp": False,
            "bias": True,
            "local_attention": 0,
            "fused_qkv": False,
        },
        legal={
            "position_embedding_type": ("absolute",),
            "is_decoder": (False,),
            "add_cross_attention": (False,),
            "tie_word_embeddings": (True,),
        },
        heads={
            "BertModel": {"pooler": True, "mlm_head": False},
            "BertForMaskedLM": {"pooler": False, "mlm_head": True},
            None: {"pooler": True, "mlm_head": False},
        },
        library="transformers",
        obstacles=_obstacles_bert,
    ),
    "modernbert": Format(
        family=EncoderConfig,
        sizes=_SIZES,
        options={
            "activation": ("hidden_activation", "gelu"),
            "bias": ("mlp_bias", False),
            "local_attention": ("local_attention", 128),
            "global_attn_every_n_layers": ("global_attn_every_n_layers", 3),
        },
        constants={
            "post_norm": False,
            "positions": "rope",
            "gated_mlp": True,
            "type_vocab_size": 0,
            "fused_qkv": True,
            "pooler": False,
        },
        legal={
            "tie_word_embeddings": (True,),
            "decoder_bias": (True,),
            "sparse_prediction": (False,),
            "position_embedding_type": ("absolute",),  # written by early releases, which used it for nothing
        },
        examined={"layer_types": tuple[str, ...], **dict.fromkeys(_BIASES, bool), "classifier_activation": str},
        heads={"ModernBertModel": {"mlm_head": False}, "ModernBertForMaskedLM": {"mlm_head": True}, None: {}},
        library="transformers",
        complete=_complete_modernbert,
        finish=_finish_modernbert,
    ),
}
