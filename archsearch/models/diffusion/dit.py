"""Class-conditional diffusion transformers (DiT, Peebles and Xie 2022, https://arxiv.org/abs/2212.09748).

Latents are cut into patches by a convolution; every layer scales, shifts and gates its two branches by six vectors
that a linear layer makes from the timestep's and the label's embedding (adaLN-zero). A workload's height and width are
pixels; the autoencoder divides them by ``vae_scale_factor``. One pass is one denoising step of ``batch_size`` images;
guidance that runs the model twice is a batch twice as large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models import blocks, footprint
from archsearch.models.base import ConfigMixin, MemoryUse, Requirement, at_least_one
from archsearch.models.diffusion_blocks import timestep_sines
from archsearch.models.training import training_step
from archsearch.ops import Attention, Convolution, Dim, MemoryOp, Op, OpList, as_float
from archsearch.workload import Phase, Workload

TIMESTEP_CHANNELS = 256
"""Width of the sinusoidal timestep features (``frequency_embedding_size`` of the authors' models.py)."""
LAYOUTS = ("original", "diffusers")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTConfig(ConfigMixin):
    """Dimensions of a DiT. Sizes may be arrays that broadcast.

    ``out_channels`` is in_channels twice over in models that predict the variance as well. ``num_classes`` leaves out
    the row for "no class". ``layout`` is ``original`` (the authors' code: queries, keys and values in one product, one
    embedder of timestep and label for all layers) or ``diffusers`` (``DiTTransformer2DModel``: three products, and a
    copy of the embedders in every layer, run once a layer and once more for the output, which weighs 75 M parameters
    more in XL/2). Position tables are fixed sines, not parameters.
    """

    family: ClassVar[str] = "dit"
    default_sizes: ClassVar[Mapping[str, int]] = {"height": 256, "width": 256}
    throughput_unit: ClassVar[str] = "images/s"

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    intermediate_size: Dim
    patch_size: Dim = 2
    in_channels: Dim = 4
    out_channels: Dim = 8
    num_classes: Dim = 1000
    head_dim: Dim | None = None
    vae_scale_factor: Dim = 8
    layout: str = "original"

    @property
    def head_width(self) -> Any:
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

    def parameters(self) -> Any:
        h, i, layers = as_float(self.hidden_size), as_float(self.intermediate_size), as_float(self.num_layers)
        area = as_float(self.patch_size) ** 2
        patchify = as_float(self.in_channels) * area * h + h
        layer = self._layer_linear() + (6 * h + 4 * h + i + h)  # biases: modulation, q, k, v and out, feed-forward
        timestep = TIMESTEP_CHANNELS * h + h + h * h + h
        conditioning = timestep + (as_float(self.num_classes) + 1) * h
        final = 2 * h * h + 2 * h + (h + 1) * area * as_float(self.out_channels)
        copies = layers if self.layout == "diffusers" else 1.0
        return patchify + copies * conditioning + layers * layer + final

    def tokens(self, workload: Workload) -> Any:
        """Images: one pass moves ``batch_size`` of them one step on."""
        self._grid(workload)
        return as_float(workload.batch_size)

    def lower(self, workload: Workload) -> OpList:
        """The ops of one denoising step.

        Raises:
            InvalidInputError: height or width missing, or no whole number of patches.
            UnsupportedError: a phase that image models do not have.
        """
        w = workload
        rows_high, rows_wide = self._grid(w)
        seq = blocks.product(rows_high, rows_wide)
        rows = blocks.product(w.batch_size, seq)
        conditioning = self._conditioning(w)
        layers: tuple[Op, ...] = (
            *self._attention(rows, seq, w),
            self._gate_norm("attention.gate_residual_norm", rows, w),
            *self._mlp(rows, w),
            self._gate_norm("mlp.gate_residual_norm", rows, w),
        )
        forward = OpList(
            (
                *self._patchify(rows, (rows_high, rows_wide), w),
                *conditioning,
                self._norm_modulate("input_norm_modulate", rows, w),
                *layers,
                *self._final(rows, w),
            )
        )
        if w.phase is not Phase.TRAIN:
            return forward
        again = (*self._conditioning_of_layers(conditioning), *layers) if w.checkpointing else ()
        return training_step(forward, self.parameters(), w, recomputed=again)

    def _conditioning_of_layers(self, conditioning: list[Op]) -> list[Op]:
        """What of the conditioning the layers run: the modulation, and in diffusers' class the embedders."""
        inside = [op for op in conditioning if self.layout == "diffusers" or op.name.startswith("modulation")]
        return [replace(op, count=np.asarray(self.num_layers)) for op in inside]

    def memory(self, workload: Workload) -> MemoryUse:
        """Weights, peak of live activations, gradients and AdamW's state.

        Inference: the layer's input, residual sum and the last branch's output, beside the larger of normed input with
        q, k, v and attention's output, and normed input with the feed-forward's widest moment. Training also keeps
        each norm's output before its modulation, and both branches' outputs for their gates.
        """
        w = workload
        rows_high, rows_wide = self._grid(w)
        rows = as_float(w.batch_size) * as_float(blocks.product(rows_high, rows_wide))
        h = as_float(self.hidden_size)
        if w.phase is Phase.TRAIN:
            norms = 2 * (footprint.norm_saved("layernorm", h, w) + h)
            saved = norms + 4 * h + 2 * h + footprint.mlp_saved("gelu_tanh", False, self.intermediate_size)
            width = footprint.training_live(self.num_layers, saved, h, 0.0, 0.0, self.intermediate_size, w)
            optimizer = footprint.training_state_bytes(self.parameters(), w)
        else:
            mlp = footprint.mlp_live("gelu_tanh", False, self.intermediate_size)
            width = 4 * h + np.maximum(4 * h, mlp)
            optimizer = as_float(0.0)
        return MemoryUse(
            weights=footprint.weight_bytes(self.parameters(), as_float(self.num_layers) * self._layer_linear(), w),
            activations=rows * width * w.activation_dtype.itemsize,
            optimizer=optimizer,
        )

    def _grid(self, w: Workload) -> tuple[Any, Any]:
        """Patches along height and width."""
        if w.phase in (Phase.PREFILL, Phase.DECODE):
            raise UnsupportedError(f"a diffusion transformer has no {w.phase.value} phase; use forward or train")
        if w.height is None or w.width is None:
            missing = " and ".join(f"--{side}" for side in ("height", "width") if getattr(w, side) is None)
            raise InvalidInputError(f"a diffusion transformer's workload needs the image's size in pixels: {missing}")
        if w.frames is not None and np.any(np.asarray(w.frames) != 1):
            raise InvalidInputError("dit generates single images: leave out --frames")
        step = blocks.product(self.vae_scale_factor, self.patch_size)
        for side in ("height", "width"):
            size = np.asarray(getattr(w, side))
            if np.any(size % step) or np.any(size < 1):
                raise InvalidInputError(
                    f"--{side} {getattr(w, side)} must be a multiple of {step} pixels (vae_scale_factor · patch_size)"
                )
        return np.asarray(w.height) // step, np.asarray(w.width) // step

    def _layer_linear(self) -> Any:
        h, i = as_float(self.hidden_size), as_float(self.intermediate_size)
        return 6 * h * h + 4 * h * h + 2 * h * i

    def _patchify(self, rows: Dim, grid: tuple[Any, Any], w: Workload) -> list[Op]:
        p = self.patch_size
        return [
            Convolution(
                name="patchify.conv",
                batch=w.batch_size,
                in_channels=self.in_channels,
                out_channels=self.hidden_size,
                kernel_size=(p, p),
                stride=(p, p),
                out_size=grid,
                input_is_data=True,
                dtype=w.activation_dtype,
            ),
            blocks.pointwise("patchify.add_positions", "add", rows, self.hidden_size, w, reads=2.0),
        ]

    def _conditioning(self, w: Workload) -> list[Op]:
        """Timestep and label embeddings, and the modulation vectors of all layers and of the output."""
        h, images, dtype = self.hidden_size, w.batch_size, w.activation_dtype
        layers = np.asarray(self.num_layers)
        runs = layers + 1 if self.layout == "diffusers" else 1
        casts = 1 if dtype.itemsize < 4 else 0
        kernels = 11 + casts if self.layout == "diffusers" else 9
        sines = timestep_sines("conditioning.sines", w, TIMESTEP_CHANNELS, kernels, runs)
        return [
            sines,
            blocks.linear("conditioning.timestep_in", images, TIMESTEP_CHANNELS, h, dtype, count=runs, bias=True),
            blocks.pointwise("conditioning.timestep_silu", "silu", images, h, w, count=runs),
            blocks.linear("conditioning.timestep_out", images, h, h, dtype, count=runs, bias=True),
            blocks.embedding("conditioning.label", images, h, w, count=runs),
            blocks.pointwise("conditioning.add", "add", images, h, w, reads=2.0, count=runs),
            blocks.pointwise("modulation.silu", "silu", images, h, w, count=layers + 1),
            blocks.linear(
                "modulation.linear", images, h, blocks.product(6, h), w.linear_dtype, count=layers, bias=True
            ),
        ]

    def _modulated_norm(self, name: str, rows: Dim, w: Workload) -> tuple[MemoryOp, ...]:
        """LayerNorm, 1 + scale, product and sum."""
        h = self.hidden_size
        return (
            blocks.pointwise(f"{name}.norm", "layernorm", rows, h, w),
            blocks.pointwise(f"{name}.one_plus_scale", "addu", w.batch_size, h, w),
            blocks.pointwise(f"{name}.scale", "modulate", rows, h, w),
            blocks.pointwise(f"{name}.shift", "modulate", rows, h, w),
        )

    def _norm_modulate(self, name: str, rows: Dim, w: Workload) -> Op:
        return blocks.group(name, "layernorm", self._modulated_norm(name, rows, w), reads=1.0)

    def _gate_norm(self, name: str, rows: Dim, w: Workload) -> Op:
        """A branch's gate and residual sum, and the norm after it: the feed-forward's, the next layer's or the last.

        diffusers divides attention's output by its rescaling factor (1) first, in a kernel of its own.
        """
        h = self.hidden_size
        members = (
            blocks.pointwise(f"{name}.gate", "modulate", rows, h, w),
            blocks.pointwise(f"{name}.add", "add", rows, h, w, reads=2.0),
            *self._modulated_norm(name, rows, w),
        )
        if self.layout == "diffusers" and name.startswith("attention"):
            members = (blocks.pointwise(f"{name}.rescale", "divu", rows, h, w), *members)
        return blocks.group(name, "layernorm", members, reads=2.0, writes=2.0, count=self.num_layers)

    def _attention(self, rows: Dim, seq: Dim, w: Workload) -> list[Op]:
        h, layers, dtype = self.hidden_size, np.asarray(self.num_layers), w.linear_dtype
        if self.layout == "diffusers":
            name, width, count = "attention.q_proj+k_proj+v_proj", np.asarray(h), 3 * layers
        else:
            name, width, count = "attention.qkv_proj", blocks.product(3, h), layers
        return [
            blocks.linear(name, rows, h, width, dtype, count=count, bias=True),
            Attention(
                name="attention.core",
                batch=w.batch_size,
                heads_q=self.num_attention_heads,
                heads_kv=self.num_attention_heads,
                seq_q=seq,
                seq_kv=seq,
                head_dim=self.head_width,
                dtype=w.activation_dtype,
                count=layers,
            ),
            blocks.linear("attention.o_proj", rows, h, h, dtype, count=layers, bias=True),
        ]

    def _mlp(self, rows: Dim, w: Workload) -> list[Op]:
        h, i, layers, dtype = self.hidden_size, self.intermediate_size, self.num_layers, w.linear_dtype
        return [
            blocks.linear("mlp.up_proj", rows, h, i, dtype, count=layers, bias=True),
            blocks.activation("mlp.activation", "gelu_tanh", rows, i, w, count=layers, gated=False),
            blocks.linear("mlp.down_proj", rows, i, h, dtype, count=layers, bias=True),
        ]

    def _final(self, rows: Dim, w: Workload) -> list[Op]:
        h, dtype = self.hidden_size, w.activation_dtype
        width = blocks.product(self.patch_size, self.patch_size, self.out_channels)
        return [
            blocks.linear("final.modulation", w.batch_size, h, blocks.product(2, h), dtype, bias=True),
            blocks.linear("final.linear", rows, h, width, dtype, bias=True),
            blocks.pointwise("final.unpatchify", "unpatchify", rows, width, w),
        ]


_SIZES = {"s": (12, 384, 6), "b": (12, 768, 12), "l": (24, 1024, 16), "xl": (28, 1152, 16)}

# The twelve models of DiT's table 1 (https://arxiv.org/abs/2212.09748) as in the authors' models.py
# (https://github.com/facebookresearch/DiT): mlp_ratio 4, predicted variance, 1000 ImageNet classes, f8 latents.
PRESETS: dict[str, dict[str, Any]] = {
    f"dit-{size}-{patch}": {
        "num_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "patch_size": patch,
    }
    for size, (layers, hidden, heads) in _SIZES.items()
    for patch in (2, 4, 8)
}
