"""What the jobs of ``archsearch pipeline`` print: an estimate, where it fits, levers, search, students."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.cli.invocation import command_line
from archsearch.cli.output import GIVE_PRICE, gibibytes, note, note_assumed, print_json, print_table, say, say_prices
from archsearch.progress import progress_bar

if TYPE_CHECKING:
    from archsearch.hardware.spec import GpuSpec
    from archsearch.pipeline.component_calls import Models, Pricer
    from archsearch.pipeline.generation_cost import PipelineEstimate
    from archsearch.pipeline.optimize import Goal
    from archsearch.pipeline.plan import Plan


def answer_estimate(
    plan: Plan, pricer: Pricer, chosen: bool, assumed: tuple[str, ...], report: Path | None, json: bool
) -> None:
    """``chosen``: the plan's placement is the fastest that fits."""
    from archsearch.pipeline.generation_cost import estimate_pipeline

    found = estimate_pipeline(plan.pipeline, pricer.gpu, plan.request, plan.deployment, pricer=pricer)
    result = estimate_document(found, plan, pricer, chosen, assumed)
    if report is not None:
        from archsearch.report.lever_table import lever_rows
        from archsearch.report.pipeline_report import pipeline_page
        from archsearch.report.write import write_page

        write_page(pipeline_page(result, lever_rows(plan, pricer), command_line()), report)
    if json:
        print_json(result)
    else:
        _print(found, result)


