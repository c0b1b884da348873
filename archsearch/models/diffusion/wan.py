"""Wan 2.1: a video diffusion transformer with cross-attention to text.

Wan Team 2025, https://arxiv.org/abs/2503.20314; the module is diffusers' ``WanTransformer3DModel``. Every layer attends
over all latent tokens (time, height, width), then to the text's tokens (and, in image-to-video models, to the image's);
one table of shifts, scales and gates per layer is added to vectors that all layers share. Norms and residual sums run
in 32 bits. The causal autoencoder divides sides by 8 and frames after the first by 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Floats, Ints, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.modality import VideoModel
from archsearch.ops import MemoryOp

IMAGE_TOKENS = 257
"""Tokens of the conditioning image: CLIP ViT-H/14 at 224 pixels, 16 · 16 patches and a class token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WanConfig(VideoModel):
    """Dimensions of a Wan 2.1 transformer. Sizes may be arrays that broadcast.

    ``image_dim`` is the width of the conditioning image's features (image-to-video; 0: none), whose models also take
    the first frame's latents and a mask beside the noise, so that ``in_channels`` is 36.
    """

    family: ClassVar[str] = "wan"
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 480, "width": 832, "frames": 81}

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    intermediate_size: Dim
    head_dim: Dim = 128
    in_channels: Dim = 16
    out_channels: Dim = 16
    text_dim: Dim = 4096
    freq_dim: Dim = 256
    image_dim: Dim = 0
    text_seq_len: Dim = 512
    patch_size: Dim = 2
    patch_size_t: Dim = 1
    vae_scale_factor: Dim = 8
    vae_temporal_factor: Dim = 4

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "intermediate_size", "head_dim", "in_channels")
        rest = ("out_channels", "text_dim", "freq_dim", "text_seq_len", "patch_size", "patch_size_t")
        equal = np.asarray(self.num_attention_heads) * np.asarray(self.head_dim) == np.asarray(self.hidden_size)
        sixths = np.asarray(self.head_dim) // 6 * 2
        even = (np.asarray(self.head_dim) % 2 == 0) & (sixths >= 2) & (sixths % 2 == 0)
        return (
            *at_least_one(self, (*sizes, *rest, "vae_scale_factor", "vae_temporal_factor")),
            Requirement(reason="num_attention_heads times head_dim must be hidden_size", holds=equal),
            Requirement(reason="head_dim must be even and at least 6: rotary pairs of three axes", holds=even),
            Requirement(reason="freq_dim must be even", holds=np.asarray(self.freq_dim) % 2 == 0),
            Requirement(reason="image_dim must not be negative", holds=np.asarray(self.image_dim) >= 0),
        )

    @property
    def has_image(self) -> bool:
        """Whether an image conditions the video."""
        return bool(np.any(self.image_dim))

    def assemble(self, a: Assembly) -> None:
        high, wide = self.grid(a.w)
        video = blocks.product(self.latent_frames(a.w), high, wide)
        text = blocks.product(self.text_tokens(a.w))
        h = self.hidden_size
        rows, words = blocks.product(a.w.batch_size, video), blocks.product(a.w.batch_size, text)
        self._embed(a, rows, words, video, (self.latent_frames(a.w), high, wide))
        with a.layers(self.num_layers, carries=as_float(rows) * as_float(h)):
            self._layer(a, rows, words, video, text)
        a.pointwise("final.table", "add", a.w.batch_size, blocks.product(2, h), reads=2.0)
        a.weigh(2 * as_float(h))
        _norm_modulate(a, "final.norm_modulate", rows, h)
        width = blocks.product(self.patch_size, self.patch_size, self.patch_size_t, self.out_channels)
        a.linear("final.proj_out", rows, h, width, bias=True)
        a.pointwise("final.unpatchify", "unpatchify", rows, width)
        self._alive(a, as_float(rows), as_float(words), as_float(video))

    def _embed(self, a: Assembly, rows: Dim, words: Dim, video: Dim, grid: tuple[Ints, ...]) -> None:
        h, batch = self.hidden_size, a.w.batch_size
        a.pointwise("embedder.rope_table", "cat", video, self.head_dim, calls=2, dtype=DType.FP32)
        kernel = (self.patch_size_t, self.patch_size, self.patch_size)
        a.convolution("embedder.patches", self.in_channels, h, kernel, grid, stride=kernel, input_is_data=True)
        a.pointwise("embedder.flatten", "transpose", rows, h)
        a.op(dblocks.timestep_sines("conditioning.sines", a.w, self.freq_dim, 11))
        dblocks.embedding_mlp(a, "conditioning.timestep", self.freq_dim, h)
        a.pointwise("conditioning.silu", "silu", batch, h, kernels=1 + dblocks.is_half(a.w))
        a.linear("conditioning.projection", batch, h, blocks.product(6, h), bias=True)
        dblocks.text_projection(a, "embedder.text", words, self.text_dim, h)
        if self.has_image:
            image = blocks.product(batch, IMAGE_TOKENS)
            _norm(a, "embedder.image.norm_in", image, self.image_dim)
            a.linear("embedder.image.linear_1", image, self.image_dim, self.image_dim, bias=True)
            a.pointwise("embedder.image.gelu", "gelu", image, self.image_dim, saves=1.0)
            a.linear("embedder.image.linear_2", image, self.image_dim, h, bias=True)
            _norm(a, "embedder.image.norm_out", image, h)
            a.pointwise("embedder.join_image", "cat", image + words, h)

    def _layer(self, a: Assembly, rows: Dim, words: Dim, video: Dim, text: Dim) -> None:
        h, batch = self.hidden_size, a.w.batch_size
        elements = as_float(rows) * as_float(h)
        casts = 1 if dblocks.is_half(a.w) else 0
        table = blocks.product(6, h)
        a.pointwise("table.add", "add", batch, table, reads=2.0, kernels=1 + casts, dtype=DType.FP32)
        a.weigh(as_float(table))
        _norm_modulate(a, "attention.norm_modulate", rows, h)
        a.linear("attention.q_proj+k_proj+v_proj", rows, h, h, bias=True, calls=3)
        a.pointwise("attention.q_norm+k_norm", "rmsnorm", rows, h, calls=2, saves=1.0)
        a.weigh(2 * as_float(h))
        _rotary(a, "attention.rope_q+rope_k", rows, h)
        self._attend(a, "attention.core", video, video)
        a.save(4 * elements)
        a.linear("attention.o_proj", rows, h, h, bias=True, saves=0)
        _gate_residual(a, "attention.residual", rows, h, cast=False)
        self._cross_attention(a, rows, words, video, text)
        _norm_modulate(a, "mlp.norm_modulate", rows, h)
        dblocks.feed_forward(a, "mlp", rows, h, self.intermediate_size)
        _gate_residual(a, "mlp.residual", rows, h, cast=True)

    def _cross_attention(self, a: Assembly, rows: Dim, words: Dim, video: Dim, text: Dim) -> None:
        h = self.hidden_size
        elements, told = as_float(rows) * as_float(h), as_float(words) * as_float(h)
        _norm(a, "cross.norm", rows, h)
        a.linear("cross.q_proj", rows, h, h, bias=True)
        self._keys(a, "cross.text", words)
        a.pointwise("cross.q_norm", "rmsnorm", rows, h, saves=1.0)
        a.pointwise("cross.k_norm", "rmsnorm", words, h, saves=1.0)
        a.weigh(2 * as_float(h))
        a.save(2 * elements + 2 * told)  # queries, keys, values and the output
        self._attend(a, "cross.attention", video, text)
        if self.has_image:
            image = blocks.product(a.w.batch_size, IMAGE_TOKENS)
            self._keys(a, "cross.image", image)
            a.pointwise("cross.image.k_norm", "rmsnorm", image, h, saves=1.0)
            a.weigh(as_float(h))
            a.save(elements + 2 * as_float(image) * as_float(h))
            self._attend(a, "cross.image.attention", video, IMAGE_TOKENS)
            a.pointwise("cross.image.add", "add", rows, h, reads=2.0)
        a.linear("cross.o_proj", rows, h, h, bias=True, saves=1.0 if self.has_image else 0.0)
        a.pointwise("cross.residual", "add", rows, h, reads=2.0)

    def _keys(self, a: Assembly, name: str, rows: Dim) -> None:
        """Keys and values of one source; beside an image's, tokens of several samples are gathered first."""
        h = self.hidden_size
        a.linear(f"{name}.k_proj+v_proj", rows, h, h, bias=True, calls=2, saves=0)
        if self.has_image:
            gathered = 2 * dblocks.gaps(a.w)
            a.pointwise(f"{name}.gather", "copy", rows, h, calls=gathered, saves=1.0)
            a.pointwise(f"{name}.bias", "bias", rows, h, calls=gathered)

    def _attend(self, a: Assembly, name: str, queries: Dim, keys: Dim) -> None:
        a.attention(name, heads=self.num_attention_heads, head_dim=self.head_dim, seq_q=queries, seq_kv=keys)

    def _alive(self, a: Assembly, rows: Floats, words: Floats, video: Floats) -> None:
        """The widest moments: the feed-forward's activation, or its residual sum in 32 bits, beside the layer's input,
        sum, normed input and attention's output; always the text and the two rotary tables."""
        h, half = as_float(self.hidden_size), dblocks.is_half(a.w)
        image = as_float(a.w.batch_size) * IMAGE_TOKENS if self.has_image else 0.0
        told = (2 * words if self.has_image else words) * h + 2 * image * h
        tables = 2 * video * as_float(self.head_dim) * 4 / a.w.activation_dtype.itemsize
        a.alive(told + tables + rows * (4 * h + 2 * as_float(self.intermediate_size)))
        a.alive(told + tables + rows * h * (11 if half else 7))


