"""What is asked of a pipeline, and how its parts lie and run; both refuse what no GPU can do."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum

import numpy as np

from archsearch.arrays import Dim
from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.pipeline.catalog import GenerationPipeline, check_asked
from archsearch.pipeline.pipeline_record import Guidance
from archsearch.ranges import require_range
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
class Deployment:
    """How the parts of a pipeline lie and run; levers change these fields.

    ``execution`` is how its transformer runs; what stands beside it runs as ``execution.beside()``. ``dtype`` is the
    transformer's linear format. ``cached_share`` of the steps reuse features and run ``cache_probe`` of the
    transformer. ``cfg_parallel`` GPUs share the two passes of guidance, ``execution.sequence_parallel`` the tokens.

    Raises:
        InvalidInputError: a number that no deployment can have.
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
        return DType.BF16 if self.dtype.weight_itemsize < 2 else self.dtype

    @property
    def gpus(self) -> int:
        return self.execution.gpus * self.cfg_parallel

    @property
    def step_execution(self) -> Execution:
        """How a step of the transformer runs, its default attention named."""
        return self.execution.resolved(Workload(height=1, width=1, dtype=self.dtype))

    def line(self) -> str:
        """What of it is not the default, execution, format and placement aside, in words; empty where nothing is."""
        plain = Deployment(dtype=self.dtype)
        names = [f.name for f in fields(self) if f.name not in ("dtype", "execution", "placement")]
        changed = {name: getattr(self, name) for name in names if getattr(self, name) != getattr(plain, name)}
        return ", ".join(f"{name}={_word(value)}" for name, value in changed.items())

    def __post_init__(self) -> None:
        require_range("cached_share", self.cached_share, 0, 1, below=True)
        require_range("cfg_parallel", self.cfg_parallel, 1, 2, whole=True)
        if self.execution.data_parallel > 1 or self.execution.pipeline_parallel > 1:
            raise UnsupportedError(
                "a generation is shared by its sequence or its two passes ({sequence_parallel}, lever cfg-parallel); "
                "replicas are `archsearch serve fleet`'s to count",
                field="sequence_parallel",
            )
        if self.decoder_dtype is not None and self.decoder_dtype.weight_itemsize < 2:
            raise UnsupportedError(
                f"{{decoder_dtype}} {self.decoder_dtype.value}: autoencoders run in 16 or 32 bits (bf16, fp16, fp32)",
                field="decoder_dtype",
            )
        if self.pcie_gb_s is not None:
            require_range("pcie_gb_s", self.pcie_gb_s, 0, above=True, unit="GB/s")


def _word(value: object) -> str:
    shown = getattr(value, "value", value)
    return f"{shown:.3g}" if isinstance(shown, float) else str(shown).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflicts:
    """Why a part of a deployment cannot be beside another: compilation, graphs, GPUs that share a generation. None
    where it can."""

    compiled: str | None = None
    cuda_graphs: str | None = None
    shared: str | None = None

    @property
    def first(self) -> str | None:
        """The first reason, None where nothing excludes anything."""
        return self.compiled or self.cuda_graphs or self.shared


def conflicts(deployment: Deployment) -> Conflicts:
    """What of a deployment excludes something else of it."""
    compiled = graphs = shared = None
    resident = deployment.placement is Placement.RESIDENT
    if deployment.execution.compiled and deployment.placement is Placement.SEQUENTIAL_OFFLOAD:
        compiled = "sequential offload moves every layer's weights in a hook, which breaks the graph at each of them"
    if deployment.execution.cuda_graphs and not resident:
        graphs = "a captured graph holds its weights' addresses: they must stay resident"
    elif deployment.execution.cuda_graphs and deployment.cached_share:
        graphs = "a feature cache decides at run time which blocks run: a captured graph cannot"
    if deployment.gpus > 1 and not resident:
        shared = "offloading moves weights in turn; GPUs that share a generation need them resident"
    return Conflicts(compiled=compiled, cuda_graphs=graphs, shared=shared)


