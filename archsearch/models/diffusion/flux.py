"""FLUX.1: a multimodal diffusion transformer of double-stream and single-stream blocks.

Black Forest Labs 2024, https://github.com/black-forest-labs/flux; the module is diffusers' ``FluxTransformer2DModel``.
Double-stream blocks have weights of their own for image and text tokens and attend over both; single-stream blocks run
attention and feed-forward side by side on the joined sequence. Latents of the f8 autoencoder are packed 2 × 2 into
tokens of ``in_channels``, so a token is 16 × 16 pixels. One pass is one denoising step of ``batch_size`` images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Floats, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.modality import ImageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class FluxConfig(ImageModel):
    """Dimensions of a FLUX.1 transformer. Sizes may be arrays that broadcast.

    ``num_layers`` counts double-stream blocks, ``num_single_layers`` single-stream ones. ``in_channels`` is the width
    of a packed token: 64 (2 × 2 latents of 16 channels), twice that with a control image beside it, more with a mask.
    ``reference_images`` counts images whose tokens are appended to the sequence (Kontext: one). ``guidance_embeds`` is
    the embedding of the distilled guidance scale. The feed-forward's width is 4 · hidden_size in the real class.
    """

    family: ClassVar[str] = "flux"
    packs_latents: ClassVar[bool] = True

    num_layers: Dim
    num_single_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    head_dim: Dim = 128
    in_channels: Dim = 64
    out_channels: Dim = 64
    joint_attention_dim: Dim = 4096
    pooled_projection_dim: Dim = 768
    guidance_embeds: bool = True
    reference_images: Dim = 0
    text_seq_len: Dim = 512
    vae_scale_factor: Dim = 8
    patch_size: Dim = 2

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "num_single_layers", "hidden_size", "num_attention_heads", "head_dim", "in_channels")
        rest = ("out_channels", "joint_attention_dim", "pooled_projection_dim", "text_seq_len", "vae_scale_factor")
        equal = np.asarray(self.num_attention_heads) * np.asarray(self.head_dim) == np.asarray(self.hidden_size)
        eighths = np.asarray(self.head_dim) % 16 == 0
        return (
            *at_least_one(self, (*sizes, *rest, "patch_size")),
            Requirement(reason="num_attention_heads times head_dim must be hidden_size", holds=equal),
            Requirement(reason="head_dim must be a multiple of 16: rotary pairs of three axes", holds=eighths),
            Requirement(reason="reference_images must not be negative", holds=np.asarray(self.reference_images) >= 0),
        )

    def assemble(self, a: Assembly) -> None:
        high, wide = self.grid(a.w)
        image = blocks.product(high, wide, 1 + np.asarray(self.reference_images))
        text = blocks.product(self.text_tokens(a.w))
        batch = a.w.batch_size
        rows, words = blocks.product(batch, image), blocks.product(batch, text)
        self._embed(a, rows, words, image + text)
        h = as_float(self.hidden_size)
        with a.layers(self.num_layers, carries=(as_float(rows) + words) * h):
            self._double(a, rows, words, image + text)
        with a.layers(self.num_single_layers, carries=(as_float(rows) + words) * h):
            self._single(a, rows + words, image + text)
        a.op(blocks.pointwise("final.modulation.silu", "silu", batch, self.hidden_size, a.w))
        a.linear("final.modulation.linear", batch, self.hidden_size, blocks.product(2, self.hidden_size), bias=True)
        dblocks.norm_modulate(a, "final.norm_modulate", rows, self.hidden_size)
        a.linear("final.proj_out", rows, self.hidden_size, self.out_channels, bias=True)
        self._alive(a, as_float(rows), as_float(words), as_float(image + text))

    def _embed(self, a: Assembly, rows: Dim, words: Dim, tokens: Dim) -> None:
        h, batch = self.hidden_size, a.w.batch_size
        a.linear("embedder.image", rows, self.in_channels, h, bias=True)
        scales = 2 if self.guidance_embeds else 1
        half = int(dblocks.is_half(a.w))
        # timestep and guidance come in the model's format: scaled by 1000 and cast to 32 bits first
        dblocks.timestep_features(a, "conditioning.sines", kernels=11 + half, calls=scales)
        dblocks.embedding_mlp(a, "conditioning.timestep+guidance", dblocks.TIMESTEP_CHANNELS, h, calls=scales)
        dblocks.embedding_mlp(a, "conditioning.pooled_text", self.pooled_projection_dim, h)
        a.pointwise("conditioning.add", "add", batch, h, reads=2.0, calls=scales)
        a.linear("embedder.text", words, self.joint_attention_dim, h, bias=True)
        # Positions are joined (and cast). Per axis: frequencies (6 kernels of a few numbers), angles, and of cosine and
        # sine the function, the repetition of each value for its pair and the cast from 64 bits; then both tables are
        # joined, all [tokens, head_dim].
        a.pointwise(
            "embedder.rope_table",
            "mul",
            tokens,
            self.head_dim,
            dtype=DType.FP32,
            reads=12.0,
            writes=11.0,
            kernels=42 + half,
        )

    def _double(self, a: Assembly, rows: Dim, words: Dim, tokens: Dim) -> None:
        h, heads, head_dim = self.hidden_size, self.num_attention_heads, self.head_dim
        inner = blocks.product(4, h)
        streams = (("double.image", rows), ("double.text", words))
        for name, own in streams:
            dblocks.modulation(a, f"{name}.modulation", h, 6)
            dblocks.norm_modulate(a, f"{name}.norm_modulate", own, h)
            a.linear(f"{name}.q_proj+k_proj+v_proj", own, h, h, bias=True, calls=3)
            dblocks.head_norm(a, f"{name}.q_norm+k_norm", own, heads, head_dim, calls=2)
        joint = rows + words
        a.pointwise("double.join", "cat", joint, h, calls=3)
        dblocks.rotary(a, "double.rope_q+rope_k", joint, h, calls=2)
        a.attention("double.attention", heads=heads, head_dim=head_dim, seq_q=tokens)
        a.save(4.0 * as_float(joint) * as_float(h))
        for name, own in streams:
            a.pointwise(f"{name}.split", "copy", own, h, calls=dblocks.gaps(a.w))
            a.linear(f"{name}.o_proj", own, h, h, bias=True)
            dblocks.gate_residual_norm_modulate(a, f"{name}.attention_residual", own, h)
            dblocks.feed_forward(a, f"{name}.mlp", own, h, inner)
            dblocks.gate_residual(a, f"{name}.mlp_residual", own, h)

    def _single(self, a: Assembly, joint: Dim, tokens: Dim) -> None:
        h, heads, head_dim = self.hidden_size, self.num_attention_heads, self.head_dim
        inner = blocks.product(4, h)
        a.pointwise("single.join", "cat", joint, h)
        dblocks.modulation(a, "single.modulation", h, 3)
        dblocks.norm_modulate(a, "single.norm_modulate", joint, h)
        a.linear("single.mlp.up_proj", joint, h, inner, bias=True)
        a.op(
            blocks.activation("single.mlp.activation", "gelu_tanh", joint, inner, a.w, count=1, gated=False),
            saves=as_float(joint) * as_float(inner),
        )
        a.linear("single.q_proj+k_proj+v_proj", joint, h, h, bias=True, calls=3, saves=0)
        dblocks.head_norm(a, "single.q_norm+k_norm", joint, heads, head_dim, calls=2)
        dblocks.rotary(a, "single.rope_q+rope_k", joint, h, calls=2)
        a.attention("single.attention", heads=heads, head_dim=head_dim, seq_q=tokens)
        a.save(4.0 * as_float(joint) * as_float(h))
        a.pointwise("single.join_branches", "cat", joint, blocks.product(5, h))
        a.linear("single.proj_out", joint, blocks.product(5, h), h, bias=True)
        dblocks.gate_residual(a, "single.residual", joint, h)

    def _alive(self, a: Assembly, rows: Floats, words: Floats, tokens: Floats) -> None:
        """The widest moments are in a single-stream block: the rotation of its keys, beside q, k and v, its input,
        residual and normed input, the feed-forward's half and the two rotary tables in 32 bits; and the gate, beside
        the joined branches that the product came from."""
        h = as_float(self.hidden_size)
        joint = (rows + words) * h
        tables = 2 * tokens * as_float(self.head_dim) * 4 / a.w.activation_dtype.itemsize
        a.alive(tables + 10.0 * joint + dblocks.rotary_peak(joint, a.w))
        a.alive(tables + 15.0 * joint)
