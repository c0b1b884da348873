"""``archsearch recommend``: the dimensions to train, and why the neighbours lose."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.execution import ExecutionOptions
from archsearch.cli.groups import grouped
from archsearch.cli.options import AllowStudyCode, Json, PoolOptions, Profiles, Storage
from archsearch.cli.output import gibibytes, millions, milliseconds, print_json, print_table, rate, say

if TYPE_CHECKING:
    import pandas as pd

    from archsearch.search.space.space import SearchSpace


REPORTED = ("dimensions_pay", "one_for_all", "energy_basis", "prices", "training", "lifetime")


class Format(StrEnum):
    """How recommendations are printed."""

    TABLE = "table"
    JSON = "json"
    HF = "hf"
    YAML = "yaml"
    PIPELINE = "pipeline"


@grouped
def recommend(
    source: Annotated[str, typer.Argument(metavar="STUDY|SPACE", help="A stored study, or a space to enumerate.")],
    max_latency_ms: Annotated[float | None, typer.Option(help="Latency limit on every GPU, in ms.")] = None,
    max_parameters: Annotated[float | None, typer.Option(help="Parameter limit.")] = None,
    max_memory_gib: Annotated[float | None, typer.Option(help="Memory limit, in GiB.")] = None,
    where: Annotated[
        str | None, typer.Option(metavar="CONDITION", help="Condition on the dimensions, e.g. 'num_layers <= 24'.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="MODEL", help="At least this model's predicted quality; shown beside.")
    ] = None,
    faster_on: Annotated[
        str | None, typer.Option(metavar="GPU[,GPU...]", help="Faster than the reference on these GPUs.")
    ] = None,
    prefer: Annotated[
        str | None,
        typer.Option("--prefer", help="What ranks first: quality, speed, cost or knee (default: what the space says)."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", "-k", help="How many to print (default: 5; 1 with --format hf, yaml or pipeline)."),
    ] = None,
    rank: Annotated[int | None, typer.Option("--rank", help="Only the architecture of this rank.")] = None,
    output_format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="table, json, hf (a Hugging Face config.json), yaml (a model for `estimate`) or pipeline (a whole "
            "pipeline for `pipeline`).",
        ),
    ] = Format.TABLE,
    storage: Storage = None,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    gpus: PoolOptions,
    how: ExecutionOptions,
) -> None:
    """Recommend the best architectures of a study or space, with the reasons."""
    from archsearch.cli import exports
    from archsearch.errors import InvalidInputError
    from archsearch.search.answers.recommend import recommend as run

    if top is not None and rank is not None:
        raise InvalidInputError("--top and --rank: give one, so many or the one of this rank")
    if json and output_format not in (Format.TABLE, Format.JSON):
        raise InvalidInputError(f"--json and --format {output_format.value} are two documents: give one of both")
    one = output_format in (Format.HF, Format.YAML, Format.PIPELINE)
    frame = run(
        _source(source, how, storage) if how.any else source,
        gpus.pool,
        max_latency_ms=max_latency_ms,
        max_parameters=max_parameters,
        max_memory_gib=max_memory_gib,
        where=where,
        reference=reference,
        faster_on=[name.strip() for name in faster_on.split(",")] if faster_on else [],
        prefer=prefer,
        top=max(rank or 0, 1 if one else 5) if top is None else top,
        storage=storage,
    )
    if rank is not None:
        frame = _only(frame, rank)
    if json or output_format is Format.JSON:
        keep = (
            "space",
            "family",
            "pipeline",
            "hardware",
            "provenance",
            "objectives",
            "prefer",
            "per",
            "workload",
            "execution",
            "quality",
            "pool",
            *REPORTED,
        )
        attributes = {k: frame.attrs[k] for k in (*keep, "exact", "front") if k in frame.attrs}
        beside = {"baseline": _baseline(frame), "reference": _baseline(frame, "reference")}
        print_json({**attributes, **beside, "recommendations": _records(frame)})
    elif output_format is Format.HF:
        print_json(exports.hf_documents(frame))
    elif output_format is Format.YAML:
        print(exports.yaml_text(frame), end="")
    elif output_format is Format.PIPELINE:
        print(exports.pipeline_text(frame), end="")
    else:
        _print_table(frame, _records(frame))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values, each with the published class that it is, or how the nearest differs."""
    from archsearch.cli.exports import class_fields
    from archsearch.search.answers.recommend import to_records

    return [record | class_fields(frame, row) for row, record in enumerate(to_records(frame), start=1)]


