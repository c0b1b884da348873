"""What makes a lever legal: of the plan that it is pulled on, of the finished plan, and of the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from archsearch.cost.kernels.collective import node_gpus
from archsearch.cost.legality import compile_reason, graphs_reason
from archsearch.cost.rewrites import can_merge
from archsearch.cost.routes import fused_attention_reason
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Attention, Convolution, OpList
from archsearch.pipeline.lever_changes import kind_of
from archsearch.pipeline.plan import Lever, Plan
from archsearch.pipeline.records import Guidance
from archsearch.pipeline.request import Request, run_reasons
from archsearch.pipeline.stages import config_layers

MIN_CACHED_STEPS = 8
"""Fewer steps differ too much from one another to reuse features (TeaCache and first-block caches skip none of 4)."""


def reason_before(plan: Plan, lever: Lever) -> str | None:
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


def reason_after(plan: Plan, lever: Lever, gpu: GpuSpec, ops: OpList) -> str | None:
    """What the finished plan and the GPU must have for a lever to be legal."""
    run = plan.run
    rule = _LEGAL.get(kind_of(lever))
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
    if lever.id == "fa3" and not gpu.generation.serves("fa3"):
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
