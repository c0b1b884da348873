"""The parts of a decoder, said to an ``Assembly``: embeddings, attention, dense feed-forward, residual sums, head."""

from __future__ import annotations

import numpy as np

from archsearch.arrays import Dim, Floats, Ints, as_float
from archsearch.models import blocks, footprint
from archsearch.models.assembly import Assembly
from archsearch.models.language.decoder.fields import LayerFields
from archsearch.workload import Phase, Workload


def embeddings(c: LayerFields, a: Assembly, rows: Dim, positions: Dim) -> None:
    """Token and position embeddings, rotary tables, and the first layer's norm."""
    h = c.hidden_size
    a.op(blocks.embedding("embeddings.tokens", rows, h, a.w))
    a.weigh(as_float(c.vocab_size) * as_float(h))
    if c.scaled_embeddings:
        a.pointwise("embeddings.scale", "mulu", rows, h)
    if c.positions == "learned":
        a.op(blocks.embedding("embeddings.positions", positions, h, a.w))
        a.pointwise("embeddings.add", "add", rows, h, reads=2.0)
        a.weigh((as_float(c.max_position_embeddings) + as_float(c.position_offset)) * as_float(h))
    else:
        tables = 2 if np.any(c.sliding_window) and np.any(c.global_attn_every_n_layers) and c.qk_norm else 1
        a.op(blocks.rope_table("embeddings.rope_table", positions, rotary_columns(c), a.w, count=tables))
    a.op(blocks.norm("input_norm", c.norm, rows, h, a.w))
    a.weigh(blocks.norm_parameters(c.norm, h))  # of the last norm: each layer counts the norms before its branches


def rotary_columns(c: LayerFields) -> Ints:
    """Columns of a head that turn."""
    return c.head_width if c.rotary_dim is None else np.asarray(c.rotary_dim)


def queries_keys_values(c: LayerFields, a: Assembly, rows: Dim) -> None:
    """Projections, and what is done to queries and keys before the rotation."""
    h, bias = c.hidden_size, c.attention_bias or c.qkv_bias
    q, k = c.query_width, c.key_width
    if c.fused_qkv:
        a.linear("attention.qkv_proj", rows, h, q + 2 * k, bias=bias)
    else:
        a.linear("attention.q_proj", rows, h, q, bias=bias)
        a.linear("attention.k_proj+v_proj", rows, h, k, bias=bias, calls=2, saves=0)
    if c.scaled_queries:
        a.pointwise("attention.q_scale", "mulu", rows, q)
    if c.qk_norm:
        for name, heads in (("q", c.num_attention_heads), ("k", c.num_key_value_heads)):
            head_rows = blocks.product(rows, heads)
            a.op(blocks.norm(f"attention.{name}_norm", c.norm, head_rows, c.head_width, a.w))
            a.weigh(blocks.norm_parameters(c.norm, c.head_width))
        # The rotation keeps nothing, so the norms' outputs are the attention's inputs already.
        a.save(as_float(rows) * _norm_inputs(c, q + k, a.w))


def _norm_inputs(c: LayerFields, width: Dim, w: Workload) -> Floats:
    """Columns that a norm saves besides its output."""
    return footprint.norm_saved(c.norm, width, w) - as_float(width)


def attention(c: LayerFields, a: Assembly, rows: Dim, new: Dim, seq: Dim) -> None:
    """Rotation, cache, attention (global and local layers apart) and output projection."""
    q, k = c.query_width, c.key_width
    if c.positions == "rope":
        for name, heads, width in (("q", c.num_attention_heads, q), ("k", c.num_key_value_heads, k)):
            turned = blocks.product(heads, rotary_columns(c))
            a.op(blocks.rope(f"attention.rope_{name}", rows, turned, a.w, count=1))
            if c.rotary_dim is not None:
                a.pointwise(f"attention.rope_{name}.join", "cat", rows, width)
    if a.w.phase in (Phase.PREFILL, Phase.DECODE):
        a.pointwise("attention.kv_cache", "kv_cache", rows, 2 * k, kernels=2)
    _core(c, a, new, seq)
    kept = 2 * as_float(q) + 2 * as_float(k)
    if c.fused_qkv and c.positions == "rope":  # values are a view that keeps the unrotated rest alive
        kept = kept + q + k
    if c.rotary_dim is not None:
        a.pointwise("attention.merge_heads", "transpose", rows, q)
        kept = kept + q
    a.save(as_float(rows) * kept)
    a.linear("attention.o_proj", rows, q, c.hidden_size, bias=c.attention_bias, saves=0)


