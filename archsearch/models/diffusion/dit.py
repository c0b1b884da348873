"""Class-conditional diffusion transformers (DiT, Peebles and Xie 2022, https://arxiv.org/abs/2212.09748).

Latents are cut into patches by a convolution; every layer scales, shifts and gates its two branches by six vectors
that a linear layer makes from the timestep's and the label's embedding (adaLN-zero). A workload's height and width are
pixels; the autoencoder divides them by ``vae_scale_factor``. One pass is one denoising step of ``batch_size`` images;
guidance that runs the model twice is a batch twice as large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archsearch.arrays import Dim, Ints, as_float
from archsearch.models import blocks, footprint
from archsearch.models import diffusion_blocks as dblocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import Modality, Requirement, at_least_one
from archsearch.models.field_types import following
from archsearch.models.modality import ImageModel

LAYOUTS = ("original", "diffusers")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTConfig(ImageModel):
    """Dimensions of a DiT. Sizes may be arrays that broadcast.

    ``intermediate_size`` is 4 · hidden_size where it is left out. ``out_channels`` is in_channels twice over in models
    that predict the variance as well. ``num_classes`` leaves out the row for "no class". ``layout`` is ``original``
    (the authors' code: queries, keys and values in one product, one embedder of timestep and label for all layers) or
    ``diffusers`` (``DiTTransformer2DModel``: three products, and a copy of the embedders in every layer, run once a
    layer and once more for the output, which weighs 75 M parameters more in XL/2). Position tables are fixed sines, not
    parameters.
    """

    family: ClassVar[str] = "dit"
    modality: ClassVar[Modality] = Modality.CLASS_IMAGE
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 256, "width": 256}
    plain_layer: ClassVar[str] = "dit"

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    intermediate_size: Dim = following("hidden_size", times=4)
    patch_size: Dim = 2
    in_channels: Dim = 4
    out_channels: Dim = 8
    num_classes: Dim = 1000
    head_dim: Dim | None = None
    vae_scale_factor: Dim = 8
    layout: str = "original"

    @property
    def head_width(self) -> Ints:
        """head_dim as an array, filled in as hidden_size / num_attention_heads where it was left out."""
        if self.head_dim is not None:
            return np.asarray(self.head_dim)
        return np.asarray(self.hidden_size) // np.maximum(self.num_attention_heads, 1)

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "intermediate_size", "patch_size")
        equal = np.asarray(self.num_attention_heads) * self.head_width == np.asarray(self.hidden_size)
        quarter = np.asarray(self.hidden_size) % 4 == 0
        return (
            *at_least_one(self, (*sizes, "in_channels", "out_channels", "num_classes", "vae_scale_factor")),
            Requirement(reason="num_attention_heads times head_dim must be hidden_size", holds=equal),
            Requirement(reason="hidden_size must be a multiple of 4: sines and cosines of two axes", holds=quarter),
            Requirement(reason=f"layout must be one of {', '.join(LAYOUTS)}", holds=self.layout in LAYOUTS),
        )

    def assemble(self, a: Assembly) -> None:
        grid = self.grid(a.w)
        h, p, copies = self.hidden_size, self.patch_size, self.layout == "diffusers"
        seq = blocks.product(*grid)
        rows = blocks.product(a.w.batch_size, seq)
        width = as_float(h)
        a.convolution("patchify.conv", self.in_channels, h, (p, p), grid, stride=(p, p), input_is_data=True, saves=0)
        a.pointwise("patchify.add_positions", "add", rows, h, reads=2.0)
        if not copies:
            self._condition(a, "conditioning")
        first = dblocks.modulated_norm("input_norm_modulate", rows, h, a.w)
        a.op(blocks.group("input_norm_modulate", "layernorm", first, reads=1.0))
        with a.layers(self.num_layers, carries=as_float(rows) * width):
            if copies:
                self._condition(a, "conditioning")
            dblocks.modulation(a, "modulation", h, 6)
            self._attention(a, rows, seq)
            dblocks.gate_residual_norm_modulate(a, "attention.gate_residual_norm", rows, h, rescaled=copies)
            dblocks.feed_forward(a, "mlp", rows, h, self.intermediate_size)
            dblocks.gate_residual_norm_modulate(a, "mlp.gate_residual_norm", rows, h)
        if copies:  # the output runs the first layer's embedders once more
            with a.again():
                self._condition(a, "final.conditioning")
        self._final(a, rows)
        # The layer's input, residual sum and the last branch's output, beside the larger of normed input with q, k, v
        # and attention's output, and normed input with the feed-forward's widest moment.
        mlp = footprint.mlp_live("gelu_tanh", False, self.intermediate_size)
        a.alive(as_float(rows) * (4 * width + np.maximum(4 * width, mlp)))

    def _condition(self, a: Assembly, name: str) -> None:
        """Embedders of timestep and label, in the activation format; what they keep is one row an image."""
        h, images, features = self.hidden_size, a.w.batch_size, dblocks.TIMESTEP_CHANNELS
        if self.layout == "diffusers":
            dblocks.timestep_features(a, f"{name}.sines")
        else:  # the authors' code leaves the sines in 32 bits
            a.op(dblocks.timestep_sines(f"{name}.sines", a.w, features, kernels=9))
        a.linear(f"{name}.timestep_in", images, features, h, bias=True, saves=0, quantized=False)
        a.pointwise(f"{name}.timestep_silu", "silu", images, h)
        a.linear(f"{name}.timestep_out", images, h, h, bias=True, saves=0, quantized=False)
        a.op(blocks.embedding(f"{name}.label", images, h, a.w))
        a.weigh((as_float(self.num_classes) + 1) * as_float(h))
        a.pointwise(f"{name}.add", "add", images, h, reads=2.0)

    def _attention(self, a: Assembly, rows: Dim, seq: Dim) -> None:
        h = self.hidden_size
        if self.layout == "diffusers":
            a.linear("attention.q_proj+k_proj+v_proj", rows, h, h, bias=True, calls=3)
        else:
            a.linear("attention.qkv_proj", rows, h, blocks.product(3, h), bias=True)
        a.attention("attention.core", heads=self.num_attention_heads, head_dim=self.head_width, seq_q=seq)
        a.save(4 * as_float(rows) * as_float(h))
        a.linear("attention.o_proj", rows, h, h, bias=True, saves=0)

    def _final(self, a: Assembly, rows: Dim) -> None:
        width = blocks.product(self.patch_size, self.patch_size, self.out_channels)
        dblocks.modulation(a, "final.modulation", self.hidden_size, 2)
        a.linear("final.linear", rows, self.hidden_size, width, bias=True, saves=0)
        a.pointwise("final.unpatchify", "unpatchify", rows, width)
