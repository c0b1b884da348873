"""Estimates as plain values: what ``archsearch pipeline ... --json`` prints."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from archsearch.models.base import ModelConfig
from archsearch.pipeline.generation_cost import PipelineEstimate, StageCost
from archsearch.pipeline.lever_effects import lever_effect
from archsearch.pipeline.lever_group import Lever
from archsearch.pipeline.optimize import Optimum
from archsearch.pipeline.request import Deployment, Request

_CLOSES = {
    "host": "CUDA graphs (or torch.compile, a faster CPU)",
    "transfer": "weights that stay resident, pinned memory",
    "elementwise": "torch.compile fuses norms, gates and activations",
    "attention": "a faster attention kernel, linear attention, a shared sequence",
    "matmul": "larger batches, merged projections, lower precision",
    "convolution": "channels-last layout, tiles, a more compressed latent",
    "collective": "fewer GPUs a request, faster links",
    "waiting": "fewer GPUs a request, faster links",
}


def document(e: PipelineEstimate) -> dict[str, Any]:
    """The JSON document of a scalar estimate."""
    latency, r = number(e.latency_s), e.request
    outputs = number(r.batch_size)
    fps = e.pipeline.record.defaults.frames_per_second
    video_s = None if r.frames is None or fps is None else number(r.frames) / fps
    answer = {
        "pipeline": e.pipeline.name,
        "hardware": e.gpu.id,
        "gpus": e.gpus,
        "models": {"transformer": _model(e.pipeline.transformer), "decoder": _model(e.pipeline.decoder)},
        "request": request_document(r),
        "execution": e.deployment.step_execution.to_dict(),
        "run": deployment_document(e.deployment),
        "latency_s": latency,
        "latency_low_s": number(e.total("low_s")),
        "latency_high_s": number(e.total("high_s")),
        "provenance": e.provenance.value,
        "roofline": e.gpu.why_roofline,
        "latency_per_output_s": latency / outputs,
        "throughput_per_s": outputs / latency,
        "gpu_seconds_per_output": number(e.gpu_seconds_per_output),
        "energy_j_per_output": number(e.energy_j),
        "usd_per_output": None if e.usd is None else number(e.usd),
        **e.quotes.to_dict(),
        "stages": [_stage(s, latency) for s in e.stages],
        "memory_bytes": {
            "peak": number(e.peak_memory_bytes),
            "by_stage": {s.name: number(s.memory_bytes) for s in e.stages},
            "activations": {s.name: number(s.activation_bytes) for s in e.stages},
            "weights": {name: number(v) for name, v in e.weights_bytes.items()},
            "weights_total": sum(number(v) for v in e.weights_bytes.values()),
            "available": e.gpu.available_bytes,
        },
        "fits": bool(np.all(e.fits)),
        "flops": number(e.total("flops")),
        "theory": theory(e),
        "not_costed": sorted(e.pipeline.record.not_costed),
    }
    if video_s:
        answer["video_s"] = video_s
        answer["usd_per_video_s"] = None if e.usd is None else number(e.usd) / video_s
    return answer


def _model(config: ModelConfig | None) -> dict[str, Any] | None:
    if config is None:
        return None
    fields: dict[str, Any] = getattr(config, "to_dict", dict)()
    return {"family": config.family, "config": fields}


def request_document(r: Request) -> dict[str, object]:
    """What is asked, as plain values."""
    return {
        "height": r.height,
        "width": r.width,
        "frames": r.frames,
        "steps": r.steps,
        "guidance": r.guidance.value,
        "batch_size": r.batch_size,
    }


def deployment_document(deployment: Deployment) -> dict[str, object]:
    """A deployment's settings as plain values."""
    settings = {name: getattr(deployment, name) for name in deployment.__slots__ if name != "execution"}
    return {name: getattr(value, "value", value) for name, value in settings.items() if value is not None}


