"""``archsearch pipeline``: latency and memory of a whole image or video pipeline, and what would make it faster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.options import Compiled, Correction, Frames, Height, Json, Profiles, Width
from archsearch.cli.output import gibibytes, note, print_json, print_table

if TYPE_CHECKING:
    from archsearch.hardware.spec import GpuSpec
    from archsearch.pipeline.estimate import PipelineEstimate
    from archsearch.pipeline.levers import Plan

Name = Annotated[str | None, typer.Argument(metavar="PRESET|FILE", help="A pipeline (--list) or a YAML file.")]
Hardware = Annotated[
    str | None, typer.Option("--hardware", "-g", metavar="GPU", help="A GPU's id or name; `archsearch hardware list`.")
]
Steps = Annotated[int | None, typer.Option("--steps", help="Denoising steps.")]
GuidanceOption = Annotated[
    str | None, typer.Option("--guidance", help="none, cfg (two passes a step) or distilled (one).")
]
Batch = Annotated[int, typer.Option("--batch-size", "-b", help="Images or videos in one call.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="Format of the transformer's linear layers.")]
Attention = Annotated[str, typer.Option("--attention", help="auto (torch's choice), fa2, flash (fa3), sdpa or eager.")]
Torch = Annotated[str, typer.Option("--torch", help="2.4: releases before 2.8; 2.8: later ones.")]
Levers = Annotated[
    list[str] | None, typer.Option("--lever", help="Pull a lever (--levers); feature-cache=0.5 sets its number.")
]
Place = Annotated[
    str, typer.Option("--placement", help="resident, model-offload, sequential-offload, or auto: fastest that fits.")
]
TextDtype = Annotated[str | None, typer.Option("--text-encoder-dtype", help="Format text encoders are stored in.")]
DecoderDtype = Annotated[str | None, typer.Option("--decoder-dtype", help="Format of the autoencoder.")]
Tiling = Annotated[bool | None, typer.Option("--vae-tiling/--no-vae-tiling", help="Decode tile by tile.")]
Slicing = Annotated[bool, typer.Option("--vae-slicing", help="Decode image by image.")]
Launch = Annotated[float | None, typer.Option("--launch-us", help="Host microseconds per kernel (assumed 10 / 5).")]
PcieOption = Annotated[float | None, typer.Option("--pcie-gb-s", help="Host-to-device GB/s of offloading.")]
Caption = Annotated[str | None, typer.Option("--caption-model", help="A language model that rewrites the prompt.")]
CaptionTokens = Annotated[int, typer.Option("--caption-tokens", help="Tokens that the captioner writes.")]
PromptTokens = Annotated[int, typer.Option("--prompt-tokens", help="Tokens of the prompt that it reads.")]
FitsOn = Annotated[
    str | None, typer.Option("--fits-on", metavar="GPU[,GPU...]|all", help="Where it fits, and the fastest placement.")
]
Against = Annotated[
    str | None, typer.Option("--against", help="A larger pipeline, to compare with best-of-N search on this one.")
]
Verifier = Annotated[str, typer.Option("--verifier", help="Of --against: vlm-1.5b, vlm-7b or clip-l.")]
Samples = Annotated[int | None, typer.Option("--samples", help="Of --against: also show this number of samples.")]
Scores = Annotated[
    list[str] | None, typer.Option("--score", metavar="PIPELINE=S", help="Of --against: score of one sample.")
]
Spread = Annotated[float | None, typer.Option("--spread", help="Of --against: deviation between samples (assumed).")]
Fidelity = Annotated[float | None, typer.Option("--fidelity", help="Of --against: verifier's correlation (assumed).")]
StudentShare = Annotated[
    float | None, typer.Option("--student", help="Search a student that takes at most this share of the time.")
]
StudentFile = Annotated[Path | None, typer.Option("--student-output", help="Of --student: write it as a model YAML.")]
Optimize = Annotated[bool, typer.Option("--optimize", help="Find the best legal combination of levers.")]
ObjectiveOption = Annotated[str, typer.Option("--objective", help="Of --optimize: latency, cost or energy.")]
MaxLatency = Annotated[float | None, typer.Option("--max-latency-s", help="Of --optimize: the service level.")]
MaxMemory = Annotated[float | None, typer.Option("--max-memory-gib", help="Of --optimize: memory of each GPU.")]
MaxGpus = Annotated[int, typer.Option("--max-gpus", help="Of --optimize: GPUs that one request may use.")]
Training = Annotated[str, typer.Option("--training", help="Of --optimize: none, distill or retrain at most.")]
MinRetained = Annotated[float, typer.Option("--min-retained", help="Of --optimize: least share of quality.")]
Retained = Annotated[
    list[str] | None, typer.Option("--retained", metavar="LEVER=SHARE", help="Quality a lever leaves; repeatable.")
]

Report = Annotated[Path | None, typer.Option("--report", metavar="FILE.html", help="Also draw the answer.")]


def pipeline(
    name: Name = None,
    hardware: Hardware = None,
    height: Height = None,
    width: Width = None,
    frames: Frames = None,
    steps: Steps = None,
    guidance: GuidanceOption = None,
    batch_size: Batch = 1,
    dtype: Dtype = None,
    torch: Torch = "2.4",
    attention: Attention = "auto",
    compiled: Compiled = False,
    lever: Levers = None,
    placement: Place = "resident",
    text_encoder_dtype: TextDtype = None,
    decoder_dtype: DecoderDtype = None,
    vae_tiling: Tiling = None,
    vae_slicing: Slicing = False,
    launch_us: Launch = None,
    pcie_gb_s: PcieOption = None,
    caption_model: Caption = None,
    caption_tokens: CaptionTokens = 200,
    prompt_tokens: PromptTokens = 300,
    fits_on: FitsOn = None,
    against: Against = None,
    verifier: Verifier = "vlm-1.5b",
    samples: Samples = None,
    score: Scores = None,
    spread: Spread = None,
    fidelity: Fidelity = None,
    student: StudentShare = None,
    student_output: StudentFile = None,
    optimize: Optimize = False,
    objective: ObjectiveOption = "latency",
    max_latency_s: MaxLatency = None,
    max_memory_gib: MaxMemory = None,
    max_gpus: MaxGpus = 1,
    training: Training = "none",
    min_retained: MinRetained = 0.0,
    retained: Retained = None,
    correction: Correction = True,
    report: Report = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the pipelines.")] = False,
    list_levers: Annotated[bool, typer.Option("--levers", help="List the levers.")] = False,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Estimate a whole generation pipeline: text encoders, transformer times steps, decoder; memory, cost, levers."""
    if list_all or list_levers:
        _list(levers=list_levers, json=json)
        return
    from archsearch.errors import InvalidInputError
    from archsearch.hardware import load_gpu
    from archsearch.pipeline.api import make_plan
    from archsearch.pipeline.pricing import Pricer

    if name is None or (hardware is None and fits_on is None):
        raise InvalidInputError("name a pipeline and a GPU: archsearch pipeline flux-dev --hardware h100-sxm (--list)")
    gpu = load_gpu(hardware or _pool(fits_on)[0])
    plan, assumed = make_plan(
        name,
        gpu,
        height=height,
        width=width,
        frames=frames,
        steps=steps,
        guidance=guidance,
        batch_size=batch_size,
        dtype=dtype,
        torch=torch,
        attention=attention,
        compiled=compiled,
        levers=lever or (),
        placement=None if placement == "auto" else placement,
        text_encoder_dtype=text_encoder_dtype,
        decoder_dtype=decoder_dtype,
        tiling=vae_tiling,
        slicing=vae_slicing,
        launch_us=launch_us,
        pcie_gb_s=pcie_gb_s,
        caption_model=caption_model,
        caption_tokens=caption_tokens,
        prompt_tokens=prompt_tokens,
    )
    pricer = Pricer(gpu, correction=correction)
    if fits_on is not None:
        _fits(plan, fits_on, json)
    elif against is not None:
        large, _ = make_plan(against, gpu, height=height, width=width, compiled=compiled)
        _scaling(plan, large, gpu, verifier, samples, score or [], (spread, fidelity), json)
    elif student is not None:
        _student(plan, gpu, student, student_output, json)
    elif optimize:
        limits = (objective, max_latency_s, max_memory_gib, max_gpus, training, min_retained)
        _optimize(plan, gpu, pricer, limits, retained or [], report, json)
    else:
        _estimate(plan, gpu, pricer, placement == "auto", assumed, report, json)


