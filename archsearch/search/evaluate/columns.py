"""Columns of metrics: what evaluation gives, what every table is made of, and what a GPU's own columns are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archsearch.arrays import Column, FloatArray

Columns = dict[str, Column]
"""Metrics of N architectures by name, each of shape [N]."""
Metrics = Mapping[str, FloatArray]
"""Metrics by name, of shapes that broadcast against each other."""
Row = Mapping[str, Any]
"""One architecture's values by column: numbers, truths, texts."""
_SEPARATOR = ":"


def per_gpu_column(metric: str, gpu_id: str) -> str:
    """The column of a metric that each GPU has its own value of: ``latency_s:t4``."""
    return f"{metric}{_SEPARATOR}{gpu_id}"


def per_gpu_columns(metric: str, gpu_ids: Iterable[str]) -> dict[str, str]:
    """The columns of such a metric by GPU."""
    return {gpu_id: per_gpu_column(metric, gpu_id) for gpu_id in gpu_ids}


def metric_and_gpu(column: str) -> tuple[str, str]:
    """The metric and the GPU of a column; no GPU (an empty text) where it is one for all of them."""
    metric, _, gpu_id = column.partition(_SEPARATOR)
    return metric, gpu_id


def by_gpu(row: Row) -> dict[str, object]:
    """A row whose columns per GPU stand together: ``{"latency_s": {"t4": ...}, "parameters": ...}``."""
    grouped: dict[str, Any] = {}
    for column, value in row.items():
        metric, gpu_id = metric_and_gpu(column)
        if gpu_id:
            grouped.setdefault(metric, {})[gpu_id] = value
        else:
            grouped[column] = value
    return grouped
