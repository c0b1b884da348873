"""How the keys of one Hugging Face class map to a family's fields, and which keys do not matter.

Keys and defaults are those of the config classes of transformers 5 (https://huggingface.co/docs/transformers) and of
diffusers' models (https://huggingface.co/docs/diffusers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from archsearch.models.base import ConfigMixin
from archsearch.models.huggingface.classes.calls import Call, Inputs, text_inputs

Config = TypeVar("Config", bound=ConfigMixin)
Values = Mapping[str, Any]
"""Content of a ``config.json`` that is read: JSON values by the class's keys."""
Document = dict[str, Any]
"""Content of a ``config.json`` that is being written."""
Fields = dict[str, Any]
"""A family's fields by name, as far as they are read."""

ACTIVATION_OF = {
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_new",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Activation by its name in transformers."""
NAME_OF_ACTIVATION = {ours: theirs for theirs, ours in ACTIVATION_OF.items() if theirs != "swish"}

TRANSFORMER_SIZES = {
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "num_attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
}
"""Field → key of most transformers configs."""


def rope_axes(head_dim: int) -> list[int]:
    """Rotary columns of three axes: an eighth and twice seven sixteenths, as the 16, 56 and 56 of a head of 128."""
    return [head_dim // 8, 7 * head_dim // 16, 7 * head_dim // 16]


def _nothing(*_: object) -> None:
    return None


def _no_obstacle(_: object) -> list[str]:
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Format(Generic[Config]):
    """How one ``model_type`` (transformers) or ``_class_name`` (diffusers) maps to a family.

    ``sizes`` and ``options`` map our field to the file's key; sizes must be there, options default to their second
    item. ``constants`` are our fields that the class implies; a config must hold them to be written, save those in
    ``unwritten``, which no file tells. ``legal`` lists keys that may only hold these values, of which an absent key
    means the first; ``written`` are keys that every written file gets; ``examined`` are keys that ``complete`` reads
    with the type of each (``tuple[int, ...]`` is a list), ``immaterial`` keys of this class that change no dimension.
    ``heads`` maps class names in ``architectures`` to further fields; None is for files without any.

    ``inputs(call)`` are what one call of the class takes. ``complete(fields, values, where)`` fills in or refuses what
    one key alone does not say; ``obstacles(config)`` lists, as ``field=value``, what a config would need to be of this
    class; ``finish(config, document)`` adds keys to a written document.
    """

    family: type[Config]
    sizes: Mapping[str, str]
    options: Mapping[str, tuple[str, object]] = field(default_factory=dict)
    constants: Mapping[str, object] = field(default_factory=dict)
    unwritten: tuple[str, ...] = ()
    legal: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    written: Mapping[str, object] = field(default_factory=dict)
    examined: Mapping[str, object] = field(default_factory=dict)
    immaterial: tuple[str, ...] = ()
    heads: Mapping[str | None, Mapping[str, object]] = field(default_factory=lambda: {None: {}})
    library: str = "diffusers"
    inputs: Callable[[Call], Inputs] = text_inputs
    complete: Callable[[Fields, Values, str], None] = _nothing
    obstacles: Callable[[Config], list[str]] = _no_obstacle
    finish: Callable[[Config, Document], None] = _nothing


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
