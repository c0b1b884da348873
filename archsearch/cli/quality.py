"""``archsearch quality``: the quality expected of a model, or of a table of configs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from archsearch.cli.options import Json
from archsearch.cli.output import note, print_json, print_table


def quality(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL|FILE.csv", help="A model, or a table of configs.")
    ] = None,
    proxy: Annotated[str | None, typer.Option("--proxy", help="Which law; see --list.")] = None,
    tokens: Annotated[float | None, typer.Option("--tokens", help="Training tokens.")] = None,
    family: Annotated[str | None, typer.Option("--family", help="Family of a table without that column.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the table with predictions.")] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the proxies with source and validity.")] = False,
    json: Json = False,
) -> None:
    """Predict the quality of a model, or of every row of a CSV whose columns are config fields."""
    from archsearch.errors import InvalidInputError

    if list_all:
        _list(json)
        return
    if model is None:
        raise InvalidInputError("name a MODEL or a FILE.csv, or use --list")
    if Path(model).suffix in (".csv", ".parquet"):
        _table(Path(model), proxy, tokens, family, output, json)
    else:
        _model(model, proxy, tokens, json)


def _list(json: bool) -> None:
    from archsearch.quality import get_proxy, list_proxies

    rows: list[dict[str, Any]] = []
    for name in list_proxies():
        p = get_proxy(name)
        valid = {k: list(v) for k, v in p.valid.items()}
        about = {"name": name, "metric": p.metric, "families": list(p.families), "assumed": p.assumed, "valid": valid}
        rows.append({**about, "source": p.source, "url": p.url})
    if json:
        print_json(rows)
        return
    for row in rows:
        ranges = "; ".join(f"{k} {low:.3g} to {high:.3g}" for k, (low, high) in row["valid"].items())
        marked = " (assumed)" if row["assumed"] else ""
        print(f"{row['name']}: {row['metric']} of {', '.join(row['families'])}{marked}; valid for {ranges}")
        print(f"  {row['source']} {row['url']}")


def _model(model: str, proxy: str | None, tokens: float | None, json: bool) -> None:
    from archsearch.models.base import Workload
    from archsearch.models.registry import load_model
    from archsearch.quality import default_proxy, get_proxy
    from archsearch.quality.table import features_of

    config = load_model(model)
    law = get_proxy(proxy) if proxy else default_proxy(config.family)
    workload = Workload(**config.default_sizes)  # type: ignore[arg-type]
    answer = law.predict(features_of(config, law, workload, tokens))
    document: dict[str, Any] = {
        "model": model,
        f"predicted_{law.metric}": float(answer.value),
        "low": float(answer.low),
        "high": float(answer.high),
        "in_range": bool(answer.in_range),
        "proxy": law.name,
        "source": law.source,
    }
    if json:
        print_json(document)
        return
    outside = "" if document["in_range"] else "; outside the law's range, band widened"
    print(f"{model}: {law.metric} {answer.value:.4g} ({answer.low:.4g} to {answer.high:.4g}), {law.name}{outside}")
    print(f"  {law.source} {law.url}")


def _table(
    file: Path, proxy: str | None, tokens: float | None, family: str | None, output: Path | None, json: bool
) -> None:
    from archsearch.quality.table import predict_frame
    from archsearch.tables import read_table, write_table

    scored = predict_frame(read_table(file), family=family, proxy=proxy, tokens=tokens)
    if output is not None:
        write_table(scored, output)
        note(f"wrote {output}")
    if json:
        print_json({"rows": scored.to_dict(orient="records")})
    elif output is None:
        print_table("", list(scored.columns), scored.itertuples(index=False))
