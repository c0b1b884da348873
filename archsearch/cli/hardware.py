"""``archsearch hardware``: the GPUs that are known, and where each figure comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.completion import complete_gpu
from archsearch.cli.options import Json, Profiles
from archsearch.cli.output import note, print_json, print_table, say, text

if TYPE_CHECKING:
    from archsearch.dtypes import DType
    from archsearch.hardware import GpuSpec, Price
    from archsearch.hardware.figures import Compared

app = typer.Typer(help="GPUs that archsearch knows.", no_args_is_help=True)


@app.command("list")
def list_hardware(
    supports: Annotated[
        list[str] | None,
        typer.Option(
            "--supports", metavar="FORMAT", help="Only GPUs that multiply it natively: fp8, fp4 ... (repeat)."
        ),
    ] = None,
    min_memory_gib: Annotated[
        float | None, typer.Option("--min-memory-gib", help="Only GPUs with this much usable memory.")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option("--architecture", metavar="NAME", help="Only GPUs of an architecture: hopper.")
    ] = None,
    vendor: Annotated[str | None, typer.Option("--vendor", metavar="NAME", help="Only GPUs of a vendor.")] = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", help="id, or from the largest: year, memory, bandwidth, tflops, power, price."),
    ] = None,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """List GPUs: all, or those that pass every filter."""
    from archsearch.dtypes import DType
    from archsearch.hardware import listed_prices, readable_gpus
    from archsearch.hardware.selection import in_order, selected

    readable, broken = readable_gpus()
    for error in broken:
        note(f"left out, since its profile cannot be read: {error}")
    found = selected(
        readable,
        supports=supports or (),
        min_memory_gib=min_memory_gib,
        architecture=architecture,
        vendor=vendor,
    )
    prices = listed_prices() if json or sort == "price" else {}
    dtype = DType.parse(supports[0]) if supports else None
    gpus: list[GpuSpec] = list(found.gpus)
    if sort is not None:
        gpus = in_order(gpus, sort, {gpu: price.usd_per_hour for gpu, price in prices.items()}, dtype)
    if found.emptied_by:
        note(found.emptied_by)
    if json:
        print_json([_summary(gpu) | {"price": _price(prices.get(gpu.id))} for gpu in gpus])
    elif gpus:
        _print_list(gpus, dtype, prices if sort == "price" else None)


def _print_list(gpus: list[GpuSpec], dtype: DType | None, prices: dict[str, Price] | None) -> None:
    """A line per GPU; on a terminal the columns that it has room for."""
    columns = ["id", "name", "architecture", "SMs", "TFLOP/s", "in", "GiB", "usable", "GB/s", "W", "year"]
    rows = [_row(gpu, dtype) for gpu in gpus]
    if prices is not None:
        columns.append("USD/h")
        rows = [[*row, text(_usd(prices.get(gpu.id)))] for row, gpu in zip(rows, gpus, strict=True)]
    left = ("id", "name", "architecture", "in")
    less = ("name", "SMs", "GiB", "architecture", "in", "year", "W")
    print_table(f"{len(rows)} GPUs", columns, rows, left=left, whole=("name",), less=less)


def _row(gpu: GpuSpec, dtype: DType | None) -> list[str]:
    from archsearch.hardware.figures import main_format

    shown, memory = dtype or main_format([gpu]), gpu.memory
    peak = gpu.peak_tflops.get(shown)
    cells = (gpu.id, gpu.name, gpu.architecture, gpu.num_sms, peak, shown.value, memory.size_gib, memory.usable_gib)
    return [text(cell) for cell in (*cells, memory.bandwidth_gb_s, gpu.tdp_w, gpu.released)]


@app.command("show")
def show(
    gpu: Annotated[str, typer.Argument(help="A GPU's id, alias or device name.", autocompletion=complete_gpu)],
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Show every figure of a GPU and how it is known: its sources, its architecture, or how it was inferred."""
    from archsearch.cost.shares import roofline_of
    from archsearch.hardware import listed_price, load_gpu
    from archsearch.hardware.figures import derived_figures, figures_of, main_format

    spec = load_gpu(gpu)
    figures, price = figures_of(spec), listed_price(spec)
    derived = derived_figures(spec, main_format([spec]), _usd(price))
    if json:
        told = {"figures": [figure.to_dict() for figure in figures], "derived": derived, "price": _price(price)}
        print_json({**spec.model_dump(mode="json"), **told, "roofline": roofline_of(spec)})
        return
    rows = [(figure.field, _shown(figure.value), figure.known()) for figure in figures]
    rows += [(name, _shown(value, 4), _DERIVED[name.partition(".")[0]]) for name, value in derived.items() if value]
    print_table(f"{spec.id}: {spec.name}", ("figure", "value", "known"), rows, left=("figure", "value", "known"))
    for source in spec.sources:
        say(f"{source.title}: {source.url}")
    for dtype, reason in spec.peak_notes.items():
        say(f"peak_tflops.{dtype.value}: {reason}")
    say("price: none known" if price is None else f"price: {price.usd_per_hour:.4g} USD per hour, {price.source}")
    if spec.notes:
        say(spec.notes)
    if roofline := roofline_of(spec):
        say("\n  ".join([f"{roofline['why']}:", *roofline["shares"]]))


