"""A pipeline's stages in order: what each calls, how often, with which weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archsearch.arrays import as_float
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models.base import ModelConfig
from archsearch.ops import Collective, OpList
from archsearch.pipeline.catalog import GenerationPipeline
from archsearch.pipeline.records import TilingRecord
from archsearch.pipeline.request import Placement, Request, Run
from archsearch.pipeline.transforms import WithLinearAttention
from archsearch.segments import Segment
from archsearch.workload import Phase, Workload

DENOISE = "denoise"


@dataclass(frozen=True, slots=True)
class Part:
    """A model that works on one workload, ``calls`` times in a row (a number or an array that broadcasts)."""

    config: ModelConfig
    workload: Workload
    calls: Any


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
    def number(self) -> Any:
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


def stages_of(pipeline: GenerationPipeline, request: Request, run: Run) -> tuple[Stage, ...]:
    """All stages in the order in which they run; nothing is priced.

    Raises:
        InvalidInputError, UnsupportedError: what the models or the levers refuse.
    """
    found = [*_caption(pipeline, request, run), *_encoders(pipeline, request, run)]
    decoder = pipeline.record.decoder
    if decoder is not None and decoder.encodes_reference:
        found.append(_autoencoder(pipeline, request, run, Phase.ENCODE))
    found.append(_denoise(pipeline, request, run))
    if pipeline.decoder is not None:
        found.append(_autoencoder(pipeline, request, run, Phase.DECODE))
    return tuple(found)


def _caption(pipeline: GenerationPipeline, request: Request, run: Run) -> Iterator[Stage]:
    """The language model that rewrites the prompt: one prefill, then one pass per token, each costed at the mean
    context length."""
    captioner = pipeline.captioner
    if captioner is None:
        return
    dtype, batch = run.base_dtype, request.batch_size
    read = Workload(phase=Phase.PREFILL, batch_size=batch, seq_len=captioner.prompt_tokens, dtype=dtype)
    context = captioner.prompt_tokens + -(-captioner.new_tokens // 2)
    write = Workload(phase=Phase.DECODE, batch_size=batch, seq_len=context, dtype=dtype)
    first = Part(captioner.config, read, 1)
    parts = (first, Part(captioner.config, write, captioner.new_tokens - 1)) if captioner.new_tokens > 1 else (first,)
    yield Stage(name="caption", component="captioner", parts=parts, weights_of=first)


def _encoders(pipeline: GenerationPipeline, request: Request, run: Run) -> Iterator[Stage]:
    for encoder in pipeline.text_encoders:
        dtype = encoder.record.dtype or run.base_dtype
        w = Workload(batch_size=request.batch_size, seq_len=encoder.record.seq_len, dtype=dtype)
        stored = replace(w, dtype=run.text_encoder_dtype or dtype)
        twice = (np.asarray(request.passes) == 2) & encoder.record.negative
        yield Stage(
            name=f"text:{encoder.record.name}",
            component=encoder.record.name,
            parts=(Part(encoder.config, w, _plain(np.where(twice, 2, 1))),),
            weights_of=Part(encoder.config, stored, 1),
        )


def _denoise(pipeline: GenerationPipeline, request: Request, run: Run) -> Stage:
    """The transformer in every step. Guidance doubles the batch, runs twice, or is shared by two GPUs."""
    if run.cfg_parallel == 2 and not np.all(np.asarray(request.passes) == 2):
        raise UnsupportedError(f"CFG parallelism needs two passes a step; guidance is {request.guidance.value}")
    here = np.asarray(request.passes) // run.cfg_parallel
    batched = pipeline.record.guidance.batched
    w = Workload(
        batch_size=_plain(np.asarray(request.batch_size) * here) if batched else request.batch_size,
        height=request.height,
        width=request.width,
        frames=request.frames,
        dtype=run.dtype,
    )
    number = denoising_steps(pipeline, request) * (1 if batched else here)
    share = 1.0 if not run.cached_share else 1.0 - run.cached_share * (1.0 - run.cache_probe)
    part = Part(transformer_of(pipeline, run), w, _plain(number) if share == 1.0 else as_float(number) * share)
    return Stage(name=DENOISE, component="transformer", parts=(part,), weights_of=part, beside=False)


def _plain(value: Any) -> Any:
    return value.item() if np.ndim(value) == 0 and isinstance(value, np.ndarray | np.generic) else value


def transformer_of(pipeline: GenerationPipeline, run: Run) -> Any:
    """The transformer as a run has it."""
    return WithLinearAttention(pipeline.transformer) if run.linear_attention else pipeline.transformer


def denoising_steps(pipeline: GenerationPipeline, request: Request) -> Any:
    """Steps of the transformer: one fewer where the decoder takes the last."""
    decoder = pipeline.record.decoder
    return np.asarray(request.steps) - (1 if decoder is not None and decoder.denoises else 0)


def exchange(pipeline: GenerationPipeline, stage: Stage, run: Run) -> Collective | None:
    """Predictions that GPUs swap once a step: of both passes, and of the parts of the sequence."""
    if run.gpus == 1 or stage.beside:
        return None
    w = stage.parts[0].workload
    assert w.height is not None
    assert w.width is not None
    scale = as_float(getattr(pipeline.transformer, "vae_scale_factor", 1))
    frames = as_float(1 if w.frames is None else w.frames)
    channels = as_float(getattr(pipeline.transformer, "in_channels", 16))
    latents = channels * as_float(w.height) * as_float(w.width) / scale**2 * frames  # at most: time is not divided
    payload = latents * as_float(w.batch_size) * w.activation_dtype.itemsize
    return Collective(name="predictions", kind="all_gather", payload_bytes=payload, group_size=run.gpus)


def _autoencoder(pipeline: GenerationPipeline, request: Request, run: Run, phase: Phase) -> Stage:
    """Decoding (or encoding the reference), whole, image by image, or tile by tile."""
    record, config = pipeline.record.decoder, pipeline.decoder
    assert record is not None
    assert config is not None
    dtype = run.decoder_dtype or record.dtype or run.base_dtype
    w = Workload(
        phase=phase,
        batch_size=1 if run.slicing else request.batch_size,
        height=request.height,
        width=request.width,
        frames=request.frames,
        dtype=dtype,
    )
    repeats = request.batch_size if run.slicing else 1
    parts = tuple(
        Part(config, tile, _plain(np.asarray(n) * np.asarray(repeats)))
        for tile, n in _tiles(w, record.tiling, run.tiling)
    )
    name = "decode" if phase is Phase.DECODE else "encode:reference"
    whole = Part(config, replace(w, phase=Phase.FORWARD), 1)
    return Stage(name=name, component="decoder", parts=parts, weights_of=whole)


def _tiles(w: Workload, tiling: TilingRecord | None, asked: bool | None) -> list[tuple[Workload, int]]:
    """Workloads of the tiles with how many there are: at every stride one tile, cut at the edge.

    Raises:
        InvalidInputError: tiling was asked of a decoder whose tiles the pipeline does not name.
    """
    if asked and tiling is None:
        raise InvalidInputError(
            "the pipeline's decoder names no tiles: give decoder.tiling in its file, or leave it out"
        )
    wanted = tiling is not None and (tiling.default if asked is None else asked)
    if not wanted or tiling is None:
        return [(w, 1)]
    high, wide = int(np.asarray(w.height)), int(np.asarray(w.width))
    if high <= tiling.size and wide <= tiling.size:
        return [(w, 1)]
    sides = [[min(tiling.size, side - at) for at in range(0, side, tiling.stride)] for side in (high, wide)]
    counted = Counter((h, v) for h in sides[0] for v in sides[1])
    return [(replace(w, height=h, width=v), n) for (h, v), n in counted.items()]


def transfers_s(numbers: Sequence[Any], weights: Sequence[Any], run: Run, bandwidth_bytes_s: float) -> list[Any]:
    """Seconds of PCIe copies in each stage, from its number of calls and its weights in bytes.

    Model offload fetches a component once and puts it back; sequential offload
    fetches every layer in every call and drops it (accelerate's hooks leave it on the meta device)."""
    if run.placement is Placement.RESIDENT:
        return [as_float(0.0) for _ in weights]
    if run.placement is Placement.MODEL_OFFLOAD:
        return [2.0 * as_float(w) / bandwidth_bytes_s for w in weights]
    return [as_float(w) * as_float(n) / bandwidth_bytes_s for n, w in zip(numbers, weights, strict=True)]


def config_layers(config: ModelConfig) -> Any:
    """Blocks of a transformer, of all kinds."""
    kinds = ("num_layers", "num_single_layers")
    return sum((as_float(getattr(config, name, 0)) for name in kinds), as_float(0.0))
