"""Pipelines as a family of models: a transformer's dimensions and the pipeline's variables in one config.

``pipeline_family("flux-dev", "flux")`` is a config class with the fields of the transformer's family and

    num_inference_steps   denoising steps
    guidance_passes       1: none, or distilled; 2: classifier-free
    distilled             1: the steps are distilled, into the checkpoint's known student; 0: they are not

``lower()`` gives the operations of one whole generation (text encoders, transformer times steps times passes, decoder),
so that whatever searches model configs searches pipelines. Fields may be arrays that broadcast. Latents of 8, 32 or 64
pixels (``vae_scale_factor``) bring their own decoder: the pipeline's, DC-AE f32c32 or f64c128 for images, LTX-Video's
at 32 for video. FLOPs and parameters are those of one pass of the transformer, which laws of quality are about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from archsearch.arrays import Dim, Floats, Ints, Mask, as_float
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models.base import ConfigMixin, MemoryUse, ModelConfig, Requirement, UnfusedAttention
from archsearch.models.registry.families import get_family, load_preset
from archsearch.ops import OpList
from archsearch.pipeline.catalog import GenerationPipeline, load_pipeline
from archsearch.pipeline.component_calls import Models
from archsearch.pipeline.request import Deployment, Request
from archsearch.pipeline.stages import Part, Stage, stages_of
from archsearch.quality.sampling import Sampled, sampling_ratio, unmeasured
from archsearch.quality.sampling_table import Checkpoint, SamplingTable, shipped_table
from archsearch.segments import SegmentedOps
from archsearch.workload import Phase, Workload

DEEP_DECODERS = {
    "image": {32: "dc-ae-f32c32", 64: "dc-ae-f64c128"},
    "video": {32: "ltx-video-vae"},
}
"""Autoencoders by modality and pixels per latent, where that is not the pipeline's own."""