def _norm_members(a: Assembly, name: str, rows: Dim, cols: Dim, *, modulated: bool) -> tuple[MemoryOp, ...]:
    """LayerNorm in 32 bits, with its modulation, and the casts of 16-bit models."""

    def one(part: str, kind: str, dtype: DType, reads: float = 1.0, writes: float = 1.0, own: Dim = rows) -> MemoryOp:
        return MemoryOp(name=f"{name}.{part}", kind=kind, rows=own, cols=cols, dtype=dtype, reads=reads, writes=writes)

    members: tuple[MemoryOp, ...] = (one("norm", "layernorm", DType.FP32),)
    if modulated:
        members += (
            one("one_plus_scale", "addu", DType.FP32, own=a.w.batch_size),
            one("scale", "modulate", DType.FP32),
            one("shift", "modulate", DType.FP32),
        )
    if dblocks.is_half(a.w):
        kind = a.w.activation_dtype
        members = (one("cast_up", "cast", kind, 1.0, 2.0), *members, one("cast_down", "cast", kind, 2.0, 1.0))
    return members


def _norm_modulate(a: Assembly, name: str, rows: Dim, cols: Dim) -> None:
    """LayerNorm without weights and its modulation; autograd keeps both 32-bit tensors."""
    members = _norm_members(a, name, rows, cols, modulated=True)
    kept = (4.0 if dblocks.is_half(a.w) else 2.0) * as_float(rows) * as_float(cols)
    a.op(blocks.group(name, "layernorm", members, reads=1.0), saves=kept)


