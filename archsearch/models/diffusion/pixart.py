"""PixArt: a diffusion transformer with cross-attention to text and one shared modulation (adaLN-single).

Chen et al. 2023 (alpha), https://arxiv.org/abs/2310.00426, and 2024 (Sigma), https://arxiv.org/abs/2403.04692; the
module is diffusers' ``PixArtTransformer2DModel``. One linear layer makes six vectors from the timestep for all layers;
each adds its own table to them. Position tables are fixed sines, not parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, as_float
from archsearch.models import blocks
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.modality import ImageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PixArtConfig(ImageModel):
    """Dimensions of a PixArt transformer. Sizes may be arrays that broadcast.

    ``micro_conditions`` embeds the image's size and aspect ratio too (alpha at 1024 pixels). The real class attends to
    text projected to hidden_size, and its feed-forward is 4 · hidden_size wide.
    """

    family: ClassVar[str] = "pixart"

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    head_dim: Dim = 72
    in_channels: Dim = 4
    out_channels: Dim = 8
    caption_channels: Dim = 4096
    micro_conditions: bool = False
    text_seq_len: Dim = 120
    patch_size: Dim = 2
    vae_scale_factor: Dim = 8

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "head_dim", "in_channels", "out_channels")
        rest = ("caption_channels", "text_seq_len", "patch_size", "vae_scale_factor")
        hidden = np.asarray(self.hidden_size)
        equal = np.asarray(self.num_attention_heads) * np.asarray(self.head_dim) == hidden
        thirds = (hidden % 3 == 0) | (not self.micro_conditions)
        return (
            *at_least_one(self, (*sizes, *rest)),
            Requirement(reason="num_attention_heads times head_dim must be hidden_size", holds=equal),
            Requirement(reason="hidden_size must be a multiple of 4: sines of two axes", holds=hidden % 4 == 0),
            Requirement(reason="hidden_size must be a multiple of 3 for three micro-conditions", holds=thirds),
        )

    def assemble(self, a: Assembly) -> None:
        high, wide = self.grid(a.w)
        image, text = blocks.product(high, wide), blocks.product(self.text_tokens(a.w))
        h, p, batch = self.hidden_size, self.patch_size, a.w.batch_size
        rows, words = blocks.product(batch, image), blocks.product(batch, text)
        a.convolution("patchify.conv", self.in_channels, h, (p, p), (high, wide), stride=(p, p), input_is_data=True)
        a.pointwise("patchify.add_positions", "add", rows, h, reads=2.0)
        self._condition(a)
        dblocks.text_projection(a, "embedder.text", words, self.caption_channels, h)
        elements = as_float(rows) * as_float(h)
        with a.layers(self.num_layers, carries=elements):
            self._layer(a, rows, words, image, text)
        a.pointwise("final.table", "add", batch, blocks.product(2, h), reads=2.0)
        a.weigh(2 * as_float(h))
        dblocks.norm_modulate(a, "final.norm_modulate", rows, h)
        width = blocks.product(p, p, self.out_channels)
        a.linear("final.proj_out", rows, h, width, bias=True)
        a.pointwise("final.unpatchify", "unpatchify", rows, width)
        # The feed-forward's activation, beside the layer's input, sum, normed input and attention's output, and text.
        a.alive(12 * elements + as_float(words) * as_float(h))

    def _condition(self, a: Assembly) -> None:
        h, batch = self.hidden_size, a.w.batch_size
        dblocks.timestep_features(a, "conditioning.sines")
        dblocks.embedding_mlp(a, "conditioning.timestep", dblocks.TIMESTEP_CHANNELS, h)
        if self.micro_conditions:
            third = np.asarray(h) // 3
            for name, values in (("size", 2), ("aspect_ratio", 1)):
                rows = blocks.product(values, batch)
                features = dblocks.TIMESTEP_CHANNELS
                a.pointwise(f"conditioning.{name}.sines", "mul", rows, features, reads=5.0, writes=5.0, kernels=11)
                a.linear(f"conditioning.{name}.linear_1", rows, features, third, bias=True)
                a.pointwise(f"conditioning.{name}.silu", "silu", rows, third)
                a.linear(f"conditioning.{name}.linear_2", rows, third, third, bias=True)
            a.pointwise("conditioning.add", "add", batch, h, reads=2.0, kernels=2)
        a.pointwise("conditioning.silu", "silu", batch, h)
        a.linear("conditioning.linear", batch, h, blocks.product(6, h), bias=True)

    def _layer(self, a: Assembly, rows: Dim, words: Dim, image: Dim, text: Dim) -> None:
        h, heads, head_dim = self.hidden_size, self.num_attention_heads, self.head_dim
        elements = as_float(rows) * as_float(h)
        a.pointwise("table.add", "add", a.w.batch_size, blocks.product(6, h), reads=2.0)
        a.weigh(6 * as_float(h))
        dblocks.norm_modulate(a, "attention.norm_modulate", rows, h)
        a.linear("attention.q_proj+k_proj+v_proj", rows, h, h, bias=True, calls=3)
        a.attention("attention.core", heads=heads, head_dim=head_dim, seq_q=image)
        a.save(4 * elements)
        a.linear("attention.o_proj", rows, h, h, bias=True, saves=0)
        a.pointwise("attention.rescale", "divu", rows, h)
        dblocks.gate_residual(a, "attention.residual", rows, h)
        dblocks.cross_attention(a, "cross", rows, words, image, text, h, heads, head_dim)
        dblocks.norm_modulate(a, "mlp.norm_modulate", rows, h)
        dblocks.feed_forward(a, "mlp", rows, h, blocks.product(4, h))
        dblocks.gate_residual(a, "mlp.residual", rows, h)