def _stage(s: StageCost, total: float) -> dict[str, object]:
    latency, calls = number(s.latency_s), number(s.calls)
    return {
        "name": s.name,
        "calls": int(calls) if float(calls).is_integer() else calls,
        "latency_s": latency,
        "latency_per_call_s": latency / calls,
        "share": latency / total,
        "latency_low_s": number(s.low_s),
        "latency_high_s": number(s.high_s),
        "gpu_s": number(s.gpu_s),
        "host_s": number(s.host_s),
        "transfer_s": number(s.transfer_s),
        "kernels": number(s.kernels),
        "flops": number(s.flops),
        "peak_flops_s": number(s.peak_s),
        "roofline_s": number(s.roofline_s),
        "by_kind": {kind: number(v) for kind, v in s.by_kind.items()},
        "memory_bytes": number(s.memory_bytes),
    }


def theory(e: PipelineEstimate) -> dict[str, Any]:
    """How far the pipeline is from theory: FLOPs at the datasheet's peak, the roofline, the estimate; and the gap
    between roofline and estimate by what fills it, with what would close each part (the largest first)."""
    latency, roofline = number(e.latency_s), number(e.total("roofline_s"))
    kinds: dict[str, float] = {}
    for stage in e.stages:
        for kind, seconds in stage.by_kind.items():
            kinds[kind] = kinds.get(kind, 0.0) + number(seconds)
    gpu = number(e.total("gpu_s"))
    over = max(gpu - roofline, 0.0)
    dense = {k: v for k, v in kinds.items() if k in ("matmul", "attention", "convolution")}
    excess = max(sum(dense.values()) - number(e.total("peak_s")), 0.0)
    parts = {k: excess * v / max(sum(dense.values()), 1e-30) for k, v in dense.items()}
    parts["elementwise"] = max(over - excess, 0.0)
    parts["collective"] = kinds.get("collective", 0.0)
    parts["transfer"] = number(e.total("transfer_s"))
    parts["host"] = max(latency - gpu - parts["transfer"], 0.0)
    gaps = [{"what": k, "seconds": v, "closed_by": _CLOSES[k]} for k, v in parts.items() if v > 1e-3 * latency]
    return {
        "peak_flops_s": number(e.total("peak_s")),
        "roofline_s": roofline,
        "estimate_s": latency,
        "roofline_share": roofline / latency,
        "gap": sorted(gaps, key=lambda g: -float(str(g["seconds"]))),
    }


def optimum_document(optimum: Optimum) -> dict[str, Any]:
    """The optimiser's answer: the best combination, what each lever adds, and the plan without levers."""
    before = optimum.baseline
    rows: list[dict[str, Any]] = []
    last = before
    for step in optimum.steps:
        rows.append(
            {
                "lever": step.ids[-1],
                "title": step.levers[-1].title,
                "latency_s": number(step.estimate.latency_s),
                "speedup": number(last.estimate.latency_s) / number(step.estimate.latency_s),
                "memory_bytes": number(step.estimate.peak_memory_bytes),
                "gpus": step.estimate.gpus,
                **_quality(optimum, step.levers[-1]),
                "training": step.levers[-1].training,
                "source": step.levers[-1].source,
            }
        )
        last = step
    return {
        "baseline": document(before.estimate),
        "best": {
            **document(optimum.best.estimate),
            "levers": list(optimum.best.ids),
            "retained": share(optimum.best.retained),
        },
        "speedup": number(before.estimate.latency_s) / number(optimum.best.estimate.latency_s),
        "levers": rows,
        "combinations": {"judged": optimum.judged, "legal": optimum.legal, "quality_unknown": optimum.unknown},
    }


def _quality(optimum: Optimum, lever: Lever) -> dict[str, Any]:
    """What one lever leaves of the quality: ``retained``, ``quality`` and ``quality_text``."""
    effect = lever_effect(optimum.plan, lever, optimum.stated)
    return {"retained": share(effect.retained), "quality": effect.document(), "quality_text": effect.text}


def share(retained: float) -> float | None:
    """A share of quality as JSON has it: None where it is unknown."""
    return None if np.isnan(retained) else float(retained)


def quality_left(retained: float | None) -> str:
    """A share of quality in words."""
    return "quality left unknown" if retained is None else f"{retained:.1%} of the quality left"


def number(value: ArrayLike) -> float:
    """A scalar as Python's number."""
    return float(np.asarray(value))
