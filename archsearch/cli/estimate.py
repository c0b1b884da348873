"""``archsearch estimate``: latency, throughput and memory of one model on one GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.completion import complete_model
from archsearch.cli.execution_options import ExecutionOptions
from archsearch.cli.groups import grouped
from archsearch.cli.options import AllowCode, Checkpointing, Gpu, Json, Profiles, WorkloadOptions
from archsearch.cli.output import (
    gibibytes,
    millions,
    milliseconds,
    note,
    note_assumed,
    print_json,
    print_table,
    rate,
    say,
)

if TYPE_CHECKING:
    from archsearch.api import EstimateResult

Model = Annotated[
    str,
    typer.Argument(
        help="A preset (`archsearch models list`), a config.json, an archsearch YAML, or module:function.",
        autocompletion=complete_model,
    ),
]


@grouped
def estimate(
    model: Model,
    hardware: Gpu,
    checkpointing: Checkpointing = False,
    allow_code: AllowCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    workload: WorkloadOptions,
    execution: ExecutionOptions,
) -> None:
    """Estimate a model's latency, throughput and memory on a GPU, and show where the time goes."""
    from archsearch.api import estimate as estimated

    result = estimated(
        model,
        hardware,
        checkpointing=checkpointing,
        execution=execution.execution,
        allow_code=allow_code,
        **workload.fields,
        **execution.changes,
    )
    execution.note_idle()
    if json:
        print_json(result.to_dict())
    else:
        _print(result)


def _print(result: EstimateResult) -> None:
    from archsearch.cost.execution import Execution
    from archsearch.hardware import load_gpu

    note_assumed(result.assumed, [load_gpu(result.hardware)])
    work = result.workload
    shape = ", ".join(f"{k} {v}" for k, v in work.items() if k not in ("phase", "dtype"))
    gpus = f"{result.gpus} x " if result.gpus > 1 else ""
    say(f"{result.model} on {gpus}{result.hardware}: {work['phase']}, {'/'.join(result.formats)}, {shape}")
    say(f"  execution   {Execution(**result.execution).line()}")
    say(
        f"  latency     {milliseconds(result.latency_s)} ms  (80 % band {milliseconds(result.latency_low_s)} to "
        f"{milliseconds(result.latency_high_s)} ms, {result.provenance}; {result.kernels} kernels)"
    )
    if result.roofline:
        say(f"  {result.roofline}")
    if result.host_s > result.gpu_s:
        launches, kernels = milliseconds(result.host_s), milliseconds(result.gpu_s)
        say(f"  the host binds: {launches} ms of launches, {kernels} ms of kernels")
    elif result.waits_s:
        say(f"  of it waiting for launches: {milliseconds(result.waits_s)} ms")
    use = f"{result.mfu:.1%} MFU, {result.hfu:.1%} HFU"
    say(f"  throughput  {rate(result.throughput)} {result.throughput_unit}  at {use}")
    active = "" if result.active_parameters == result.parameters else f" ({millions(result.active_parameters)} active)"
    say(f"  parameters  {millions(result.parameters)}{active}   FLOPs {result.flops / 1e12:.4g} T")
    parts = {k: v for k, v in result.memory_bytes.items() if v and k != "total"}
    inside = ", ".join(f"{k.replace('_', ' ')} {gibibytes(v)}" for k, v in parts.items())
    short = gibibytes(result.memory_bytes["total"] - result.available_memory_bytes)
    verdict = "fits" if result.fits else f"DOES NOT FIT this GPU's memory, {short} GiB short"
    each = " of each GPU" if result.gpus > 1 else ""
    total, available = gibibytes(result.memory_bytes["total"]), gibibytes(result.available_memory_bytes)
    say(f"  memory      {total} of {available} GiB{each} ({inside}): {verdict}")
    for remark in result.remarks:
        note(remark)
    for unknown in result.unknown_ops:
        note(
            f"unknown op aten::{unknown['op']}: {unknown['calls']} calls, {unknown['share']:.2%} of bytes, as pointwise"
        )
    rows = sorted(result.breakdown, key=lambda row: -row["latency_s"])
    print_table(
        "",
        ("op", "kind", "count", "ms", "share", "bound", "tile", "waves", "wave eff."),
        [
            (
                row["name"],
                row["op"],
                row["count"],
                milliseconds(row["latency_s"]),
                f"{row['latency_s'] / result.latency_s:.1%}",
                row["bound"],
                row["tile"],
                row["waves"],
                row["wave_efficiency"] if row["wave_efficiency"] is None else f"{row['wave_efficiency']:.0%}",
            )
            for row in rows
        ],
        left=("op", "kind", "bound", "tile"),
        less=("kind", "wave eff.", "tile", "waves", "count"),
    )