def _estimate(
    plan: Plan, gpu: GpuSpec, pricer: Any, choose: bool, assumed: tuple[str, ...], report: Path | None, json: bool
) -> None:
    from archsearch.errors import UnsupportedError
    from archsearch.pipeline.describe import document
    from archsearch.pipeline.estimate import cheapest_fit, estimate_pipeline

    found = estimate_pipeline(plan.pipeline, gpu, plan.request, plan.run, pricer=pricer)
    other = None
    if choose or not bool(found.fits):
        other = cheapest_fit(plan.pipeline, gpu, plan.request, plan.run, pricer=pricer)
    if choose:
        if other is None:
            raise UnsupportedError(
                f"{plan.pipeline.name} fits {gpu.id} under no placement: lower the size or the batch"
            )
        found = other
    result = document(found) | {"assumed": list(assumed)}
    result["fitting"] = None if other is None else _placement(other)
    if report is not None:
        from archsearch.report.pipeline import pipeline_page

        report.write_text(pipeline_page(result), encoding="utf-8")
    if json:
        print_json(result)
    else:
        _print(found, result)


def _placement(e: PipelineEstimate) -> dict[str, Any]:
    """How a fitting run places its weights."""
    run = e.run
    return {
        "placement": run.placement.value,
        "text_encoder_dtype": None if run.text_encoder_dtype is None else run.text_encoder_dtype.value,
        "vae_tiling": bool(run.tiling),
        "latency_s": float(e.latency_s),
        "peak_bytes": float(e.peak_memory_bytes),
    }


