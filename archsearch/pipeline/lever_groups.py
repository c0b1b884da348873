"""The groups of levers: what each does to a plan, and what makes it legal, in one record each.

``GROUPS`` stands in the order in which the optimiser goes through them. What the record of a group leaves out is what
its levers ``set`` in ``levers.yaml``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from archsearch.cost.kernels.collective import node_gpus
from archsearch.cost.legality import compile_reason, graphs_reason
from archsearch.cost.rewrites import can_merge
from archsearch.cost.routes import fused_attention_reason
from archsearch.hardware.spec import GpuSpec
from archsearch.models.base import ModelConfig
from archsearch.models.registry.families import load_preset
from archsearch.ops import Attention, Convolution
from archsearch.pipeline.lever_group import Finished, Lever, LeverGroup, Number, Role, changed_already
from archsearch.pipeline.pipeline_record import Guidance
from archsearch.pipeline.plan import Plan
from archsearch.pipeline.request import conflicts
from archsearch.pipeline.stages import DEPTHS, config_layers
from archsearch.quality.sampling import distilled_guidance, unmeasured
from archsearch.quality.sampling_table import shipped_table

MIN_CACHED_STEPS = 8
"""Fewer steps differ too much from one another to reuse features (TeaCache and first-block caches skip none of 4)."""


def _release_before(plan: Plan, lever: Lever) -> str | None:
    return f"the run is of torch {plan.deployment.execution.torch} already" if changed_already(plan, lever) else None


def _compiled_after(final: Finished, lever: Lever) -> str | None:
    return compile_reason(final.gpu) or conflicts(final.plan.deployment).compiled


def _graphs_after(final: Finished, lever: Lever) -> str | None:
    if final.gpu.vendor == "cpu":
        return "a CPU launches no kernels that a graph could replay"
    if not final.gpu.generation.tiles_known and final.plan.deployment.execution.launch_us is None:
        return f"no kernels of {final.gpu.id} are known, nor launches of them that a graph could replay"
    return graphs_reason(final.gpu) or conflicts(final.plan.deployment).cuda_graphs


def _merged_after(final: Finished, lever: Lever) -> str | None:
    return None if can_merge(final.ops) else "the transformer has no separate projections of one input"


def _attention_after(final: Finished, lever: Lever) -> str | None:
    gpu, deployment = final.gpu, final.plan.deployment
    attentions = [op for op in final.ops if isinstance(op, Attention)]
    if deployment.linear_attention:
        if not any(np.array_equal(op.seq_q, op.seq_kv) for op in attentions):
            return "the transformer has no softmax self-attention"
        return (
            "an all-to-all of heads belongs to softmax attention"
            if deployment.execution.sequence_parallel > 1
            else None
        )
    if deployment.execution.attention == "flash" and not gpu.generation.serves("fa3"):
        return f"FlashAttention-3 is written for Hopper, {gpu.id} is {gpu.architecture}"
    if not attentions:
        return "the transformer has no softmax attention"
    reasons = (fused_attention_reason(gpu, op.dtype, op.head_dim, flash=True) for op in attentions)
    return next((reason for reason in reasons if reason), None)


def _format_after(final: Finished, lever: Lever) -> str | None:
    dtype = final.plan.deployment.dtype
    return None if final.gpu.supports(dtype) else final.gpu.why_unsupported(dtype)


def _distil_guidance(plan: Plan, lever: Lever) -> Plan:
    """Guidance in one pass; a student may have it built in already."""
    if plan.request.guidance is not Guidance.CFG:
        return plan
    pipeline = plan.pipeline.with_checkpoint(distilled_guidance(plan.pipeline.checkpoint))
    return replace(plan, pipeline=pipeline, request=replace(plan.request, guidance=Guidance.DISTILLED))


def _guidance_before(plan: Plan, lever: Lever) -> str | None:
    if plan.request.guidance is Guidance.CFG:
        return None
    return f"guidance is {plan.request.guidance.value}: there are no two passes to distil"


def _distil_steps(plan: Plan, lever: Lever) -> Plan:
    """The checkpoint's known student with the guidance that is built into it, else a student that nobody measured."""
    teacher = plan.pipeline.checkpoint
    student = teacher if teacher.distilled else shipped_table().student(teacher)
    request = replace(plan.request, steps=int(lever.number))
    if student is None:
        return replace(plan, pipeline=plan.pipeline.with_checkpoint(unmeasured(teacher)), request=request)
    request = replace(request, guidance=Guidance(student.one_pass))
    return replace(plan, pipeline=plan.pipeline.with_checkpoint(student), request=request)