def make_request(
    pipeline: GenerationPipeline,
    *,
    height: Dim | None = None,
    width: Dim | None = None,
    frames: Dim | None = None,
    steps: Dim | None = None,
    guidance: str | Guidance | None = None,
    batch_size: Dim = 1,
    caption_tokens: int = 0,
) -> tuple[Request, tuple[str, ...]]:
    """A request with the pipeline's defaults filled in, and what was assumed (``name=value``).

    One side alone means a square.

    Raises:
        InvalidInputError: a size that the latents or patches do not divide, frames of an image pipeline, steps out of
            range, steps or guidance that the checkpoint is not made for; the text names what is legal.
        UnknownNameError: no such guidance.
    """
    defaults = pipeline.record.defaults
    assumed: list[str] = []

    def or_default(name: str, value: Dim | None, default: int) -> Dim:
        if value is not None:
            return value
        assumed.append(f"{name}={default}")
        return default

    if not pipeline.video and frames is not None and np.any(np.asarray(frames) != 1):
        raise InvalidInputError(f"{pipeline.name} generates single images: leave out {{frames}}", field="frames")
    high = or_default("height", width if height is None else height, defaults.height)
    wide = or_default("width", height if width is None else width, defaults.width)
    count = or_default("steps", steps, defaults.steps)
    chosen = pipeline.record.guidance.default if guidance is None else _guidance(guidance)
    length = or_default("frames", frames, defaults.frames) if defaults.frames and pipeline.video else None
    if guidance is None:
        assumed.append(f"guidance={chosen.value}")
    request = Request(
        height=high,
        width=wide,
        frames=length,
        steps=count,
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
    _require_whole("batch_size", request.batch_size, MAX_DIMENSION)
    _require_whole("steps", request.steps, pipeline.record.max_steps)
    decoder = pipeline.record.decoder
    if decoder is not None and decoder.denoises and np.any(np.asarray(request.steps) < 2):
        raise InvalidInputError(
            f"{{steps}} {request.steps}: the decoder takes the last step, so at least 2 are needed", field="steps"
        )
    why = f"latents of {_say(_scale(pipeline))} pixels, patches of {_say(_patch(pipeline))}"
    for side, pixels in (("height", request.height), ("width", request.width)):
        _require_whole(side, pixels, MAX_DIMENSION)
        _require_multiple(side, pixels, pixel_step(pipeline), 0, why)
    if request.frames is not None:
        _require_whole("frames", request.frames, MAX_DIMENSION)
        factor = frame_step(pipeline)
        _require_multiple("frames", request.frames, factor, 1, f"the autoencoder packs {_say(factor)} frames into one")


def pixel_step(pipeline: GenerationPipeline) -> Dim:
    """Pixels that height and width must be multiples of: latents, patches and the autoencoder's own."""
    transformer = np.asarray(_scale(pipeline)) * _patch(pipeline)
    decoder = 1 if pipeline.decoder is None else int(getattr(pipeline.decoder, "vae_scale_factor", 1))
    step: Dim = np.lcm(transformer, decoder)
    return step


def frame_step(pipeline: GenerationPipeline) -> Dim:
    """Frames per latent frame after the first."""
    return np.asarray(getattr(pipeline.transformer, "vae_temporal_factor", 1))


def _scale(pipeline: GenerationPipeline) -> Dim:
    return np.asarray(getattr(pipeline.transformer, "vae_scale_factor", 1))


def _patch(pipeline: GenerationPipeline) -> Dim:
    patch = getattr(pipeline.transformer, "patch_size", 1)
    return np.asarray(patch[-1] if isinstance(patch, tuple) else patch)


def _say(value: Dim) -> str:
    return "/".join(str(v) for v in np.unique(np.asarray(value)))


def _require_whole(field: str, value: Dim, high: int) -> None:
    """Check that a number or array is whole and from 1 to ``high``.

    Raises:
        InvalidInputError: with the nearest legal number.
    """
    array = np.asarray(value)
    if array.dtype.kind in "iu" and bool(np.all((array >= 1) & (array <= high))):
        return
    nearest = int(np.clip(np.rint(float(array.flat[0])), 1, high)) if array.dtype.kind in "iuf" else 1
    raise InvalidInputError(
        f"{{{field}}} {value} must be a whole number from 1 to {high}; nearest: {nearest}", field=field
    )


def _require_multiple(field: str, value: Dim, step: Dim, offset: int, why: str) -> None:
    """Check that a number or array is ``offset`` more than a multiple of ``step``.

    Raises:
        InvalidInputError: with the nearest legal numbers.
    """
    array, steps = np.broadcast_arrays(np.asarray(value), np.asarray(step))
    bad = (array - offset) % steps != 0
    if not bad.any():
        return
    size, unit = int(array[bad].flat[0]), int(steps[bad].flat[0])
    below = (size - offset) // unit * unit + offset
    legal = [v for v in (below, below + unit) if v >= 1]
    form = f"1 more than a multiple of {unit}" if offset else f"a multiple of {unit} pixels"
    raise InvalidInputError(
        f"{{{field}}} {size} must be {form} ({why}); nearest legal: {' or '.join(map(str, legal))}", field=field
    )