def _source(source: str, how: ExecutionOptions, storage: str | None) -> SearchSpace:
    """A space, run as was said.

    Raises:
        InvalidInputError: a study, which keeps how it ran.
    """
    from archsearch.errors import InvalidInputError
    from archsearch.search.answers.candidates import resolve_source
    from archsearch.search.space.space import SearchSpace

    found = resolve_source(source, storage)
    if not isinstance(found, SearchSpace):
        raise InvalidInputError(
            f"study {source!r} keeps how its architectures ran: leave out {', '.join(how.flags)}, or name its space"
        )
    return found.with_execution(how.execution, how.changes)


def _only(frame: pd.DataFrame, rank: int) -> pd.DataFrame:
    """The row of one rank.

    Raises:
        InvalidInputError: no such rank.
    """
    from archsearch.errors import InvalidInputError

    if not 1 <= rank <= len(frame):
        raise InvalidInputError(
            f"there is no rank {rank}: ranks count from 1, and {len(frame)} architectures are recommended"
        )
    chosen = frame.iloc[[rank - 1]]
    chosen.attrs = frame.attrs
    return chosen


def _print_table(frame: pd.DataFrame, records: list[dict[str, Any]]) -> None:
    from archsearch.cost.execution import Execution

    attrs: dict[str, Any] = {str(key): value for key, value in frame.attrs.items()}
    gpus = list(attrs["hardware"])
    work = ", ".join(f"{k} {v}" for k, v in attrs["workload"].items() if v is not None)
    how = Execution(**attrs["execution"]).line()
    exact = "exact front" if attrs["exact"] else "front of the sampled architectures"
    size = f"{attrs['front']} architectures, prefers {attrs['prefer']}"
    say(f"{attrs['space']} on {', '.join(gpus)}: {work}; {exact}, {size}")
    say(f"execution: {how}")
    shown = {str(record["rank"]): record for record in records}
    for beside in (_baseline(frame), _baseline(frame, "reference")):
        if beside is not None:
            shown.setdefault(str(beside["name"]), beside)
    _print_comparison(shown, attrs)
    for record in records:
        say(f"{record['rank']}. {record['why']}")
    for difference in dict.fromkeys(r["hf_difference"] for r in records if r["hf_difference"]):
        ranks = ", ".join(str(r["rank"]) for r in records if r["hf_difference"] == difference)
        say(f"no published class is {ranks}: {difference} (`archsearch build` writes a plain module)")
    _print_pool(attrs.get("pool", []))
    _print_dimensions(attrs)
    say(f"latencies: {_known(attrs['provenance'])}")
    quality = attrs["quality"]
    assumed = " (assumed: ranks sizes, not calibrated for this family)" if quality.get("assumed") else ""
    say(f"quality: {quality['proxy']}{assumed}, {quality['source']}")
    _print_compared(attrs)


def _print_compared(attrs: dict[str, Any]) -> None:
    """Which proxies the ranks by quality are compared over, or why they are not."""
    compared = attrs["quality"].get("compared")
    if compared:
        whole = attrs["per"]["run"] != attrs["per"]["step"]
        apart = " (of the architecture: steps and guidance left out)" if whole else ""
        say(f"ranks by quality on the front are compared over {', '.join(compared)}{apart}")
    else:
        told = f"no second proxy of another base or source than {attrs['quality']['proxy']}"
        say(f"ranks by quality are not compared: {told} speaks for family {attrs['family']}")


def _known(provenance: dict[str, str]) -> str:
    """GPUs by how their latencies are known."""
    words = dict.fromkeys(provenance.values())
    return "; ".join(f"{', '.join(g for g, w in provenance.items() if w == word)} {word}" for word in words)


def _print_pool(pool: list[dict[str, Any]]) -> None:
    """What each GPU alone would choose, GPUs of one mind together."""
    minds: dict[str, list[dict[str, Any]]] = {}
    for item in pool:
        own = ", ".join(f"{name} {value}" for name, value in item["config"].items())
        minds.setdefault("rank 1" if item["regret"] == 0 else own, []).append(item)
    for own, items in minds.items():
        regrets = ", ".join(f"{item['regret']:+.1%}" for item in items)
        gain = "" if own == "rank 1" else f", for throughput {regrets}"
        say(f"chosen for {', '.join(i['gpu'] for i in items)} alone, at no lower quality: {own}{gain}")


def _print_dimensions(attrs: dict[str, Any]) -> None:
    """Which dimension pays on which GPU, and the price of one architecture for all."""
    costs = attrs.get("dimensions_pay") or []
    if costs:
        rows = [(_moved(item), *(f"{item['cost'][gpu]:.2f}" for gpu in attrs["hardware"])) for item in costs]
        title = "per cent of latency for 1 % more parameters, around rank 1"
        print_table(title, ["dimension", *attrs["hardware"]], rows, left=("dimension",))
    price = attrs.get("one_for_all")
    if price and price["worst"] > 0:
        told = f"at most {price['worst']:.1%} slower than a GPU's own choice ({price['worst_on']})"
        say(f"one architecture for all: {told}, {price['weighted']:.1%} over the pool")
    elif price:
        say("one architecture for all costs no GPU anything")


