"""What is asked of a pipeline, and how it is run; both refuse what no real run can do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np

from archsearch.arrays import Dim
from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.pipeline.catalog import GenerationPipeline, check_asked
from archsearch.pipeline.records import Guidance
from archsearch.workload import MAX_DIMENSION, Workload


class Placement(StrEnum):
    """Where weights are while another component runs.

    ``resident``: all on the GPU. ``model-offload``: one component on the GPU at a time (diffusers'
    ``enable_model_cpu_offload``). ``sequential-offload``: one layer at a time, fetched in every pass
    (``enable_sequential_cpu_offload``).
    """

    RESIDENT = "resident"
    MODEL_OFFLOAD = "model-offload"
    SEQUENTIAL_OFFLOAD = "sequential-offload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One generation: ``batch_size`` images or videos. ``steps`` and sizes may be arrays that broadcast.

    ``guidance_passes`` are the transformer's passes a step over a grid of architectures; of one generation they follow
    from its guidance (None).
    """

    height: Dim
    width: Dim
    frames: Dim | None
    steps: Dim
    guidance: Guidance
    batch_size: Dim = 1
    caption_tokens: int = 0
    guidance_passes: Dim | None = None

    @property
    def passes(self) -> Dim:
        """Passes of the transformer a step."""
        return self.guidance.passes if self.guidance_passes is None else self.guidance_passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a pipeline runs; levers change these fields.

    ``execution`` is how its transformer runs; what stands beside it runs as ``execution.beside()``. ``dtype`` is the
    transformer's linear format. ``cached_share`` of the steps reuse features and run ``cache_probe`` of the
    transformer. ``cfg_parallel`` GPUs share the two passes of guidance, ``execution.sequence_parallel`` the tokens.

    Raises:
        InvalidInputError: a number that no run can have.
        UnsupportedError: a layout or format that pipelines do not have.
    """

    dtype: DType
    execution: Execution = field(default_factory=Execution)
    text_encoder_dtype: DType | None = None
    decoder_dtype: DType | None = None
    placement: Placement = Placement.RESIDENT
    tiling: bool | None = None
    slicing: bool = False
    cached_share: float = 0.0
    cache_probe: float = 0.0
    linear_attention: bool = False
    cfg_parallel: int = 1
    pcie_gb_s: float | None = None
    pinned: bool = False

    @property
    def base_dtype(self) -> DType:
        """Format of attention, norms, and components that are not quantized."""
        return DType.BF16 if self.dtype.itemsize < 2 else self.dtype

    @property
    def gpus(self) -> int:
        return self.execution.gpus * self.cfg_parallel

    @property
    def step_execution(self) -> Execution:
        """How a step of the transformer runs, its default attention named."""
        return self.execution.resolved(Workload(height=1, width=1, dtype=self.dtype))

    def line(self) -> str:
        """What of it is not the default, execution, format and placement aside, in words; empty where nothing is."""
        plain = Run(dtype=self.dtype)
        names = [f.name for f in fields(self) if f.name not in ("dtype", "execution", "placement")]
        told = {name: getattr(self, name) for name in names if getattr(self, name) != getattr(plain, name)}
        shown = {name: getattr(value, "value", value) for name, value in told.items()}
        return ", ".join(f"{n}={f'{v:.3g}' if isinstance(v, float) else str(v).lower()}" for n, v in shown.items())

    def __post_init__(self) -> None:
        if not 0.0 <= self.cached_share < 1.0:
            raise InvalidInputError(f"the share of cached steps must be from 0 to below 1, not {self.cached_share:g}")
        if self.cfg_parallel not in (1, 2):
            raise InvalidInputError(f"CFG parallelism splits two passes: 1 or 2 GPUs, not {self.cfg_parallel}")
        if self.execution.data_parallel > 1 or self.execution.pipeline_parallel > 1:
            raise UnsupportedError(
                "a generation is shared by its sequence or its two passes (--sequence-parallel, lever cfg-parallel); "
                "replicas are `archsearch serve fleet`'s to count"
            )
        if self.decoder_dtype is not None and self.decoder_dtype.itemsize < 2:
            raise UnsupportedError(
                f"--decoder-dtype {self.decoder_dtype.value}: autoencoders run in 16 or 32 bits (bf16, fp16, fp32)"
            )
        if self.pcie_gb_s is not None and not (math.isfinite(self.pcie_gb_s) and self.pcie_gb_s > 0):
            raise InvalidInputError(f"--pcie-gb-s must be a positive number, not {self.pcie_gb_s}")


def run_reasons(run: Run) -> dict[str, str]:
    """What of a run excludes something else of it: what cannot be (compile, graphs, shared) → why."""
    found: dict[str, str] = {}
    resident = run.placement is Placement.RESIDENT
    if run.execution.compiled and run.placement is Placement.SEQUENTIAL_OFFLOAD:
        found["compile"] = (
            "sequential offload moves every layer's weights in a hook, which breaks the graph at each of them"
        )
    if run.execution.cuda_graphs and not resident:
        found["graphs"] = "a captured graph holds its weights' addresses: they must stay resident"
    elif run.execution.cuda_graphs and run.cached_share:
        found["graphs"] = "a feature cache decides at run time which blocks run: a captured graph cannot"
    if run.gpus > 1 and not resident:
        found["shared"] = "offloading moves weights in turn; GPUs that share a generation need them resident"
    return found


def make_request(
    pipeline: GenerationPipeline,
    *,
    height: Any = None,
    width: Any = None,
    frames: Any = None,
    steps: Any = None,
    guidance: str | Guidance | None = None,
    batch_size: Any = 1,
    caption_tokens: int = 0,
) -> tuple[Request, tuple[str, ...]]:
    """A request with the pipeline's defaults filled in, and what was assumed (``name=value``).

    One side alone means a square.

    Raises:
        InvalidInputError: a size that the latents or patches do not divide, frames of an image pipeline, steps out of
            range, steps or guidance that the checkpoint is not made for; the text names what is legal.
        UnknownNameError: no such guidance.
    """
    defaults, assumed = pipeline.record.defaults, []
    if height is None and width is not None:
        height = width
    if width is None and height is not None:
        width = height
    sizes: dict[str, Any] = {"height": height, "width": width, "steps": steps}
    if pipeline.video:
        sizes["frames"] = frames
    elif frames is not None and np.any(np.asarray(frames) != 1):
        raise InvalidInputError(f"{pipeline.name} generates single images: leave out --frames")
    for name, value in sizes.items():
        if value is None:
            sizes[name] = getattr(defaults, name)
            assumed.append(f"{name}={sizes[name]}")
    chosen = pipeline.record.guidance.default if guidance is None else _guidance(guidance)
    if guidance is None:
        assumed.append(f"guidance={chosen.value}")
    request = Request(
        height=sizes["height"],
        width=sizes["width"],
        frames=sizes.get("frames"),
        steps=sizes["steps"],
        guidance=chosen,
        batch_size=batch_size,
        caption_tokens=caption_tokens,
    )
    check_request(pipeline, request)
    check_asked(pipeline, request.steps, chosen.value)
    return request, tuple(assumed)


def _guidance(value: str | Guidance) -> Guidance:
    try:
        return Guidance(value)
    except ValueError:
        raise UnknownNameError("guidance", str(value), [g.value for g in Guidance]) from None


def check_request(pipeline: GenerationPipeline, request: Request) -> None:
    """Refuse sizes that the pipeline cannot generate.

    Raises:
        InvalidInputError: what, why, and the nearest legal values.
    """
    _whole("batch-size", request.batch_size, 1, MAX_DIMENSION)
    _whole("steps", request.steps, 1, pipeline.record.max_steps)
    decoder = pipeline.record.decoder
    if decoder is not None and decoder.denoises and np.any(np.asarray(request.steps) < 2):
        raise InvalidInputError(f"--steps {request.steps}: the decoder takes the last step, so at least 2 are needed")
    step = pixel_step(pipeline)
    for side in ("height", "width"):
        value = getattr(request, side)
        _whole(side, value, 1, MAX_DIMENSION)
        why = f"latents of {_say(_scale(pipeline))} pixels, patches of {_say(_patch(pipeline))}"
        _divisible(f"--{side}", value, step, 0, why)
    if request.frames is not None:
        _whole("frames", request.frames, 1, MAX_DIMENSION)
        factor = frame_step(pipeline)
        _divisible("--frames", request.frames, factor, 1, f"the autoencoder packs {_say(factor)} frames into one")


def pixel_step(pipeline: GenerationPipeline) -> Any:
    """Pixels that height and width must be multiples of: latents, patches and the autoencoder's own."""
    own = _scale(pipeline) * _patch(pipeline)
    decoder = 1 if pipeline.decoder is None else int(getattr(pipeline.decoder, "vae_scale_factor", 1))
    return np.lcm(own, decoder)


