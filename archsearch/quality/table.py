"""Quality of many architectures given as a table of config fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.errors import InvalidInputError
from archsearch.models.base import Workload
from archsearch.ops import as_float
from archsearch.quality.proxy import QualityProxy, default_proxy, get_proxy

if TYPE_CHECKING:
    import pandas as pd

    from archsearch.models.base import ModelConfig

TOKENS_PER_PARAMETER = 20.0
"""Training tokens per parameter where none are given: the compute-optimal ratio of Hoffmann et al. 2022,
section 3 (https://arxiv.org/abs/2203.15556), which the replication (https://arxiv.org/abs/2404.10102) confirms."""

_OWN_COLUMNS = ("tokens", "family", "parameters")


def features_of(config: ModelConfig, proxy: QualityProxy, workload: Workload, tokens: Any = None) -> dict[str, Any]:
    """The features that a proxy needs, from a config of scalars or arrays.

    ``tokens`` are training tokens (``TOKENS_PER_PARAMETER`` times the parameters where None). FLOPs are those
    of one forward pass of one sequence or image of the workload.
    """
    parameters = as_float(config.parameters())
    features: dict[str, Any] = {"parameters": parameters}
    if "tokens" in proxy.features:
        features["tokens"] = TOKENS_PER_PARAMETER * parameters if tokens is None else as_float(tokens)
    if "flops" in proxy.features:
        features["flops"] = as_float(config.lower(workload).flops()) / as_float(workload.batch_size)
    return features


def predict_frame(
    frame: pd.DataFrame,
    *,
    family: str | None = None,
    proxy: str | None = None,
    tokens: float | None = None,
    workload: Workload | None = None,
) -> pd.DataFrame:
    """The table with ``predicted_loss`` (or the proxy's metric), ``low``, ``high``, ``in_range`` and ``proxy`` added.

    Columns are config fields; ``family`` (unless given as an argument) and ``tokens`` may be columns too. Rows
    are predicted together, one group per family and per combination of non-numeric fields.

    Raises:
        InvalidInputError: no family, unknown or missing fields, or values that describe no model.
        UnknownNameError: unknown family or proxy.
    """
    if frame.empty:
        raise InvalidInputError("the table of architectures has no rows")
    if family is None and "family" not in frame:
        raise InvalidInputError("name the family: a column 'family', or --family decoder")
    fields = [str(name) for name in frame.columns if name not in _OWN_COLUMNS]
    keys = [name for name in fields if not _numeric(frame[name])]
    table = frame.assign(family=family) if family is not None else frame
    result = frame.copy()
    metric = None
    for values, group in table.groupby(["family", *keys], dropna=False, sort=False):
        own = dict(zip(["family", *keys], values, strict=True))
        law = get_proxy(proxy) if proxy else default_proxy(str(own["family"]))
        if metric not in (None, law.metric):
            raise InvalidInputError("families with different quality metrics in one table; predict them separately")
        metric = law.metric
        answer = _predict_group(group, own, fields, law, tokens, workload)
        for column, value in answer.items():
            result.loc[group.index, column] = value
        result.loc[group.index, "proxy"] = law.name
    return result


def _numeric(column: pd.Series[Any]) -> bool:
    return column.dtype.kind in "iuf" and not column.isna().any()


def _predict_group(
    group: pd.DataFrame,
    own: Mapping[str, Any],
    fields: list[str],
    law: QualityProxy,
    tokens: float | None,
    workload: Workload | None,
) -> dict[str, Any]:
    """Columns [N] of one group of rows whose non-numeric fields agree."""
    from archsearch.models import get_family

    values: dict[str, Any] = {}
    for name in fields:
        value = own.get(name, group[name].to_numpy())
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue  # an empty cell means the family's default
        values[name] = value.astype(np.int64) if _whole(value) else value
    config = get_family(str(own["family"])).from_dict(values)
    given = group["tokens"].to_numpy(float) if "tokens" in group else tokens
    run = workload or (Workload(height=256, width=256) if "flops" in law.features else Workload(seq_len=512))
    answer = law.predict(features_of(config, law, run, given))
    shape = (len(group),)
    return {
        f"predicted_{law.metric}": np.broadcast_to(answer.value, shape),
        "low": np.broadcast_to(answer.low, shape),
        "high": np.broadcast_to(answer.high, shape),
        "in_range": np.broadcast_to(answer.in_range, shape),
    }


def _whole(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and bool(np.all(value == np.rint(value)))
