"""A pipeline's stages in order: what each calls, how often, with which weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archsearch.arrays import Count, Dim, FloatArray, Floats, as_float
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models.base import ModelConfig
from archsearch.ops import Collective, OpList
from archsearch.pipeline.catalog import GenerationPipeline
from archsearch.pipeline.pipeline_record import TilingRecord
from archsearch.pipeline.request import Deployment, Placement, Request
from archsearch.pipeline.transforms import WithLinearAttention
from archsearch.segments import Segment
from archsearch.workload import Phase, Workload

DENOISE = "denoise"
DEPTHS = ("num_layers", "num_single_layers")
"""Fields of a transformer that count its blocks, by kind."""


@dataclass(frozen=True, slots=True)
class Part:
    """A model that works on one workload, ``calls`` times in a row: a number or an array that broadcasts, whole but
    where a share of the steps is cached."""

    config: ModelConfig
    workload: Workload
    calls: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one component of a pipeline does. ``component`` names its weights; ``beside`` marks all but the
    transformer. ``weights_of`` is the workload whose weights it holds."""

    name: str
    component: str
    parts: tuple[Part, ...]
    weights_of: Part
    beside: bool = True

    @property
    def calls(self) -> Count:
        """Calls of all its parts."""
        return sum((np.asarray(part.calls) for part in self.parts), np.asarray(0))

    def segments(self, lowered: Callable[[ModelConfig, Workload], OpList]) -> list[Segment]:
        """The stage as segments of a run."""
        return [
            Segment(
                name=self.name,
                ops=lowered(part.config, part.workload),
                calls=part.calls,
                workload=part.workload,
                beside=self.beside,
                key=_key(part),
            )
            for part in self.parts
        ]


def _key(part: Part) -> Hashable | None:
    """What names a part's ops: nothing where its dimensions are arrays."""
    try:
        hash((part.config, part.workload))
    except TypeError:
        return None
    return part.config, part.workload


def stages_of(pipeline: GenerationPipeline, request: Request, deployment: Deployment) -> tuple[Stage, ...]:
    """All stages in the order in which they run; nothing is priced.

    Raises:
        InvalidInputError, UnsupportedError: what the models or the levers refuse.
    """
    stages = [*_caption(pipeline, request, deployment), *_encoders(pipeline, request, deployment)]
    decoder = pipeline.record.decoder
    if decoder is not None and decoder.encodes_reference:
        stages.append(_autoencoder(pipeline, request, deployment, Phase.ENCODE))
    stages.append(denoise_stage(pipeline, request, deployment))
    if pipeline.decoder is not None:
        stages.append(_autoencoder(pipeline, request, deployment, Phase.DECODE))
    return tuple(stages)


