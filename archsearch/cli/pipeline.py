"""``archsearch pipeline``: latency and memory of a whole image or video pipeline, and what would make it faster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import typer

from archsearch.cli.completion import complete_pipeline
from archsearch.cli.execution_options import ExecutionOptions
from archsearch.cli.generation import BatchSize, GenerationOptions, RequestOptions, plan_of
from archsearch.cli.groups import grouped
from archsearch.cli.jobs import JobGroup
from archsearch.cli.options import Gpu, Json, PriceOption, Profiles, Report
from archsearch.cli.pipeline_answers import (
    answer_comparison,
    answer_estimate,
    answer_fits,
    answer_optimum,
    answer_student,
    print_levers,
    print_pipelines,
)


class _Jobs(JobGroup):
    verb = "pipeline"
    default = "estimate"
    flags: ClassVar = {
        "--list": "list",
        "--levers": "levers",
        "--fits-on": "fits",
        "--against": "compare",
        "--student": "student",
        "--optimize": "optimize",
    }


app = typer.Typer(
    cls=_Jobs,
    help="Whole image and video pipelines: latency, memory, cost, and what makes them faster.",
    no_args_is_help=True,
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="PRESET|FILE", help="A pipeline (`pipeline list`) or a YAML file.", autocompletion=complete_pipeline
    ),
]


@app.command("estimate")
@grouped
def estimate(
    name: Name,
    hardware: Gpu,
    batch_size: BatchSize = 1,
    price: PriceOption = None,
    report: Report = None,
    json: Json = False,
    profiles: Profiles = None,
    *,
    generation: GenerationOptions,
) -> None:
    """Estimate a generation: text encoders, transformer times steps, decoder; memory, cost, distance from theory."""
    from archsearch.hardware import load_gpu, parse_prices
    from archsearch.pipeline.component_calls import Pricer

    gpu = load_gpu(hardware)
    plan, assumed = generation.plan(name, gpu, batch_size=batch_size)
    generation.placing.refuse_idle_link([plan])
    answer_estimate(
        plan,
        Pricer(gpu, parse_prices(price or [], [gpu.id])),
        generation.placing.placement == "auto",
        assumed,
        report,
        json,
    )


@app.command("optimize")
@grouped
def optimize(
    name: Name,
    hardware: Gpu,
    objective: Annotated[str, typer.Option("--objective", help="latency, cost or energy.")] = "latency",
    max_latency_ms: Annotated[
        float | None, typer.Option("--max-latency-ms", help="Limit of a generation, end to end, in ms.")
    ] = None,
    max_memory_gib: Annotated[
        float | None, typer.Option("--max-memory-gib", help="Memory that each GPU may use, in GiB.")
    ] = None,
    max_gpus: Annotated[int, typer.Option("--max-gpus", help="GPUs that one request may use.")] = 1,
    training: Annotated[str, typer.Option("--training", help="none, distill or retrain at most.")] = "none",
    min_retained: Annotated[float, typer.Option("--min-retained", help="Least share of quality left.")] = 0.0,
    retained: Annotated[
        list[str] | None, typer.Option("--retained", metavar="LEVER=SHARE", help="Quality a lever leaves; repeatable.")
    ] = None,
    batch_size: BatchSize = 1,
    price: PriceOption = None,
    report: Report = None,
    json: Json = False,
    profiles: Profiles = None,
    *,
    generation: GenerationOptions,
) -> None:
    """Find the best legal combination of levers within limits: exact over every combination."""
    from archsearch.hardware import load_gpu, parse_prices
    from archsearch.pipeline.component_calls import Pricer
    from archsearch.pipeline.optimize import Goal

    goal = Goal(
        objective=objective,
        max_latency_s=None if max_latency_ms is None else max_latency_ms / 1e3,
        max_memory_bytes=None if max_memory_gib is None else max_memory_gib * 2**30,
        max_gpus=max_gpus,
        training=training,
        retained=min_retained,
    )
    generation.placing.refuse_auto("placements are among the levers that are tried")
    gpu = load_gpu(hardware)
    plan, _ = generation.plan(name, gpu, batch_size=batch_size)
    answer_optimum(plan, Pricer(gpu, parse_prices(price or [], [gpu.id])), goal, retained or [], report, json)


@app.command("fits")
@grouped
def fits(
    name: Name,
    hardware: Annotated[
        str, typer.Option("--hardware", "-g", metavar="GPU[,GPU...]|all", help="Where: some GPUs, or all known ones.")
    ] = "all",
    batch_size: BatchSize = 1,
    json: Json = False,
    profiles: Profiles = None,
    *,
    generation: GenerationOptions,
) -> None:
    """Show on which GPUs a generation fits as asked, and its fastest placement on each."""
    generation.placing.refuse_auto("the fastest placement stands beside the one that is asked for")
    answer_fits(name, hardware, lambda gpu: generation.plan(name, gpu, batch_size=batch_size)[0], json)


@app.command("student")
@grouped
def student(
    name: Name,
    hardware: Gpu,
    share: Annotated[float, typer.Option("--share", help="Most of the teacher's time that the student may take.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.yaml", help="Write the student as a model YAML.")
    ] = None,
    batch_size: BatchSize = 1,
    json: Json = False,
    profiles: Profiles = None,
    *,
    request: RequestOptions,
    execution: ExecutionOptions,
) -> None:
    """Search a smaller transformer for the same pipeline: the best by predicted quality within a share of the time."""
    from archsearch.hardware import load_gpu

    gpu = load_gpu(hardware)
    plan, _ = plan_of(name, gpu, request, execution, batch_size=batch_size)
    answer_student(plan, gpu, share, output, json)


@app.command("compare")
@grouped
def compare(
    small: Annotated[str, typer.Argument(metavar="SMALL", help="The pipeline that samples and chooses.")],
    large: Annotated[str, typer.Argument(metavar="LARGE", help="The pipeline that generates once.")],
    hardware: Gpu,
    verifier: Annotated[str, typer.Option("--verifier", help="vlm-1.5b, vlm-7b or clip-l.")] = "vlm-1.5b",
    samples: Annotated[int | None, typer.Option("--samples", help="Also show this number of samples.")] = None,
    score: Annotated[
        list[str] | None, typer.Option("--score", metavar="PIPELINE=S", help="Score of one sample; repeatable.")
    ] = None,
    spread: Annotated[float | None, typer.Option("--spread", help="Deviation between samples (assumed).")] = None,
    fidelity: Annotated[float | None, typer.Option("--fidelity", help="Verifier's correlation (assumed).")] = None,
    batch_size: BatchSize = 1,
    json: Json = False,
    profiles: Profiles = None,
    *,
    generation: GenerationOptions,
) -> None:
    """Compare best-of-N search on a small pipeline with one sample of a large one; options hold for both."""
    from archsearch.hardware import load_gpu

    gpu = load_gpu(hardware)
    plans = [generation.plan(name, gpu, batch_size=batch_size)[0] for name in (small, large)]
    generation.placing.refuse_idle_link(plans)
    generation.placing.refuse_idle_format(plans)
    answer_comparison(plans[0], plans[1], gpu, verifier, samples, score or [], (spread, fidelity), json)


@app.command("list")
def list_pipelines(json: Json = False) -> None:
    """List the pipelines."""
    print_pipelines(json)


@app.command("levers")
def list_levers(json: Json = False) -> None:
    """List the levers: what each changes, what it needs and what it leaves of the quality."""
    print_levers(json)
