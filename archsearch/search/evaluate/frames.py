"""Tables of architectures, and their rows as plain values for JSON.

Columns of a table: the space's dimensions and derived fields; ``parameters``, ``flops``, ``memory_bytes``,
``quality``, ``quality_low``, ``quality_high``, ``quality_in_range``, ``proxy``; per GPU ``latency_s:<gpu>``,
``latency_low_s:<gpu>``, ``latency_high_s:<gpu>``, ``throughput:<gpu>`` and ``memory_share:<gpu>`` (of the GPU's
memory); over the pool ``throughput_worst`` and ``throughput_weighted``, relative to the reference architecture, and
``latency_worst`` ... where they are objectives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from archsearch.search.evaluate.columns import Columns, per_gpu_column
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.metrics import ENERGY_BASIS, priced_gpus
from archsearch.search.evaluate.result import SearchResult, as_result
from archsearch.search.evaluate.setting import Economy, PoolView, QualityLaw, Setting
from archsearch.search.evaluate.training_cost import layout_of
from archsearch.search.space.sections import WorkloadRecord
from archsearch.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

HIDDEN = ("tokens", "latency_worst", "latency_weighted", "latency_fleet")
"""Columns that a table leaves out: throughput's views say the same. What is an objective is always shown."""

WHOLE = ("parameters", "memory_bytes")
"""Columns that count."""


def columns_result(evaluator: Evaluator, columns: Columns) -> SearchResult:
    """A table from metric columns [N], with what its rows have in common."""
    import pandas as pd

    hidden = set(HIDDEN) - set(evaluator.objective_columns)
    shown = {name: value for name, value in columns.items() if name not in hidden}
    for gpu in evaluator.pool.gpus:
        shown[per_gpu_column("memory_share", gpu.id)] = columns["memory_bytes"] / gpu.available_bytes
    frame = with_named_layouts(with_whole_counts(pd.DataFrame(shown)))
    frame["proxy"] = evaluator.proxy.name
    return SearchResult(frame, setting_of(evaluator))


def with_whole_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Parameters and bytes as whole numbers, which columns of metrics and stored trials have as floats."""
    return frame.assign(**{name: np.rint(frame[name]).astype("int64") for name in WHOLE if name in frame})


def with_named_layouts(frame: pd.DataFrame) -> pd.DataFrame:
    """Training layouts as text (``tensor 2, pipeline 1, data 4``) in place of their numbers."""
    if "training_layout" not in frame:
        return frame
    layouts = [layout_of(code) for code in frame["training_layout"]]
    return frame.assign(training_layout=[", ".join(f"{k} {v}" for k, v in layout.items()) for layout in layouts])


def setting_of(evaluator: Evaluator) -> Setting:
    """What the rows of a table have in common."""
    space, proxy = evaluator.space, evaluator.proxy
    return Setting(
        space=space.name,
        family=space.family,
        pipeline=space.record.pipeline,
        throughput_unit=space.family_class.throughput_unit,
        pool=PoolView(evaluator.pool.ids, evaluator.pool.weights),
        fixed=space.record.fixed,
        config_fields=space.config_fields,
        dimensions=(*space.dimensions, *space.derived),
        objectives=evaluator.objective_columns,
        prefer=space.record.prefer,
        workload=space.record.workload,
        execution=space.execution,
        changes=space.changes,
        economy=_economy(evaluator),
        quality=QualityLaw(
            proxy=proxy.name,
            metric=proxy.metric,
            unit=proxy.unit,
            direction=proxy.direction,
            source=proxy.source,
            url=proxy.url,
            assumed=proxy.assumed,
        ),
    )


def _economy(evaluator: Evaluator) -> Economy:
    """How energy and prices are known, and the training run that costs are of."""
    record, trainer = evaluator.space.record, evaluator.training
    known = priced_gpus(record, evaluator.pool, trainer.gpu if trainer else None)
    training = None if trainer is None else trainer.record.model_dump(mode="json", exclude_none=True)
    lifetime = None if record.lifetime is None else record.lifetime.model_dump(mode="json")
    return Economy(ENERGY_BASIS, known, training, lifetime)


def to_records(table: SearchResult | pd.DataFrame) -> list[dict[str, object]]:
    """Rows as plain dicts: per-GPU columns become ``{gpu: value}``, dimensions stand under ``config``.

    Raises:
        InvalidInputError: a table that is no answer of a search, or that lost its ``attrs``.
    """
    return as_result(table).records()


def config_of(table: SearchResult | pd.DataFrame, rank: int = 1) -> dict[str, object]:
    """The complete config of one row (fixed fields too), as the family's ``from_dict`` takes it.

    Args:
        table: what ``recommend`` or ``enumerate_space`` gave.
        rank: which row, counted from 1.

    Returns:
        Values by field; ``table.attrs["family"]`` names the family.

    Raises:
        InvalidInputError: a table that is no answer of a search, or that lost its ``attrs``.
    """
    return as_result(table).config(rank)


def workload_from(document: Mapping[str, object]) -> Workload:
    """The workload of a table's ``attrs``, from its plain values.

    Raises:
        pydantic.ValidationError: values that are no workload.
    """
    return WorkloadRecord.model_validate(document).workload()
