"""Students: smaller transformers of a teacher's family that fit into its pipeline, and the best of them for a time.

A student keeps what the rest of the pipeline touches (latents, text, conditioning, patches) and what kernels like (the
teacher's head_dim and its ratio of feed-forward to hidden_size); depth and width are searched. Every student is priced
as a whole generation, so that what text encoders and decoder take is part of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import gcd
from typing import Any

import numpy as np
import yaml

from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware import GpuPool
from archsearch.hardware.spec import GpuSpec
from archsearch.models.base import ModelConfig
from archsearch.pipeline.catalog import list_pipelines
from archsearch.pipeline.plan import Plan
from archsearch.pipeline.request import Deployment
from archsearch.search.evaluate.columns import per_gpu_column
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.enumeration import sweep
from archsearch.search.space.space import SearchSpace, space_from_text
from archsearch.workload import Phase

DEPTHS = ("num_layers", "num_single_layers")
SHARES = 8
"""Depth and width are tried in eighths of the teacher's, from a quarter up."""


@dataclass(frozen=True, slots=True)
class Student:
    """A student with its figures beside the teacher's. ``quality`` is the family's law's, of which ``direction`` tells
    what is better."""

    config: dict[str, Any]
    parameters: int
    latency_s: float
    quality: float
    teacher_parameters: int
    teacher_latency_s: float
    teacher_quality: float
    proxy: str
    direction: str
    considered: int


def find_student(plan: Plan, gpu: GpuSpec, share: float) -> Student:
    """The student of the best predicted quality whose generation takes at most ``share`` of the teacher's.

    Raises:
        InvalidInputError: a share outside 0 to 1, or a family whose width or depth cannot be searched.
        ArchSearchError: no student is so fast, or no quality law speaks for the family.
    """
    if not 0.0 < share < 1.0:
        raise InvalidInputError(
            f"{{share}} must be between 0 and 1 of the teacher's time, not {share:g}", field="share"
        )
    space = student_space(plan)
    evaluator = Evaluator(space, GpuPool.of([gpu]))
    teacher = evaluator.baseline_columns
    assert teacher is not None
    latency, teacher_s = per_gpu_column("latency_s", gpu.id), float(teacher[per_gpu_column("latency_s", gpu.id)][0])
    swept = sweep(space, evaluator=evaluator, progress=False)
    front = swept.result(swept.front_cells).frame
    fast = front[front[latency] <= share * teacher_s]
    if fast.empty:
        least = float(front[latency].min()) / teacher_s
        raise ArchSearchError(f"no student takes {share:g} of the teacher's time; the fastest takes {least:.2f}")
    minimise = evaluator.proxy.direction == "minimize"
    best = fast.sort_values("quality", ascending=minimise).iloc[0]
    chosen = space.config_dict({name: best[name] for name in space.dimensions})
    names = {f.name for f in fields(plan.pipeline.transformer)}
    return Student(
        config={"family": plan.pipeline.transformer.family} | {k: v for k, v in chosen.items() if k in names},
        parameters=int(best["parameters"]),
        latency_s=float(best[latency]),
        quality=float(best["quality"]),
        teacher_parameters=int(teacher["parameters"][0]),
        teacher_latency_s=teacher_s,
        teacher_quality=float(teacher["quality"][0]),
        proxy=evaluator.proxy.name,
        direction=evaluator.proxy.direction,
        considered=space.size,
    )


def student_space(plan: Plan) -> SearchSpace:
    """Depths and widths of a teacher's family under its interfaces, priced as the plan's generation.

    Raises:
        InvalidInputError: a pipeline that does not ship, or a family without hidden_size and num_layers.
        UnsupportedError: a run with more to it than a format and an execution.
    """
    pipeline, request, run = plan.pipeline, plan.request, plan.deployment
    _refuse_unsearched(plan)
    if pipeline.name not in list_pipelines():
        raise InvalidInputError(
            f"students are searched for shipped pipelines (or those of ARCHSEARCH_PIPELINES), {pipeline.name!r} is none"
        )
    teacher = pipeline.transformer
    values = teacher.to_dict()
    if "num_layers" not in values or "hidden_size" not in values:
        raise InvalidInputError(f"family {teacher.family} has no num_layers and hidden_size to search")
    dimensions, derived = _freedom(teacher, values)
    fixed = {k: v for k, v in values.items() if k not in dimensions and k not in derived and not isinstance(v, tuple)}
    fixed |= {"num_inference_steps": int(np.max(request.steps)), "guidance_passes": int(np.max(request.passes))}
    fixed |= {"distilled": int(pipeline.checkpoint.distilled)}
    record = {
        "name": f"students-of-{pipeline.name}",
        "description": f"students of {pipeline.name}",
        "family": teacher.family,
        "pipeline": pipeline.name,
        "fixed": fixed,
        "dimensions": {name: {"choices": choices} for name, choices in dimensions.items()},
        "derived": derived,
        "sampling": {"alike": True},
        "width_multiple": int(np.gcd.reduce([64, int(values.get("head_dim") or 64), *dimensions["hidden_size"]])),
        "workload": {
            "phase": Phase.FORWARD.value,
            "batch_size": int(np.max(request.batch_size)),
            "height": int(np.max(request.height)),
            "width": int(np.max(request.width)),
            "dtype": run.dtype.value,
        }
        | ({} if request.frames is None else {"frames": int(np.max(request.frames))}),
        "execution": run.execution.to_dict(),
        "objectives": [{"metric": "quality"}, {"metric": "latency_s"}],
        "baseline": {k: v for k, v in values.items() if k in dimensions or k in derived},
    }
    return space_from_text(yaml.safe_dump(record), f"students of {pipeline.name}")


def _refuse_unsearched(plan: Plan) -> None:
    """Refuse a plan whose run the search of students does not price: all but format and execution is as it comes.

    Raises:
        UnsupportedError: the text names the fields of the run.
    """
    deployment = plan.deployment
    plain = Deployment(dtype=deployment.dtype, execution=deployment.execution)
    changed = [f.name for f in fields(Deployment) if getattr(deployment, f.name) != getattr(plain, f.name)]
    if changed:
        raise UnsupportedError(
            f"students are searched with resident weights and every step computed: without {', '.join(changed)} "
            "(leave out the lever that sets it; pull it on the student afterwards)"
        )


def _freedom(teacher: ModelConfig, values: dict[str, Any]) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Dimensions with their choices, and what follows from them: heads keep the teacher's width, a feed-forward its
    ratio."""
    step = int(values.get("head_dim") or values["hidden_size"] // values["num_attention_heads"])
    if "num_cross_attention_heads" in values:  # both head counts have to divide the width
        other = values["hidden_size"] // values["num_cross_attention_heads"]
        step = step * other // gcd(step, other)
    hidden = values["hidden_size"]
    widths = {max(step, round(hidden * i / SHARES / step) * step) for i in range(SHARES // 4, SHARES + 1)}
    dimensions = {"hidden_size": sorted(widths)}
    derived = {"num_attention_heads": f"hidden_size * {values['num_attention_heads']} // {hidden}"}
    for name in ("intermediate_size", "num_cross_attention_heads"):
        if name in values:
            derived[name] = f"hidden_size * {values[name]} // {hidden}"
    for name in DEPTHS:
        if values.get(name):
            depths = {max(1, round(values[name] * i / SHARES)) for i in range(SHARES // 4, SHARES + 1)}
            dimensions[name] = sorted(depths)
    return dimensions, derived
