"""A pipeline's stages in order: what each calls, how often, with which weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models.base import ModelConfig
from archsearch.ops import Collective, as_float
from archsearch.pipeline.catalog import GenerationPipeline
from archsearch.pipeline.pricing import Call, Pricer, weights_in
from archsearch.pipeline.records import TilingRecord
from archsearch.pipeline.request import Placement, Request, Run
from archsearch.workload import Phase, Workload

DENOISE = "denoise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Calls of one component. ``calls`` pairs a call with how often it runs; ``component`` names the weights.

    ``extra_s`` is time on the GPUs beside the calls (exchange between GPUs). Numbers may be arrays.
    """

    name: str
    component: str
    calls: tuple[tuple[Call, Any], ...]
    weights_bytes: Any
    extra_s: Any = 0.0

    def total(self, field: str) -> Any:
        """A field of the calls summed over all of them."""
        return sum((as_float(getattr(call, field)) * as_float(n) for call, n in self.calls), as_float(0.0))

    @property
    def number(self) -> Any:
        return sum((np.asarray(n) for _, n in self.calls), np.asarray(0))

    @property
    def activation_bytes(self) -> Any:
        """The largest of its calls'."""
        most: Any = as_float(0.0)
        for call, _ in self.calls:
            most = np.maximum(most, call.activation_bytes)
        return most

    def layer_bytes(self) -> Any:
        most: Any = as_float(0.0)
        for call, _ in self.calls:
            most = np.maximum(most, call.largest_layer_bytes)
        return most


def stages_of(pipeline: GenerationPipeline, request: Request, run: Run, pricer: Pricer) -> tuple[Stage, ...]:
    """All stages in the order in which they run.

    Raises:
        InvalidInputError, UnsupportedError: what the models, the GPU or the levers refuse.
    """
    found = [*_caption(pipeline, request, run, pricer), *_encoders(pipeline, request, run, pricer)]
    decoder = pipeline.record.decoder
    if decoder is not None and decoder.encodes_reference:
        found.append(_autoencoder(pipeline, request, run, pricer, Phase.ENCODE))
    found.append(_denoise(pipeline, request, run, pricer))
    if pipeline.decoder is not None:
        found.append(_autoencoder(pipeline, request, run, pricer, Phase.DECODE))
    return tuple(found)


