"""Quality of many architectures given as a table of config fields.

A row may describe a model whose layers differ by the mean of a field (7.5 heads, a feed-forward of 2218.7): proxies
that count layer weights are linear in them. Fields that a table of language models leaves out: ``head_dim`` is
hidden_size / num_attention_heads, whole or not, so that attention is as wide as the model; ``num_key_value_heads`` is
num_attention_heads; others are those of the presets with the table's ``vocab_size`` where all of these agree (50,257 is
GPT-2's: no gate in the feed-forward, learned positions), else the family's defaults.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict, TypeGuard

import numpy as np
from numpy.typing import NDArray

from archsearch.errors import InvalidInputError
from archsearch.quality.features import MOST_TOKENS, training_features
from archsearch.quality.modalities import is_language
from archsearch.quality.proxy import QualityProxy, default_proxy, get_proxy
from archsearch.quality.sampling import Sampled, asked_sampling, sampled_quality
from archsearch.workload import MAX_DIMENSION, Workload

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd

    from archsearch.models.base import ModelConfig
from archsearch.models.field_types import field_types, missing_fields
from archsearch.tables import numbers_of

_OWN_COLUMNS = ("tokens", "family", "parameters", "low", "high", "in_range", "proxy")
_ANSWERED = ("low", "high", "in_range", "proxy")
"""Columns of an answer; a table that is one already gets them anew."""
_WHOLE_MODELS = ("parameters", "flops")
"""Features that lower a config, so that its sizes must be whole."""
_TOLERATED = ("head_dim", "num_attention_heads")
"""Requirements about these are the real modules'; attention's width is known without them."""


class TableFields(TypedDict, total=False):
    """What may be said of a table besides its rows.

    ``family`` and training ``tokens`` of all rows, the ``proxy`` (default: each family's), the ``workload`` of laws
    that read one, and the ``sampler`` of image and video models: ``num_inference_steps``, ``guidance``, ``distilled``
    (a quality that is not known under it is NaN).
    """

    family: str | None
    proxy: str | None
    tokens: float | None
    workload: Workload | None
    sampler: Mapping[str, object] | None


@dataclass(frozen=True)
class PredictedTable:
    """A table with the quality of each row (see ``predict_table``), and what was not told by it.

    ``unread`` are columns that are no config field; ``assumed`` fields that were filled in, with their values;
    ``sampling`` what is known, by family, of the sampling that was asked for.
    """

    frame: pd.DataFrame
    unread: tuple[str, ...]
    assumed: tuple[str, ...]
    sampling: Mapping[str, Mapping[str, object]]


def predict_frame(frame: pd.DataFrame, **asked: Unpack[TableFields]) -> pd.DataFrame:
    """The rows of ``predict_table`` alone.

    Raises:
        InvalidInputError, UnknownNameError: as ``predict_table``.
    """
    return predict_table(frame, **asked).frame


def predict_table(frame: pd.DataFrame, **asked: Unpack[TableFields]) -> PredictedTable:
    """The table with ``predicted_loss`` (or the proxy's metric), ``low``, ``high``, ``in_range`` and ``proxy`` added.

    Columns are config fields; ``family`` (unless given as an argument) and ``tokens`` may be columns too. Columns that
    are no field are carried along. Rows are predicted together, one group per family and per combination of non-numeric
    fields.

    Args:
        frame: one architecture a row.
        asked: see ``TableFields``.

    Raises:
        InvalidInputError: no family, missing fields, a column that is nearly a field's name, or values that describe no
            model.
        UnknownNameError: unknown family or proxy.
    """
    table = _with_families(frame, asked.get("family"))
    result = frame.drop(columns=[name for name in frame if str(name) in _ANSWERED or _is_predicted(name)])
    unread: dict[str, None] = {}
    assumed: dict[str, None] = {}
    samplings: dict[str, Mapping[str, object]] = {}
    metrics: set[str] = set()
    for family, rows in table.groupby("family", sort=False):
        name, proxy = str(family), asked.get("proxy")
        law = get_proxy(proxy) if proxy else default_proxy(name)
        if len(metrics | {law.metric}) > 1:
            raise InvalidInputError("families with different quality metrics in one table; predict them separately")
        metrics.add(law.metric)
        read, other = _split_columns(name, rows)
        rows = _as_numbers(name, rows, read)
        sampling = asked_sampling(name, asked.get("sampler") or {})
        sampled = None if sampling is None else sampling.ratio()
        if sampling is not None and sampled is not None:
            samplings[name] = {**sampling.document(), **sampled.document()}
        keys = [column for column in read if not _numeric(rows[column])]
        for values, group in rows.groupby(keys, dropna=False, sort=False) if keys else [((), rows)]:
            words = dict(zip(keys, values if isinstance(values, tuple) else (values,), strict=True))
            given = {"tokens": group["tokens"].to_numpy(float) if "tokens" in group else asked.get("tokens")}
            answer, filled = _predict_group(group, name, words, read, law, given, asked.get("workload"), sampled)
            for column, value in answer.items():
                result.loc[group.index, column] = value
            result.loc[group.index, "proxy"] = law.name
            assumed |= dict.fromkeys(filled)
        unread |= dict.fromkeys(other)
    return PredictedTable(result, tuple(unread), tuple(assumed), samplings)


def _with_families(frame: pd.DataFrame, family: str | None) -> pd.DataFrame:
    """The table with a family in every row.

    Raises:
        InvalidInputError: no rows, or rows without a family.
    """
    if frame.empty:
        raise InvalidInputError("the table of architectures has no rows")
    if family is None and "family" not in frame:
        raise InvalidInputError("name the family: a column 'family', or {family} decoder", field="family")
    table = frame.assign(family=family) if family is not None else frame
    if table["family"].isna().any():
        raise InvalidInputError("column 'family' has empty cells; every row needs its family")
    return table


def row_configs(frame: pd.DataFrame, family: str | None = None) -> list[ModelConfig]:
    """One scalar config for each row, as ``predict_frame`` reads it.

    Raises:
        InvalidInputError: as ``predict_frame``, or fractions: a module has whole sizes.
    """
    from archsearch.models.registry.families import get_family

    configs: list[ModelConfig] = []
    for at, named in frame.iterrows():
        name = family or named.get("family")
        if not isinstance(name, str):
            raise InvalidInputError("name the family: a column 'family', or {family} decoder", field="family")
        read, _unread = _split_columns(name, frame)
        row = _as_numbers(name, frame.loc[[at]], read).iloc[0]
        values: dict[str, Any] = {}
        for column in read:
            value = row[column]
            if value is None or (isinstance(value, float) and math.isnan(value)):
                continue
            whole = isinstance(value, (int, float, np.number)) and float(value).is_integer()
            values[column] = int(value) if whole and not isinstance(value, bool) else value
        filled = _fill_in(name, values) if is_language(name) else {}
        configs.append(get_family(name).from_dict({**filled, **values}))
    return configs


def _split_columns(family: str, rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Columns that are fields of the family's config, and the others.

    Raises:
        InvalidInputError: a column that is nearly a field's name: a slip of the pen would go unseen.
    """
    from archsearch.models.registry.families import get_family

    known = [f.name for f in fields(get_family(family))]
    read, unread = [], []
    for column in map(str, rows.columns):
        if column in _OWN_COLUMNS or _is_predicted(column):
            continue
        if column in known:
            read.append(column)
            continue
        near = difflib.get_close_matches(column, known, n=1, cutoff=0.85)
        if near:
            raise InvalidInputError(f"{family} config has no field {column!r}: did you mean {near[0]!r}?")
        unread.append(column)
    return read, unread


def _is_predicted(column: object) -> bool:
    return str(column).startswith("predicted_")


def _as_numbers(family: str, rows: pd.DataFrame, read: list[str]) -> pd.DataFrame:
    """The rows, sizes of the family's config and training tokens as numbers.

    Raises:
        InvalidInputError: a cell that is none, or a size or number of tokens that nothing can have; the text names row
            and column.
    """
    from archsearch.models.registry.families import get_family

    kinds = field_types(get_family(family))
    sizes = [name for name in read if name in kinds and kinds[name].is_size and not kinds[name].several]
    limits = {**dict.fromkeys(sizes, float(MAX_DIMENSION)), **({"tokens": MOST_TOKENS} if "tokens" in rows else {})}
    found = {}
    for name, most in limits.items():
        values = numbers_of(rows, name)
        wrong = np.flatnonzero((values.abs() > most) | ((values <= 0) & (name == "tokens")))
        if wrong.size:
            row, low = int(rows.index[wrong[0]]) + 2, "above 0 and " if name == "tokens" else ""
            shown = f"{values.iloc[wrong[0]]:g}"
            raise InvalidInputError(f"row {row}: {name} must be a number {low}at most {most:g}, not {shown}")
        found[name] = values
    return rows.assign(**found)


def _numeric(column: pd.Series[Any]) -> bool:
    return column.dtype.kind in "iuf" and not column.isna().any()


def _predict_group(
    group: pd.DataFrame,
    family: str,
    own: Mapping[str, Any],
    read: list[str],
    law: QualityProxy,
    given: Mapping[str, Any],
    workload: Workload | None,
    sampled: Sampled | None,
) -> tuple[dict[str, Any], list[str]]:
    """Columns [N] of one group of rows whose non-numeric fields agree, and what was assumed of them."""
    values: dict[str, Any] = {}
    for name in read:
        value = own.get(name, group[name].to_numpy())
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue  # an empty cell means the field was left out
        values[name] = value.astype(np.int64) if _whole(value) else value
    filled = _fill_in(family, values) if is_language(family) else {}
    config = _build(family, {**filled, **values}, law)
    run = workload or Workload(**config.default_sizes)  # type: ignore[arg-type]
    answer = law.predict(training_features(config, law, run, given))
    if sampled is not None:
        answer = sampled_quality(answer, law.direction, sampled)
    shape = (len(group),)
    columns = {
        f"predicted_{law.metric}": np.broadcast_to(answer.value, shape),
        "low": np.broadcast_to(answer.low, shape),
        "high": np.broadcast_to(answer.high, shape),
        "in_range": np.broadcast_to(answer.in_range, shape),
    }
    return columns, _assumed(family, filled, values)


def _assumed(family: str, filled: Mapping[str, object], values: Mapping[str, object]) -> list[str]:
    """What was filled in, in words."""
    if not is_language(family):
        return []
    assumed = [] if "head_dim" in values else ["head_dim: hidden_size / num_attention_heads"]
    for name, value in filled.items():
        assumed.append(f"{name}: num_attention_heads" if name == "num_key_value_heads" else f"{name}: {value}")
    return assumed


def _fill_in(family: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of language models that a table leaves out; the module's text says how."""
    from archsearch.models.registry.families import get_family, presets_of

    known = {f.name for f in fields(get_family(family))}
    filled: dict[str, Any] = {}
    if "num_key_value_heads" in known and "num_attention_heads" in values:
        filled["num_key_value_heads"] = values["num_attention_heads"]
    vocabulary = values.get("vocab_size")
    if vocabulary is not None:
        size = np.unique(vocabulary)
        presets = [preset.values for preset in presets_of(family).values()]
        alike = [p for p in presets if len(size) == 1 and p.get("vocab_size") == size[0]]
        for name in ("gated_mlp", "positions", "tie_word_embeddings", "max_position_embeddings"):
            said = {p.get(name) for p in alike} - {None}
            if name in known and len(said) == 1 and all(name in p for p in alike):
                filled[name] = said.pop()
    return {name: value for name, value in filled.items() if name not in values}


def _build(family: str, values: Mapping[str, Any], law: QualityProxy) -> ModelConfig:
    """A config of columns, checked like any other but for what only the real module needs of its heads.

    Raises:
        InvalidInputError: missing fields, values that describe no model, or fractions where the proxy counts whole
            models.
    """
    from archsearch.models.registry.families import get_family

    broken = [n for n, v in values.items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    whole_model = [name for name in law.features if name in _WHOLE_MODELS]
    cls = get_family(family)
    if not broken and whole_model:
        config: ModelConfig = cls.from_dict(values)
        return config
    if broken and whole_model:
        raise InvalidInputError(
            f"{', '.join(broken)}: fractions, but quality proxy {law.name!r} counts whole models; give whole "
            "numbers, or a {proxy} of layer weights (shape-aware, conditional, kaplan)",
            field="proxy",
        )
    bad = [n for n in broken if not np.all(np.isfinite(values[n]) & (values[n] > 0))]
    if bad:
        raise InvalidInputError(f"{family} config: {bad[0]} must be positive numbers")
    missing = missing_fields(family, cls, values)
    if missing:
        raise InvalidInputError(f"{family} config {missing[0].told}")
    config = cls(**values)
    for requirement in config.requirements():
        tolerated = any(word in requirement.reason for word in _TOLERATED) and "at least" not in requirement.reason
        if not tolerated and not np.all(requirement.holds):
            raise InvalidInputError(f"{family} config: {requirement.reason}")
    return config


def _whole(value: object) -> TypeGuard[NDArray[np.generic]]:
    return isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and bool(np.all(value == np.rint(value)))