@app.command("compare")
def compare(
    gpus: Annotated[
        list[str],
        typer.Argument(metavar="GPU GPU...", help="Ids, aliases or device names.", autocompletion=complete_gpu),
    ],
    differing: Annotated[bool, typer.Option("--differing", help="Only figures that differ.")] = False,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Lay GPUs side by side, figure by figure, with each number's ratio to the first GPU's."""
    from archsearch.errors import InvalidInputError
    from archsearch.hardware import listed_prices, load_gpu
    from archsearch.hardware.figures import compared

    specs = [load_gpu(name) for name in gpus]
    ids = [spec.id for spec in specs]
    if len(set(ids)) < max(2, len(ids)):
        raise InvalidInputError(f"name two GPUs or more, each once; these are {', '.join(ids)}")
    prices = {gpu: price.usd_per_hour for gpu, price in listed_prices().items()}
    figures = [figure for figure in compared(specs, prices) if figure.differs or not differing]
    if json:
        print_json({"gpus": ids, "figures": [_compared(figure, ids) for figure in figures]})
        return
    print_table(
        " against ".join(ids), ["figure", *ids], [_against(figure) for figure in figures], left=("figure",), beside=True
    )
    say("≠ differs; in brackets the ratio to the first")
    for name, how in _DERIVED.items():
        say(f"{name}: {how}")


_DERIVED = {
    "available_gib": "derived, usable less a bare context",
    "ridge_flop_per_byte": "derived, dense peak / bandwidth",
    "tflops_per_w": "derived, dense peak / rated power",
    "usd_per_hour": "the listed price of a GPU-hour",
    "tflops_per_usd": "derived, dense peak / price of an hour",
}
"""Figures that follow from others, and how."""


def _compared(figure: Compared, ids: list[str]) -> dict[str, Any]:
    return {
        "field": figure.field,
        "values": dict(zip(ids, figure.values, strict=True)),
        "ratios": dict(zip(ids, figure.ratios, strict=True)),
        "differs": figure.differs,
        "derived": figure.derived,
    }


def _against(figure: Compared) -> list[str]:
    """A row: the first GPU's value, then each other's with its ratio."""
    digits = 4 if figure.derived else 6
    first, *others = (_shown(value, digits) for value in figure.values)
    told = [
        shown if ratio is None else f"{shown} ({ratio:.3g})"
        for shown, ratio in zip(others, figure.ratios[1:], strict=True)
    ]
    return [("≠ " if figure.differs else "  ") + figure.field, first, *told]


def _shown(value: object, digits: int = 6) -> str:
    """A figure's value: a list's members with commas, numbers to so many digits."""
    if isinstance(value, list | tuple):
        return ", ".join(_shown(one, digits) for one in value)
    return f"{value:.{digits}g}" if isinstance(value, float) else text(value)


def _usd(price: Price | None) -> float | None:
    return None if price is None else price.usd_per_hour


def _price(price: Price | None) -> dict[str, Any] | None:
    return None if price is None else price.model_dump(mode="json")


def _summary(gpu: GpuSpec) -> dict[str, object]:
    keys = (
        *("id", "name", "vendor", "architecture", "compute_capability", "released", "num_sms", "peak_tflops", "memory"),
        *("l2_cache_mib", "tdp_w", "aliases", "fp32_accumulation", "tensor_rate_cap", "unchecked"),
    )
    dumped = gpu.model_dump(mode="json", include=set(keys))
    return {key: dumped[key] for key in keys} | {"available_gib": gpu.available_bytes / 2**30}
