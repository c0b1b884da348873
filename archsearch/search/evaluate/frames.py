"""Tables of architectures, and their rows as plain values for JSON.

Columns of a table: the space's dimensions and derived fields; ``parameters``, ``flops``, ``memory_bytes``,
``quality``, ``quality_low``, ``quality_high``, ``quality_in_range``, ``proxy``; per GPU ``latency_s:<gpu>``,
``latency_low_s:<gpu>``, ``latency_high_s:<gpu>``, ``throughput:<gpu>`` and ``memory_share:<gpu>`` (of the GPU's
memory); over the pool ``throughput_worst`` and ``throughput_weighted``, relative to the reference architecture, and
``latency_worst`` ... where they are objectives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.search.evaluate.columns import Columns
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.metrics import ENERGY_BASIS, price_sources
from archsearch.search.evaluate.training import layout_of
from archsearch.search.space.schema import WorkloadRecord
from archsearch.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

HIDDEN = ("tokens", "latency_worst", "latency_weighted", "latency_fleet")
"""Columns that a table leaves out: throughput's views say the same. What is an objective is always shown."""


def columns_frame(evaluator: Evaluator, columns: Columns) -> pd.DataFrame:
    """A table from metric columns [N]; ``attrs`` name space, hardware, fixed fields and proxy."""
    import pandas as pd

    hidden = set(HIDDEN) - set(evaluator.objective_columns)
    shown = {name: value for name, value in columns.items() if name not in hidden}
    for gpu in evaluator.pool.gpus:
        shown[f"memory_share:{gpu.id}"] = columns["memory_bytes"] / gpu.memory_bytes
    frame = pd.DataFrame(shown)
    for name in ("parameters", "flops", "memory_bytes"):
        frame[name] = np.rint(frame[name]).astype("int64") if name != "flops" else frame[name]
    name_layouts(frame)
    frame["proxy"] = evaluator.proxy.name
    frame.attrs.update(frame_attributes(evaluator))
    return frame


def name_layouts(frame: pd.DataFrame) -> None:
    """Training layouts as text (``tensor 2, pipeline 1, data 4``) in place of their numbers."""
    if "training_layout" in frame:
        layouts = [layout_of(code) for code in frame["training_layout"]]
        frame["training_layout"] = [", ".join(f"{k} {v}" for k, v in layout.items()) for layout in layouts]


def frame_attributes(evaluator: Evaluator) -> dict[str, Any]:
    """What a table's rows have in common, as plain values."""
    space, proxy = evaluator.space, evaluator.proxy
    return {
        "space": space.name,
        "family": space.family,
        "pipeline": space.record.pipeline,
        "throughput_unit": space.family_class.throughput_unit,
        "hardware": list(evaluator.pool.ids),
        "weights": list(evaluator.pool.weights),
        "fixed": dict(space.record.fixed),
        "config_fields": list(space.config_fields),
        "dimensions": [*space.dimensions, *space.derived],
        "objectives": dict(evaluator.objective_columns),
        "prefer": space.record.prefer,
        "workload": space.record.workload.model_dump(mode="json", exclude_none=True),
        "execution": space.execution.to_dict(),
        **_economy(evaluator),
        "quality": {
            "proxy": proxy.name,
            "metric": proxy.metric,
            "unit": proxy.unit,
            "direction": proxy.direction,
            "source": proxy.source,
            "url": proxy.url,
            "assumed": proxy.assumed,
        },
    }


def _economy(evaluator: Evaluator) -> dict[str, Any]:
    """How energy and prices are known, and the training run that costs are of."""
    record, trainer = evaluator.space.record, evaluator.training
    prices = price_sources(record, evaluator.pool, trainer.gpu if trainer else None)
    found: dict[str, Any] = {"energy_basis": ENERGY_BASIS, "prices": prices}
    if record.training is not None:
        found["training"] = record.training.model_dump(mode="json", exclude_none=True)
    if record.lifetime is not None:
        found["lifetime"] = record.lifetime.model_dump(mode="json")
    return found


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain dicts: per-GPU columns become ``{gpu: value}``, dimensions stand under ``config``."""
    names = set(frame.attrs.get("dimensions", ()))
    records = []
    for row in plain_rows(frame):
        record: dict[str, Any] = {}
        if "rank" in row:
            record["rank"] = row["rank"]
        record["config"] = {name: plain(row[name]) for name in frame.columns if name in names}
        for column in frame.columns:
            if column in names or column == "rank":
                continue
            stem, _, gpu = column.partition(":")
            if gpu:
                record.setdefault(stem, {})[gpu] = plain(row[column])
            else:
                record[column] = plain(row[column])
        records.append(record)
    return records


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts of column name to value."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict(orient="records")]


def plain(value: Any) -> Any:
    """A value as JSON can hold it: Python numbers, no NaN or infinity (None instead)."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def workload_from(record: Mapping[str, Any]) -> Workload:
    """The workload of ``frame_attributes``, from its plain values."""
    return WorkloadRecord.model_validate(record).workload()


def config_of(frame: pd.DataFrame, rank: int = 1) -> dict[str, Any]:
    """The complete config of one row (fixed fields too), as the family's ``from_dict`` takes it.

    ``rank`` counts rows from 1.
    """
    row = frame.iloc[rank - 1]
    fields = frame.attrs["config_fields"]
    chosen = {name: plain(row[name]) for name in frame.attrs["dimensions"] if name in fields}
    fixed = {name: value for name, value in frame.attrs["fixed"].items() if name in fields}
    whole = {n: int(v) if isinstance(v, float) and v.is_integer() else v for n, v in chosen.items()}
    return fixed | whole
