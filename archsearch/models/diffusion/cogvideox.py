"""CogVideoX: a video diffusion transformer over one sequence of text and video tokens.

Yang et al. 2024, https://arxiv.org/abs/2408.06072; the module is diffusers' ``CogVideoXTransformer3DModel``. Text and
video tokens share all weights but are modulated apart ("expert adaptive LayerNorm"); every layer attends over all of
them. The causal autoencoder divides sides by 8 and frames after the first by 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Ints, as_float
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.modality import VideoModel


@dataclass(frozen=True, slots=True, kw_only=True)
class CogVideoXConfig(VideoModel):
    """Dimensions of a CogVideoX transformer. Sizes may be arrays that broadcast.

    ``rotary`` models turn queries and keys, others add a fixed table of positions. ``linear_patches`` (CogVideoX 1.5)
    cuts patches of ``patch_size_t`` latent frames by a linear layer, where the first version has a convolution over
    single frames. ``ofs_embed_dim`` is the width of a second embedded scalar (1.5 image-to-video; 0: none). The
    feed-forward's width is 4 · hidden_size in the real class.
    """

    family: ClassVar[str] = "cogvideox"
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 480, "width": 720, "frames": 49}

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    head_dim: Dim = 64
    in_channels: Dim = 16
    out_channels: Dim = 16
    text_embed_dim: Dim = 4096
    time_embed_dim: Dim = 512
    ofs_embed_dim: Dim = 0
    rotary: bool = True
    linear_patches: bool = False
    text_seq_len: Dim = 226
    patch_size: Dim = 2
    patch_size_t: Dim = 1
    vae_scale_factor: Dim = 8
    vae_temporal_factor: Dim = 4

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "head_dim", "in_channels", "out_channels")
        rest = ("text_embed_dim", "time_embed_dim", "text_seq_len", "patch_size", "patch_size_t", "vae_scale_factor")
        equal = np.asarray(self.num_attention_heads) * np.asarray(self.head_dim) == np.asarray(self.hidden_size)
        single = self.linear_patches or np.asarray(self.patch_size_t) == 1
        even = (np.asarray(self.hidden_size) % 2 == 0) & (np.asarray(self.head_dim) % 2 == 0)
        return (
            *at_least_one(self, (*sizes, *rest, "vae_temporal_factor")),
            Requirement(reason="num_attention_heads times head_dim must be hidden_size", holds=equal),
            Requirement(reason="hidden_size and head_dim must be even: sines and cosines", holds=even),
            Requirement(reason="patch_size_t above 1 needs linear_patches", holds=single),
            Requirement(reason="ofs_embed_dim must not be negative", holds=np.asarray(self.ofs_embed_dim) >= 0),
        )

    def assemble(self, a: Assembly) -> None:
        high, wide = self.grid(a.w)
        video = blocks.product(self.latent_frames(a.w), high, wide)
        text = blocks.product(self.text_tokens(a.w))
        batch, h = a.w.batch_size, self.hidden_size
        rows, words = blocks.product(batch, video), blocks.product(batch, text)
        self._embed(a, rows, words, (high, wide))
        elements = as_float(rows + words) * as_float(h)
        with a.layers(self.num_layers, carries=elements):
            self._layer(a, rows, words, video + text)
        a.pointwise("final.norm", "layernorm", rows, h, saves=1.0)
        a.weigh(2 * as_float(h))
        a.pointwise("final.modulation.silu", "silu", batch, self.time_embed_dim)
        a.linear("final.modulation.linear", batch, self.time_embed_dim, blocks.product(2, h), bias=True)
        dblocks.norm_modulate(a, "final.norm_modulate", rows, h)
        a.weigh(2 * as_float(h))
        width = blocks.product(self._patch_volume(), self.out_channels)
        a.linear("final.proj_out", rows, h, width, bias=True)
        a.pointwise("final.unpatchify", "unpatchify", rows, width)
        a.alive(12 * elements + as_float(words) * as_float(h))
        if self.rotary:
            turned = as_float(rows) * as_float(h)
            a.alive(6 * elements + dblocks.rotary_peak(turned, a.w))

    def _patch_volume(self) -> Ints:
        return blocks.product(self.patch_size, self.patch_size, self.patch_size_t)

    def _embed(self, a: Assembly, rows: Dim, words: Dim, grid: tuple[Ints, Ints]) -> None:
        h, p = self.hidden_size, self.patch_size
        dblocks.timestep_features(a, "conditioning.sines", channels=h, kernels=10)
        dblocks.embedding_mlp(a, "conditioning.timestep", h, self.time_embed_dim)
        if np.any(self.ofs_embed_dim):
            dblocks.timestep_features(a, "conditioning.ofs_sines", channels=self.ofs_embed_dim, kernels=10)
            dblocks.embedding_mlp(a, "conditioning.ofs", self.ofs_embed_dim, self.ofs_embed_dim)
            a.pointwise("conditioning.add", "add", a.w.batch_size, self.time_embed_dim, reads=2.0)
        a.linear("embedder.text", words, self.text_embed_dim, h, bias=True)
        if self.linear_patches:
            width = blocks.product(self._patch_volume(), self.in_channels)
            a.pointwise("embedder.patchify", "patchify", rows, width)
            a.linear("embedder.patches", rows, width, h, bias=True)
        else:
            frames = rows // (grid[0] * grid[1])
            kernel = (p, p)
            a.convolution(
                "embedder.patches",
                self.in_channels,
                h,
                kernel,
                grid,
                batch=frames,
                stride=kernel,
                input_is_data=True,
            )
            a.pointwise("embedder.flatten", "transpose", rows, h)
        a.pointwise("embedder.join", "cat", rows + words, h)
        if not self.rotary:
            a.pointwise("embedder.add_positions", "add", rows + words, h, reads=2.0)

    def _layer(self, a: Assembly, rows: Dim, words: Dim, tokens: Dim) -> None:
        h, heads, head_dim = self.hidden_size, self.num_attention_heads, self.head_dim
        joint = rows + words
        elements = as_float(joint) * as_float(h)
        self._norm(a, "attention", rows, words)
        a.pointwise("attention.join", "cat", joint, h)
        a.linear("attention.q_proj+k_proj+v_proj", joint, h, h, bias=True, calls=3)
        head_rows = blocks.product(joint, heads)
        a.pointwise("attention.q_norm+k_norm", "layernorm", head_rows, head_dim, calls=2, saves=1.0)
        a.weigh(4 * as_float(head_dim))
        if self.rotary:
            dblocks.rotary(a, "attention.rope_q+rope_k", rows, h, calls=2)
            a.pointwise("attention.put_back", "copy", rows, h, calls=2)
        a.attention("attention.core", heads=heads, head_dim=head_dim, seq_q=tokens)
        a.save(4 * elements)
        a.pointwise("attention.merge_heads", "transpose", joint, h)
        a.linear("attention.o_proj", joint, h, h, bias=True)
        for name, own in (("video", rows), ("text", words)):
            dblocks.gate_residual(a, f"attention.{name}.residual", own, h)
        self._norm(a, "mlp", rows, words)
        a.pointwise("mlp.join", "cat", joint, h)
        dblocks.feed_forward(a, "mlp", joint, h, blocks.product(4, h))
        for name, own in (("video", rows), ("text", words)):
            dblocks.gate_residual(a, f"mlp.{name}.residual", own, h)

    def _norm(self, a: Assembly, name: str, rows: Dim, words: Dim) -> None:
        """Modulation vectors of video and text, and one norm's weights for both."""
        h = self.hidden_size
        a.pointwise(f"{name}.modulation.silu", "silu", a.w.batch_size, self.time_embed_dim)
        a.linear(f"{name}.modulation.linear", a.w.batch_size, self.time_embed_dim, blocks.product(6, h), bias=True)
        for part, own in (("video", rows), ("text", words)):
            dblocks.norm_modulate(a, f"{name}.{part}.norm_modulate", own, h)
        a.weigh(2 * as_float(h))
