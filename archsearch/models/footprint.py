"""Device memory by formula: weights, optimizer state, and widths of what stays alive. Bytes, scalars or arrays.

Inference keeps what Python still names: the embeddings, the layer's input and the residual sum, and the largest set of
intermediates of one layer. Training keeps every layer's tensors that autograd saves, with fused attention and nothing
recomputed. Widths below are columns of [tokens, columns] tensors in the activation format; the formulas are checked
against tensors that live in real modules (``tests/test_models_memory.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from archsearch.models.base import Phase, Workload
from archsearch.models.blocks import ACTIVATIONS
from archsearch.ops import as_float

GRADIENT_AND_ADAMW_BYTES = {2.0: 14.0, 4.0: 12.0}
"""Bytes per parameter beside the weights, by the weights' itemsize: gradient, 32-bit master weights (16-bit training
only) and two 32-bit moments. With the weights 16 in both cases (ZeRO, https://arxiv.org/abs/1910.02054, section 3.1).
"""


def weight_bytes(parameters: Any, linear_parameters: Any, w: Workload) -> Any:
    """Weights of the layers' linear products in the linear format, everything else in the activation format; in
    training all in the activation format, from which 8-bit copies are cast."""
    size = w.activation_dtype.itemsize
    if w.phase is Phase.TRAIN:
        return as_float(parameters) * size
    linear = as_float(linear_parameters)
    return linear * w.linear_dtype.itemsize + (as_float(parameters) - linear) * size


def training_state_bytes(parameters: Any, w: Workload) -> Any:
    """Gradients and AdamW's state."""
    return as_float(parameters) * GRADIENT_AND_ADAMW_BYTES[w.activation_dtype.itemsize]


def mlp_live(activation: str, gated: bool, intermediate_size: Any) -> Any:
    """Widest moment of a feed-forward block, without its input: activation of the gate, second half and product."""
    return as_float(intermediate_size) * (3.0 if gated else ACTIVATIONS[activation].live)


def mlp_saved(activation: str, gated: bool, intermediate_size: Any) -> Any:
    """Saved by a feed-forward block, without its input: the activation's, both factors of the gate, the output."""
    saved = ACTIVATIONS[activation].saved + 1.0
    return as_float(intermediate_size) * (saved + (2.0 if gated else 0.0))


def norm_saved(kind: str, width: Any, w: Workload) -> Any:
    """Saved by a norm: its input and, as the next layer's input, its output; the RMSNorm that is written out keeps
    the normalised values too, and its input in 32 bits (Gemma's the normalised values in 32 bits)."""
    size = w.activation_dtype.itemsize
    if kind == "gemma_rmsnorm":
        return as_float(width) * (1.0 + 8.0 / size)
    return as_float(width) * (2.0 if kind == "layernorm" else 2.0 + 4.0 / size)


def kept_by_layers(layers: Any, saved: Any, carried: Any, w: Workload) -> Any:
    """Elements that layers of ``saved`` each keep for the backward pass: all of it or, where they are checkpointed,
    their ``carried`` inputs and one layer's at a time."""
    return as_float(layers) * carried + saved if w.checkpointing else as_float(layers) * saved


def logits_bytes(rows: Any, vocab_size: Any, w: Workload) -> Any:
    """Logits; in training also 32-bit log-probabilities and two 32-bit gradients of the loss."""
    extra = 12.0 if w.phase is Phase.TRAIN else 0.0
    return as_float(rows) * as_float(vocab_size) * (w.activation_dtype.itemsize + extra)


def largest(*widths: Any) -> Any:
    """Elementwise maximum of several, broadcast."""
    result = as_float(widths[0])
    for width in widths[1:]:
        result = np.maximum(result, width)
    return result
