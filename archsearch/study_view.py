"""A stored study at hand: its table, its front, recommendations, pictures and exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from archsearch.api import recommend
from archsearch.errors import UnknownNameError
from archsearch.keywords import checked_call
from archsearch.notebook_html import facts_html
from archsearch.plotting.front import plot_front
from archsearch.plotting.gpu_bars import plot_latency_per_gpu, plot_memory
from archsearch.plotting.parallel_lines import plot_parallel
from archsearch.plotting.proxy_ranks import plot_proxies
from archsearch.search.evaluate.result import SearchResult
from archsearch.search.space.expressions import Expression
from archsearch.search.studies.storage import load_study
from archsearch.search.studies.study_contents import study_frame, study_record, summarize_study
from archsearch.tables import write_table

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import plotly.graph_objects as go

Kind = Literal["front", "parallel", "proxies", "latency", "memory"]
"""Pictures of a study."""
_KINDS = ("front", "parallel", "proxies", "latency", "memory")


class Study:
    """A study of archsearch: what it found, as tables, recommendations, pictures and files.

    It wraps an ``optuna.Study`` and changes nothing of it.

    >>> import archsearch
    >>> ran = archsearch.run_study("gpt2-shape", "a10", strategy="random", trials=20, name="small", progress=False)
    >>> study = archsearch.Study("small")
    >>> len(study.frame()), set(study.frame("feasible and num_layers <= 12")["feasible"]) <= {True}
    (20, True)

    Attributes:
        study: the ``optuna.Study``.
        storage: where it was loaded from; None: your data directory.
    """

    @checked_call
    def __init__(self, study: optuna.Study | str, storage: str | None = None) -> None:
        """Take a study, or load one by its name.

        Raises:
            UnknownNameError: no study has that name.
            InvalidInputError: archsearch did not write it.
        """
        self.study: optuna.Study = load_study(study, storage) if isinstance(study, str) else study
        self.storage = storage
        study_record(self.study)

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study.study_name)

    def summary(self) -> dict[str, Any]:
        """What was searched and found, as plain values: space, hardware, strategy, trials, front ..."""
        return summarize_study(self.study)

    @checked_call
    def frame(self, where: str | None = None) -> pd.DataFrame:
        """All finished trials, one a row, or those of which a condition holds.

        Args:
            where: a condition on dimensions and on columns with a plain name, ``"num_layers <= 24 and feasible"``.

        Returns:
            The columns of ``enumerate_space`` and ``trial``, ``feasible``, ``violation``, ``on_front``.

        Raises:
            InvalidInputError: a condition that makes no sense, or on a name that is no column.
        """
        return _where(study_frame(self.study), where)

    @checked_call
    def front(self, where: str | None = None) -> pd.DataFrame:
        """The trials that no other beats in all objectives, or those of them of which a condition holds.

        Args:
            where: as ``frame`` takes it; the front is that of all trials.

        Returns:
            As ``frame``.

        Raises:
            InvalidInputError: as ``frame`` does.
        """
        return _where(study_frame(self.study, front_only=True), where)

    @checked_call
    def recommend(
        self,
        *,
        max_latency_ms: float | None = None,
        max_parameters: float | None = None,
        max_memory_gib: float | None = None,
        where: str | None = None,
        reference: str | None = None,
        faster_on: Sequence[str] = (),
        prefer: str | None = None,
        top: int = 5,
        weights: Mapping[str, float] | None = None,
        progress: bool = False,
        allow_code: bool = False,
    ) -> pd.DataFrame:
        """The best architectures of the study within limits, with the reason for each.

        Args:
            max_latency_ms, max_parameters, max_memory_gib, where, reference, faster_on: limits, as
                ``archsearch.recommend`` takes them.
            prefer, top, weights, progress, allow_code: as ``archsearch.recommend`` takes them.

        Returns:
            As ``archsearch.recommend``.

        Raises:
            InvalidInputError, UnknownNameError, UnsupportedError, ArchSearchError: as ``archsearch.recommend`` does.
        """
        return recommend(
            self.study,
            max_latency_ms=max_latency_ms,
            max_parameters=max_parameters,
            max_memory_gib=max_memory_gib,
            where=where,
            reference=reference,
            faster_on=faster_on,
            prefer=prefer,
            top=top,
            weights=weights,
            storage=self.storage,
            progress=progress,
            allow_code=allow_code,
        )

    @checked_call
    def plot(self, kind: Kind = "front", *, top: int = 5, theme: str = "light") -> go.Figure:
        """A picture of the study.

        Args:
            kind: front, parallel, proxies, latency or memory (``archsearch.plotting``, which has more to set).
            top: how many recommendations are marked or compared.
            theme: light or dark.

        Returns:
            A figure of Plotly.

        Raises:
            UnknownNameError: no such kind or theme.
            ArchSearchError: nothing is feasible.
        """
        if kind not in _KINDS:
            raise UnknownNameError("kind of picture", kind, _KINDS)
        if kind == "front":
            return plot_front(self.study, storage=self.storage, top=top, theme=theme)
        if kind == "parallel":
            return plot_parallel(self.study, storage=self.storage, top=top, theme=theme)
        if kind == "proxies":
            return plot_proxies(self.study, storage=self.storage, top=top, theme=theme)
        if kind == "latency":
            return plot_latency_per_gpu(self.study, storage=self.storage, top=top, theme=theme)
        return plot_memory(self.study, storage=self.storage, top=top, theme=theme)

    @checked_call
    def export(self, path: str | Path, *, front_only: bool = False, where: str | None = None) -> Path:
        """Write the study's table to .parquet, .csv or .json.

        Args:
            path: where to.
            front_only: the front alone.
            where: the rows of which a condition holds, as ``frame`` takes it.

        Returns:
            The path.

        Raises:
            InvalidInputError: another suffix, a path that cannot be written, or as ``frame`` does.
        """
        return write_table(self.front(where) if front_only else self.frame(where), path)

    def __repr__(self) -> str:
        """The name, and how it is loaded."""
        return f"archsearch.Study({self.name!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        found = self.summary()
        facts = [
            ("space", found["space"]),
            ("hardware", ", ".join(found["hardware"])),
            ("strategy", found["strategy"]),
            ("objectives", ", ".join(found["objectives"])),
            ("trials", f"{found['trials']:,}, {found['feasible']:,} feasible, {found['front']:,} on the front"),
        ]
        return facts_html(f"study {self.name}", facts)


def _usable(frame: pd.DataFrame, name: object) -> bool:
    """Whether a condition may name a column: a plain name of numbers or truths."""
    return str(name).isidentifier() and frame[name].dtype.kind in "iufb"


def _where(frame: pd.DataFrame, where: str | None) -> pd.DataFrame:
    """The rows of which a condition holds; fixed fields may be named too.

    Raises:
        InvalidInputError: a condition that makes no sense, or on a name that is no column.
    """
    if where is None:
        return frame
    condition = Expression.parse(where)
    table = SearchResult.from_frame(frame)
    fixed = {name: value for name, value in table.attributes()["fixed"].items() if isinstance(value, int | float)}
    columns = {str(name): frame[name].to_numpy() for name in frame.columns if _usable(frame, name)}
    condition.require_known([*fixed, *columns])
    kept = np.broadcast_to(np.asarray(condition.evaluate({**fixed, **columns}), dtype=bool), len(frame))
    return table.with_frame(frame[kept].reset_index(drop=True)).to_frame()