def estimate_document(
    found: PipelineEstimate, plan: Plan, pricer: Pricer, chosen: bool = False, assumed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """An estimate of a plan as plain values, with the fastest placement that fits where it does not."""
    from archsearch.pipeline.describe import document
    from archsearch.pipeline.generation_cost import cheapest_fit

    other = found if chosen else None
    if not bool(found.fits):
        other = cheapest_fit(plan.pipeline, pricer.gpu, plan.request, plan.deployment, pricer=pricer)
    fitting = None if other is None else _placement(other)
    return document(found) | {"assumed": list(assumed), "fitting": fitting}


def _placement(e: PipelineEstimate) -> dict[str, Any]:
    """How a fitting run places its weights."""
    run = e.deployment
    return {
        "placement": run.placement.value,
        "text_encoder_dtype": None if run.text_encoder_dtype is None else run.text_encoder_dtype.value,
        "vae_tiling": bool(run.tiling),
        "latency_s": float(e.latency_s),
        "peak_bytes": float(e.peak_memory_bytes),
    }


def _print(e: PipelineEstimate, d: dict[str, Any]) -> None:
    from archsearch.cost.execution import Execution
    from archsearch.hardware import load_gpu

    note_assumed(d["assumed"], [load_gpu(d["hardware"])])
    for missing in d["not_costed"]:
        note(f"no family for {missing}: its weights are counted, its time is not")
    r = d["request"]
    size = f"{r['height']}x{r['width']}" + (f", {r['frames']} frames" if r["frames"] else "")
    gpus = f"{d['gpus']} x " if d["gpus"] > 1 else ""
    say(
        f"{d['pipeline']} on {gpus}{d['hardware']}: {size}, {r['steps']} steps, guidance {r['guidance']}, "
        f"batch {r['batch_size']}, {e.deployment.dtype.value}, {e.deployment.placement.value}"
    )
    say(f"  execution   {Execution(**d['execution']).line()}")
    if more := e.deployment.line():
        say(f"  and         {more}")
    say(
        f"  latency     {d['latency_s']:.4g} s  (80 % band {d['latency_low_s']:.4g} to {d['latency_high_s']:.4g} s, "
        f"{d['provenance']})"
    )
    if d["roofline"]:
        say(f"  {d['roofline']}")
    price = "" if d["usd_per_output"] is None else f"   {d['usd_per_output']:.3g} USD"
    say(f"  per output  {d['gpu_seconds_per_output']:.4g} GPU-s   {d['energy_j_per_output']:.4g} J (at TDP){price}")
    say_prices(e.quotes, GIVE_PRICE)
    t = d["theory"]
    say(f"  in theory   {t['peak_flops_s']:.4g} s at peak FLOPs, {t['roofline_s']:.4g} s by the roofline")
    for gap in t["gap"][:4]:
        say(f"    {gap['seconds']:.3g} s  {gap['what']}: {gap['closed_by']}")
    m = d["memory_bytes"]
    weights = ", ".join(f"{k} {gibibytes(v)}" for k, v in m["weights"].items())
    verdict = "fits" if d["fits"] else "DOES NOT FIT"
    say(f"  memory      {gibibytes(m['peak'])} of {gibibytes(m['available'])} GiB: {verdict}  (weights {weights})")
    if d["fitting"] and not d["fits"]:
        f = d["fitting"]
        text = f["text_encoder_dtype"] or "as they are"
        tiles = "tiled decoding" if f["vae_tiling"] else "whole decoding"
        say(f"    fits with {f['placement']}, text encoders {text}, {tiles}: {f['latency_s']:.4g} s")
    _print_stages(d)


def _print_stages(d: dict[str, Any]) -> None:
    print_table(
        "",
        ("stage", "calls", "s", "share", "ms/call", "GPU s", "host s", "PCIe s", "roofline s", "memory GiB"),
        [
            (
                s["name"],
                s["calls"],
                s["latency_s"],
                f"{s['share']:.1%}",
                s["latency_per_call_s"] * 1e3,
                s["gpu_s"],
                s["host_s"],
                s["transfer_s"],
                s["roofline_s"],
                gibibytes(s["memory_bytes"]),
            )
            for s in d["stages"]
        ],
        left=("stage",),
        less=("PCIe s", "roofline s", "ms/call", "host s", "GPU s"),
    )


def answer_fits(pipeline: str, where: str, plan_on: Callable[[GpuSpec], Plan], json: bool) -> None:
    """A row per GPU: whether the run fits as asked, and the fastest placement that fits.

    Raises:
        UnknownNameError: a name is unknown on any GPU.
        ArchSearchError: no GPU can run what was asked; the text has the reasons.
    """
    from archsearch.errors import ArchSearchError
    from archsearch.hardware import gpu_ids, load_gpu
    from archsearch.pipeline.component_calls import Models

    gpus = [load_gpu(name) for name in gpu_ids()] if where == "all" else _kinds(where)
    models = Models()
    rows = []
    with progress_bar(f"{pipeline} on each GPU", len(gpus)) as advance:
        for gpu in gpus:
            rows.append(_fit_row(gpu, plan_on, models))
            advance(1)
    if all("reason" in row for row in rows):
        raise ArchSearchError.joined(row["reason"] for row in rows)
    if json:
        print_json({"pipeline": pipeline, "gpus": rows})
        return
    print_table(
        f"{pipeline}: where it fits",
        (
            "GPU",
            "GiB",
            "fits as asked",
            "s as asked",
            "fastest that fits",
            "text encoders",
            "tiled",
            "s then",
            "why not",
        ),
        [
            (
                r["gpu"],
                r["memory_gib"],
                r["fits"],
                r.get("latency_s"),
                f["placement"] if (f := r["fitting"]) else None,
                (f["text_encoder_dtype"] or "unchanged") if f else None,
                f["vae_tiling"] if f else None,
                f["latency_s"] if f else None,
                r.get("reason", "") if f else r.get("reason", "too large under every placement"),
            )
            for r in rows
        ],
        left=("GPU", "fastest that fits", "text encoders", "why not"),
    )


def _fit_row(gpu: GpuSpec, plan_on: Callable[[GpuSpec], Plan], models: Models) -> dict[str, Any]:
    """Whether the plan fits a GPU and its fastest placement there, or the reason that it does not run; ``models`` is
    what rows of other GPUs know of the pipeline's."""
    from archsearch.errors import ArchSearchError, UnknownNameError
    from archsearch.pipeline.component_calls import Pricer
    from archsearch.pipeline.generation_cost import cheapest_fit, estimate_pipeline

    row: dict[str, Any] = {"gpu": gpu.id, "memory_gib": gpu.available_gib, "fits": False, "fitting": None}
    try:
        plan, pricer = plan_on(gpu), Pricer(gpu, models=models)
        estimate = estimate_pipeline(plan.pipeline, gpu, plan.request, plan.deployment, pricer=pricer)
        row |= {"fits": bool(estimate.fits), "latency_s": float(estimate.latency_s)}
        row |= {"peak_bytes": float(estimate.peak_memory_bytes)}
        row |= {"execution": estimate.deployment.step_execution.to_dict()}
        best = cheapest_fit(plan.pipeline, gpu, plan.request, plan.deployment, pricer=pricer)
        row["fitting"] = None if best is None else _placement(best)
    except UnknownNameError:
        raise  # what was asked is wrong on every GPU
    except ArchSearchError as error:
        row["reason"] = error
    return row


def _kinds(text: str) -> tuple[GpuSpec, ...]:
    """Kinds of GPU by name.

    Raises:
        UnknownNameError: a name is no known GPU.
        InvalidInputError: a number of GPUs, which one request does not fill.
    """
    from archsearch.errors import InvalidInputError
    from archsearch.hardware import GpuPool

    pool = GpuPool.parse(text)
    if any(count is not None for count in pool.counts):
        raise InvalidInputError(
            f"--hardware {text!r}: a number of GPUs has no effect here; --sequence-parallel 2 uses two"
        )
    return pool.gpus


def answer_optimum(
    plan: Plan, pricer: Pricer, goal: Goal, retained: list[str], report: Path | None, json: bool
) -> None:
    from archsearch.pipeline.describe import optimum_document, quality_left
    from archsearch.pipeline.make_plan import parse_retained
    from archsearch.pipeline.optimize import optimize

    found = optimize(plan, pricer.gpu, goal, pricer=pricer, retained=parse_retained(retained), progress=True)
    d = optimum_document(found)
    if report is not None:
        from archsearch.report.lever_table import lever_rows
        from archsearch.report.pipeline_report import optimum_page
        from archsearch.report.write import write_page

        write_page(optimum_page(d, lever_rows(plan, pricer), command_line()), report)
    if json:
        print_json(d)
        return
    b = d["baseline"]
    say(f"{b['pipeline']} on {b['hardware']}: {b['latency_s']:.4g} s -> {d['best']['latency_s']:.4g} s")
    say(f"  execution   {found.baseline.estimate.deployment.step_execution.line()}")
    say(f"           -> {found.best.estimate.deployment.step_execution.line()}")
    if more := found.best.estimate.deployment.line():
        say(f"          and {more}")
    if b["usd_per_output"] is not None:
        say(f"  price       {b['usd_per_output']:.3g} -> {d['best']['usd_per_output']:.3g} USD per output")
    say_prices(pricer.quotes, GIVE_PRICE)
    energy = [f"{e['energy_j_per_output']:.4g}" for e in (b, d["best"])]
    say(f"  energy      {energy[0]} -> {energy[1]} J per output (board power while it runs)")
    if b["request"]["batch_size"] != (size := d["best"]["request"]["batch_size"]):
        each = [f"{e['latency_per_output_s']:.4g}" for e in (b, d["best"])]
        say(f"  per output  {each[0]} -> {each[1]} s: the best makes {size} at a time")
    if not b["fits"]:
        say(f"  without levers it does not fit {b['hardware']}: that time is of a GPU with more memory")
    say(f"  {d['speedup']:.2f} times as fast, {quality_left(d['best']['retained'])}")
    _print_levers_pulled(d)
    c = d["combinations"]
    say(f"exact over {c['legal']} legal combinations of {c['judged']} (kernel choices inside each not counted)")
    if c["quality_unknown"]:
        say(f"left out, quality unknown: {c['quality_unknown']}")


def _print_levers_pulled(d: dict[str, Any]) -> None:
    print_table(
        "",
        ("lever", "s, with those above", "speed-up", "memory GiB", "GPUs", "quality left", "training", "source"),
        [
            (
                r["lever"],
                r["latency_s"],
                f"{r['speedup']:.2f}",
                gibibytes(r["memory_bytes"]),
                r["gpus"],
                r["quality_text"],
                r["training"],
                r["source"],
            )
            for r in d["levers"]
        ],
        left=("lever", "quality left", "training", "source"),
    )


def answer_comparison(
    small: Plan,
    large: Plan,
    gpu: GpuSpec,
    verifier: str,
    samples: int | None,
    scores: list[str],
    assumed: tuple[float | None, float | None],
    json: bool,
) -> None:
    from archsearch.errors import InvalidInputError
    from archsearch.pipeline.make_plan import parse_shares
    from archsearch.pipeline.scaling import compare, scaling_document, search_of

    known = parse_shares("score", scores)
    names = [small.pipeline.name, large.pipeline.name]
    if strange := set(known) - set(names):
        raise InvalidInputError(f"--score {', '.join(sorted(strange))}: the pipelines are {' and '.join(names)}")
    spread, fidelity = assumed
    one, other = (
        search_of(p, gpu, verifier=verifier, score=known.get(p.pipeline.name), spread=spread, fidelity=fidelity)
        for p in (small, large)
    )
    d = scaling_document(compare(one, other), samples)
    d["execution"] = small.deployment.step_execution.to_dict()
    if json:
        print_json(d)
        return
    b = d["large"]
    say(f"{b['pipeline']}: {b['gpu_seconds']:.4g} GPU-s, score {b['score']:.3f} on {gpu.id}")
    say(f"execution of both: {small.deployment.step_execution.line()}")
    say(f"best of N of {d['small']['pipeline']}, verified by {verifier} ({d['small']['verify_s']:.3g} s a sample):")
    rows = [(r["samples"], r["gpu_seconds"], f"{r['score']:.3f}") for r in d["rows"]]
    print_table("", ("samples", "GPU-s", "expected score"), rows)
    cross = d["crossover_samples"]
    at = "never" if cross is None else f"at {cross} samples, {d['crossover_gpu_seconds']:.3g} GPU-s"
    better = "search on the small model" if d["small_wins_at_equal_cost"] else "the large model"
    say(f"at equal cost ({d['equal_cost_samples']} samples): {better}; scores meet {at}")
    told = ", ".join(d["assumed"])
    note(f"spread {d['spread']:g} between samples, verifier fidelity {d['fidelity']:g}; assumed: {told}")


def answer_student(plan: Plan, gpu: GpuSpec, share: float, output: Path | None, json: bool) -> None:
    from dataclasses import asdict

    import yaml

    from archsearch.files import write_text
    from archsearch.search.explore.students import find_student

    found = find_student(plan, gpu, share)
    if output is not None:
        write_text(output, yaml.safe_dump(found.config, sort_keys=False))
    if json:
        print_json({**asdict(found), "execution": plan.deployment.step_execution.to_dict()})
        return
    say(f"{plan.pipeline.name} on {gpu.id}: best of {found.considered} students by {found.proxy}")
    say(f"  execution   {plan.deployment.step_execution.line()}")
    rows = [
        ("parameters", f"{found.teacher_parameters / 1e9:.4g} B", f"{found.parameters / 1e9:.4g} B"),
        ("generation, s", found.teacher_latency_s, found.latency_s),
        ("predicted quality", found.teacher_quality, found.quality),
    ]
    teacher: Any = plan.pipeline.transformer
    for name in ("num_layers", "num_single_layers", "hidden_size", "intermediate_size", "num_attention_heads"):
        if name in found.config:
            rows.append((name, getattr(teacher, name), found.config[name]))
    print_table("", ("", "teacher", "student"), rows, left=("",), beside=True)


def print_levers(json: bool) -> None:
    from archsearch.pipeline.levers import levers

    rows = [lever.document() for lever in levers().values()]
    if json:
        print_json({"levers": rows})
        return
    columns = ("id", "group", "training", "quality", "title", "source")
    told = [{**r, "quality": r["quality"] if isinstance(r["quality"], str) else "measured"} for r in rows]
    print_table("", columns, [[r[c] for c in columns] for r in told], left=columns)


def print_pipelines(json: bool) -> None:
    from archsearch.pipeline.catalog import list_pipelines, load_pipeline

    found = [load_pipeline(n) for n in list_pipelines()]
    if json:
        print_json({"pipelines": [p.record.model_dump(mode="json") for p in found]})
        return
    print_table("", ("pipeline", "description"), [(p.name, p.record.description) for p in found], left=("description",))
