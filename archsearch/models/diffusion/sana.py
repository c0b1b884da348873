"""SANA: a linear diffusion transformer on strongly compressed latents.

Xie et al. 2024, https://arxiv.org/abs/2410.10629, and SANA-1.5, https://arxiv.org/abs/2501.18427; the module is
diffusers' ``SanaTransformer2DModel``. Self-attention is linear in the number of tokens: with ReLU of queries and keys,
the product of values and keys over all tokens is a small matrix per head that every query multiplies. A token attends
to the text by softmax. The feed-forward is gated and holds a depthwise 3 × 3 convolution. The autoencoder divides sides
by 32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Ints, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.modality import ImageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class SanaConfig(ImageModel):
    """Dimensions of a SANA transformer. Sizes may be arrays that broadcast.

    ``num_attention_heads`` and ``head_dim`` are the linear attention's, ``num_cross_attention_heads`` share hidden_size
    among the softmax attention's. ``intermediate_size`` is the width of the gated feed-forward's halves. ``qk_norm``
    normalises queries and keys across heads (SANA-1.5).
    """

    family: ClassVar[str] = "sana"

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    num_cross_attention_heads: Dim
    intermediate_size: Dim
    head_dim: Dim = 32
    in_channels: Dim = 32
    out_channels: Dim = 32
    caption_channels: Dim = 2304
    qk_norm: bool = False
    text_seq_len: Dim = 300
    patch_size: Dim = 1
    vae_scale_factor: Dim = 32

    @property
    def cross_head_dim(self) -> Ints:
        """Columns of a softmax attention's head."""
        return np.asarray(self.hidden_size) // np.maximum(self.num_cross_attention_heads, 1)

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "num_cross_attention_heads", "intermediate_size")
        rest = ("head_dim", "in_channels", "out_channels", "caption_channels", "text_seq_len", "patch_size")
        hidden = np.asarray(self.hidden_size)
        equal = np.asarray(self.num_attention_heads) * np.asarray(self.head_dim) == hidden
        whole = hidden % np.maximum(self.num_cross_attention_heads, 1) == 0
        return (
            *at_least_one(self, (*sizes, *rest, "vae_scale_factor")),
            Requirement(reason="num_attention_heads times head_dim must be hidden_size", holds=equal),
            Requirement(reason="num_cross_attention_heads must divide hidden_size", holds=whole),
        )

    def assemble(self, a: Assembly) -> None:
        high, wide = self.grid(a.w)
        image, text = blocks.product(high, wide), blocks.product(self.text_tokens(a.w))
        h, p, batch = self.hidden_size, self.patch_size, a.w.batch_size
        rows, words = blocks.product(batch, image), blocks.product(batch, text)
        elements, told = as_float(rows) * as_float(h), as_float(words) * as_float(h)
        a.convolution("patchify.conv", self.in_channels, h, (p, p), (high, wide), stride=(p, p), input_is_data=True)
        dblocks.timestep_features(a, "conditioning.sines")
        dblocks.embedding_mlp(a, "conditioning.timestep", dblocks.TIMESTEP_CHANNELS, h)
        a.pointwise("conditioning.silu", "silu", batch, h)
        a.linear("conditioning.linear", batch, h, blocks.product(6, h), bias=True)
        dblocks.text_projection(a, "embedder.text", words, self.caption_channels, h)
        dblocks.rms_norm(a, "embedder.text.norm", words, h)
        with a.layers(self.num_layers, carries=elements):
            self._layer(a, rows, words, (high, wide), text)
        a.pointwise("final.table", "add", batch, blocks.product(2, h), reads=2.0)
        a.weigh(2 * as_float(h))
        dblocks.norm_modulate(a, "final.norm_modulate", rows, h)
        width = blocks.product(p, p, self.out_channels)
        a.linear("final.proj_out", rows, h, width, bias=True)
        # The depthwise convolution between both activations of the doubled width, beside the layer's input, sum, normed
        # input and attention's output, and text.
        a.alive(4 * elements + 4 * as_float(rows) * as_float(self.intermediate_size) + told)

    def _layer(self, a: Assembly, rows: Dim, words: Dim, grid: tuple[Ints, Ints], text: Dim) -> None:
        h = self.hidden_size
        a.pointwise("table.add", "add", a.w.batch_size, blocks.product(6, h), reads=2.0)
        a.weigh(6 * as_float(h))
        dblocks.norm_modulate(a, "attention.norm_modulate", rows, h)
        self._linear_attention(a, rows, blocks.product(*grid))
        dblocks.gate_residual(a, "attention.residual", rows, h)
        # The first layer's residual stream still lies channel by channel, as the patches' convolution left it.
        a.op(blocks.pointwise("cross.gather", "transpose", rows, h, a.w), total=1)
        a.op(blocks.pointwise("cross.bias", "bias", rows, h, a.w), total=1)
        dblocks.cross_attention(
            a,
            "cross",
            rows,
            words,
            blocks.product(*grid),
            text,
            h,
            self.num_cross_attention_heads,
            self.cross_head_dim,
            qk_norm=self.qk_norm,
        )
        dblocks.norm_modulate(a, "mlp.norm_modulate", rows, h)
        self._mix_ffn(a, rows, grid)
        dblocks.gate_residual(a, "mlp.residual", rows, h)

    def _linear_attention(self, a: Assembly, rows: Dim, image: Dim) -> None:
        """ReLU linear attention in 32 bits: values (a row of ones below them) · keys, then that · queries."""
        h, head_dim = self.hidden_size, self.head_dim
        half = dblocks.is_half(a.w)
        heads = blocks.product(a.w.batch_size, self.num_attention_heads)
        padded = np.asarray(head_dim) + 1
        a.linear("attention.q_proj+k_proj+v_proj", rows, h, h, bias=False, calls=3)
        if self.qk_norm:
            dblocks.rms_norm(a, "attention.q_norm+k_norm", rows, h, calls=2)
        a.pointwise("attention.relu", "relu", rows, h, calls=2, saves=1.0)
        if half:
            a.pointwise("attention.cast", "cast", rows, h, writes=2.0, calls=3)
        wide = 2.0 if half else 1.0
        a.pointwise("attention.pad_values", "pad", rows, h, reads=wide, writes=wide)
        a.pointwise("attention.lay_out", "transpose", rows, h, reads=wide, writes=wide, calls=2)
        a.matmul("attention.values_keys", padded, head_dim, image, batch=heads, dtype=DType.FP32)
        a.matmul("attention.state_queries", padded, image, head_dim, batch=heads, dtype=DType.FP32)
        a.pointwise("attention.normalise", "div", rows, h, reads=wide, writes=wide, kernels=2)
        if half:
            a.pointwise("attention.cast_back", "cast", rows, h, reads=2.0)
        a.pointwise("attention.merge_heads", "transpose", rows, h)
        # Keys, queries, padded values and the padded result in 32 bits.
        a.save(wide * (2 + 2 * as_float(padded) / as_float(head_dim)) * as_float(rows) * as_float(h))
        a.linear("attention.o_proj", rows, h, h, bias=True)
        a.pointwise("attention.o_proj.bias", "bias", rows, h)

    def _mix_ffn(self, a: Assembly, rows: Dim, grid: tuple[Ints, Ints]) -> None:
        """1 × 1 convolution to both halves, SiLU, depthwise 3 × 3, gate by SiLU, 1 × 1 convolution back."""
        h, wide, both = self.hidden_size, self.intermediate_size, blocks.product(2, self.intermediate_size)
        kept = as_float(rows) * as_float(wide)
        a.convolution("mlp.inverted", h, both, (1, 1), grid)
        a.pointwise("mlp.silu", "silu", rows, both, saves=1.0)
        a.convolution("mlp.depthwise", both, both, (3, 3), grid, groups=both)
        a.op(blocks.activation("mlp.gate", "silu", rows, wide, a.w, count=1, gated=True), saves=3 * kept)
        a.convolution("mlp.point", wide, h, (1, 1), grid, bias=False)
