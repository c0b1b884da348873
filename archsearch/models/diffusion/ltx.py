"""LTX-Video: a video diffusion transformer on strongly compressed latents.

HaCohen et al. 2024, https://arxiv.org/abs/2501.00103; the module is diffusers' ``LTXVideoTransformer3DModel``. The
autoencoder divides sides by 32 and frames after the first by 8, and a token is one latent pixel. Every layer attends
over all latent tokens, then to the text's; a table of shifts, scales and gates per layer is added to vectors that all
layers share (adaLN-single). Rotary tables are as wide as the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.modality import VideoModel
from archsearch.ops import MemoryOp


@dataclass(frozen=True, slots=True, kw_only=True)
class LTXConfig(VideoModel):
    """Dimensions of an LTX-Video transformer. Sizes may be arrays that broadcast.

    The real class attends to text projected to hidden_size, and its feed-forward is 4 · hidden_size wide.
    """

    family: ClassVar[str] = "ltx"
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 512, "width": 768, "frames": 121}

    patch_size: ClassVar[int] = 1  # type: ignore[misc]
    patch_size_t: ClassVar[int] = 1  # type: ignore[misc]

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    head_dim: Dim = 64
    in_channels: Dim = 128
    out_channels: Dim = 128
    caption_channels: Dim = 4096
    text_seq_len: Dim = 128
    vae_scale_factor: Dim = 32
    vae_temporal_factor: Dim = 8

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "head_dim", "in_channels", "out_channels")
        rest = ("caption_channels", "text_seq_len", "vae_scale_factor", "vae_temporal_factor")
        equal = np.asarray(self.num_attention_heads) * np.asarray(self.head_dim) == np.asarray(self.hidden_size)
        return (
            *at_least_one(self, (*sizes, *rest)),
            Requirement(reason="num_attention_heads times head_dim must be hidden_size", holds=equal),
            Requirement(reason="hidden_size must be even: rotary pairs", holds=np.asarray(self.hidden_size) % 2 == 0),
        )

    def assemble(self, a: Assembly) -> None:
        high, wide = self.grid(a.w)
        video = blocks.product(self.latent_frames(a.w), high, wide)
        text = blocks.product(self.text_tokens(a.w))
        h, batch = self.hidden_size, a.w.batch_size
        rows, words = blocks.product(batch, video), blocks.product(batch, text)
        a.pointwise("embedder.rope_table", "mul", rows, h, dtype=DType.FP32, reads=5.5, writes=6.0, kernels=19)
        a.linear("embedder.latents", rows, self.in_channels, h, bias=True)
        dblocks.timestep_features(a, "conditioning.sines", kernels=11)
        dblocks.embedding_mlp(a, "conditioning.timestep", dblocks.TIMESTEP_CHANNELS, h)
        a.pointwise("conditioning.silu", "silu", batch, h)
        a.linear("conditioning.linear", batch, h, blocks.product(6, h), bias=True)
        dblocks.text_projection(a, "embedder.text", words, self.caption_channels, h)
        elements = as_float(rows) * as_float(h)
        with a.layers(self.num_layers, carries=elements):
            self._layer(a, rows, words, video, text)
        a.pointwise("final.table", "add", batch, blocks.product(2, h), reads=2.0)
        a.weigh(2 * as_float(h))
        dblocks.norm_modulate(a, "final.norm_modulate", rows, h)
        a.linear("final.proj_out", rows, h, self.out_channels, bias=True)
        # The feed-forward's activation, beside the layer's input, sum, normed input and attention's output; always the
        # text and both rotary tables.
        tables = 2 * elements * 4 / a.w.activation_dtype.itemsize
        a.alive(tables + 12 * elements + as_float(words) * as_float(h))

    def _layer(self, a: Assembly, rows: Dim, words: Dim, video: Dim, text: Dim) -> None:
        h, heads, head_dim = self.hidden_size, self.num_attention_heads, self.head_dim
        elements, told = as_float(rows) * as_float(h), as_float(words) * as_float(h)
        a.pointwise("table.add", "add", a.w.batch_size, blocks.product(6, h), reads=2.0)
        a.weigh(6 * as_float(h))
        _norm_modulate(a, "attention.norm_modulate", rows, h)
        a.linear("attention.q_proj+k_proj+v_proj", rows, h, h, bias=True, calls=3)
        a.pointwise("attention.q_norm+k_norm", "rmsnorm", rows, h, calls=2, saves=1.0)
        a.weigh(2 * as_float(h))
        _rotary(a, "attention.rope_q+rope_k", rows, h)
        a.attention("attention.core", heads=heads, head_dim=head_dim, seq_q=video)
        a.save(4 * elements)
        a.linear("attention.o_proj", rows, h, h, bias=True, saves=0)
        dblocks.gate_residual(a, "attention.residual", rows, h)
        a.pointwise("cross.mask", "mask", words, heads)
        a.linear("cross.q_proj", rows, h, h, bias=True)
        a.linear("cross.k_proj+v_proj", words, h, h, bias=True, calls=2, saves=0)
        a.pointwise("cross.q_norm", "rmsnorm", rows, h, saves=1.0)
        a.pointwise("cross.k_norm", "rmsnorm", words, h, saves=1.0)
        a.weigh(2 * as_float(h))
        a.attention("cross.core", heads=heads, head_dim=head_dim, seq_q=video, seq_kv=text, mask=True)
        a.save(2 * elements + 2 * told)
        a.linear("cross.o_proj", rows, h, h, bias=True, saves=0)
        a.pointwise("cross.residual", "add", rows, h, reads=2.0)
        _norm_modulate(a, "mlp.norm_modulate", rows, h)
        dblocks.feed_forward(a, "mlp", rows, h, blocks.product(4, h))
        dblocks.gate_residual(a, "mlp.residual", rows, h)


def _norm_modulate(a: Assembly, name: str, rows: Dim, cols: Dim) -> None:
    """RMSNorm without weights, written out (cast, square, mean, ε, root, product, cast), and its modulation."""
    half = dblocks.is_half(a.w)
    norm = blocks.pointwise(
        f"{name}.norm",
        "mul",
        rows,
        cols,
        a.w,
        reads=8.0 if half else 3.0,
        writes=7.0 if half else 2.0,
        kernels=7 if half else 5,
    )
    members: tuple[MemoryOp, ...] = (
        norm,
        blocks.pointwise(f"{name}.one_plus_scale", "addu", a.w.batch_size, cols, a.w),
        blocks.pointwise(f"{name}.scale", "modulate", rows, cols, a.w),
        blocks.pointwise(f"{name}.shift", "modulate", rows, cols, a.w),
    )
    kept = (4.0 if half else 2.0) * as_float(rows) * as_float(cols)
    a.op(blocks.group(name, "rmsnorm", members, reads=1.0), saves=kept)


def _rotary(a: Assembly, name: str, rows: Dim, cols: Dim) -> None:
    """Queries and keys turned before they are cut into heads, with tables of every token and column in 32 bits."""
    half = dblocks.is_half(a.w)
    eager = blocks.pointwise(
        f"{name}.eager",
        "mul",
        rows,
        cols,
        a.w,
        reads=17.5 if half else 7.5,
        writes=12.5 if half else 4.5,
        kernels=8 if half else 5,
    )
    a.op(blocks.group(name, "rope", (eager,), reads=5.0 if half else 3.0, count=2))
