"""A recommended architecture as what a library, ``estimate`` and ``pipeline`` read: its model alone, and the pipeline.

A space of pipelines searches a transformer and how it is sampled in one config (``pipeline/codesign.py``). What is
trained and saved is the transformer; steps and guidance are the pipeline's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from archsearch.errors import UnsupportedError
from archsearch.models.base import ModelConfig
from archsearch.models.registry.families import get_family
from archsearch.pipeline.codesign import DEEP_DECODERS, PipelineConfig, pipeline_family
from archsearch.pipeline.pipeline_record import DecoderRecord, Guidance, GuidanceRecord, PipelineRecord
from archsearch.quality.sampling import unmeasured
from archsearch.quality.sampling_table import Checkpoint, CheckpointRecord, shipped_table
from archsearch.search.evaluate.result import SearchResult, as_result
from archsearch.search.evaluate.setting import Setting
from archsearch.workload import Workload

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One recommended architecture.

    ``config`` is the model that is trained: of a pipeline its transformer. ``workload`` is one call of it: of a
    pipeline one denoising step (twice the batch where guidance is batched). ``sampling`` holds the pipeline's own
    variables and ``calls`` how often a generation calls the transformer; ``whole`` is the pipeline's config.
    """

    config: ModelConfig
    workload: Workload
    sampling: Mapping[str, int] = field(default_factory=dict)
    calls: int = 1
    whole: PipelineConfig | None = None


def export_of(table: SearchResult | pd.DataFrame, rank: int = 1) -> Export:
    """The architecture of one row of a recommendation; ``rank`` counts rows from 1.

    Raises:
        UnsupportedError: a module of the user's own, which no family describes.
    """
    result = as_result(table)
    return export_values(result.setting, result.config(rank))


def export_values(setting: Setting, values: Mapping[str, object]) -> Export:
    """As ``export_of``, from what the rows have in common and the field values of one architecture."""
    name = setting.family
    if name == "traced":
        given = ", ".join(f"{key}={value}" for key, value in values.items())
        raise UnsupportedError(f"no file describes a module of your own: call the space's builder with {given}")
    workload, pipeline = setting.workload.workload(), setting.pipeline
    if pipeline is None:
        return Export(config=get_family(name).from_dict(values), workload=workload)
    whole: PipelineConfig = pipeline_family(pipeline, name).from_dict(values)
    own = {f.name for f in fields(whole.transformer_class)}
    (part,) = next(stage for stage in whole.stages(workload) if stage.component == "transformer").parts
    sampling = {f.name: int(getattr(whole, f.name)) for f in fields(whole) if f.name not in own}
    return Export(
        config=part.config,
        workload=_scalar(part.workload),
        sampling=sampling,
        calls=int(part.calls),
        whole=whole,
    )


def pipeline_record(export: Export, name: str, description: str) -> PipelineRecord:
    """The file of a pipeline around a recommended transformer, for ``archsearch pipeline``.

    Text encoders and rules are those of the space's pipeline; steps, guidance and size are the recommended defaults.

    Raises:
        UnsupportedError: the space searches models alone.
    """
    if export.whole is None:
        raise UnsupportedError("the space searches models alone, no pipelines; use {format} yaml or hf", field="format")
    template = export.whole.template.record
    w = export.workload
    size = {"height": w.height, "width": w.width, "frames": w.frames if export.whole.template.video else None}
    defaults = template.defaults.model_copy(
        update={**size, "steps": export.sampling["num_inference_steps"], "dtype": w.dtype}
    )
    transformer = template.transformer.model_copy(
        update={"model": None, "family": export.config.family, "config": export.config.to_dict()}
    )
    checkpoint = _checkpoint(export.whole)
    changes = {
        "name": name,
        "description": description,
        "transformer": transformer,
        "decoder": _decoder(export.whole),
        "checkpoint": _described(checkpoint),
        "guidance": _guidance(template, checkpoint, export.sampling["guidance_passes"]),
        "defaults": defaults,
    }
    return template.model_copy(update=changes)


def _decoder(whole: PipelineConfig) -> DecoderRecord | None:
    """The pipeline's own decoder, or that of the recommended latents."""
    scale = int(getattr(whole, "vae_scale_factor", 1))
    if whole.decoders()[scale] is whole.template.decoder:
        return whole.template.record.decoder
    return DecoderRecord(model=DEEP_DECODERS["video" if whole.template.video else "image"][scale])


def _checkpoint(whole: PipelineConfig) -> Checkpoint:
    """What the recommended pipeline samples: the template's checkpoint, its student, or its teacher."""
    own, table = whole.template.checkpoint, shipped_table()
    if bool(whole.distilled) == own.distilled:
        return own
    if own.distilled:
        return table.checkpoints.get(own.teacher or "", own)
    return table.student(own) or unmeasured(own)


def _described(checkpoint: Checkpoint) -> str | CheckpointRecord:
    """A checkpoint by the name that the shipped table has for it, else by what it is."""
    if checkpoint.name in shipped_table().checkpoints:
        return checkpoint.name
    names = ("kind", "method", "teacher", "guidance", "steps")
    return CheckpointRecord(**{name: getattr(checkpoint, name) for name in names})


def _guidance(template: PipelineRecord, checkpoint: Checkpoint, passes: int) -> GuidanceRecord:
    """The recommended number of passes as default, among what the checkpoint runs with."""
    default = Guidance.CFG if passes == 2 else Guidance(checkpoint.one_pass)
    if checkpoint.name == template.checkpoint and template.guidance.default.passes == passes:
        return template.guidance
    modes = tuple(dict.fromkeys((default, *(Guidance(mode) for mode in checkpoint.guidance))))
    return template.guidance.model_copy(update={"default": default, "modes": modes})


def _scalar(w: Workload) -> Workload:
    return replace(w, batch_size=int(np.asarray(w.batch_size)))
