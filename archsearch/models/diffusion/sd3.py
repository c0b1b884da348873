"""Stable Diffusion 3 and 3.5: multimodal diffusion transformers (MMDiT) of joint image and text blocks.

Esser et al. 2024, https://arxiv.org/abs/2403.03206; the module is diffusers' ``SD3Transformer2DModel``. Every block has
weights of its own for image and text tokens and attends over both; the last one drops the text after attention. In
SD3.5-medium the first blocks attend over the image alone a second time. Positions are a table of sines that the image's
grid is cut from: memory, but no parameters. One pass is one denoising step of ``batch_size`` images; guidance that runs
the model twice is a batch twice as large.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Floats, Ints, as_float
from archsearch.errors import InvalidInputError
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import MemoryUse, Requirement, at_least_one
from archsearch.models.modality import ImageModel
from archsearch.workload import Workload

_SIZES = (
    *("num_layers", "hidden_size", "num_attention_heads", "head_dim", "in_channels", "out_channels", "patch_size"),
    *("joint_attention_dim", "pooled_projection_dim", "pos_embed_max_size", "text_seq_len", "vae_scale_factor"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SD3Config(ImageModel):
    """Dimensions of a Stable Diffusion 3 transformer. Sizes may be arrays that broadcast.

    ``num_dual_attention_layers`` counts blocks, from the first, with a second attention over the image alone; the last
    block has none. ``qk_norm`` is an RMSNorm of every head's queries and keys. ``joint_attention_dim`` is the width of
    the text tokens, ``pooled_projection_dim`` that of the pooled text; 333 tokens are CLIP's 77 and T5's 256.
    ``pos_embed_max_size`` is the side, in patches, of the table of positions and so of the largest image. The
    feed-forward's width is a fixed 4 · hidden_size in the real class.
    """

    family: ClassVar[str] = "sd3"

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    head_dim: Dim = 64
    num_dual_attention_layers: Dim = 0
    qk_norm: bool = False
    in_channels: Dim = 16
    out_channels: Dim = 16
    patch_size: Dim = 2
    joint_attention_dim: Dim = 4096
    pooled_projection_dim: Dim = 2048
    pos_embed_max_size: Dim = 192
    text_seq_len: Dim = 333
    vae_scale_factor: Dim = 8

    def requirements(self) -> tuple[Requirement, ...]:
        equal = np.asarray(self.num_attention_heads) * np.asarray(self.head_dim) == np.asarray(self.hidden_size)
        dual = np.asarray(self.num_dual_attention_layers)
        return (
            *at_least_one(self, _SIZES),
            Requirement(reason="num_attention_heads times head_dim must be hidden_size", holds=equal),
            Requirement(
                reason="hidden_size must be a multiple of 4: sines and cosines of two axes",
                holds=np.asarray(self.hidden_size) % 4 == 0,
            ),
            Requirement(
                reason="num_dual_attention_layers must be at least 0 and less than num_layers",
                holds=(dual >= 0) & (dual < np.asarray(self.num_layers)),
            ),
        )

    def memory(self, workload: Workload) -> MemoryUse:
        """Weights and the table of positions, activations, gradients and AdamW's state."""
        use = ImageModel.memory(self, workload)
        table = as_float(self.pos_embed_max_size) ** 2 * as_float(self.hidden_size)
        return replace(use, weights=use.weights + table * workload.activation_dtype.itemsize)

    def assemble(self, a: Assembly) -> None:
        high, wide = self._patches(a.w)
        image, text = blocks.product(high, wide), blocks.product(self.text_tokens(a.w))
        rows, words = blocks.product(a.w.batch_size, image), blocks.product(a.w.batch_size, text)
        self._embed(a, (high, wide), rows, words)
        dual = np.asarray(self.num_dual_attention_layers)
        carries = (as_float(rows) + words) * as_float(self.hidden_size)
        with a.layers(dual, carries=carries):
            self._block(a, "dual", image, text, dual=True)
        with a.layers(np.asarray(self.num_layers) - 1 - dual, carries=carries):
            self._block(a, "joint", image, text)
        with a.layers(1, carries=carries):
            self._block(a, "last", image, text, last=True)
        self._final(a, rows)
        self._alive(a, as_float(rows), as_float(words))

    def _patches(self, w: Workload) -> tuple[Ints, Ints]:
        """Patches along height and width, no more than there are positions.

        Raises:
            InvalidInputError: a side beyond the table of positions.
        """
        grid = self.grid(w)
        limit = np.asarray(self.pos_embed_max_size)
        if any(np.any(side > limit) for side in grid):
            pixels = blocks.product(limit, self.patch_size, self.vae_scale_factor)
            raise InvalidInputError(f"sd3 has positions for sides of at most {pixels} pixels (pos_embed_max_size)")
        return grid

    def _embed(self, a: Assembly, grid: tuple[Ints, Ints], rows: Dim, words: Dim) -> None:
        h, batch, p = self.hidden_size, a.w.batch_size, self.patch_size
        a.convolution("patchify.conv", self.in_channels, h, (p, p), grid, stride=(p, p), input_is_data=True)
        one = blocks.product(*grid)
        a.pointwise("patchify.crop_positions", "copy", one, h)
        a.pointwise("patchify.add_positions", "add", rows, h, reads=1.0 + 1.0 / as_float(batch))
        a.pointwise("patchify.contiguous", "copy", rows, h)
        dblocks.timestep_features(a, "conditioning.sines")
        dblocks.embedding_mlp(a, "conditioning.timestep", dblocks.TIMESTEP_CHANNELS, h)
        dblocks.embedding_mlp(a, "conditioning.pooled_text", self.pooled_projection_dim, h)
        a.pointwise("conditioning.add", "add", batch, h, reads=2.0)
        a.linear("embedder.text", words, self.joint_attention_dim, h, bias=True)

    def _block(self, a: Assembly, name: str, image: Dim, text: Dim, *, dual: bool = False, last: bool = False) -> None:
        """One kind of block: both streams' modulated norms, joint attention, and each stream's branches."""
        h, batch = self.hidden_size, a.w.batch_size
        rows, words = blocks.product(batch, image), blocks.product(batch, text)
        streams = ((f"{name}.image", rows), (f"{name}.text", words))
        self._image_norm(a, f"{name}.image", rows, dual=dual)
        dblocks.modulation(a, f"{name}.text.modulation", h, 2 if last else 6)
        dblocks.norm_modulate(a, f"{name}.text.norm_modulate", words, h)
        for stream, own in streams:
            self._queries(a, stream, own)
        a.pointwise(f"{name}.join", "cat", rows + words, h, calls=3)
        a.attention(f"{name}.attention", heads=self.num_attention_heads, head_dim=self.head_dim, seq_q=image + text)
        a.pointwise(f"{name}.attention.transpose", "transpose", rows + words, h)
        a.save(4.0 * as_float(rows + words) * as_float(h))
        for stream, own in streams[: 1 if last else 2]:
            self._attention_out(a, stream, own)
        if dual:
            self._second_attention(a, f"{name}.image", image)
        for stream, own in streams[: 1 if last else 2]:
            dblocks.gate_residual_norm_modulate(a, f"{stream}.attention_residual", own, h)
            dblocks.feed_forward(a, f"{stream}.mlp", own, h, blocks.product(4, h))
            dblocks.gate_residual(a, f"{stream}.mlp_residual", own, h)

    def _image_norm(self, a: Assembly, name: str, rows: Dim, *, dual: bool) -> None:
        """The norm before attention; with a second attention its values are modulated twice."""
        h = self.hidden_size
        dblocks.modulation(a, f"{name}.modulation", h, 9 if dual else 6)
        if not dual:
            dblocks.norm_modulate(a, f"{name}.norm_modulate", rows, h)
            return
        again = dblocks.modulated_norm(f"{name}.norm_modulate.second", rows, h, a.w)[1:]
        members = (*dblocks.modulated_norm(f"{name}.norm_modulate", rows, h, a.w), *again)
        twice = blocks.group(f"{name}.norm_modulate", "layernorm", members, reads=1.0, writes=2.0)
        a.op(twice, saves=2.0 * as_float(rows) * as_float(h))

    def _queries(self, a: Assembly, name: str, rows: Dim) -> None:
        a.linear(f"{name}.q_proj+k_proj+v_proj", rows, self.hidden_size, self.hidden_size, bias=True, calls=3)
        if self.qk_norm:
            heads = blocks.product(rows, self.num_attention_heads)
            dblocks.rms_norm(a, f"{name}.q_norm+k_norm", heads, self.head_dim, calls=2)

    def _attention_out(self, a: Assembly, name: str, rows: Dim) -> None:
        """A stream's part of attention's output is a view with gaps where there are several images: the linear layer
        copies it first, and adds its bias in a kernel of its own."""
        h, gaps = self.hidden_size, dblocks.gaps(a.w)
        a.pointwise(f"{name}.split", "copy", rows, h, calls=gaps)
        a.linear(f"{name}.o_proj", rows, h, h, bias=True)
        a.pointwise(f"{name}.o_proj.bias", "bias", rows, h, calls=gaps)

    def _second_attention(self, a: Assembly, name: str, image: Dim) -> None:
        """Attention over the image alone, after the joint one's gate and residual sum."""
        h, rows = self.hidden_size, blocks.product(a.w.batch_size, image)
        dblocks.gate_residual(a, f"{name}.joint_residual", rows, h)
        self._queries(a, f"{name}.second", rows)
        a.attention(f"{name}.second.attention", heads=self.num_attention_heads, head_dim=self.head_dim, seq_q=image)
        a.save(3.0 * as_float(rows) * as_float(h))
        a.linear(f"{name}.second.o_proj", rows, h, h, bias=True)

    def _final(self, a: Assembly, rows: Dim) -> None:
        h = self.hidden_size
        width = blocks.product(self.patch_size, self.patch_size, self.out_channels)
        dblocks.modulation(a, "final.modulation", h, 2)
        dblocks.norm_modulate(a, "final.norm_modulate", rows, h)
        a.linear("final.proj_out", rows, h, width, bias=True)
        a.pointwise("final.unpatchify", "unpatchify", rows, width)

    def _alive(self, a: Assembly, rows: Floats, words: Floats) -> None:
        """The widest moments of a block: the image's or the text's activation, or the copy of attention's output.

        Both streams' inputs and normed inputs live all along. Joined queries, keys and values live beside the text's
        own; each residual sum beside the gated branch that went into it; a second attention's input and output until
        the block ends; the last block's text output, of no use, keeps the image's that it was cut from.
        """
        h = as_float(self.hidden_size)
        image, text = rows * h, words * h
        dual = np.minimum(as_float(self.num_dual_attention_layers), 1.0)
        a.alive((13.0 + dual) * image + 3.0 * text)
        a.alive((5.0 + 2.0 * dual) * image + 12.0 * text)
        a.alive((8.0 + dual) * image + 10.0 * text)