def _print_comparison(shown: dict[str, dict[str, Any]], attrs: dict[str, Any]) -> None:
    """Architectures side by side, one a column: dimensions, what they cost anywhere, speed on each GPU."""
    columns = {label: _column(record, attrs) for label, record in shown.items()}
    titles = dict.fromkeys(title for column in columns.values() for title in column)
    rows = [(title, *(column.get(title) for column in columns.values())) for title in titles]
    print_table("", ["rank", *columns], rows, left=("rank",))


def _column(record: dict[str, Any], attrs: dict[str, Any]) -> dict[str, Any]:
    """One architecture's cells by title."""
    unit = attrs["throughput_unit"]
    cells = {name: value for name, value in record["config"].items() if name not in attrs["fixed"]}
    cells["parameters"] = millions(record["parameters"])
    if "hf_class" in record:
        cells["class"] = record["hf_class"] or "none published"
    run, step = attrs["per"]["run"], attrs["per"]["step"]
    if run != step and "pass_flops" in record:
        cells["TFLOPs per pass"] = record["pass_flops"] / 1e12
    cells[f"TFLOPs per {run}"] = record["flops"] / 1e12
    cells["memory, GiB"] = gibibytes(record["memory_bytes"])
    if record["quality"] is None:  # steps or guidance that nobody measured
        cells[f"predicted {attrs['quality']['metric']}"] = "unknown"
    else:
        cells[f"predicted {attrs['quality']['metric']}"] = f"{record['quality']:.4g}"
        cells["  80 % band"] = f"{record['quality_low']:.4g}-{record['quality_high']:.4g}"
    if "quality_rank_best" in record:
        best, worst = record["quality_rank_best"], record["quality_rank_worst"]
        span = f"{best}" if best == worst else f"{best}-{worst}"
        cells["  rank over proxies"] = f"{span} of {attrs['front']}"
    if len(attrs["hardware"]) > 1:
        cells["speed-up, worst GPU"] = f"{record['throughput_worst']:.3f}"
        cells["speed-up, pool"] = f"{record['throughput_weighted']:.3f}"
    if "training_hours" in record:
        cells["training, hours"] = f"{record['training_hours']:.4g}"
        cells["training, USD"] = _usd(record["training_usd"])
        cells["training layout"] = record["training_layout"]
    if "lifetime_usd" in record:
        cells["lifetime, USD"] = _usd(record["lifetime_usd"])
    for gpu in attrs["hardware"]:
        cells[f"{gpu}, ms per {run}"] = milliseconds(record["latency_s"][gpu])
        low, high = (milliseconds(record[f"latency_{end}_s"][gpu]) for end in ("low", "high"))
        cells[f"{gpu}, 80 % band"] = f"{low}-{high}"
        cells[f"{gpu}, {unit}"] = rate(record["throughput"][gpu])
    return cells | _other_objectives(record, attrs)


def _other_objectives(record: dict[str, Any], attrs: dict[str, Any]) -> dict[str, Any]:
    """The objectives that have no cell yet."""
    shown = ["quality", "parameters", "flops", "memory_bytes", "latency_s", "throughput"]
    shown += ["training_hours", "training_usd", "lifetime_usd"]
    shown += ["latency_worst", "latency_weighted", "throughput_worst", "throughput_weighted"]
    cells = {}
    for column in attrs["objectives"]:
        stem, _, gpu = column.partition(":")
        value = record.get(stem)
        if stem not in shown and value is not None:
            cells[column.replace(":", ", ")] = value.get(gpu) if isinstance(value, dict) else value
    return cells


def _moved(item: dict[str, Any]) -> str:
    return f"{item['dimension']} (with {item['with']})" if item["with"] else str(item["dimension"])


def _usd(value: float | None) -> str:
    return "no price" if value is None else f"{value:,.0f}"


def _baseline(frame: pd.DataFrame, name: str = "baseline") -> dict[str, Any] | None:
    """The baseline (or reference) in the shape of a record, or None where there is none."""
    from archsearch.search.evaluate.frames import plain

    given = frame.attrs.get(name)
    if given is None:
        return None
    record: dict[str, Any] = {}
    for key, value in given.items():
        stem, _, gpu = str(key).partition(":")
        if gpu:
            record.setdefault(stem, {})[gpu] = plain(value)
        else:
            record[stem] = plain(value)
    return record
