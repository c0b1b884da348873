"""What each lever does to a plan, legal or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from archsearch.dtypes import DType
from archsearch.models.registry.families import load_preset
from archsearch.pipeline.plan import Lever, Plan
from archsearch.pipeline.records import Guidance
from archsearch.pipeline.request import Placement
from archsearch.pipeline.stages import config_layers
from archsearch.quality.sampling import distilled_guidance, unmeasured
from archsearch.quality.sampling_table import shipped_table


def kind_of(lever: Lever) -> str:
    return lever.group if lever.group in CHANGES else lever.id


def _linear(plan: Plan, **changes: Any) -> Plan:
    return replace(plan, run=replace(plan.run, **changes))


def _executed(plan: Plan, **changes: Any) -> Plan:
    return _linear(plan, execution=replace(plan.run.execution, **changes))


def _set_attention(plan: Plan, lever: Lever) -> Plan:
    if lever.id == "linear-attention":
        return _linear(plan, linear_attention=True)
    return _executed(plan, attention="flash" if lever.id == "fa3" else "fa2")


def _set_guidance(plan: Plan, lever: Lever) -> Plan:
    """Guidance in one pass; a student may have it built in already."""
    if plan.request.guidance is not Guidance.CFG:
        return plan
    pipeline = plan.pipeline.with_checkpoint(distilled_guidance(plan.pipeline.checkpoint))
    return replace(plan, pipeline=pipeline, request=replace(plan.request, guidance=Guidance.DISTILLED))


def _set_steps(plan: Plan, lever: Lever) -> Plan:
    """The checkpoint's known student with the guidance that is built into it, else a student that nobody measured."""
    teacher = plan.pipeline.checkpoint
    student = teacher if teacher.distilled else shipped_table().student(teacher)
    request = replace(plan.request, steps=lever.value)
    if student is None:
        return replace(plan, pipeline=plan.pipeline.with_checkpoint(unmeasured(teacher)), request=request)
    guidance = Guidance(student.one_pass)
    request = replace(request, guidance=guidance)
    return replace(plan, pipeline=plan.pipeline.with_checkpoint(student), request=request)


def _set_student(plan: Plan, lever: Lever) -> Plan:
    """Fewer blocks of every kind; widths, heads and interfaces stay the teacher's."""
    transformer: Any = plan.pipeline.transformer
    changes = {}
    for name in ("num_layers", "num_single_layers"):
        count = np.asarray(getattr(transformer, name, 0))
        if np.any(count):
            left = np.maximum(1, np.rint(count * lever.value)).astype(np.int64)
            changes[name] = left if left.ndim else int(left)
    if hasattr(transformer, "dual_attention_layers") and isinstance(transformer.dual_attention_layers, tuple):
        last = int(np.max(changes.get("num_layers", 0)))
        changes["dual_attention_layers"] = tuple(i for i in transformer.dual_attention_layers if int(np.max(i)) < last)
    return replace(plan, pipeline=plan.pipeline.with_transformer(replace(transformer, **changes)))


def _set_latent(plan: Plan, lever: Lever) -> Plan:
    """Latents of another autoencoder: one of them a token."""
    video = lever.id == "latent-ltx"
    channels = 128 if video else 32
    transformer: Any = plan.pipeline.transformer
    doubled = getattr(transformer, "out_channels", 0) == 2 * np.asarray(transformer.in_channels)
    changes: dict[str, Any] = {"vae_scale_factor": 32, "patch_size": 1, "in_channels": channels}
    if hasattr(transformer, "out_channels"):
        changes["out_channels"] = channels * (2 if np.all(doubled) else 1)
    if video:
        changes |= {"vae_temporal_factor": 8, "patch_size_t": 1}
    decoder = load_preset("ltx-video-vae-0.9.1" if video else "dc-ae-f32c32")
    from archsearch.pipeline.records import TilingRecord

    pipeline = plan.pipeline.with_transformer(replace(transformer, **changes))
    tiles = TilingRecord(size=512, stride=448)
    return replace(plan, pipeline=pipeline.with_decoder(decoder, dtype=None, tiling=tiles, denoises=video))


def _set_cache(plan: Plan, lever: Lever) -> Plan:
    probe = 1.0 / float(np.max(config_layers(plan.pipeline.transformer)))
    return _linear(plan, cached_share=lever.value, cache_probe=probe)


CHANGES: dict[str, Callable[[Plan, Lever], Plan]] = {
    "compile": lambda p, _: _executed(p, compiled=True),
    "graphs": lambda p, _: _executed(p, cuda_graphs=True),
    "torch": lambda p, lever: _executed(p, torch=lever.value),
    "qkv": lambda p, _: _executed(p, fused_qkv=True),
    "attention": _set_attention,
    "dtype": lambda p, lever: _linear(p, dtype=DType(lever.id)),
    "guidance": _set_guidance,
    "steps": _set_steps,
    "student": _set_student,
    "latent": _set_latent,
    "cache": _set_cache,
    "cfg-parallel": lambda p, _: _linear(p, cfg_parallel=2),
    "sequence-parallel": lambda p, lever: _executed(p, sequence_parallel=lever.value),
    "batch": lambda p, lever: replace(p, request=replace(p.request, batch_size=lever.value)),
    "tiling": lambda p, _: _linear(p, tiling=True, slicing=True),
    "text": lambda p, _: _linear(p, text_encoder_dtype=DType.INT8),
    "placement": lambda p, lever: _linear(p, placement=Placement(lever.id)),
}
ORDER = {"steps": -1, "student": 0, "latent": 1, "cache": 2}
