"""Which key of a Hugging Face config means which field here, and which keys do not matter.

Keys and defaults are those of the config classes of transformers 5 (https://huggingface.co/docs/transformers) and of
diffusers' ``DiTTransformer2DModel`` (https://huggingface.co/docs/diffusers/api/models/dit_transformer2d).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from archsearch.models.decoder import DecoderConfig
from archsearch.models.dit import DiTConfig
from archsearch.models.encoder import EncoderConfig

ACTIVATION_OF = {
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_new",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Activation by its name in transformers."""
NAME_OF_ACTIVATION = {ours: theirs for theirs, ours in ACTIVATION_OF.items() if theirs != "swish"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one ``model_type`` maps to a family.

    ``sizes`` and ``options`` map our field to the file's key; sizes must be there, options default to their second
    item. ``constants`` are our fields that the type implies. ``legal`` lists keys that may only hold these values,
    ``examined`` keys that ``huggingface`` checks by itself. ``heads`` maps class names in ``architectures`` to further
    fields; None is for files without any.
    """

    family: type[Any]
    sizes: Mapping[str, str]
    options: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    legal: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    examined: tuple[str, ...] = ()
    heads: Mapping[str | None, Mapping[str, Any]] = field(default_factory=dict)


_SIZES = {
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "num_attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
}
_LLAMA = {
    "num_key_value_heads": ("num_key_value_heads", None),
    "head_dim": ("head_dim", None),
    "activation": ("hidden_act", "silu"),
    "tie_word_embeddings": ("tie_word_embeddings", False),
}
_GPT2_KEYS = ("n_layer", "n_embd", "n_head", "n_inner", "vocab_size", "n_positions")
_MLP_STYLE = {"gated_mlp": False, "norm": "layernorm", "positions": "learned", "qk_norm": False}
_GLU_STYLE = {
    "gated_mlp": True,
    "norm": "rmsnorm",
    "positions": "rope",
    "position_offset": 0,
    "fused_qkv": False,
    "scaled_queries": False,
}
FORMATS: dict[str, Format] = {
    "llama": Format(
        family=DecoderConfig,
        sizes=_SIZES,
        options={**_LLAMA, "attention_bias": ("attention_bias", False), "mlp_bias": ("mlp_bias", False)},
        constants={**_GLU_STYLE, "qk_norm": False},
        heads={"LlamaForCausalLM": {}, None: {}},
    ),
    "mistral": Format(
        family=DecoderConfig,
        sizes=_SIZES,
        options=_LLAMA,
        constants={**_GLU_STYLE, "qk_norm": False, "attention_bias": False, "mlp_bias": False},
        legal={"sliding_window": (None,)},
        heads={"MistralForCausalLM": {}, None: {}},
    ),
    "qwen3": Format(
        family=DecoderConfig,
        sizes=_SIZES,
        options={**_LLAMA, "head_dim": ("head_dim", 128), "attention_bias": ("attention_bias", False)},
        constants={**_GLU_STYLE, "qk_norm": True, "mlp_bias": False},
        legal={"use_sliding_window": (False,)},
        examined=("layer_types", "sliding_window", "max_window_layers"),
        heads={"Qwen3ForCausalLM": {}, None: {}},
    ),
    "gpt2": Format(
        family=DecoderConfig,
        sizes=dict(zip(_SIZES, _GPT2_KEYS, strict=True)) | {"num_key_value_heads": "n_head"},
        options={
            "activation": ("activation_function", "gelu_new"),
            "tie_word_embeddings": ("tie_word_embeddings", True),
        },
        constants={
            **_MLP_STYLE,
            "attention_bias": True,
            "mlp_bias": True,
            "position_offset": 0,
            "fused_qkv": True,
            "scaled_queries": False,
        },
        legal={
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "reorder_and_upcast_attn": (False,),
            "add_cross_attention": (False,),
        },
        heads={"GPT2LMHeadModel": {}, None: {}},
    ),
    "opt": Format(
        family=DecoderConfig,
        sizes=_SIZES | {"intermediate_size": "ffn_dim", "num_key_value_heads": "num_attention_heads"},
        options={
            "activation": ("activation_function", "relu"),
            "tie_word_embeddings": ("tie_word_embeddings", True),
            "attention_bias": ("enable_bias", True),
            "mlp_bias": ("enable_bias", True),
        },
        constants={**_MLP_STYLE, "position_offset": 2, "fused_qkv": False, "scaled_queries": True},
        legal={
            "do_layer_norm_before": (True,),
            "_remove_final_layer_norm": (False,),
            "layer_norm_elementwise_affine": (True,),
        },
        examined=("word_embed_proj_dim",),
        heads={"OPTForCausalLM": {}, None: {}},
    ),
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
        examined=("layer_types", "attention_bias", "norm_bias", "classifier_bias", "classifier_activation"),
        heads={"ModernBertModel": {"mlm_head": False}, "ModernBertForMaskedLM": {"mlm_head": True}, None: {}},
    ),
    "DiTTransformer2DModel": Format(
        family=DiTConfig,
        sizes={
            "num_layers": "num_layers",
            "num_attention_heads": "num_attention_heads",
            "head_dim": "attention_head_dim",
            "patch_size": "patch_size",
            "in_channels": "in_channels",
        },
        options={"out_channels": ("out_channels", None), "num_classes": ("num_embeds_ada_norm", 1000)},
        constants={"layout": "diffusers", "vae_scale_factor": 8},
        legal={
            "norm_type": ("ada_norm_zero",),
            "activation_fn": ("gelu-approximate",),
            "attention_bias": (True,),
            "norm_elementwise_affine": (False,),
            "upcast_attention": (False,),
        },
        heads={None: {}},
    ),
}
"""Readable formats by ``model_type`` (transformers) or ``_class_name`` (diffusers)."""

_IMMATERIAL = """
    architectures model_type transformers_version torch_dtype dtype _name_or_path _class_name _diffusers_version
    bos_token_id eos_token_id pad_token_id cls_token_id sep_token_id decoder_start_token_id mask_token_id prefix
    initializer_range initializer_cutoff_factor init_std rms_norm_eps layer_norm_eps layer_norm_epsilon norm_eps
    attention_dropout hidden_dropout_prob attention_probs_dropout_prob classifier_dropout resid_pdrop embd_pdrop
    attn_pdrop dropout activation_dropout layerdrop embedding_dropout mlp_dropout use_cache pretraining_tp rope_theta
    rope_scaling rope_parameters global_rope_theta local_rope_theta summary_type summary_use_proj summary_activation
    summary_proj_to_labels summary_first_dropout task_specific_params gradient_checkpointing n_ctx sample_size
    norm_num_groups classifier_pooling deterministic_flash_attn sparse_pred_ignore_index reference_compile
    repad_logits_with_grad return_dict chunk_size_feed_forward id2label label2id problem_type output_attentions
    output_hidden_states attn_implementation
"""
IMMATERIAL = frozenset(_IMMATERIAL.split())
"""Keys that change no dimension: names, token ids, initialisation, dropout, rotary frequencies, reporting."""