def _steps_before(plan: Plan, lever: Lever) -> str | None:
    more = np.all(np.asarray(plan.request.steps) > lever.number)
    return None if more else f"the run has {plan.request.steps} steps already"


def _shrink(plan: Plan, lever: Lever) -> Plan:
    """Fewer blocks of every kind; widths, heads and interfaces stay the teacher's."""
    transformer = plan.pipeline.transformer
    changes: dict[str, object] = {}
    for name in DEPTHS:
        count = np.asarray(getattr(transformer, name, 0))
        if np.any(count):
            left = np.maximum(1, np.rint(count * lever.number)).astype(np.int64)
            changes[name] = left if left.ndim else int(left)
    dual = getattr(transformer, "dual_attention_layers", None)
    if isinstance(dual, tuple):
        last = int(np.max(np.asarray(changes.get("num_layers", 0))))
        changes["dual_attention_layers"] = tuple(i for i in dual if int(np.max(i)) < last)
    return replace(plan, pipeline=plan.pipeline.with_changed_transformer(changes))


def _shrink_before(plan: Plan, lever: Lever) -> str | None:
    few = np.any(config_layers(plan.pipeline.transformer) * lever.number < 1)
    return "too few layers are left" if few else None


def _compress(plan: Plan, lever: Lever) -> Plan:
    """Latents of another autoencoder: one of them a token."""
    chosen = lever.autoencoder
    assert chosen is not None
    decoder, transformer = load_preset(chosen.model), plan.pipeline.transformer
    channels = int(getattr(decoder, "latent_channels", 0))
    changes: dict[str, object] = {"vae_scale_factor": _pixels(decoder), "patch_size": 1, "in_channels": channels}
    if hasattr(transformer, "out_channels"):
        doubled = np.all(transformer.out_channels == 2 * np.asarray(getattr(transformer, "in_channels", 0)))
        changes["out_channels"] = channels * (2 if doubled else 1)
    if (frames := _frames(decoder)) > 1:
        changes |= {"vae_temporal_factor": frames, "patch_size_t": 1}
    pipeline = plan.pipeline.with_changed_transformer(changes)
    return replace(
        plan,
        pipeline=pipeline.with_decoder(decoder, dtype=None, tiling=chosen.tiling, denoises=chosen.denoises),
    )


def _compress_before(plan: Plan, lever: Lever) -> str | None:
    assert lever.autoencoder is not None
    if plan.pipeline.record.modality != lever.autoencoder.modality:
        return lever.autoencoder.otherwise
    decoder, transformer, request = load_preset(lever.autoencoder.model), plan.pipeline.transformer, plan.request
    pixels, frames = _pixels(decoder), _frames(decoder)
    now, patch = getattr(transformer, "vae_scale_factor", None), getattr(transformer, "patch_size", None)
    if now is None or not hasattr(transformer, "in_channels") or isinstance(patch, tuple):
        return "the transformer's latents are not described by vae_scale_factor, patch_size and in_channels"
    wide = np.asarray(now) * np.asarray(patch)
    if np.any(wide >= pixels):
        return f"tokens are {int(np.max(wide))} pixels wide already"
    for side, size in (("height", request.height), ("width", request.width)):
        if np.any(np.asarray(size) % pixels):
            return f"{side} {size} is no multiple of {pixels}"
    if request.frames is not None and np.any((np.asarray(request.frames) - 1) % frames):
        return f"{request.frames} frames are not 1 more than a multiple of {frames}"
    return None


def _pixels(decoder: ModelConfig) -> int:
    """Pixels per latent along a side."""
    return int(getattr(decoder, "vae_scale_factor", 1))


def _frames(decoder: ModelConfig) -> int:
    """Frames per latent frame."""
    return int(getattr(decoder, "vae_temporal_factor", 1))


def _cache(plan: Plan, lever: Lever) -> Plan:
    probe = 1.0 / float(np.max(config_layers(plan.pipeline.transformer)))
    return replace(plan, deployment=replace(plan.deployment, cached_share=lever.number, cache_probe=probe))


def _cache_after(final: Finished, lever: Lever) -> str | None:
    steps = final.plan.request.steps
    if np.any(np.asarray(steps) < MIN_CACHED_STEPS):
        return f"{steps} steps differ too much to reuse features; needs {MIN_CACHED_STEPS} or more"
    return None


def _no_link(gpu: GpuSpec) -> str | None:
    linked = gpu.interconnect is not None or gpu.pcie is not None
    return None if linked else f"{gpu.id}'s profile names no link to other GPUs"