def _norm(a: Assembly, name: str, rows: Dim, cols: Dim) -> None:
    """LayerNorm with scale and shift."""
    members = _norm_members(a, name, rows, cols, modulated=False)
    kept = (2.0 if dblocks.is_half(a.w) else 1.0) * as_float(rows) * as_float(cols)
    a.op(blocks.group(name, "layernorm", members, reads=1.0), saves=kept)
    a.weigh(2 * as_float(cols))


def _gate_residual(a: Assembly, name: str, rows: Dim, cols: Dim, *, cast: bool) -> None:
    """residual + gate · branch in 32 bits; ``cast`` is the branch's own cast, whose result autograd keeps."""

    def one(part: str, kind: str, reads: float, writes: float) -> MemoryOp:
        return blocks.pointwise(f"{name}.{part}", kind, rows, cols, a.w, reads=reads, writes=writes)

    half = dblocks.is_half(a.w)
    members: tuple[MemoryOp, ...] = (one("gate", "modulate", 1.0, 1.0), one("add", "add", 2.0, 1.0))
    if half:
        branch = 2.0 if cast else 1.0
        members = (
            one("cast_residual", "cast", 1.0, 2.0),
            *((one("cast_branch", "cast", 1.0, 2.0),) if cast else ()),
            one("gate", "modulate", branch, 2.0),
            one("add", "add", 4.0, 2.0),
            one("cast_down", "cast", 2.0, 1.0),
        )
    kept = (2.0 if half and cast else 1.0) * as_float(rows) * as_float(cols)
    a.op(blocks.group(name, "add", members, reads=2.0), saves=kept)


def _rotary(a: Assembly, name: str, rows: Dim, cols: Dim) -> None:
    """Queries and keys: even and odd columns turned apart, products in 32 bits, written into a new tensor (4 products,
    difference, sum and 2 copies)."""
    half = dblocks.is_half(a.w)
    eager = blocks.pointwise(
        f"{name}.eager",
        "mul",
        rows,
        cols,
        a.w,
        reads=8.0 if half else 5.0,
        writes=7.0 if half else 4.0,
        kernels=8,
    )
    a.op(blocks.group(name, "rope", (eager,), reads=1.0, count=2))
