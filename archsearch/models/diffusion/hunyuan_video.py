"""HunyuanVideo: a multimodal video diffusion transformer of double-stream and single-stream blocks.

Kong et al. 2024, https://arxiv.org/abs/2412.03603; the module is diffusers' ``HunyuanVideoTransformer3DModel``. A small
transformer refines the text's tokens first; then blocks as in FLUX.1, whose rotary positions turn video tokens alone.
The causal autoencoder divides sides by 8 and frames after the first by 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Ints, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.modality import VideoModel


@dataclass(frozen=True, slots=True, kw_only=True)
class HunyuanVideoConfig(VideoModel):
    """Dimensions of a HunyuanVideo transformer. Sizes may be arrays that broadcast.

    ``num_layers`` counts double-stream blocks, ``num_single_layers`` single-stream ones, ``num_refiner_layers`` those
    that refine the text. The feed-forward's width is 4 · hidden_size.
    """

    family: ClassVar[str] = "hunyuan-video"
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 720, "width": 1280, "frames": 129}

    num_layers: Dim
    num_single_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    head_dim: Dim = 128
    num_refiner_layers: Dim = 2
    in_channels: Dim = 16
    out_channels: Dim = 16
    text_embed_dim: Dim = 4096
    pooled_projection_dim: Dim = 768
    guidance_embeds: bool = True
    text_seq_len: Dim = 256
    patch_size: Dim = 2
    patch_size_t: Dim = 1
    vae_scale_factor: Dim = 8
    vae_temporal_factor: Dim = 4

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "num_single_layers", "num_refiner_layers", "hidden_size", "num_attention_heads")
        rest = ("head_dim", "in_channels", "out_channels", "text_embed_dim", "pooled_projection_dim", "text_seq_len")
        scales = ("patch_size", "patch_size_t", "vae_scale_factor", "vae_temporal_factor")
        equal = np.asarray(self.num_attention_heads) * np.asarray(self.head_dim) == np.asarray(self.hidden_size)
        sixteenths = np.asarray(self.head_dim) % 16 == 0
        return (
            *at_least_one(self, (*sizes, *rest, *scales)),
            Requirement(reason="num_attention_heads times head_dim must be hidden_size", holds=equal),
            Requirement(reason="head_dim must be a multiple of 16: rotary pairs of three axes", holds=sixteenths),
        )

    def assemble(self, a: Assembly) -> None:
        high, wide = self.grid(a.w)
        frames = self.latent_frames(a.w)
        video, text = blocks.product(frames, high, wide), blocks.product(self.text_tokens(a.w))
        h, batch = self.hidden_size, a.w.batch_size
        rows, words = blocks.product(batch, video), blocks.product(batch, text)
        self._embed(a, rows, words, video, (frames, high, wide))
        self._refine(a, words, text)
        elements = as_float(rows + words) * as_float(h)
        with a.layers(self.num_layers, carries=elements):
            self._double(a, rows, words, video + text)
        with a.layers(self.num_single_layers, carries=elements):
            self._single(a, rows, words, video + text)
        a.pointwise("final.modulation.silu", "silu", batch, h)
        a.linear("final.modulation.linear", batch, h, blocks.product(2, h), bias=True)
        dblocks.norm_modulate(a, "final.norm_modulate", rows, h)
        width = blocks.product(self.patch_size, self.patch_size, self.patch_size_t, self.out_channels)
        a.linear("final.proj_out", rows, h, width, bias=True)
        a.pointwise("final.unpatchify", "unpatchify", rows, width)
        # In a single-stream block: the gate, beside the joined branches that the product came from; or the rotation of
        # its keys beside q, k and v, its inputs and the feed-forward's half. Always both rotary tables.
        tables = 2 * as_float(video) * as_float(self.head_dim) * 4 / a.w.activation_dtype.itemsize
        a.alive(tables + 16 * elements)
        a.alive(tables + 11 * elements + dblocks.rotary_peak(as_float(rows) * as_float(h), a.w))

    def _embed(self, a: Assembly, rows: Dim, words: Dim, video: Dim, grid: tuple[Ints, ...]) -> None:
        h, batch = self.hidden_size, a.w.batch_size
        # As in FLUX.1: per axis 7 kernels of frequencies, then cosine, sine and a repetition of each; both joined.
        a.pointwise(
            "embedder.rope_table", "mul", video, self.head_dim, dtype=DType.FP32, reads=5.0, writes=5.5, kernels=39
        )
        scales = 2 if self.guidance_embeds else 1
        dblocks.timestep_features(a, "conditioning.sines", calls=scales)
        dblocks.embedding_mlp(a, "conditioning.timestep+guidance", dblocks.TIMESTEP_CHANNELS, h, calls=scales)
        dblocks.embedding_mlp(a, "conditioning.pooled_text", self.pooled_projection_dim, h)
        a.pointwise("conditioning.add", "add", batch, h, reads=2.0, calls=scales)
        kernel = (self.patch_size_t, self.patch_size, self.patch_size)
        a.convolution("embedder.patches", self.in_channels, h, kernel, grid, stride=kernel, input_is_data=True)

    def _refine(self, a: Assembly, words: Dim, text: Dim) -> None:
        """The token refiner: its own conditioning from the timestep and the mean token, and its layers."""
        h, batch, width = self.hidden_size, a.w.batch_size, self.text_embed_dim
        a.pointwise("refiner.mean", "mul", words, width, reads=3.0, writes=2.0, kernels=6)
        dblocks.timestep_features(a, "refiner.sines")
        dblocks.embedding_mlp(a, "refiner.timestep", dblocks.TIMESTEP_CHANNELS, h)
        dblocks.embedding_mlp(a, "refiner.mean_token", width, h)
        a.pointwise("refiner.add", "add", batch, h, reads=2.0)
        a.linear("refiner.proj_in", words, width, h, bias=True)
        a.pointwise("refiner.mask", "mask", words, text, reads=0.5, writes=0.5, kernels=5)
        elements = as_float(words) * as_float(h)
        with a.layers(self.num_refiner_layers, carries=elements):
            a.pointwise("refiner.attention.norm", "layernorm", words, h, saves=1.0)
            a.pointwise("refiner.attention.mask", "mask", blocks.product(words, self.num_attention_heads), text)
            a.linear("refiner.attention.q_proj+k_proj+v_proj", words, h, h, bias=True, calls=3)
            a.attention(
                "refiner.attention.core",
                heads=self.num_attention_heads,
                head_dim=self.head_dim,
                seq_q=text,
                mask=True,
            )
            a.save(4 * elements)
            a.linear("refiner.attention.o_proj", words, h, h, bias=True, saves=0)
            a.pointwise("refiner.attention.rescale", "divu", words, h)
            dblocks.modulation(a, "refiner.modulation", h, 2)
            dblocks.gate_residual(a, "refiner.attention.residual", words, h)
            a.pointwise("refiner.mlp.norm", "layernorm", words, h, saves=1.0)
            a.weigh(4 * as_float(h))
            dblocks.feed_forward(a, "refiner.mlp", words, h, blocks.product(4, h), activation="silu")
            dblocks.gate_residual(a, "refiner.mlp.residual", words, h)

    def _double(self, a: Assembly, rows: Dim, words: Dim, tokens: Dim) -> None:
        h, heads, head_dim = self.hidden_size, self.num_attention_heads, self.head_dim
        streams = (("double.video", rows), ("double.text", words))
        for name, own in streams:
            dblocks.modulation(a, f"{name}.modulation", h, 6)
            dblocks.norm_modulate(a, f"{name}.norm_modulate", own, h)
            a.linear(f"{name}.q_proj+k_proj+v_proj", own, h, h, bias=True, calls=3)
            dblocks.rms_norm(a, f"{name}.q_norm+k_norm", blocks.product(own, heads), head_dim, calls=2)
        dblocks.rotary(a, "double.video.rope_q+rope_k", rows, h, calls=2)
        joint = rows + words
        a.pointwise("double.join", "cat", joint, h, calls=3)
        a.attention("double.attention", heads=heads, head_dim=head_dim, seq_q=tokens, mask=True)
        a.save(4.0 * as_float(joint) * as_float(h))
        for name, own in streams:
            dblocks.sliced_linear(a, f"{name}.o_proj", own, h, h)
            dblocks.gate_residual_norm_modulate(a, f"{name}.attention_residual", own, h)
            dblocks.feed_forward(a, f"{name}.mlp", own, h, blocks.product(4, h))
            dblocks.gate_residual(a, f"{name}.mlp_residual", own, h)

    def _single(self, a: Assembly, rows: Dim, words: Dim, tokens: Dim) -> None:
        h, heads, head_dim = self.hidden_size, self.num_attention_heads, self.head_dim
        joint, inner = rows + words, blocks.product(4, h)
        a.pointwise("single.join", "cat", joint, h)
        dblocks.modulation(a, "single.modulation", h, 3)
        dblocks.norm_modulate(a, "single.norm_modulate", joint, h)
        a.linear("single.mlp.up_proj", joint, h, inner, bias=True)
        a.op(
            blocks.activation("single.mlp.activation", "gelu_tanh", joint, inner, a.w, count=1, gated=False),
            saves=as_float(joint) * as_float(inner),
        )
        a.pointwise("single.join_normed", "cat", joint, h)
        a.linear("single.q_proj+k_proj+v_proj", joint, h, h, bias=True, calls=3)
        dblocks.rms_norm(a, "single.q_norm+k_norm", blocks.product(joint, heads), head_dim, calls=2)
        dblocks.rotary(a, "single.rope_q+rope_k", rows, h, calls=2)
        a.pointwise("single.join_turned", "cat", joint, h, calls=2)
        a.attention("single.attention", heads=heads, head_dim=head_dim, seq_q=tokens, mask=True)
        a.save(4.0 * as_float(joint) * as_float(h))
        a.pointwise("single.join_attended", "cat", joint, h)
        a.pointwise("single.join_branches", "cat", joint, blocks.product(5, h))
        a.linear("single.proj_out", joint, blocks.product(5, h), h, bias=True)
        dblocks.gate_residual(a, "single.residual", joint, h)