def _passes_after(final: Finished, lever: Lever) -> str | None:
    guidance = final.plan.request.guidance
    if guidance is not Guidance.CFG:
        return f"guidance is {guidance.value}: there are no two passes to share"
    return _no_link(final.gpu) or conflicts(final.plan.deployment).shared


def _sequence_after(final: Finished, lever: Lever) -> str | None:
    deployment, gpu, ops = final.plan.deployment, final.gpu, final.ops
    if reason := _no_link(gpu) or conflicts(deployment).shared:
        return reason
    gpus = deployment.execution.sequence_parallel
    if gpus * deployment.cfg_parallel > node_gpus(gpu):
        return f"{gpus * deployment.cfg_parallel} GPUs are more than one node joins ({node_gpus(gpu)})"
    for op in ops:
        if isinstance(op, Convolution) and not np.all(np.asarray(op.input_share) == 1.0):
            return f"{op.name} looks beyond one token: its borders are on other GPUs"
        if isinstance(op, Attention) and np.array_equal(op.seq_q, op.seq_kv) and np.any(np.asarray(op.heads_q) % gpus):
            return f"{int(np.max(op.heads_q))} heads cannot be shared by {gpus} GPUs"
    if not any(isinstance(op, Attention) for op in ops):
        return "the transformer has no softmax attention whose heads GPUs could share"
    return None


def _batch_before(plan: Plan, lever: Lever) -> str | None:
    batched = np.any(np.asarray(plan.request.batch_size) != 1)
    return f"the request has a batch of {plan.request.batch_size} already" if batched else None


def _tiling_after(final: Finished, lever: Lever) -> str | None:
    decoder = final.plan.pipeline.record.decoder
    return "the decoder names no tiles" if decoder is None or decoder.tiling is None else None


def _text_after(final: Finished, lever: Lever) -> str | None:
    return None if final.plan.pipeline.text_encoders else "the pipeline has no text encoder"


def _offload_after(final: Finished, lever: Lever) -> str | None:
    linked = final.gpu.pcie is not None or final.plan.deployment.pcie_gb_s is not None
    return None if linked else f"{final.gpu.id}'s profile names no PCIe link"


GROUPS: tuple[LeverGroup, ...] = (
    LeverGroup(name="torch", role=Role.EXECUTION, before=_release_before),
    LeverGroup(name="compile", role=Role.EXECUTION, after=_compiled_after),
    LeverGroup(name="graphs", role=Role.EXECUTION, after=_graphs_after),
    LeverGroup(name="qkv", role=Role.EXECUTION, after=_merged_after),
    LeverGroup(name="attention", role=Role.EXECUTION, after=_attention_after),
    LeverGroup(name="dtype", role=Role.FORMATS, after=_format_after),
    LeverGroup(name="guidance", role=Role.SAMPLING, change=_distil_guidance, before=_guidance_before),
    LeverGroup(
        name="steps", role=Role.SAMPLING, number=Number.COUNT, order=-1, change=_distil_steps, before=_steps_before
    ),
    LeverGroup(name="student", role=Role.MODEL, number=Number.SHARE, change=_shrink, before=_shrink_before),
    LeverGroup(name="latent", role=Role.MODEL, order=1, change=_compress, before=_compress_before),
    LeverGroup(name="cache", role=Role.MODEL, number=Number.SHARE, order=2, change=_cache, after=_cache_after),
    LeverGroup(name="cfg-parallel", role=Role.EXECUTION, after=_passes_after),
    LeverGroup(name="sequence-parallel", role=Role.EXECUTION, number=Number.COUNT, after=_sequence_after),
    LeverGroup(name="batch", role=Role.REQUEST, number=Number.COUNT, before=_batch_before),
    LeverGroup(name="tiling", role=Role.PLACEMENT, after=_tiling_after),
    LeverGroup(name="text", role=Role.PLACEMENT, after=_text_after),
    LeverGroup(name="placement", role=Role.PLACEMENT, after=_offload_after),
)


def new_group(name: str, role: Role, number: Number) -> LeverGroup:
    """A group that has no record: its levers set fields, and are legal where the plan with them is."""
    return LeverGroup(name=name, role=role, number=number, before=_idle, after=_any_after)


def _idle(plan: Plan, lever: Lever) -> str | None:
    return "the plan has all that it sets already" if changed_already(plan, lever) else None


def _any_after(final: Finished, lever: Lever) -> str | None:
    deployment, gpu = final.plan.deployment, final.gpu
    return (
        (compile_reason(gpu) if deployment.execution.compiled else None)
        or (graphs_reason(gpu) if deployment.execution.cuda_graphs else None)
        or (_no_link(gpu) if deployment.gpus > 1 else None)
        or (_format_after(final, lever))
        or conflicts(deployment).first
    )