def _print(e: PipelineEstimate, d: dict[str, Any]) -> None:
    if d["assumed"]:
        note(f"assumed {', '.join(d['assumed'])}")
    for missing in d["not_costed"]:
        note(f"no family for {missing}: its weights are counted, its time is not")
    r = d["request"]
    size = f"{r['height']}x{r['width']}" + (f", {r['frames']} frames" if r["frames"] else "")
    gpus = f"{d['gpus']} x " if d["gpus"] > 1 else ""
    how = "compiled" if e.run.compiled else "eager"
    print(
        f"{d['pipeline']} on {gpus}{d['hardware']}: {size}, {r['steps']} steps, guidance {r['guidance']}, "
        f"batch {r['batch_size']}, {e.run.dtype.value}, {how}, {e.run.placement.value}"
    )
    print(
        f"  latency     {d['latency_s']:.4g} s  (80 % band {d['latency_low_s']:.4g} to {d['latency_high_s']:.4g} s, "
        f"{d['provenance']})"
    )
    price = "" if d["usd_per_output"] is None else f"   {d['usd_per_output']:.3g} USD"
    print(f"  per output  {d['gpu_seconds_per_output']:.4g} GPU-s   {d['energy_j_per_output']:.4g} J (at TDP){price}")
    t = d["theory"]
    print(f"  in theory   {t['peak_flops_s']:.4g} s at peak FLOPs, {t['roofline_s']:.4g} s by the roofline")
    for gap in t["gap"][:4]:
        print(f"    {gap['seconds']:.3g} s  {gap['what']}: {gap['closed_by']}")
    m = d["memory_bytes"]
    weights = ", ".join(f"{k} {gibibytes(v)}" for k, v in m["weights"].items())
    verdict = "fits" if d["fits"] else "DOES NOT FIT"
    print(f"  memory      {gibibytes(m['peak'])} of {gibibytes(m['available'])} GiB: {verdict}  (weights {weights})")
    if d["fitting"] and not d["fits"]:
        f = d["fitting"]
        text = f["text_encoder_dtype"] or "as they are"
        tiles = "tiled decoding" if f["vae_tiling"] else "whole decoding"
        print(f"    fits with {f['placement']}, text encoders {text}, {tiles}: {f['latency_s']:.4g} s")
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
    )