class PipelineConfig(ConfigMixin):
    """What ``pipeline_family`` adds to a transformer's fields. ``template`` is the pipeline around it,
    ``models`` remembers what its scalar parts are."""

    template: ClassVar[GenerationPipeline]
    transformer_class: ClassVar[type[Any]]
    models: ClassVar[Models]
    video: ClassVar[bool] = False
    num_inference_steps: Dim
    guidance_passes: Dim
    distilled: Dim

    def transformer(self) -> ModelConfig:
        """The transformer alone."""
        values = {f.name: getattr(self, f.name) for f in fields(self.transformer_class)}
        config: ModelConfig = self.transformer_class(**values)
        return config

    def parameters(self) -> Floats:
        return self.transformer().parameters()

    def tokens(self, workload: Workload) -> Floats:
        return as_float(workload.batch_size)

    def requirements(self) -> tuple[Requirement, ...]:
        passes = np.asarray(self.guidance_passes)
        decoded = np.isin(self._scale(), list(self.decoders()))
        return (
            *self.transformer().requirements(),
            Requirement(
                reason="num_inference_steps must be at least 1", holds=np.asarray(self.num_inference_steps) >= 1
            ),
            Requirement(
                reason="num_inference_steps must be at least 2 where the decoder takes the last",
                holds=(np.asarray(self.num_inference_steps) >= 2) | ~self._decoder_denoises(),
            ),
            Requirement(reason="guidance_passes must be 1 or 2", holds=(passes == 1) | (passes == 2)),
            Requirement(reason="distilled must be 0 or 1", holds=np.isin(np.asarray(self.distilled), (0, 1))),
            Requirement(
                reason=f"vae_scale_factor must be one of {', '.join(map(str, self.decoders()))}: no decoder for others",
                holds=decoded,
            ),
        )

    def _decoder_denoises(self) -> Mask:
        """Where the pipeline's own decoder, which takes the last step, decodes."""
        record = self.template.record.decoder
        takes = record is not None and record.denoises
        scales = [s for s, decoder in self.decoders().items() if decoder is self.template.decoder]
        return np.asarray(np.isin(self._scale(), scales) & takes)

    def _scale(self) -> Ints:
        return np.asarray(getattr(self, "vae_scale_factor", 1))

    @classmethod
    def decoders(cls) -> dict[int, ModelConfig | None]:
        """Autoencoders by pixels per latent; None where the pipeline's own has no family."""
        modality = "video" if cls.template.video else "image"
        found: dict[int, ModelConfig | None] = {s: load_preset(name) for s, name in DEEP_DECODERS[modality].items()}
        own = cls.template.decoder
        scale = getattr(cls.template.transformer if own is None else own, "vae_scale_factor", 1)
        found[int(scale)] = own
        return dict(sorted(found.items()))

    def _variants(self) -> Iterator[tuple[GenerationPipeline, Mask]]:
        """The pipeline around this transformer with each decoder, and where it is that one's turn."""
        for scale, decoder in self.decoders().items():
            mine = np.asarray(self._scale() == scale)
            if not np.any(mine):
                continue
            around = self.template.with_transformer(self.transformer())
            if decoder is not None and decoder is not self.template.decoder:
                around = around.with_decoder(decoder, dtype=None, tiling=None, denoises=False)
            yield around, mine

    def stages(self, workload: Workload) -> list[Stage]:
        """What one generation of ``workload.batch_size`` images or videos runs, as ``estimate_pipeline`` runs it."""
        request = Request(
            height=workload.height or 0,
            width=workload.width or 0,
            frames=workload.frames if self.template.video else None,
            steps=np.maximum(self.num_inference_steps, 1),
            guidance=self.template.record.guidance.default,
            guidance_passes=np.maximum(self.guidance_passes, 1),
            batch_size=workload.batch_size,
        )
        deployment = Deployment(dtype=workload.dtype)
        stages: dict[str, Stage] = {}
        for around, mine in self._variants():
            for stage in stages_of(around, request, deployment):
                if stage.component in ("decoder", "transformer"):
                    turns = tuple(replace(p, calls=np.asarray(p.calls) * np.asarray(mine)) for p in stage.parts)
                    stage = replace(stage, parts=turns)
                before = stages.get(stage.name)
                if before is None or stage.component not in ("decoder", "transformer"):
                    stages[stage.name] = stage
                elif stage.component == "decoder":
                    stages[stage.name] = replace(before, parts=(*before.parts, *stage.parts))
                else:  # the same transformer, called as often as its decoder leaves steps
                    calls = np.asarray(before.parts[0].calls) + stage.parts[0].calls
                    stages[stage.name] = replace(before, parts=(replace(before.parts[0], calls=calls),))
        return list(stages.values())

    def lower(self, workload: Workload) -> OpList:
        """The operations of one generation, in segments.

        Raises:
            UnsupportedError: another phase than forward.
        """
        if workload.phase is not Phase.FORWARD:
            raise UnsupportedError(f"a pipeline generates: it has no {workload.phase.value} phase; use forward")
        return SegmentedOps.of(
            [segment for stage in self.stages(workload) for segment in stage.segments(self.models.ops)]
        )

    def pass_flops(self, workload: Workload) -> Floats:
        """FLOPs of one pass of the transformer over the batch."""
        return as_float(self.transformer().lower(workload).flops())

    def memory(self, workload: Workload) -> MemoryUse:
        """All weights resident, and the largest activations of any stage."""
        weights = as_float(sum(self.template.record.not_costed.values()) * workload.activation_dtype.itemsize)
        live = as_float(0.0)
        unfused: list[UnfusedAttention] = []
        for stage in self.stages(workload):
            for turn in _turns(stage):
                whole = self.models.memory(turn.part.config, _whole(stage, turn.part))
                weights = weights + turn.there * as_float(whole.weights)
            for part in stage.parts:
                there = (as_float(part.calls) > 0).astype(float)
                use = self.models.memory(part.config, part.workload)
                live = np.maximum(live, there * (as_float(use.activations) + use.kv_cache))
                unfused += [replace(u, alive_bytes=there * u.alive_bytes, beside=stage.beside) for u in use.unfused]
        return MemoryUse(weights=weights, activations=live, unfused=tuple(unfused))

    def sampling(self, table: SamplingTable | None = None, checkpoint: str | None = None) -> Sampled:
        """What steps, passes and distillation leave of the quality, relative to the reference sampling.

        Args:
            table: the measured figures, else those of ``quality/sampling.yaml``.
            checkpoint: the one of the table that these models are taken to sample like, else the pipeline's own.
        """
        table = table or shipped_table()
        own = self.template.checkpoint if checkpoint is None else table.checkpoints[checkpoint]
        student = own if own.distilled else table.student(own) or unmeasured(own)
        if own.distilled and own.teacher is not None:
            own = table.checkpoints.get(own.teacher, own)
        return self._sampled(student, table).where(np.asarray(self.distilled) == 1, self._sampled(own, table))

    def _sampled(self, checkpoint: Checkpoint, table: SamplingTable) -> Sampled:
        guidance = np.where(np.asarray(self.guidance_passes) == 2, "cfg", checkpoint.one_pass)
        return sampling_ratio(checkpoint, self.num_inference_steps, guidance, table)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A model of a stage, and where any of its calls runs (0 or 1)."""

    part: Part
    there: Floats


def _turns(stage: Stage) -> list[_Turn]:
    """Each different model of a stage once."""
    turns: dict[int, _Turn] = {}
    for part in stage.parts:
        there = (as_float(part.calls) > 0).astype(float)
        before = turns.get(id(part.config))
        turns[id(part.config)] = (
            _Turn(part, there) if before is None else _Turn(before.part, np.maximum(before.there, there))
        )
    return list(turns.values())


def _whole(stage: Stage, part: Part) -> Workload:
    """The workload whose weights a stage holds: the stored formats, both halves of an autoencoder."""
    held = stage.weights_of
    return held.workload if held.config is part.config else replace(part.workload, phase=Phase.FORWARD)


@lru_cache(maxsize=32)
def pipeline_family(pipeline: str, family: str) -> type[Any]:
    """The config class of a pipeline around transformers of a family.

    Raises:
        UnknownNameError: no such pipeline or family.
        InvalidInputError: the pipeline's transformer is of another family.
    """
    template = load_pipeline(pipeline)
    if template.transformer.family != family:
        raise InvalidInputError(
            f"pipeline {pipeline!r} has a transformer of family {template.transformer.family}, not {family}"
        )
    base = get_family(family)
    own = [(f.name, f.type, field(default=f.default, metadata=f.metadata)) for f in fields(base)]
    defaults = {
        "num_inference_steps": template.record.defaults.steps,
        "guidance_passes": template.record.guidance.default.passes,
        "distilled": int(template.checkpoint.distilled),
    }
    extra = [(name, "Dim", field(default=value)) for name, value in defaults.items()]
    constants = {
        name: getattr(base, name)
        for name in (
            *("patch_size", "patch_size_t", "throughput_unit", "default_sizes"),
            *("modality", "video", "packs_latents"),
        )
        if name not in {f.name for f in fields(base)} and hasattr(base, name)
    }
    return make_dataclass(
        f"{base.__name__}Pipeline",
        [*own, *extra],
        bases=(PipelineConfig,),
        namespace={"family": family, "template": template, "models": Models(), "transformer_class": base, **constants},
        frozen=True,
        kw_only=True,
    )