def _caption(pipeline: GenerationPipeline, request: Request, run: Run, pricer: Pricer) -> Iterator[Stage]:
    """The language model that rewrites the prompt: one prefill, then one pass per token, each costed at the mean
    context length."""
    captioner = pipeline.captioner
    if captioner is None:
        return
    dtype, batch = run.base_dtype, request.batch_size
    read = Workload(phase=Phase.PREFILL, batch_size=batch, seq_len=captioner.prompt_tokens, dtype=dtype)
    context = captioner.prompt_tokens + -(-captioner.new_tokens // 2)
    write = Workload(phase=Phase.DECODE, batch_size=batch, seq_len=context, dtype=dtype)
    first, each = (pricer.call(captioner.config, w, run) for w in (read, write))
    calls = ((first, 1), (each, captioner.new_tokens - 1)) if captioner.new_tokens > 1 else ((first, 1),)
    yield Stage(name="caption", component="captioner", calls=calls, weights_bytes=first.weights_bytes)


def _encoders(pipeline: GenerationPipeline, request: Request, run: Run, pricer: Pricer) -> Iterator[Stage]:
    for encoder in pipeline.text_encoders:
        dtype = encoder.record.dtype or run.base_dtype
        w = Workload(batch_size=request.batch_size, seq_len=encoder.record.seq_len, dtype=dtype)
        call = pricer.call(encoder.config, w, run)
        stored = run.text_encoder_dtype or dtype
        prompts = 2 if request.passes == 2 and encoder.record.negative else 1
        yield Stage(
            name=f"text:{encoder.record.name}",
            component=encoder.record.name,
            calls=((call, prompts),),
            weights_bytes=weights_in(encoder.config, w, stored),
        )


def _denoise(pipeline: GenerationPipeline, request: Request, run: Run, pricer: Pricer) -> Stage:
    """The transformer in every step. Guidance doubles the batch, runs twice, or is shared by two GPUs."""
    if run.cfg_parallel == 2 and request.passes != 2:
        raise UnsupportedError(f"CFG parallelism needs two passes a step; guidance is {request.guidance.value}")
    both = request.passes == 2 and run.cfg_parallel == 1
    batched = pipeline.record.guidance.batched and both
    batch: Any = np.asarray(request.batch_size) * (2 if batched else 1)
    w = Workload(
        batch_size=batch.item() if batch.ndim == 0 else batch,
        height=request.height,
        width=request.width,
        frames=request.frames,
        dtype=run.dtype,
        seq_len=text_tokens(pipeline),
    )
    call = pricer.call(pipeline.transformer, w, run, levers=True)
    steps = denoising_steps(pipeline, request)
    run_twice = 2 if both and not batched else 1
    share = 1.0 if not run.cached_share else 1.0 - run.cached_share * (1.0 - run.cache_probe)
    number = np.asarray(steps) * run_twice
    return Stage(
        name=DENOISE,
        component="transformer",
        calls=((call, number if share == 1.0 else as_float(number) * share),),
        weights_bytes=call.weights_bytes,
        extra_s=_exchange(pipeline, w, run, pricer, steps),
    )


def text_tokens(pipeline: GenerationPipeline) -> Any:
    """Text tokens of the transformer where its config has no default of its own."""
    return None


def denoising_steps(pipeline: GenerationPipeline, request: Request) -> Any:
    """Steps of the transformer: one fewer where the decoder takes the last.

    Raises:
        InvalidInputError: a single step, which the decoder would have to take.
    """
    decoder = pipeline.record.decoder
    if decoder is None or not decoder.denoises:
        return request.steps
    if np.any(np.asarray(request.steps) < 2):
        raise InvalidInputError(f"--steps {request.steps}: the decoder takes the last step, so at least 2 are needed")
    return np.asarray(request.steps) - 1


def _exchange(pipeline: GenerationPipeline, w: Workload, run: Run, pricer: Pricer, steps: Any) -> Any:
    """Predictions that GPUs swap once a step: of both passes, and of the parts of the sequence."""
    if run.gpus == 1:
        return as_float(0.0)
    scale = as_float(getattr(pipeline.transformer, "vae_scale_factor", 1))
    frames = as_float(1 if w.frames is None else w.frames)
    channels = as_float(getattr(pipeline.transformer, "in_channels", 16))
    latents = channels * as_float(w.height) * as_float(w.width) / scale**2 * frames  # at most: time is not divided
    payload = latents * as_float(w.batch_size) * w.activation_dtype.itemsize
    op = Collective(name="predictions", kind="all_gather", payload_bytes=payload, group_size=run.gpus)
    cost = pricer.model.estimate([op])
    return as_float(cost.latency_s) * as_float(steps)


def _autoencoder(pipeline: GenerationPipeline, request: Request, run: Run, pricer: Pricer, phase: Phase) -> Stage:
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
    calls = tuple(
        (pricer.call(config, tile, run), np.asarray(n) * np.asarray(repeats))
        for tile, n in _tiles(w, record.tiling, run.tiling)
    )
    whole = weights_in(config, replace(w, phase=Phase.FORWARD), dtype)
    name = "decode" if phase is Phase.DECODE else "encode:reference"
    return Stage(name=name, component="decoder", calls=calls, weights_bytes=whole)


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


def stored_dtype(run: Run) -> DType:
    """The format in which text encoders keep their linear layers."""
    return run.text_encoder_dtype or run.base_dtype


def transfers_s(stages: tuple[Stage, ...], run: Run, bandwidth_bytes_s: float) -> list[Any]:
    """Seconds of PCIe copies in each stage. Model offload fetches a component once and puts it back; sequential offload
    fetches every layer in every call and drops it (accelerate's hooks leave it on the meta device)."""
    if run.placement is Placement.RESIDENT:
        return [as_float(0.0) for _ in stages]
    if run.placement is Placement.MODEL_OFFLOAD:
        return [2.0 * as_float(s.weights_bytes) / bandwidth_bytes_s for s in stages]
    return [as_float(s.weights_bytes) * as_float(s.number) / bandwidth_bytes_s for s in stages]


def config_layers(config: ModelConfig) -> Any:
    """Blocks of a transformer, of all kinds."""
    kinds = ("num_layers", "num_single_layers")
    return sum((as_float(getattr(config, name, 0)) for name in kinds), as_float(0.0))