def _pool(text: str | None) -> list[str]:
    from archsearch.hardware import gpu_ids

    return gpu_ids() if text in (None, "all") else [item.strip() for item in str(text).split(",")]


def _fits(plan: Plan, text: str, json: bool) -> None:
    """A row per GPU: whether the run fits as asked, and the fastest placement that fits."""
    from archsearch.errors import ArchSearchError
    from archsearch.hardware import load_gpu
    from archsearch.pipeline.estimate import cheapest_fit, estimate_pipeline
    from archsearch.pipeline.pricing import Pricer

    rows: list[dict[str, Any]] = []
    for name in _pool(text):
        gpu = load_gpu(name)
        row: dict[str, Any] = {"gpu": gpu.id, "memory_gib": gpu.memory.size_gib, "fits": False, "fitting": None}
        try:
            pricer = Pricer(gpu)
            found = estimate_pipeline(plan.pipeline, gpu, plan.request, plan.run, pricer=pricer)
            row |= {"fits": bool(found.fits), "latency_s": float(found.latency_s)}
            row["peak_bytes"] = float(found.peak_memory_bytes)
            best = cheapest_fit(plan.pipeline, gpu, plan.request, plan.run, pricer=pricer)
            row["fitting"] = None if best is None else _placement(best)
        except ArchSearchError as error:
            row["reason"] = str(error)
        rows.append(row)
    if json:
        print_json({"pipeline": plan.pipeline.name, "gpus": rows})
        return
    print_table(
        f"{plan.pipeline.name}: where it fits",
        ("GPU", "GiB", "fits as asked", "s", "fastest that fits", "text encoders", "tiled", "s ", "why not"),
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


def _optimize(
    plan: Plan, gpu: GpuSpec, pricer: Any, limits: tuple[Any, ...], retained: list[str], report: Path | None, json: bool
) -> None:
    from archsearch.pipeline.api import parse_retained
    from archsearch.pipeline.describe import optimum_document
    from archsearch.pipeline.optimize import Goal, optimize

    objective, latency, memory, gpus, training, share = limits
    goal = Goal(
        objective=objective,
        max_latency_s=latency,
        max_memory_bytes=None if memory is None else memory * 2**30,
        max_gpus=gpus,
        training=training,
        retained=share,
    )
    found = optimize(plan, gpu, goal, pricer=pricer, retained=parse_retained(retained))
    d = optimum_document(found)
    if report is not None:
        from archsearch.report.pipeline import optimum_page

        report.write_text(optimum_page(d), encoding="utf-8")
    if json:
        print_json(d)
        return
    b = d["baseline"]
    print(f"{b['pipeline']} on {b['hardware']}: {b['latency_s']:.4g} s -> {d['best']['latency_s']:.4g} s")
    print(f"  {d['speedup']:.2f} times as fast, {d['best']['retained']:.1%} of the quality score left")
    print_table(
        "",
        ("lever", "s", "speed-up", "memory GiB", "GPUs", "quality left", "training", "source"),
        [
            (
                r["lever"],
                r["latency_s"],
                f"{r['speedup']:.2f}",
                gibibytes(r["memory_bytes"]),
                r["gpus"],
                f"{r['retained']:.0%}" + (" assumed" if r["retained_assumed"] else ""),
                r["training"],
                r["source"],
            )
            for r in d["levers"]
        ],
        left=("lever", "quality left", "training", "source"),
    )
    c = d["combinations"]
    print(f"exact over {c['legal']} legal combinations of {c['judged']} (kernel choices inside each not counted)")


def _scaling(
    plan: Plan,
    large: Plan,
    gpu: GpuSpec,
    verifier: str,
    samples: int | None,
    scores: list[str],
    assumed: tuple[float | None, float | None],
    json: bool,
) -> None:
    from archsearch.pipeline.api import parse_shares
    from archsearch.pipeline.scaling import compare, scaling_document, search_of

    known = parse_shares("score", scores)
    spread, fidelity = assumed
    one, other = (
        search_of(p, gpu, verifier=verifier, score=known.get(p.pipeline.name), spread=spread, fidelity=fidelity)
        for p in (plan, large)
    )
    d = scaling_document(compare(one, other), samples)
    if json:
        print_json(d)
        return
    b = d["large"]
    print(f"{b['pipeline']}: {b['gpu_seconds']:.4g} GPU-s, score {b['score']:.3f} on {gpu.id}")
    print(f"best of N of {d['small']['pipeline']}, verified by {verifier} ({d['small']['verify_s']:.3g} s a sample):")
    rows = [(r["samples"], r["gpu_seconds"], f"{r['score']:.3f}") for r in d["rows"]]
    print_table("", ("samples", "GPU-s", "expected score"), rows)
    cross = d["crossover_samples"]
    at = "never" if cross is None else f"at {cross} samples, {d['crossover_gpu_seconds']:.3g} GPU-s"
    better = "search on the small model" if d["small_wins_at_equal_cost"] else "the large model"
    print(f"at equal cost ({d['equal_cost_samples']} samples): {better}; scores meet {at}")
    note(f"assumed: spread {d['spread']:g} between samples, verifier fidelity {d['fidelity']:g}")


def _student(plan: Plan, gpu: GpuSpec, share: float, output: Path | None, json: bool) -> None:
    from dataclasses import asdict

    import yaml

    from archsearch.search.students import find_student

    found = find_student(plan, gpu, share)
    if output is not None:
        output.write_text(yaml.safe_dump(found.config, sort_keys=False), encoding="utf-8")
    if json:
        print_json(asdict(found))
        return
    print(f"{plan.pipeline.name} on {gpu.id}: best of {found.considered} students by {found.proxy}")
    rows = [
        ("parameters", f"{found.teacher_parameters / 1e9:.4g} B", f"{found.parameters / 1e9:.4g} B"),
        ("generation, s", found.teacher_latency_s, found.latency_s),
        ("predicted quality", found.teacher_quality, found.quality),
    ]
    teacher: Any = plan.pipeline.transformer
    for name in ("num_layers", "num_single_layers", "hidden_size", "intermediate_size", "num_attention_heads"):
        if name in found.config:
            rows.append((name, getattr(teacher, name), found.config[name]))
    print_table("", ("", "teacher", "student"), rows, left=("",))


def _list(*, levers: bool, json: bool) -> None:
    from dataclasses import asdict

    if levers:
        from archsearch.pipeline.levers import levers as all_levers

        rows = [asdict(x) for x in all_levers().values()]
        if json:
            print_json({"levers": rows})
            return
        columns = ("id", "group", "training", "retained", "assumed", "title", "source")
        print_table("", columns, [[r[c] for c in columns] for r in rows], left=columns)
        return
    from archsearch.pipeline.catalog import list_pipelines, load_pipeline

    found = [load_pipeline(n) for n in list_pipelines()]
    if json:
        print_json({"pipelines": [p.record.model_dump(mode="json") for p in found]})
        return
    print_table("", ("pipeline", "description"), [(p.name, p.record.description) for p in found], left=("description",))