def _caption(pipeline: GenerationPipeline, request: Request, deployment: Deployment) -> Iterator[Stage]:
    """The language model that rewrites the prompt: one prefill, then one pass per token, each costed at the mean
    context length."""
    captioner = pipeline.captioner
    if captioner is None:
        return
    dtype, batch = deployment.base_dtype, request.batch_size
    read = Workload(phase=Phase.PREFILL, batch_size=batch, seq_len=captioner.prompt_tokens, dtype=dtype)
    context = captioner.prompt_tokens + -(-captioner.new_tokens // 2)
    write = Workload(phase=Phase.DECODE, batch_size=batch, seq_len=context, dtype=dtype)
    first = Part(captioner.config, read, 1)
    parts = (first, Part(captioner.config, write, captioner.new_tokens - 1)) if captioner.new_tokens > 1 else (first,)
    yield Stage(name="caption", component="captioner", parts=parts, weights_of=first)


def _encoders(pipeline: GenerationPipeline, request: Request, deployment: Deployment) -> Iterator[Stage]:
    for encoder in pipeline.text_encoders:
        dtype = encoder.record.dtype or deployment.base_dtype
        w = Workload(batch_size=request.batch_size, seq_len=encoder.record.seq_len, dtype=dtype)
        stored = replace(w, dtype=deployment.text_encoder_dtype or dtype)
        twice = (np.asarray(request.passes) == 2) & encoder.record.negative
        yield Stage(
            name=f"text:{encoder.record.name}",
            component=encoder.record.name,
            parts=(Part(encoder.config, w, _plain(np.where(twice, 2, 1))),),
            weights_of=Part(encoder.config, stored, 1),
        )


def denoise_stage(pipeline: GenerationPipeline, request: Request, deployment: Deployment) -> Stage:
    """The transformer in every step. Guidance doubles the batch, runs twice, or is shared by two GPUs."""
    if deployment.cfg_parallel == 2 and not np.all(np.asarray(request.passes) == 2):
        raise UnsupportedError(f"CFG parallelism needs two passes a step; guidance is {request.guidance.value}")
    here = np.asarray(request.passes) // deployment.cfg_parallel
    batched = pipeline.record.guidance.batched
    w = Workload(
        batch_size=_plain(np.asarray(request.batch_size) * here) if batched else request.batch_size,
        height=request.height,
        width=request.width,
        frames=request.frames,
        dtype=deployment.dtype,
    )
    number = denoising_steps(pipeline, request) * (1 if batched else here)
    share = 1.0 if not deployment.cached_share else 1.0 - deployment.cached_share * (1.0 - deployment.cache_probe)
    part = Part(transformer_of(pipeline, deployment), w, _plain(number) if share == 1.0 else as_float(number) * share)
    return Stage(name=DENOISE, component="transformer", parts=(part,), weights_of=part, beside=False)


def _plain(value: Dim) -> Dim:
    """A whole number as Python's, an array as it is."""
    return int(value) if np.ndim(value) == 0 else value


def transformer_of(pipeline: GenerationPipeline, deployment: Deployment) -> ModelConfig:
    """The transformer as a deployment has it."""
    if not deployment.linear_attention:
        return pipeline.transformer
    linear: Any = WithLinearAttention(
        pipeline.transformer
    )  # what it leaves alone, it takes from the config it is around
    transformer: ModelConfig = linear
    return transformer


def denoising_steps(pipeline: GenerationPipeline, request: Request) -> Dim:
    """Steps of the transformer: one fewer where the decoder takes the last."""
    decoder = pipeline.record.decoder
    return np.asarray(request.steps) - (1 if decoder is not None and decoder.denoises else 0)


def exchange(pipeline: GenerationPipeline, stage: Stage, deployment: Deployment) -> Collective | None:
    """Predictions that GPUs swap once a step: of both passes, and of the parts of the sequence."""
    if deployment.gpus == 1 or stage.beside:
        return None
    w = stage.parts[0].workload
    assert w.height is not None
    assert w.width is not None
    scale = as_float(getattr(pipeline.transformer, "vae_scale_factor", 1))
    frames = as_float(1 if w.frames is None else w.frames)
    channels = as_float(getattr(pipeline.transformer, "in_channels", 16))
    latents = channels * as_float(w.height) * as_float(w.width) / scale**2 * frames  # at most: time is not divided
    payload = latents * as_float(w.batch_size) * w.activation_dtype.itemsize
    return Collective(name="predictions", kind="all_gather", payload_bytes=payload, group_size=deployment.gpus)


def _autoencoder(pipeline: GenerationPipeline, request: Request, deployment: Deployment, phase: Phase) -> Stage:
    """Decoding (or encoding the reference), whole, image by image, or tile by tile."""
    record, config = pipeline.record.decoder, pipeline.decoder
    assert record is not None
    assert config is not None
    dtype = deployment.decoder_dtype or record.dtype or deployment.base_dtype
    w = Workload(
        phase=phase,
        batch_size=1 if deployment.slicing else request.batch_size,
        height=request.height,
        width=request.width,
        frames=request.frames,
        dtype=dtype,
    )
    repeats = request.batch_size if deployment.slicing else 1
    parts = tuple(_tiles(Part(config, w, repeats), record.tiling, deployment.tiling))
    name = "decode" if phase is Phase.DECODE else "encode:reference"
    whole = Part(config, replace(w, phase=Phase.FORWARD), 1)
    return Stage(name=name, component="decoder", parts=parts, weights_of=whole)


def _tiles(whole: Part, tiling: TilingRecord | None, asked: bool | None) -> Iterator[Part]:
    """The tiles of a part, equal ones together: at every stride one tile, cut at the edge.

    Raises:
        InvalidInputError: tiling was asked of a decoder whose tiles the pipeline does not name.
    """
    if asked and tiling is None:
        raise InvalidInputError(
            "the pipeline's decoder names no tiles: give decoder.tiling in its file, or leave it out"
        )
    wanted = tiling is not None and (tiling.default if asked is None else asked)
    if not wanted or tiling is None:
        yield whole
        return
    pixels = [int(np.asarray(side)) for side in (whole.workload.height, whole.workload.width)]
    if all(side <= size for side, (size, _) in zip(pixels, tiling.sides, strict=True)):
        yield whole
        return
    sides = [
        [min(size, side - at) for at in range(0, side, stride)]
        for side, (size, stride) in zip(pixels, tiling.sides, strict=True)
    ]
    for (h, v), number in Counter((h, v) for h in sides[0] for v in sides[1]).items():
        calls = _plain(np.asarray(number) * np.asarray(whole.calls))
        yield Part(whole.config, replace(whole.workload, height=h, width=v), calls)


def transfer_s(stage: Stage, weights_bytes: FloatArray, placement: Placement, bandwidth_bytes_s: float) -> Floats:
    """Seconds of PCIe copies in a stage.

    Model offload fetches a component once and puts it back; sequential offload fetches every layer in every call and
    drops it (accelerate's hooks leave it on the meta device).
    """
    if placement is Placement.RESIDENT:
        return as_float(0.0)
    if placement is Placement.MODEL_OFFLOAD:
        return 2.0 * as_float(weights_bytes) / bandwidth_bytes_s
    return as_float(weights_bytes) * as_float(stage.calls) / bandwidth_bytes_s


def config_layers(config: ModelConfig) -> Floats:
    """Blocks of a transformer, of all kinds."""
    return sum((as_float(getattr(config, name, 0)) for name in DEPTHS), as_float(0.0))
