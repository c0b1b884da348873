"""A decoder's mixture of experts, said to an ``Assembly`` as transformers' grouped products run it.

Every token copy goes to ``num_experts_per_tok`` of ``num_experts`` experts, spread as evenly as whole numbers allow: of
T · k copies, T · k mod E experts take one more than the others, and where copies are fewer than experts, as in
decoding, only as many experts are read as there are copies.
"""

from __future__ import annotations

import numpy as np

from archsearch.arrays import Dim, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks, footprint
from archsearch.models.assembly import Assembly
from archsearch.models.language.decoder.fields import ExpertFields
from archsearch.ops import MatMul, MemoryOp


def experts(c: ExpertFields, a: Assembly, rows: Dim) -> None:
    """Router, routed experts and, where there is one, the shared expert."""
    if np.any(c.shared_expert_intermediate_size):
        _shared(c, a, rows)
    _route(c, a, rows)
    copies = blocks.product(rows, c.num_experts_per_tok)
    h, i = c.hidden_size, c.expert_width
    once = 1.0 / as_float(c.num_experts_per_tok)  # copies of a token are read while it lies in the cache
    a.pointwise("moe.gather", "gather", copies, h, reads=once, saves=1.0)
    _products(c, a, "moe.gate_up_proj", copies, h, 2 * i)
    gate = blocks.activation("moe.activation", c.activation, copies, i, a.w, count=1, gated=True)
    a.op(gate, saves=as_float(copies) * footprint.mlp_saved(c.activation, True, i))
    _products(c, a, "moe.down_proj", copies, i, h)
    a.weigh(as_float(c.num_experts) * 3 * as_float(h) * as_float(i), quantized=True)
    _combine(c, a, rows, copies)


def _route(c: ExpertFields, a: Assembly, rows: Dim) -> None:
    """Scores of all experts, their softmax in 32 bits, the chosen ones, and the copies sorted by expert."""
    half = a.w.activation_dtype.itemsize < 4
    a.linear("moe.router", rows, c.hidden_size, c.num_experts, bias=False, quantized=False)
    a.op(
        MemoryOp(
            name="moe.softmax",
            kind="softmax",
            rows=rows,
            cols=c.num_experts,
            dtype=DType.FP32,
        )
    )
    small = (1 if half else 0) + 1 + (2 if c.norm_topk_prob else 0) + (1 if _weights_in_half(c, a) else 0) + 6
    a.pointwise("moe.sort", "gather", rows, c.num_experts, reads=3.0, writes=3.0, kernels=small)


def _weights_in_half(c: ExpertFields, a: Assembly) -> bool:
    """Whether routing weights are cast to the activations' 16 bits: not in Mixtral, whose sum stays in 32."""
    return a.w.activation_dtype.itemsize < 4 and c.moe_intermediate_size is not None


def _products(c: ExpertFields, a: Assembly, name: str, copies: Dim, in_features: Dim, out_features: Dim) -> None:
    """The products of all experts: those with one copy more, and the rest."""
    total, number = np.asarray(copies), np.asarray(c.num_experts)
    fewer, extra = total // number, total % number
    for part, rows, batch in ((".fuller", fewer + 1, extra), ("", fewer, np.where(fewer > 0, number - extra, 0))):
        if np.any(batch):
            a.op(
                MatMul(
                    name=f"{name}{part}",
                    m=np.maximum(rows, 1),
                    n=out_features,
                    k=in_features,
                    batch=np.maximum(batch, 1),
                    dtype=a.w.linear_dtype,
                    weights=False,
                    grouped=True,
                    count=np.minimum(batch, 1),
                )
            )


def _combine(c: ExpertFields, a: Assembly, rows: Dim, copies: Dim) -> None:
    """Weighted outputs, put back in the tokens' order and summed."""
    h = c.hidden_size
    wide = 1.0 if _weights_in_half(c, a) or a.w.activation_dtype.itemsize >= 4 else 2.0
    a.pointwise("moe.weight", "mul", copies, h, writes=wide, saves=1.0)
    a.pointwise("moe.order", "gather", copies, h, reads=wide, writes=wide, kernels=3)
    once = wide / as_float(c.num_experts_per_tok)
    a.pointwise("moe.sum", "add", copies, h, reads=wide, writes=once)
    if wide > 1:
        a.pointwise("moe.result", "cast", rows, h, reads=wide)
    # Routed copies beside both halves, activation and product; or beside outputs, weighted and ordered ones.
    i, h_all = as_float(c.expert_width), as_float(h)
    live = h_all + np.maximum(4 * i, h_all * (1 + 2 * wide))
    shared = 1.0 if np.any(c.shared_expert_intermediate_size) else 0.0
    a.alive(as_float(rows) * (4 + shared) * h_all + as_float(copies) * live)


def _shared(c: ExpertFields, a: Assembly, rows: Dim) -> None:
    """An expert that every token runs, scaled by its own gate."""
    h, i = c.hidden_size, c.shared_expert_intermediate_size
    a.linear("moe.shared.gate_proj+up_proj", rows, h, i, bias=False, calls=2, saves=0)
    kept = as_float(rows) * footprint.mlp_saved(c.activation, True, i)
    a.op(blocks.activation("moe.shared.activation", c.activation, rows, i, a.w, count=1, gated=True), saves=kept)
    a.linear("moe.shared.down_proj", rows, i, h, bias=False, saves=0)
    a.linear("moe.shared.gate", rows, h, 1, bias=False, saves=0, quantized=False)
    a.pointwise("moe.shared.sigmoid", "sigmoid", rows, 1, saves=1.0)
    a.pointwise("moe.shared.scale", "modulate", rows, h, saves=1.0)
    a.pointwise("moe.shared.add", "add", rows, h, reads=2.0)
