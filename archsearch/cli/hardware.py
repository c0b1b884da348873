"""``archsearch hardware``: the GPUs that are known, and where each figure comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.options import Json, Profiles
from archsearch.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from archsearch.dtypes import DType
    from archsearch.hardware import GpuSpec, Price

app = typer.Typer(help="GPUs that archsearch knows.", no_args_is_help=True)


@app.command("list")
def list_hardware(json: Json = False, profiles: Profiles = None) -> None:
    """List every GPU."""
    from archsearch.hardware import list_gpus, listed_prices

    gpus = list_gpus()
    if json:
        prices = listed_prices()
        print_json([_summary(gpu) | {"price": _price(prices.get(gpu.id))} for gpu in gpus])
        return
    rows = [
        (
            gpu.id,
            gpu.name,
            gpu.architecture,
            gpu.num_sms,
            gpu.peak_tflops.get(_half(gpu)),
            _half(gpu),
            gpu.memory.size_gib,
            gpu.memory.bandwidth_gb_s,
            gpu.released,
        )
        for gpu in gpus
    ]
    columns = ("id", "name", "architecture", "SMs", "TFLOP/s", "in", "GiB", "GB/s", "year")
    print_table(f"{len(rows)} GPUs", columns, rows, left=("id", "name", "architecture", "in"))


@app.command("show")
def show(
    gpu: Annotated[str, typer.Argument(help="A GPU's id, alias or device name.")],
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Show every figure of a GPU with its source."""
    from archsearch.hardware import listed_price, load_gpu

    spec = load_gpu(gpu)
    figures = _figures(spec)
    price = listed_price(spec)
    if json:
        print_json({**spec.model_dump(mode="json"), "figures": figures, "price": _price(price)})
        return
    rows = [(f["field"], f["value"], "; ".join(s["title"] for s in f["sources"])) for f in figures]
    print_table(f"{spec.id}: {spec.name}", ("field", "value", "source"), rows, left=("field", "value", "source"))
    for source in spec.sources:
        say(f"{source.title}: {source.url}")
    for dtype, reason in spec.peak_notes.items():
        say(f"peak_tflops.{dtype.value}: {reason}")
    say("price: none known" if price is None else f"price: {price.usd_per_hour:.4g} USD per hour, {price.source}")
    if spec.notes:
        say(spec.notes)


def _price(price: Price | None) -> dict[str, Any] | None:
    return None if price is None else price.model_dump(mode="json")


def _half(gpu: GpuSpec) -> DType:
    """The format of its shown peak: the first that it has of bf16, fp16 and fp32."""
    from archsearch.dtypes import DType

    return next((d for d in (DType.BF16, DType.FP16, DType.FP32) if gpu.supports(d)), DType.FP32)


def _summary(gpu: GpuSpec) -> dict[str, object]:
    keys = (
        "id",
        "name",
        "vendor",
        "architecture",
        "compute_capability",
        "released",
        "num_sms",
        "peak_tflops",
        "memory",
    )
    dumped = gpu.model_dump(mode="json")
    return {key: dumped[key] for key in (*keys, "l2_cache_mib", "tdp_w", "aliases")}


def _figures(spec: GpuSpec) -> list[dict[str, Any]]:
    """Every sourced figure: dotted field, value, sources."""
    dumped = spec.model_dump(mode="json")
    figures = []
    for path in spec.figure_paths():
        value: Any = dumped
        for part in path.split("."):
            value = value[part]
        sources = [{"title": s.title, "url": s.url} for s in spec.sources_of(path)]
        figures.append({"field": path, "value": value, "sources": sources})
    return figures
