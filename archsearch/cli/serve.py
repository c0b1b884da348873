"""``archsearch serve``: GPUs, price and energy that a traffic needs within a service level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from archsearch.cli.completion import complete_pipeline
from archsearch.cli.generation import GenerationOptions
from archsearch.cli.groups import grouped, option
from archsearch.cli.invocation import command_line
from archsearch.cli.jobs import JobGroup
from archsearch.cli.options import Json, PriceOption, Profiles, Report
from archsearch.cli.output import GIVE_PRICE, note, print_json, print_table, say, say_prices, worded

if TYPE_CHECKING:
    from archsearch.serving.setup import Setup
    from archsearch.serving.units import Replica, ServiceLevel


class _Jobs(JobGroup):
    verb = "serve"
    default = "fleet"
    flags: ClassVar = {"--trace": "trace", "--simulate": "simulate"}


app = typer.Typer(
    cls=_Jobs, help="Fleets of GPUs for a traffic: how many, how fast, at what price.", no_args_is_help=True
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="PRESET|FILE", help="A pipeline (`pipeline list`) or a YAML file.", autocompletion=complete_pipeline
    ),
]
PANEL = "Who serves, and how fast"
Rate = Annotated[float, typer.Option("--rate", help="Requests per second (a Poisson process).")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """Kinds of GPU, their prices, batches and sizes, and the service level."""

    hardware: Annotated[
        str,
        option(
            "--hardware", "-g", text="Kinds of GPU, each with how many there are.", metavar="GPU[=N],...", panel=PANEL
        ),
    ]
    p50_s: Annotated[
        float | None, option("--p50-s", text="Limit of the median response time in seconds.", panel=PANEL)
    ] = None
    p95_s: Annotated[float | None, option("--p95-s", text="Limit of the 95th percentile.", panel=PANEL)] = None
    p99_s: Annotated[float | None, option("--p99-s", text="Limit of the 99th percentile.", panel=PANEL)] = None
    max_batch: Annotated[
        int | None, option("--max-batch", text="Largest batch a GPU may take at a time (8).", panel=PANEL)
    ] = None
    mix: Annotated[
        list[str] | None,
        option(
            "--mix", text="Requests of several sizes, served singly; repeatable.", metavar="HxW[xF]=SHARE", panel=PANEL
        ),
    ] = None

    @property
    def level(self) -> ServiceLevel:
        """The service level.

        Raises:
            InvalidInputError: a limit that is no positive number.
        """
        from archsearch.serving.units import ServiceLevel

        return ServiceLevel(p50_s=self.p50_s, p95_s=self.p95_s, p99_s=self.p99_s)


@app.command("fleet")
@grouped
def fleet(
    name: Name,
    rate: Rate,
    tier: Annotated[
        list[str] | None,
        typer.Option("--tier", metavar="PIPELINE=SHARE", help="Route a share to a faster pipeline; repeatable."),
    ] = None,
    draft: Annotated[
        str | None, typer.Option("--draft", metavar="PIPELINE", help="A faster pipeline whose result is shown first.")
    ] = None,
    escalate: Annotated[
        float | None, typer.Option("--escalate", help="Share of drafts that PRESET has to refine (0.3).")
    ] = None,
    price: PriceOption = None,
    report: Report = None,
    json: Json = False,
    profiles: Profiles = None,
    *,
    service: ServiceOptions,
    generation: GenerationOptions,
) -> None:
    """Size the cheapest fleet: GPUs by kind, batches, response times, cost and energy per image or video.

    Options of a generation hold for tiers and draft too; their steps and guidance are their own.
    """
    from archsearch.errors import InvalidInputError
    from archsearch.serving.report import ESCALATED, drafted_document, fleet_document, routed_document

    if escalate is not None and draft is None:
        raise InvalidInputError("--escalate goes with --draft PIPELINE")
    setup = _setup(price, service, generation)
    units = _units(setup, name, generation)
    if draft is not None and tier:
        raise InvalidInputError("give either --tier or --draft")
    if draft is not None:
        share = ESCALATED if escalate is None else escalate
        document = drafted_document(setup, name, units, rate, service.level, draft, share)
    elif tier:
        document = routed_document(setup, name, units, rate, service.level, tier)
    else:
        document = fleet_document(name, units, rate, service.level)
    _answer(document, report, json)


@app.command("simulate")
@grouped
def simulate(
    name: Name,
    rate: Rate,
    seed: Annotated[int, typer.Option("--seed", help="Equal seeds give equal arrivals.")] = 0,
    price: PriceOption = None,
    report: Report = None,
    json: Json = False,
    profiles: Profiles = None,
    *,
    service: ServiceOptions,
    generation: GenerationOptions,
) -> None:
    """Size a fleet as `serve fleet` does, and check its response times by a discrete-event simulation."""
    from archsearch.serving.report import simulated_document

    units = _units(_setup(price, service, generation), name, generation)
    _answer(simulated_document(name, units, rate, service.level, seed=seed), report, json)


@app.command("trace")
@grouped
def trace(
    name: Name,
    arrivals: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Recorded arrivals: a column arrival_s.")],
    price: PriceOption = None,
    report: Report = None,
    json: Json = False,
    profiles: Profiles = None,
    *,
    service: ServiceOptions,
    generation: GenerationOptions,
) -> None:
    """Size a fleet of one kind of GPU for recorded arrivals, by replaying them."""
    from archsearch.serving.report import trace_document
    from archsearch.serving.traffic import read_trace

    recorded = read_trace(arrivals)
    units = _units(_setup(price, service, generation), name, generation)
    _answer(trace_document(name, units, recorded, service.level), report, json)


SAMPLING = ("steps", "guidance")
"""What a pipeline has for itself; all else of a generation holds for tiers and draft too."""


def _setup(price: Sequence[str] | None, service: ServiceOptions, generation: GenerationOptions) -> Setup:
    """The kinds of GPU, and how every pipeline runs on them.

    Raises:
        InvalidInputError: sizes or batches beside a mix of sizes, or a link that nothing crosses.
    """
    from archsearch.errors import InvalidInputError
    from archsearch.serving.setup import MAX_BATCH, Setup

    fields, placing = generation.fields, generation.placing
    sized = [f"--{side}" for side in ("height", "width", "frames") if side in fields]
    if service.mix and sized:
        raise InvalidInputError(f"{', '.join(sized)} beside --mix: the mix has the sizes")
    if service.mix and service.max_batch is not None:
        raise InvalidInputError("--max-batch beside --mix: requests of several sizes are served singly")
    if placing.pcie_gb_s is not None and placing.placement in (None, "resident"):
        raise InvalidInputError("--pcie-gb-s has no effect on resident weights: give --placement")
    return Setup.parse(
        service.hardware,
        prices=price or [],
        max_batch=MAX_BATCH if service.max_batch is None else service.max_batch,
        generation={name: value for name, value in fields.items() if name not in SAMPLING},
        mix=service.mix or [],
    )


def _units(setup: Setup, name: str, generation: GenerationOptions) -> tuple[Replica, ...]:
    """The served pipeline's replicas; says which kinds of GPU are left out."""
    offer = setup.offer(name, steps=generation.request.steps, guidance=generation.request.guidance)
    for gpu, reason in offer.refused.items():
        note(f"{gpu} is left out: {worded(reason)}")
    return offer.replicas