def _core(c: LayerFields, a: Assembly, new: Dim, seq: Dim) -> None:
    local = np.asarray(c.num_layers) - c.global_layers
    window: Ints | None = np.asarray(c.sliding_window) if np.any(local) else None
    if window is not None and not np.all(window):  # a mesh that mixes 0 with windows
        window = np.where(window == 0, np.asarray(seq), window)
    for name, width, layers in (("attention.core", None, c.global_layers), ("attention.local", window, local)):
        if not np.any(layers):
            continue
        keys = seq if width is None or a.w.phase is not Phase.DECODE else np.minimum(seq, width)
        a.attention(
            name,
            heads=c.num_attention_heads,
            kv_heads=c.num_key_value_heads,
            head_dim=c.head_width,
            seq_q=new,
            seq_kv=keys,
            causal=a.w.phase is not Phase.DECODE,
            window=None if a.w.phase is Phase.DECODE else width,
            total=layers,
        )
        if a.w.phase in (Phase.PREFILL, Phase.DECODE):
            kept = seq if width is None else np.minimum(seq, width)
            a.keep_cache(as_float(a.w.batch_size) * as_float(kept) * 2 * c.key_width, total=layers)


def parallel_norm(c: LayerFields, a: Assembly, rows: Dim) -> None:
    """The feed-forward's own norm of the layer's input, which attention's norm has saved."""
    a.op(blocks.norm("mlp.norm", c.norm, rows, c.hidden_size, a.w))
    a.weigh(blocks.norm_parameters(c.norm, c.hidden_size))


def residual_norm(c: LayerFields, a: Assembly, part: str, rows: Dim) -> None:
    """A branch's residual sum and the norm after it: the feed-forward's, the next layer's or the last."""
    name, h = f"{part}.residual_norm", c.hidden_size
    a.weigh(blocks.norm_parameters(c.norm, h) * (2.0 if c.post_norms else 1.0))
    inputs = as_float(rows) * _norm_inputs(c, h, a.w)
    if c.post_norms:
        a.op(blocks.norm_residual_norm(name, c.norm, rows, h, a.w, count=1), saves=2 * inputs)
        return
    if c.parallel_residual:
        a.pointwise("mlp.add_attention", "add", rows, h, reads=2.0)
    a.op(blocks.residual_norm(name, c.norm, rows, h, a.w, count=1, keep_sum=True), saves=inputs)


def feed_forward(c: LayerFields, a: Assembly, rows: Dim) -> None:
    """A dense feed-forward."""
    h, i = c.hidden_size, c.intermediate_size
    name, calls = ("mlp.gate_proj+up_proj", 2) if c.gated_mlp else ("mlp.up_proj", 1)
    a.linear(name, rows, h, i, bias=c.mlp_bias, calls=calls)
    kept = as_float(rows) * footprint.mlp_saved(c.activation, c.gated_mlp, i)
    a.op(blocks.activation("mlp.activation", c.activation, rows, i, a.w, count=1, gated=c.gated_mlp), saves=kept)
    a.linear("mlp.down_proj", rows, i, h, bias=c.mlp_bias, saves=0)


def head(c: LayerFields, a: Assembly, rows: Dim) -> None:
    """Logits in the activation format (published 8-bit checkpoints leave the head alone), and the loss of training."""
    if not c.lm_head:
        return
    logits = blocks.product(a.w.batch_size) if a.w.phase is Phase.PREFILL else rows
    a.linear(
        "lm_head", logits, c.hidden_size, c.vocab_size, bias=False, copies=0 if c.tie_word_embeddings else 1, saves=0
    )
    if c.logit_softcap:
        a.pointwise("lm_head.softcap", "tanh", logits, c.vocab_size, reads=3.0, writes=3.0, kernels=3)
    if a.w.phase is Phase.TRAIN:
        a.op(blocks.cross_entropy("loss", rows, c.vocab_size, a.w))
        a.at_the_loss(footprint.logits_bytes(rows, c.vocab_size, a.w) / a.w.activation_dtype.itemsize)
        if c.logit_softcap:  # the tangent's result
            a.save(as_float(rows) * as_float(c.vocab_size))


def alive(c: LayerFields, a: Assembly, rows: Dim) -> None:
    """Moments of inference.

    The embeddings, the layer's input and its normed input live beside the largest of: q, k, v and their rotation (or
    attention's output); the residual sum and the feed-forward's widest moment (fused projections' blocks also keep
    attention's output); logits.
    """
    h, q, k = as_float(c.hidden_size), as_float(c.query_width), as_float(c.key_width)
    tokens = as_float(rows)
    turning = q + 2 * k + (np.maximum(3 * q, q + 3 * k) if c.positions == "rope" else q)
    if not c.is_moe:
        mlp = footprint.mlp_live(c.activation, c.gated_mlp, c.intermediate_size)
        a.alive(tokens * (3 * h + mlp + (2 * h if c.fused_qkv and not c.parallel_residual else h)))
    a.alive(tokens * (3 * h + turning))
    if c.lm_head:
        logits = as_float(a.w.batch_size) if a.w.phase is Phase.PREFILL else tokens
        a.alive(tokens * h + logits * as_float(c.vocab_size) * (2.0 if c.logit_softcap else 1.0))