def frame_step(pipeline: GenerationPipeline) -> Any:
    """Frames per latent frame after the first."""
    return np.asarray(getattr(pipeline.transformer, "vae_temporal_factor", 1))


def _scale(pipeline: GenerationPipeline) -> Any:
    return np.asarray(getattr(pipeline.transformer, "vae_scale_factor", 1))


def _patch(pipeline: GenerationPipeline) -> Any:
    patch = getattr(pipeline.transformer, "patch_size", 1)
    return np.asarray(patch[-1] if isinstance(patch, tuple) else patch)


def _say(value: Any) -> str:
    return "/".join(str(v) for v in np.unique(np.asarray(value)))


def _whole(name: str, value: Any, low: int, high: int) -> None:
    array = np.asarray(value)
    whole = array.dtype.kind in "iu" and bool(np.all((array >= low) & (array <= high)))
    if not whole:
        nearest = int(np.clip(np.rint(float(array.flat[0])), low, high)) if array.dtype.kind in "iuf" else low
        raise InvalidInputError(f"--{name} {value} must be a whole number from {low} to {high}; nearest: {nearest}")


def _divisible(flag: str, value: Any, step: Any, offset: int, why: str) -> None:
    array, steps = np.broadcast_arrays(np.asarray(value), np.asarray(step))
    bad = (array - offset) % steps != 0
    if not bad.any():
        return
    size, unit = int(array[bad].flat[0]), int(steps[bad].flat[0])
    below = (size - offset) // unit * unit + offset
    legal = [v for v in (below, below + unit) if v >= 1]
    form = f"1 more than a multiple of {unit}" if offset else f"a multiple of {unit} pixels"
    raise InvalidInputError(f"{flag} {size} must be {form} ({why}); nearest legal: {' or '.join(map(str, legal))}")
