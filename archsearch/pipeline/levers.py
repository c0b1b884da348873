"""Levers: changes of a plan (pipeline, request, run), each legal or refused with its reason.

Legality is judged on the plan as it is, so that an order matters nowhere: ``refusals`` judges a whole combination by
building it and asking every lever again about the finished plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from archsearch.cost.kernels.collective import node_gpus
from archsearch.cost.legality import compile_reason, graphs_reason
from archsearch.cost.rewrites import can_merge
from archsearch.cost.routes import fused_attention_reason
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.models.registry.families import load_preset
from archsearch.ops import Attention, Convolution, OpList
from archsearch.pipeline.catalog import GenerationPipeline
from archsearch.pipeline.pricing import lowered
from archsearch.pipeline.records import Guidance
from archsearch.pipeline.request import Placement, Request, Run, check_request, run_reasons
from archsearch.pipeline.stages import config_layers
from archsearch.quality.sampling import distilled_guidance, unmeasured
from archsearch.quality.sampling_table import shipped_table
from archsearch.workload import Workload

LEVERS_FILE = Path(__file__).with_name("levers.yaml")
_SHARES = ("cache", "student")
_COUNTS = ("steps", "batch", "sequence-parallel")
TRAINING = ("none", "distill", "retrain")
MIN_CACHED_STEPS = 8
"""Fewer steps differ too much from one another to reuse features (TeaCache and first-block caches skip none of 4)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A pipeline, what is asked of it and how it runs."""

    pipeline: GenerationPipeline
    request: Request
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """One lever of ``levers.yaml``. ``value`` is its number (steps, GPUs, batch, share), where it has one; ``quality``
    what it leaves of the quality: ``exact``, ``sampling``, ``unknown`` or measured rows (``lever_effects``)."""

    id: str
    title: str
    group: str
    training: str
    source: str
    quality: str | tuple[tuple[Any, ...], ...] = "unknown"
    value: Any = None

    @property
    def sampling(self) -> bool:
        """Whether it changes what is sampled: steps or guidance."""
        return self.quality == "sampling"


@lru_cache(maxsize=1)
def levers() -> dict[str, Lever]:
    """All levers by id."""
    raw: dict[str, dict[str, Any]] = yaml.safe_load(LEVERS_FILE.read_text(encoding="utf-8"))
    found = {}
    for name, fields in raw.items():
        values = [fields.pop(key) for key in ("steps", "gpus", "batch", "share", "release") if key in fields]
        quality = fields.pop("quality", "unknown")
        rows = quality if isinstance(quality, str) else tuple(tuple(row) for row in quality)
        found[name] = Lever(id=name, value=values[0] if values else None, quality=rows, **fields)
    return found


def get_lever(text: str) -> Lever:
    """A lever by id; ``id=NUMBER`` sets its number (``feature-cache=0.5``).

    Raises:
        UnknownNameError: no such lever.
        InvalidInputError: a number that this lever does not take.
    """
    known = levers()
    name, separator, number = text.partition("=")
    if name not in known:
        raise UnknownNameError("lever", name, known, hint="(`archsearch pipeline levers` lists all)")
    lever = known[name]
    if not separator:
        return lever
    changed = replace(lever, id=text, value=_number(lever, number))
    return changed if isinstance(lever.quality, str) else replace(changed, quality="unknown")


def _number(lever: Lever, text: str) -> Any:
    """The number of a lever as the kind that it takes: a share, or a whole number.

    Raises:
        InvalidInputError: the lever takes none, or not this one.
    """
    if lever.group not in _SHARES and lever.group not in _COUNTS:
        raise InvalidInputError(f"lever {lever.id} takes no number")
    try:
        value: Any = float(text) if lever.group in _SHARES else int(text)
    except ValueError:
        value = -1
    legal = 0.0 < value < 1.0 if lever.group in _SHARES else value >= 1
    if not legal:
        kind = "a share between 0 and 1" if lever.group in _SHARES else "a whole number from 1"
        raise InvalidInputError(f"lever {lever.id}={text}: needs {kind}")
    return value


def apply(plan: Plan, names: Iterable[str], gpu: GpuSpec) -> Plan:
    """The plan with levers pulled.

    Raises:
        UnknownNameError: no such lever.
        InvalidInputError: two levers of one group.
        UnsupportedError: a lever that is not legal on this GPU or in this combination, with the reason.
    """
    chosen = [get_lever(name) for name in names]
    found = refusals(plan, chosen, gpu)
    if found:
        raise UnsupportedError("; ".join(f"{name}: {reason}" for name, reason in found.items()))
    return build(plan, chosen)


def build(plan: Plan, chosen: Sequence[Lever]) -> Plan:
    """The plan with levers pulled, legal or not."""
    for lever in sorted(chosen, key=lambda lever: _ORDER.get(lever.group, 0)):
        plan = _CHANGES[_kind(lever)](plan, lever)
    return plan


def refusals(plan: Plan, chosen: Sequence[Lever], gpu: GpuSpec) -> dict[str, str]:
    """Why a combination is not legal: lever → reason; empty where it is."""
    groups: dict[str, str] = {}
    for lever in chosen:
        if lever.group in groups:
            raise InvalidInputError(f"levers {groups[lever.group]} and {lever.id} exclude each other: take one")
        groups[lever.group] = lever.id
    found = {lever.id: reason for lever in chosen if (reason := _before(plan, lever))}
    if found:
        return found
    try:
        final = build(plan, chosen)
        check_request(final.pipeline, final.request)
        ops = transformer_ops(final)
    except ArchSearchError as error:
        return {"+".join(lever.id for lever in chosen) or "plan": str(error)}
    return {lever.id: reason for lever in chosen if (reason := _after(final, lever, gpu, ops))}


def transformer_ops(plan: Plan) -> OpList:
    """Operations of one pass of the plan's transformer, before its run's rewrites."""
    r = plan.request
    dtype = plan.run.dtype
    w = Workload(batch_size=r.batch_size, height=r.height, width=r.width, frames=r.frames, dtype=dtype)
    return lowered(plan.pipeline.transformer, w)


def _kind(lever: Lever) -> str:
    return lever.group if lever.group in _CHANGES else lever.id


def _before(plan: Plan, lever: Lever) -> str | None:
    """What the plan itself must have for a lever to mean anything."""
    transformer, request = plan.pipeline.transformer, plan.request
    if lever.group == "guidance" and request.guidance is not Guidance.CFG:
        return f"guidance is {request.guidance.value}: there are no two passes to distil"
    if lever.group == "steps" and not np.all(np.asarray(request.steps) > lever.value):
        return f"the run has {request.steps} steps already"
    if lever.id == "latent-f32":
        if plan.pipeline.video:
            return "DC-AE compresses images; take latent-ltx for video"
        return _latent_reason(transformer, request, 32, 8)
    if lever.id == "latent-ltx":
        if not plan.pipeline.video:
            return "LTX-Video's autoencoder compresses video; take latent-f32 for images"
        return _latent_reason(transformer, request, 32, 8)
    if lever.group == "torch" and plan.run.execution.torch == lever.value:
        return f"the run is of torch {plan.run.execution.torch} already"
    if lever.group == "batch" and np.any(np.asarray(request.batch_size) != 1):
        return f"the request has a batch of {request.batch_size} already"
    if lever.group == "student" and np.any(config_layers(transformer) * lever.value < 1):
        return "too few layers are left"
    return None


def _latent_reason(transformer: Any, request: Request, scale: int, frames: int) -> str | None:
    now = getattr(transformer, "vae_scale_factor", None)
    if now is None or not hasattr(transformer, "in_channels") or isinstance(transformer.patch_size, tuple):
        return "the transformer's latents are not described by vae_scale_factor, patch_size and in_channels"
    if np.any(np.asarray(now) * np.asarray(transformer.patch_size) >= scale):
        return f"tokens are {int(np.max(np.asarray(now) * np.asarray(transformer.patch_size)))} pixels wide already"
    for side in ("height", "width"):
        if np.any(np.asarray(getattr(request, side)) % scale):
            return f"{side} {getattr(request, side)} is no multiple of {scale}"
    if request.frames is not None and np.any((np.asarray(request.frames) - 1) % frames):
        return f"{request.frames} frames are not 1 more than a multiple of {frames}"
    return None


def _after(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    """What the finished plan and the GPU must have for a lever to be legal."""
    run = plan.run
    rule = _LEGAL.get(_kind(lever))
    reason = rule(plan, lever, gpu, ops) if rule else None
    if reason is None and lever.group == "dtype" and not gpu.supports(run.dtype):
        return gpu.why_unsupported(run.dtype)
    return reason


def _compile_reason(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    return compile_reason(gpu) or run_reasons(plan.run).get("compile")


def _graphs_reason(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    if gpu.vendor == "cpu":
        return "a CPU launches no kernels that a graph could replay"
    return graphs_reason(gpu) or run_reasons(plan.run).get("graphs")


def _attention_reason(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    if lever.id == "linear-attention":
        ours = [o for o in ops if isinstance(o, Attention) and np.array_equal(o.seq_q, o.seq_kv)]
        if not ours:
            return "the transformer has no softmax self-attention"
        return (
            "an all-to-all of heads belongs to softmax attention" if plan.run.execution.sequence_parallel > 1 else None
        )
    if lever.id == "fa3" and gpu.architecture != "hopper":
        return f"FlashAttention-3 is written for Hopper, {gpu.id} is {gpu.architecture}"
    attentions = [op for op in ops if isinstance(op, Attention)]
    if not attentions:
        return "the transformer has no softmax attention"
    for op in attentions:
        reason = fused_attention_reason(gpu, op.dtype, op.head_dim, flash=True)
        if reason:
            return reason
    return None


def _qkv_reason(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    return None if can_merge(ops) else "the transformer has no separate projections of one input"


def _sequence_reason(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    gpus = plan.run.execution.sequence_parallel
    if gpu.interconnect is None and gpu.pcie is None:
        return f"{gpu.id}'s profile names no link to other GPUs"
    if shared := run_reasons(plan.run).get("shared"):
        return shared
    if gpus * plan.run.cfg_parallel > node_gpus(gpu):
        return f"{gpus * plan.run.cfg_parallel} GPUs are more than one node joins ({node_gpus(gpu)})"
    for op in ops:
        if isinstance(op, Convolution) and not np.all(np.asarray(op.input_share) == 1.0):
            return f"{op.name} looks beyond one token: its borders are on other GPUs"
        if isinstance(op, Attention) and np.array_equal(op.seq_q, op.seq_kv) and np.any(np.asarray(op.heads_q) % gpus):
            return f"{int(np.max(op.heads_q))} heads cannot be shared by {gpus} GPUs"
    if not any(isinstance(op, Attention) for op in ops):
        return "the transformer has no softmax attention whose heads GPUs could share"
    return None


def _cfg_reason(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    if plan.request.guidance is not Guidance.CFG:
        return f"guidance is {plan.request.guidance.value}: there are no two passes to share"
    if gpu.interconnect is None and gpu.pcie is None:
        return f"{gpu.id}'s profile names no link to other GPUs"
    return run_reasons(plan.run).get("shared")


def _cache_reason(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    if np.any(np.asarray(plan.request.steps) < MIN_CACHED_STEPS):
        return f"{plan.request.steps} steps differ too much to reuse features; needs {MIN_CACHED_STEPS} or more"
    return None


def _tiling_reason(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    decoder = plan.pipeline.record.decoder
    return "the decoder names no tiles" if decoder is None or decoder.tiling is None else None


def _text_reason(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    return None if plan.pipeline.text_encoders else "the pipeline has no text encoder"


def _offload_reason(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    if gpu.pcie is None and plan.run.pcie_gb_s is None:
        return f"{gpu.id}'s profile names no PCIe link"
    return None


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


_CHANGES: dict[str, Callable[[Plan, Lever], Plan]] = {
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
_ORDER = {"steps": -1, "student": 0, "latent": 1, "cache": 2}
_Rule = Callable[[Plan, Lever, GpuSpec, OpList], str | None]
_LEGAL: dict[str, _Rule] = {
    "compile": _compile_reason,
    "graphs": _graphs_reason,
    "qkv": _qkv_reason,
    "attention": _attention_reason,
    "sequence-parallel": _sequence_reason,
    "cfg-parallel": _cfg_reason,
    "cache": _cache_reason,
    "tiling": _tiling_reason,
    "text": _text_reason,
    "placement": _offload_reason,
}
