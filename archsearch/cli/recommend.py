"""``archsearch recommend``: the dimensions to train, and why the neighbours lose."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.options import Json, Pool, Profiles, Storage
from archsearch.cli.output import gibibytes, millions, milliseconds, print_json, print_table

if TYPE_CHECKING:
    import pandas as pd


class Format(StrEnum):
    """How recommendations are printed."""

    TABLE = "table"
    JSON = "json"
    HF = "hf"
    YAML = "yaml"


def recommend(
    source: Annotated[str, typer.Argument(metavar="STUDY|SPACE", help="A stored study, or a space to enumerate.")],
    hardware: Pool = None,
    max_latency_ms: Annotated[float | None, typer.Option(help="Latency limit on every GPU, in ms.")] = None,
    max_parameters: Annotated[float | None, typer.Option(help="Parameter limit.")] = None,
    max_memory_gib: Annotated[float | None, typer.Option(help="Memory limit, in GiB.")] = None,
    top: Annotated[
        int | None, typer.Option("--top", "-k", help="How many to print (default: 5; 1 with --format hf or yaml).")
    ] = None,
    rank: Annotated[int | None, typer.Option("--rank", help="Only the architecture of this rank.")] = None,
    output_format: Annotated[
        Format,
        typer.Option("--format", help="table, json, hf (a Hugging Face config.json) or yaml (an archsearch YAML)."),
    ] = Format.TABLE,
    storage: Storage = None,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Recommend the best architectures of a study or space, with the reasons."""
    from archsearch.search.recommend import recommend as run
    from archsearch.search.recommend import to_records

    one = output_format in (Format.HF, Format.YAML) and not json
    frame = run(
        source,
        hardware,
        max_latency_ms=max_latency_ms,
        max_parameters=max_parameters,
        max_memory_gib=max_memory_gib,
        top=max(rank or 1, (1 if one else 5) if top is None else top),
        storage=storage,
    )
    if rank is not None:
        frame = _only(frame, rank)
    if json or output_format is Format.JSON:
        keep = ("space", "family", "hardware", "objectives", "workload", "execution", "quality", "baseline", "pool")
        attributes = {k: frame.attrs[k] for k in (*keep, "exact", "front") if k in frame.attrs}
        print_json({**attributes, "recommendations": to_records(frame)})
    elif output_format is Format.HF:
        print_json(_hf(frame))
    elif output_format is Format.YAML:
        _print_yaml(frame)
    else:
        _print_table(frame, to_records(frame))


def _only(frame: pd.DataFrame, rank: int) -> pd.DataFrame:
    """The row of one rank.

    Raises:
        InvalidInputError: no such rank.
    """
    from archsearch.errors import InvalidInputError

    if not 1 <= rank <= len(frame):
        raise InvalidInputError(f"there is no rank {rank}: the front has {len(frame)} architectures")
    chosen = frame.iloc[[rank - 1]]
    chosen.attrs = frame.attrs
    return chosen


def _configs(frame: pd.DataFrame) -> list[dict[str, Any]]:
    from archsearch.search.recommend import config_of

    return [config_of(frame, rank) for rank in range(1, len(frame) + 1)]


def _hf(frame: pd.DataFrame) -> Any:
    """The Hugging Face config of the one row; a list where more were asked for."""
    from archsearch.models.huggingface import to_hf
    from archsearch.models.registry import get_family

    family = get_family(frame.attrs["family"])
    configs = [to_hf(family.from_dict(config)) for config in _configs(frame)]
    return configs[0] if len(configs) == 1 else configs


def _print_yaml(frame: pd.DataFrame) -> None:
    import yaml

    documents = [{"family": frame.attrs["family"], **config} for config in _configs(frame)]
    print(yaml.safe_dump_all(documents, sort_keys=False), end="")


def _print_table(frame: pd.DataFrame, records: list[dict[str, Any]]) -> None:
    attrs = frame.attrs
    gpus = list(attrs["hardware"])
    fixed = attrs["fixed"]
    dimensions = [name for name in records[0]["config"] if name not in fixed]
    columns = ["rank", *dimensions, "parameters", "TFLOPs", "GiB", f"{attrs['quality']['metric']} (80 %)"]
    columns += [f"{gpu} ms" for gpu in gpus] + [f"{gpu}/s" for gpu in gpus]
    baseline = attrs.get("baseline")
    rows = [_row(r, r["rank"], dimensions, gpus) for r in records]
    if baseline:
        from archsearch.search.frames import plain

        flat = {k: plain(v) for k, v in baseline.items()}
        rows.append(_row(_nested(flat, dimensions), str(baseline.get("name", "baseline")), dimensions, gpus))
    work = ", ".join(f"{k} {v}" for k, v in attrs["workload"].items() if v is not None)
    how = "compiled" if attrs["execution"].get("compiled") else "eager"
    exact = "exact front" if attrs["exact"] else "front of the sampled architectures"
    print_table(
        f"{attrs['space']} on {', '.join(gpus)}: {work}, {how}; {exact}, {attrs['front']} architectures",
        columns,
        rows,
        left=("rank",),
    )
    for record in records:
        print(f"{record['rank']}. {record['why']}")
    for item in attrs.get("pool", []):
        own = ", ".join(f"{k} {v}" for k, v in item["config"].items() if k in dimensions)
        print(f"{item['gpu']} alone would choose {own}: {item['regret']:+.1%} throughput there against rank 1")
    quality = attrs["quality"]
    assumed = " (assumed: ranks sizes, not calibrated for this family)" if quality.get("assumed") else ""
    print(f"quality: {quality['proxy']}{assumed}, {quality['source']}")


def _nested(flat: dict[str, Any], dimensions: list[str]) -> dict[str, Any]:
    """A baseline's flat or nested columns in the shape of a record."""
    if "config" in flat:
        return flat
    record: dict[str, Any] = {"config": {name: flat.get(name) for name in dimensions}}
    for key, value in flat.items():
        stem, _, gpu = key.partition(":")
        if gpu:
            record.setdefault(stem, {})[gpu] = value
        else:
            record[key] = value
    return record


def _row(record: dict[str, Any], label: Any, dimensions: list[str], gpus: list[str]) -> list[Any]:
    quality = f"{record['quality']:.3f} ({record['quality_low']:.3f}-{record['quality_high']:.3f})"
    return [
        label,
        *(record["config"].get(name) for name in dimensions),
        millions(record["parameters"]),
        record["flops"] / 1e12,
        gibibytes(record["memory_bytes"]) if not isinstance(record["memory_bytes"], dict) else "",
        quality,
        *(milliseconds(record["latency_s"][gpu]) for gpu in gpus),
        *(f"{record['throughput'][gpu]:.4g}" for gpu in gpus),
    ]
