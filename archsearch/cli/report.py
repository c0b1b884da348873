"""``archsearch report``: a study, a space, a model, a pipeline or a fleet as one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.completion import complete_reported
from archsearch.cli.execution_options import ExecutionOptions
from archsearch.cli.groups import grouped, option_name
from archsearch.cli.invocation import command_line
from archsearch.cli.options import AllowStudyCode, Json, Pool, Profiles, Storage, WorkloadOptions
from archsearch.cli.output import note, print_json, say, worded
from archsearch.report.named import Kind, chosen_kind

if TYPE_CHECKING:
    from archsearch.estimate_result import EstimateFields
    from archsearch.report.web_page import Page


@grouped
def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|SPACE|MODEL|PIPELINE",
            help="What to report on, by name or file; of a fleet the FILE.json that `serve --json` printed.",
            autocompletion=complete_reported,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.html", help="Where to (default: SOURCE-report.html).")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="What SOURCE names, where it names several things.")
    ] = None,
    hardware: Pool = None,
    top: Annotated[int, typer.Option("--top", "-k", help="How many architectures of a search to recommend.")] = 5,
    storage: Storage = None,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    workload: WorkloadOptions,
    execution: ExecutionOptions,
) -> None:
    """Write a report: pictures to click, tables to filter, reasons, configs to copy; one file for any browser."""
    from archsearch.report.report_place import check_path, default_path
    from archsearch.report.write import write_page

    chosen, others = chosen_kind(source, kind, storage)
    path = default_path(source) if output is None else output
    check_path(path)
    if others:
        note(f"{source} is a {chosen.value} and a {others[0].value}: this is the {chosen.value}; --kind says otherwise")
    if chosen in (Kind.STUDY, Kind.SPACE):
        page = _of_search(source, chosen, hardware, storage, top, workload, execution)
    elif chosen is Kind.MODEL:
        page = _of_model(source, hardware, allow_code, workload, execution)
    elif chosen is Kind.FLEET:
        page = _of_fleet(Path(source), hardware, workload, execution)
    else:
        page = _of_pipeline(source, hardware, workload, execution)
    size = write_page(page, path)
    if json:
        print_json({"path": str(path), "bytes": size, "kind": page.kind, "title": page.title, **_contents(page)})
    else:
        say(f"wrote {path}: {page.title}, {size / 1e6:.1f} MB, for any browser")


def _contents(page: Page) -> dict[str, object]:
    """What stands on a page, for programs."""
    return {
        "headline": list(page.headline),
        "facts": dict(page.facts),
        "recommended": sum(len(section.cards) for section in page.sections),
        "sections": [section.name for section in page.sections],
        "figures": [picture.name for picture in page.pictures],
        "points": len(page.points.rows),
    }


def _of_search(
    source: str,
    kind: Kind,
    hardware: str | None,
    storage: str | None,
    top: int,
    workload: WorkloadOptions,
    execution: ExecutionOptions,
) -> Page:
    """A study's page, or a space's on the GPUs that were named, or its own."""
    from archsearch.cli.report_files import files_of
    from archsearch.hardware import GpuPool
    from archsearch.report.search_report import search_answer, search_page
    from archsearch.search.studies.storage import load_study

    workload.refuse(f"{source}: a {kind.value} has its own workload")
    if kind is Kind.STUDY:
        text = f"{source}: a study keeps its GPUs and how its architectures ran; name its space to change them"
        workload.refuse(text, *(["--hardware"] if hardware else []), *execution.flags)
        answer = search_answer(load_study(source, storage), storage=storage, top=top, progress=True)
    else:
        pool = None if hardware is None else GpuPool.parse(hardware)
        answer = search_answer(execution.on(source), pool, top=top, progress=True)
    said = [] if hardware is None else ["--hardware", hardware]
    return search_page(answer, files_of(source, said, storage), command_line(), progress=True)


def _of_model(
    source: str, hardware: str | None, allow_code: bool, workload: WorkloadOptions, execution: ExecutionOptions
) -> Page:
    """A model's page on every GPU that was named."""
    from archsearch.api import estimate, explain
    from archsearch.cli.report_files import model_files
    from archsearch.errors import InvalidInputError, UnsupportedError
    from archsearch.report.model_report import ModelAnswer, model_page
    from archsearch.search.evaluate.pool_models import resolve_pool

    if hardware is None:
        raise InvalidInputError(f"{source} is a model: name the GPUs to report it on, --hardware GPU[,GPU...]")
    pool, run = resolve_pool(hardware), execution.execution
    fields: EstimateFields = {**workload.fields, **execution.changes}
    estimates = tuple(estimate(source, gpu, execution=run, allow_code=allow_code, **fields) for gpu in pool.gpus)
    try:
        told = explain(source, pool, execution=run, allow_code=allow_code, **fields)
    except UnsupportedError as error:
        answer = ModelAnswer(estimates, None, f"Not explained: {worded(error)}.")
    else:
        answer = ModelAnswer(estimates, told)
    return model_page(answer, model_files(estimates[0]), command_line(), progress=True)


def _of_fleet(path: Path, hardware: str | None, workload: WorkloadOptions, execution: ExecutionOptions) -> Page:
    """A fleet's page, from what ``serve`` printed.

    Raises:
        InvalidInputError: it is no such answer of this version, with what differs; or options, which it has its own of.
    """
    from archsearch.cli.answer_keys import answers
    from archsearch.errors import InvalidInputError
    from archsearch.files import read_json
    from archsearch.report.serve_report import serve_page

    text = f"{path}: a fleet was sized for its own GPUs and requests; call `archsearch serve` again to change them"
    workload.refuse(text, *(["--hardware"] if hardware else []), *execution.flags)
    document = read_json(path)
    faults = [answers().faults(f"serve {job}", document) for job in ("fleet", "simulate", "trace")]
    if all(faults):
        told = min(faults, key=len)[0].lstrip(".")
        raise InvalidInputError(f"{path}: no answer of `archsearch serve --json` of this version: {told}")
    assert isinstance(document, dict)
    return serve_page(document, command_line())


def _of_pipeline(source: str, hardware: str | None, workload: WorkloadOptions, execution: ExecutionOptions) -> Page:
    """A pipeline's page as its implementation runs it; ``pipeline estimate --report`` takes all options."""
    from archsearch.cli.generation import RequestOptions, plan_of
    from archsearch.cli.pipeline_answers import estimate_document
    from archsearch.errors import InvalidInputError
    from archsearch.hardware import load_gpu
    from archsearch.pipeline.component_calls import Pricer
    from archsearch.pipeline.generation_cost import estimate_pipeline
    from archsearch.report.lever_table import lever_rows
    from archsearch.report.pipeline_report import pipeline_page

    if hardware is None:
        raise InvalidInputError(f"{source} is a pipeline: name the GPU to report it on, --hardware GPU")
    asked = dict(workload.fields)
    strange = [option_name(name) for name in ("seq_len", "phase") if name in asked]
    if strange:
        raise InvalidInputError(f"{source} is a pipeline, which has no {', '.join(strange)}; leave that out")
    gpu, batch_size = load_gpu(hardware), int(asked.pop("batch_size", 1))  # type: ignore[call-overload]
    plan, assumed = plan_of(source, gpu, RequestOptions(**asked), execution, batch_size=batch_size)  # type: ignore[arg-type]
    pricer = Pricer(gpu)
    found = estimate_pipeline(plan.pipeline, gpu, plan.request, plan.deployment, pricer=pricer)
    document = estimate_document(found, plan, pricer, assumed=assumed)
    return pipeline_page(document, lever_rows(plan, pricer), command_line())
