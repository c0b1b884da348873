"""``archsearch serve``: GPUs, price and energy that a traffic needs within a service level."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from archsearch.cli.options import Compiled, Frames, Height, Json, Profiles, Width
from archsearch.cli.output import note, print_json, print_table

Name = Annotated[str, typer.Argument(metavar="PRESET|FILE", help="A pipeline (`archsearch pipeline --list`).")]
Hardware = Annotated[
    str, typer.Option("--hardware", "-g", metavar="GPU[=N],...", help="Kinds of GPU, each with how many there are.")
]
Rate = Annotated[float | None, typer.Option("--rate", help="Requests per second (a Poisson process).")]
TraceOption = Annotated[
    Path | None, typer.Option("--trace", metavar="CSV", help="Recorded arrivals (column arrival_s) instead of a rate.")
]
P50 = Annotated[float | None, typer.Option("--p50-s", help="Limit of the median response time in seconds.")]
P95 = Annotated[float | None, typer.Option("--p95-s", help="Limit of the 95th percentile.")]
P99 = Annotated[float | None, typer.Option("--p99-s", help="Limit of the 99th percentile.")]
MaxBatch = Annotated[int, typer.Option("--max-batch", help="Largest batch a GPU may take at a time.")]
Prices = Annotated[list[str] | None, typer.Option("--price", metavar="GPU=USD", help="USD per GPU-hour; repeatable.")]
Levers = Annotated[list[str] | None, typer.Option("--lever", help="Pull a lever for every kind of GPU; repeatable.")]
Simulate = Annotated[bool, typer.Option("--simulate", help="Check the calculation by a discrete-event simulation.")]
Tiers = Annotated[
    list[str] | None,
    typer.Option("--tier", metavar="PIPELINE=SHARE", help="Route a share to a faster pipeline; repeatable."),
]
Draft = Annotated[str | None, typer.Option("--draft", help="A faster pipeline whose result is shown first.")]
Escalate = Annotated[float, typer.Option("--escalate", help="Share of drafts that PRESET has to refine.")]


def serve(
    name: Name,
    hardware: Hardware,
    rate: Rate = None,
    trace: TraceOption = None,
    p50_s: P50 = None,
    p95_s: P95 = None,
    p99_s: P99 = None,
    max_batch: MaxBatch = 8,
    price: Prices = None,
    height: Height = None,
    width: Width = None,
    frames: Frames = None,
    mix: Annotated[
        list[str] | None,
        typer.Option("--mix", metavar="HxW[xF]=SHARE", help="Requests of several sizes, served singly; repeatable."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Denoising steps.")] = None,
    guidance: Annotated[str | None, typer.Option("--guidance", help="none, cfg or distilled.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="Format of the transformer.")] = None,
    torch: Annotated[str, typer.Option("--torch", help="2.4: releases before 2.8; 2.8: later ones.")] = "2.4",
    compiled: Compiled = False,
    lever: Levers = None,
    tier: Tiers = None,
    draft: Draft = None,
    escalate: Escalate = 0.3,
    simulate: Simulate = False,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE.html", help="Also draw the answer.")] = None,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Size a fleet: batch size, GPUs by kind, utilisation, response times, cost and energy per image or video."""
    from archsearch.errors import InvalidInputError
    from archsearch.serving.fleet import ServiceLevel
    from archsearch.serving.report import ladder_document, serve_document, serve_trace
    from archsearch.serving.setup import Setup
    from archsearch.serving.traffic import read_trace

    if (rate is None) == (trace is None):
        raise InvalidInputError("give the traffic: --rate REQUESTS_PER_S, or --trace FILE.csv")
    level = ServiceLevel(p50_s=p50_s, p95_s=p95_s, p99_s=p99_s)
    sizes = {"height": height, "width": width, "frames": frames}
    how = {
        "steps": steps,
        "guidance": guidance,
        "dtype": dtype,
        "torch": torch,
        "compiled": compiled,
        "levers": lever or (),
    }
    setup = Setup.parse(hardware, prices=price or [], max_batch=max_batch, sizes=sizes, mix=mix or [])
    units = setup.replicas(name, **how)
    for gpu, reason in setup.refused.items():
        note(f"{gpu} is left out: {reason}")
    if trace is not None:
        document = serve_trace(name, units, read_trace(trace), level)
    elif tier or draft:
        assert rate is not None
        document = ladder_document(setup, name, units, rate, level, tiers=tier or [], draft=draft, escalate=escalate)
    else:
        assert rate is not None
        document = serve_document(name, units, rate, level, simulate=simulate)
    if report is not None:
        from archsearch.report.pipeline import serve_page

        report.write_text(serve_page(document), encoding="utf-8")
    print_json(document) if json else _print(document)


def _print(d: dict[str, Any]) -> None:
    r = d["response_s"]
    print(f"{d['pipeline']}: {d['rate_per_s']:g} requests/s, {_level(d['service_level'])}")
    print(f"  response    p50 {r['p50']:.4g} s, p95 {r['p95']:.4g} s, p99 {r['p99']:.4g} s, mean {r['mean']:.4g} s")
    if d.get("usd_per_hour") is not None:
        print(f"  price       {d['usd_per_hour']:.4g} USD/h, {d['usd_per_output']:.4g} USD per output")
    print(f"  energy      {d['energy_j_per_output']:.4g} J per output (TDP while working)")
    for fleet in d.get("tiers", []):
        print(f"  tier        {fleet['pipeline']}: {fleet['share']:.0%} of requests")
    if "saved" in d:
        print(f"  saved       {d['saved']:.1%} of the price of {d['pipeline']} alone")
    if d.get("simulation"):
        s = d["simulation"]
        print(f"  simulated   p50 {s['p50']:.4g} s, p95 {s['p95']:.4g} s, p99 {s['p99']:.4g} s, mean {s['mean']:.4g} s")
    columns = ("pipeline", "GPU", "replicas", "GPUs", "batch limit", "mean batch", "requests/s", "utilisation", "USD/h")
    rows = [
        (
            g.get("pipeline", d["pipeline"]),
            g["gpu"],
            g["replicas"],
            g["gpus"],
            g["batch_limit"],
            f"{g['mean_batch']:.2f}",
            g["rate_per_s"],
            f"{g['utilisation']:.0%}",
            g["usd_per_hour"],
        )
        for g in d["fleet"]
    ]
    print_table("", columns, rows, left=("pipeline", "GPU"))
    if d.get("alternatives"):
        print_table(
            "others",
            ("fleet", "GPUs", "p95 s", "USD/h"),
            [(a["fleet"], a["gpus"], a["p95"], a["usd_per_hour"]) for a in d["alternatives"]],
            left=("fleet",),
        )


def _level(limits: dict[str, float]) -> str:
    return ", ".join(f"{name[:3]} within {value:g} s" for name, value in limits.items()) or "no service level"
