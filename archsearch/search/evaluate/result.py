"""The answer of a search as a record: a table of architectures, and what all of its rows have in common.

The layers above pass a ``SearchResult``. What a user is given is a table that carries the same facts as plain values in
``DataFrame.attrs``: ``SearchResult.to_frame`` writes them, ``SearchResult.from_frame`` reads them back, and nothing
else in this package touches ``attrs`` of a search's table.

Keys of ``attrs`` (plain values, as JSON has them):

* of every table: ``space``, ``family``, ``pipeline``, ``throughput_unit``, ``hardware`` (GPU ids), ``weights`` (of the
  pool, in that order), ``fixed`` (fields with one value), ``config_fields``, ``dimensions`` (columns that are the
  space's dimensions and derived fields), ``objectives`` ({column: +1 minimised, -1 maximised}), ``prefer``,
  ``workload``, ``execution``, ``energy_basis``, ``prices`` ({GPU: USD per hour and source}), ``unpriced`` (GPUs whose
  price nobody knows), ``training``, ``lifetime`` (the last two where the space has such a section) and ``quality`` (the
  law: ``proxy``, ``metric``, ``unit``, ``direction``, ``source``, ``url``, ``assumed``);
* of an enumeration: ``architectures``, ``legal``, ``valid``, ``evaluation_s``, ``architectures_per_s``, ``rejected``,
  ``provenance``, and ``objectives`` as a list of columns (their signs are in ``signs``);
* of a study's trials: ``study``, and ``baseline`` as the study stored it;
* of a recommendation: ``exact``, ``front`` (its size), ``baseline`` and ``reference`` (rows, or None), ``prefer`` (what
  was preferred), ``per`` (what a latency is of, and one pass of the model), ``gains`` (each rank's speed over the
  baseline's on each GPU, and rank 1's over rank 2's: ``rank``, ``against``, ``gpu``, ``speedup``, ``low``, ``high``,
  ``regret``), ``provenance``, ``quality`` with ``compared``, ``pool`` (each GPU's own choice), ``dimensions_pay`` and
  ``one_for_all`` (where several GPUs decide), and ``counts``, an enumeration's figures, where the space was enumerated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from archsearch.search.evaluate.advice import Advice
from archsearch.search.evaluate.columns import by_gpu
from archsearch.search.evaluate.plain import plain
from archsearch.search.evaluate.setting import Counts, Setting

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """The study that a table's trials are of; ``baseline`` are the baseline's metrics as the study stored them."""

    name: str
    baseline: Mapping[str, Any] | None


@dataclass(frozen=True)
class SearchResult:
    """A table of architectures, one a row, with what they have in common (``setting``).

    ``frame`` has the columns that ``search.evaluate.frames`` describes and no ``attrs``. ``counts`` are there where a
    space was enumerated, ``study`` where the rows are a study's trials, ``advice`` where they are recommended.
    """

    frame: pd.DataFrame
    setting: Setting
    counts: Counts | None = None
    study: StoredStudy | None = None
    advice: Advice | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.frame)

    def with_frame(self, frame: pd.DataFrame) -> SearchResult:
        """The same answer over other rows or columns."""
        return replace(self, frame=frame)

    def take(self, rows: ArrayLike) -> SearchResult:
        """Some of the rows, by place [K] from 0, in that order."""
        return self.with_frame(self.frame.iloc[np.asarray(rows, dtype=np.int64)])

    def rows(self) -> list[dict[str, Any]]:
        """Rows as dicts of column name to value."""
        return [{str(name): value for name, value in row.items()} for row in self.frame.to_dict(orient="records")]

    def records(self) -> list[dict[str, Any]]:
        """Rows as plain dicts: columns per GPU become ``{gpu: value}``, dimensions stand under ``config``."""
        names = set(self.setting.dimensions)
        records = []
        for row in self.rows():
            values = {name: plain(value) for name, value in row.items()}
            record: dict[str, Any] = {"rank": values.pop("rank")} if "rank" in values else {}
            record["config"] = {name: values[name] for name in values if name in names}
            records.append(record | by_gpu({name: value for name, value in values.items() if name not in names}))
        return records

    def config(self, rank: int = 1) -> dict[str, Any]:
        """The complete config of one row (fixed fields too), as the family's ``from_dict`` takes it.

        ``rank`` counts rows from 1.
        """
        row, names = self.frame.iloc[rank - 1], set(self.setting.config_fields)
        chosen = {name: plain(row[name]) for name in self.setting.dimensions if name in names}
        whole = {n: int(v) if isinstance(v, float) and v.is_integer() else v for n, v in chosen.items()}
        return {name: value for name, value in self.setting.fixed.items() if name in names} | whole

    def rank_of(self, row: int) -> int:
        """The rank of the row at a place counted from 1; the place itself where rows have no rank."""
        return int(self.frame["rank"].iloc[row - 1]) if "rank" in self.frame else row

    def attributes(self) -> dict[str, Any]:
        """All but the rows as plain values: what ``to_frame`` puts into ``attrs`` (see the module)."""
        document = self.setting.to_dict()
        if self.study is not None:
            document |= {"study": self.study.name, "baseline": self.study.baseline}
        if self.advice is not None:
            document |= self.advice.to_dict()
            document["quality"] = {**document["quality"], "compared": list(self.advice.compared)}
            document |= {} if self.counts is None else {"counts": self.counts.to_dict(self.setting)}
        elif self.counts is not None:
            document |= {"signs": document["objectives"], **self.counts.to_dict(self.setting)}
        return document

    def to_frame(self) -> pd.DataFrame:
        """The table for a user, with ``attributes`` in its ``attrs``: the one place that writes them."""
        frame = self.frame.copy(deep=False)
        frame.attrs.update(self.attributes())
        return frame

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> SearchResult:
        """The record of a table that ``to_frame`` made: the one place that reads ``attrs``.

        Raises:
            InvalidInputError: the table is another's, or pandas dropped its ``attrs`` on the way.
        """
        attributes: dict[str, Any] = {str(name): value for name, value in frame.attrs.items()}
        setting = Setting.from_dict({**attributes, "objectives": attributes.get("signs", attributes.get("objectives"))})
        bare = frame.copy(deep=False)
        bare.attrs = {}
        study = StoredStudy(attributes["study"], attributes.get("baseline")) if "study" in attributes else None
        if "exact" in attributes:
            counts = Counts.from_dict(attributes["counts"]) if "counts" in attributes else None
            return cls(bare, setting, counts, study, Advice.from_dict(attributes))
        return cls(bare, setting, Counts.from_dict(attributes) if "valid" in attributes else None, study)


def as_result(table: SearchResult | pd.DataFrame) -> SearchResult:
    """A table that a user may have been given, as a record.

    Raises:
        InvalidInputError: see ``SearchResult.from_frame``.
    """
    return table if isinstance(table, SearchResult) else SearchResult.from_frame(table)
