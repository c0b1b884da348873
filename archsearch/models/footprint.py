"""Device memory by formula: weights, optimizer state, and widths of what stays alive. Bytes, scalars or arrays.

Inference keeps what Python still names: the embeddings, the layer's input and the residual sum, and the largest set of
intermediates of one layer. Training keeps every layer's tensors that autograd saves, with fused attention and nothing
recomputed. Widths below are columns of [tokens, columns] tensors in the activation format; the formulas are checked
against tensors that live in real modules (``tests/test_models_memory.py``).
"""

from __future__ import annotations

from archsearch.arrays import Dim, FloatArray, Floats, as_float
from archsearch.models.base import UnfusedAttention
from archsearch.models.blocks import ACTIVATIONS
from archsearch.ops import Attention
from archsearch.workload import Phase, Workload

GRADIENT_AND_ADAMW_BYTES = {2.0: 14.0, 4.0: 12.0}
"""Bytes per parameter beside the weights, by the weights' itemsize: gradient, 32-bit master weights (16-bit training
only) and two 32-bit moments. With the weights 16 in both cases (ZeRO, https://arxiv.org/abs/1910.02054, section 3.1).
"""


def weight_bytes(parameters: FloatArray, linear_parameters: FloatArray, w: Workload) -> Floats:
    """Weights of the layers' linear products in the linear format, everything else in the activation format; in
    training all in the activation format, from which 8-bit copies are cast."""
    size = w.activation_dtype.itemsize
    if w.phase is Phase.TRAIN:
        return as_float(parameters) * size
    linear = as_float(linear_parameters)
    return linear * w.linear_dtype.weight_itemsize + (as_float(parameters) - linear) * size


def training_state_bytes(parameters: FloatArray, w: Workload) -> Floats:
    """Gradients and AdamW's state."""
    return as_float(parameters) * GRADIENT_AND_ADAMW_BYTES[w.activation_dtype.itemsize]


def gradient_bytes(parameters: FloatArray, w: Workload) -> Floats:
    """Gradients of all parameters, in the activation format."""
    return as_float(parameters) * w.activation_dtype.itemsize


def mlp_live(activation: str, gated: bool, intermediate_size: Dim) -> Floats:
    """Widest moment of a feed-forward block, without its input: activation of the gate, second half and product."""
    return as_float(intermediate_size) * (3.0 if gated else ACTIVATIONS[activation].live)


def mlp_saved(activation: str, gated: bool, intermediate_size: Dim) -> Floats:
    """Saved by a feed-forward block, without its input: the activation's, both factors of the gate, the output."""
    saved = ACTIVATIONS[activation].saved + 1.0
    return as_float(intermediate_size) * (saved + (2.0 if gated else 0.0))


def norm_saved(kind: str, width: Dim, w: Workload) -> Floats:
    """Saved by a norm: its input and, as the next layer's input, its output; the RMSNorm that is written out keeps
    the normalised values too, and its input in 32 bits (Gemma's the normalised values in 32 bits)."""
    size = w.activation_dtype.itemsize
    if kind == "gemma_rmsnorm":
        return as_float(width) * (1.0 + 8.0 / size)
    return as_float(width) * (2.0 if kind == "layernorm" else 2.0 + 4.0 / size)


LOSS_BYTES = 12.0
"""Per logit in the loss's backward: log-probabilities, their gradient and the logits' gradient in 32 bits; the logits
themselves are freed, as far as the caller drops them."""


def logits_bytes(rows: Dim | Floats, vocab_size: Dim, w: Workload) -> Floats:
    """Logits of inference, and what the loss makes of them in training."""
    each = LOSS_BYTES if w.phase is Phase.TRAIN else float(w.activation_dtype.itemsize)
    return as_float(rows) * as_float(vocab_size) * each


SCORE_MATRICES = 2.0
"""Score matrices alive at once in unfused attention: each of scale, mask and softmax reads one and writes one."""


def unfused_attention(op: Attention, layers: FloatArray) -> UnfusedAttention:
    """Attention as separate kernels: the scores beside queries, keys, values, the output, and the layer's input and
    normed input (both as wide as the queries); training saves the probabilities of ``layers`` layers."""
    b, hq, hkv, q, kv, d = map(as_float, (op.batch, op.heads_q, op.heads_kv, op.seq_q, op.seq_kv, op.head_dim))
    scores = b * hq * q * kv
    tensors = b * d * (4.0 * hq * q + 2.0 * hkv * kv)
    size = op.dtype.itemsize
    return UnfusedAttention(
        op=op, alive_bytes=(SCORE_MATRICES * scores + tensors) * size, saved_bytes=scores * layers * size
    )
