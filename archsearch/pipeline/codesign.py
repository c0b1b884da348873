"""Pipelines as a family of models: a transformer's dimensions and the pipeline's variables in one config.

``pipeline_family("flux-dev", "flux")`` is a config class with the fields of the transformer's family and

    num_inference_steps   denoising steps
    guidance_passes       1: none, or distilled; 2: classifier-free

``lower()`` gives the operations of one whole generation (text encoders, transformer times steps times passes, decoder),
so that whatever searches model configs searches pipelines. Fields may be arrays that broadcast. Latents of 8, 32 or 64
pixels (``vae_scale_factor``) bring their own decoder: the pipeline's, DC-AE f32c32 or f64c128 for images, LTX-Video's
at 32 for video. FLOPs and parameters are those of one pass of the transformer, which laws of quality are about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models.base import ConfigMixin, MemoryUse, ModelConfig, Requirement
from archsearch.models.registry.families import get_family, load_preset
from archsearch.ops import Op, OpList, as_float
from archsearch.pipeline.catalog import GenerationPipeline, load_pipeline
from archsearch.workload import Phase, Workload

SAMPLER_FILE = Path(__file__).with_name("sampler.yaml")
VARIABLES = ("num_inference_steps", "guidance_passes")
DEEP_DECODERS = {
    "image": {32: "dc-ae-f32c32", 64: "dc-ae-f64c128"},
    "video": {32: "ltx-video-vae"},
}
"""Autoencoders by modality and pixels per latent, where that is not the pipeline's own."""


@dataclass(frozen=True, slots=True)
class PipelineOps(OpList):
    """Operations of one generation; ``flops()`` is of one pass of its transformer over one batch."""

    pass_flops: Any = field(default=0.0)

    def flops(self) -> Any:
        return self.pass_flops


class PipelineConfig(ConfigMixin):
    """What ``pipeline_family`` adds to a transformer's fields. ``template`` is the pipeline around it."""

    template: ClassVar[GenerationPipeline]
    transformer_class: ClassVar[type[Any]]
    video: ClassVar[bool] = False
    num_inference_steps: Any
    guidance_passes: Any

    def transformer(self) -> ModelConfig:
        """The transformer alone."""
        own = {f.name: getattr(self, f.name) for f in fields(self.transformer_class)}
        config: ModelConfig = self.transformer_class(**own)
        return config

    def parameters(self) -> Any:
        return self.transformer().parameters()

    def tokens(self, workload: Workload) -> Any:
        return as_float(workload.batch_size)

    def requirements(self) -> tuple[Requirement, ...]:
        passes, scale = np.asarray(self.guidance_passes), self._scale()
        known = np.isin(scale, list(self.decoders()))
        return (
            *self.transformer().requirements(),
            Requirement(
                reason="num_inference_steps must be at least 1", holds=np.asarray(self.num_inference_steps) >= 1
            ),
            Requirement(reason="guidance_passes must be 1 or 2", holds=(passes == 1) | (passes == 2)),
            Requirement(
                reason=f"vae_scale_factor must be one of {', '.join(map(str, self.decoders()))}: no decoder for others",
                holds=known,
            ),
        )

    def _scale(self) -> Any:
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

    def _parts(self, w: Workload) -> list[tuple[ModelConfig, Workload, Any]]:
        """(model, workload, how often) of everything but the transformer."""
        dtype = w.activation_dtype
        parts: list[tuple[ModelConfig, Workload, Any]] = []
        for encoder in self.template.text_encoders:
            text = Workload(
                batch_size=w.batch_size, seq_len=encoder.record.seq_len, dtype=encoder.record.dtype or dtype
            )
            parts.append((encoder.config, text, np.asarray(self.guidance_passes)))
        for scale, decoder in self.decoders().items():
            if decoder is None:
                continue
            own = self.template.decoder is decoder
            chosen = (self.template.decoder_dtype or dtype) if own else dtype
            parts.append((decoder, replace(w, phase=Phase.DECODE, dtype=chosen), (self._scale() == scale).astype(int)))
        return parts

    def _pass(self, w: Workload) -> tuple[Workload, Any]:
        """The transformer's workload in one call, and how many calls a generation makes."""
        batched = self.template.record.guidance.batched
        calls = np.asarray(self.num_inference_steps)
        if not batched:
            return w, calls * np.asarray(self.guidance_passes)
        return replace(w, batch_size=np.asarray(w.batch_size) * np.asarray(self.guidance_passes)), calls

    def lower(self, workload: Workload) -> OpList:
        """The operations of one generation of ``workload.batch_size`` images or videos.

        Raises:
            UnsupportedError: another phase than forward.
        """
        if workload.phase is not Phase.FORWARD:
            raise UnsupportedError(f"a pipeline generates: it has no {workload.phase.value} phase; use forward")
        ops: list[Op] = []
        for model, w, times in self._parts(workload):
            if np.any(times):
                ops += [replace(op, count=np.asarray(op.count) * times) for op in model.lower(w)]
        w, calls = self._pass(workload)
        ops += [replace(op, count=np.asarray(op.count) * calls) for op in self.transformer().lower(w)]
        return PipelineOps(tuple(ops), pass_flops=self.transformer().lower(workload).flops())

    def memory(self, workload: Workload) -> MemoryUse:
        """All weights resident, and the largest activations of any stage."""
        w, _ = self._pass(workload)
        use = self.transformer().memory(w)
        weights, live = as_float(use.weights), as_float(use.activations)
        for model, part, times in self._parts(workload):
            if not np.any(times):
                continue
            there = (np.asarray(times) > 0).astype(float)
            used = model.memory(part)
            live = np.maximum(live, there * as_float(used.activations))
            if part.phase is Phase.DECODE:
                used = model.memory(replace(part, phase=Phase.FORWARD))
            weights = weights + there * as_float(used.weights)
        uncosted = sum(self.template.record.not_costed.values()) * workload.activation_dtype.itemsize
        return MemoryUse(weights=weights + uncosted, activations=live)

    def sampler_factor(self) -> Any:
        """Factor on an error metric of the number of steps and of distilled guidance (``sampler.yaml``)."""
        known = sampler_figures()
        steps = np.maximum(as_float(self.num_inference_steps), 1.0)
        one = np.asarray(self.guidance_passes) == 1
        return np.exp(known["distilled"] * one) * (1.0 + (known["steps0"] / steps) ** 2)


@lru_cache(maxsize=1)
def sampler_figures() -> Mapping[str, Any]:
    """``sampler.yaml``."""
    loaded: dict[str, Any] = yaml.safe_load(SAMPLER_FILE.read_text(encoding="utf-8"))
    return loaded


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
    own = [(f.name, f.type, field(default=f.default) if _has_default(f) else field()) for f in fields(base)]
    steps, passes = template.record.defaults.steps, template.record.guidance.default.passes
    extra = [("num_inference_steps", "Dim", field(default=steps)), ("guidance_passes", "Dim", field(default=passes))]
    constants = {
        name: getattr(base, name)
        for name in ("patch_size", "patch_size_t", "throughput_unit", "default_sizes", "video")
        if name not in {f.name for f in fields(base)} and hasattr(base, name)
    }
    return make_dataclass(
        f"{base.__name__}Pipeline",
        [*own, *extra],
        bases=(PipelineConfig,),
        namespace={"family": family, "template": template, "transformer_class": base, **constants},
        frozen=True,
        kw_only=True,
    )


def _has_default(f: Any) -> bool:
    from dataclasses import MISSING

    return f.default is not MISSING