def _answer(document: dict[str, object], report: Path | None, json: bool) -> None:
    if report is not None:
        from archsearch.report.serve_report import serve_page
        from archsearch.report.write import write_page

        write_page(serve_page(document, command_line()), report)
    print_json(document) if json else _print(document)


def _print(d: dict[str, Any]) -> None:
    from archsearch.cost.execution import Execution
    from archsearch.hardware import Quotes

    r = d["response_s"]
    say(f"{d['pipeline']}: {d['rate_per_s']:g} requests/s, {_level(d['service_level'])}")
    say(f"  execution   {Execution(**d['execution']).line()}")
    if r_ := d.get("request"):
        frames = f", {r_['frames']} frames" if r_["frames"] else ""
        say(f"  requests    {r_['height']}x{r_['width']}{frames}, {r_['steps']} steps, guidance {r_['guidance']}")
        how = {name: value for name, value in d["run"].items() if value not in (False, 0.0, 1)}
        say(f"  run         {', '.join(f'{name} {value}' for name, value in how.items())}")
    say(f"  response    p50 {r['p50']:.4g} s, p95 {r['p95']:.4g} s, p99 {r['p99']:.4g} s, mean {r['mean']:.4g} s")
    if d["service_level"] and not d.get("kept_at_high_end", True):
        say(f"  high end    {_beyond(d)}")
    if d.get("usd_per_hour") is not None:
        say(f"  price       {d['usd_per_hour']:.4g} USD/h, {d['usd_per_output']:.4g} USD per output")
    elif d["unpriced"]:
        say("  price       unknown: fleets without a price are compared by their number of GPUs")
    say_prices(Quotes.from_dict(d), GIVE_PRICE)
    if d.get("usd_per_hour") is not None and d["unpriced"]:
        serving = {word for other in d.get("alternatives", []) for word in other["fleet"].split()}
        able = [gpu for gpu in d["unpriced"] if gpu in serving or gpu not in d.get("refused", {})]
        give = " ".join(f"--price {gpu}=USD" for gpu in able)
        if able:
            say(f"  cheapest    of the kinds that have a price, without {', '.join(able)}: add {give}")
    for reason in d.get("roofline", {}).values():
        note(reason)
    say(f"  energy      {d['energy_j_per_output']:.4g} J per output (TDP while working)")
    for fleet in d.get("tiers", []):
        say(f"  tier        {fleet['pipeline']}: {fleet['share']:.0%} of requests")
    if d.get("saved") is not None:
        say(f"  saved       {d['saved']:.1%} of the price of {d['pipeline']} alone")
    if d.get("simulation"):
        s = d["simulation"]
        say(f"  simulated   p50 {s['p50']:.4g} s, p95 {s['p95']:.4g} s, p99 {s['p99']:.4g} s, mean {s['mean']:.4g} s")
    for reason in d.get("refused", {}).values():
        say(f"  refused     {worded(reason)}")
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
    less = ("mean batch", "batch limit", "requests/s", "replicas")
    print_table("", columns, rows, left=("pipeline", "GPU"), less=less)
    if d.get("alternatives"):
        print_table(
            "others",
            ("fleet", "GPUs", "p95 s", "USD/h"),
            [(a["fleet"], a["gpus"], a["p95"], a["usd_per_hour"]) for a in d["alternatives"]],
            left=("fleet",),
        )


def _beyond(d: Mapping[str, Any]) -> str:
    """What the fleet does where all takes as long as the upper end of the band says."""
    slow = d["response_high_s"]
    if slow is None:
        return "the level is met on the central estimate; at the upper end of the 80 % band these GPUs cannot keep up"
    reached = ", ".join(f"{name[:3]} {slow[name[:3]]:.4g} s" for name in d["service_level"])
    return f"the level is met on the central estimate, not at the upper end of the 80 % band: {reached} there"


def _level(limits: dict[str, float]) -> str:
    return ", ".join(f"{name[:3]} within {value:g} s" for name, value in limits.items()) or "no service level"
