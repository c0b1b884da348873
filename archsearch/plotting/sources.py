"""What may be plotted: a study, a space, a table, or the name of one; and a model on a GPU, or the answer about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archsearch.api import estimate
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.estimate_result import EstimateFields, EstimateResult
from archsearch.hardware import GpuSpec
from archsearch.models.base import ModelConfig
from archsearch.search.answers.candidates import resolve_source, source_evaluator
from archsearch.search.answers.recommend import recommendation
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.pool_models import Hardware
from archsearch.search.evaluate.result import SearchResult, as_result
from archsearch.search.explore.enumeration import sweep
from archsearch.search.pareto import non_dominated, objective_matrix
from archsearch.search.space.space import SearchSpace
from archsearch.search.studies.artifacts import read_artifact
from archsearch.search.studies.study import SAMPLE_ROWS
from archsearch.search.studies.study_contents import study_result

if TYPE_CHECKING:
    from typing import Unpack

    import optuna
    import pandas as pd

    Source = optuna.Study | SearchSpace | SearchResult | pd.DataFrame | str | Path
    """A search: a study, a space, one of their names, or a table that ``enumerate_space`` or ``recommend`` gave."""
    Table = SearchResult | pd.DataFrame
    Model = EstimateResult | ModelConfig | str | Path
    """One model: what ``estimate`` answered, or what it takes."""


@dataclass(frozen=True)
class Found:
    """What a search found: ``whole`` are its architectures, those of the front marked in ``on_front`` [N]; ``best`` the
    recommended ones, where there are any. ``refused`` counts architectures that break a limit and are left out.

    ``evaluator`` prices further architectures; a table alone has none.
    """

    whole: SearchResult
    on_front: np.ndarray[tuple[int], np.dtype[np.bool_]]
    best: SearchResult | None
    refused: int
    evaluator: Evaluator | None

    @property
    def front(self) -> SearchResult:
        """The architectures of the front."""
        return self.whole.take(np.flatnonzero(self.on_front))

    @property
    def others(self) -> SearchResult:
        """The architectures that the front beats."""
        return self.whole.take(np.flatnonzero(~self.on_front))


def found(
    source: Source,
    recommended: Table | None = None,
    *,
    hardware: Hardware | None = None,
    storage: str | None = None,
    top: int = 5,
    progress: bool = False,
) -> Found:
    """What a search found. A study and a space are asked for their ``top`` recommendations where none are given.

    Raises:
        UnknownNameError: the name is neither a study nor a space.
        InvalidInputError: a table that is no answer of a search, tables of different spaces, or hardware beside what
            has its own.
        ArchSearchError: nothing is feasible.
    """
    best = None if recommended is None else as_result(recommended)
    if _is_table(source):
        if hardware is not None:
            raise InvalidInputError("{hardware} has no effect on a table, which has its own", field="hardware")
        table = as_result(source)  # type: ignore[arg-type]
        return _marked(table, best if best is not None or table.advice is None else table, None)
    resolved = resolve_source(source, storage)  # type: ignore[arg-type]
    pricer = source_evaluator(resolved, hardware, storage)
    if isinstance(resolved, SearchSpace):
        swept = sweep(resolved, evaluator=pricer, progress=progress, sample=SAMPLE_ROWS)
        cells = np.unique(np.concatenate([swept.front_cells, swept.sample_cells]))
        whole = swept.result(cells)
    else:
        if hardware is not None:
            raise InvalidInputError("{hardware} has no effect on a study, which has its own", field="hardware")
        whole = _stored(resolved, storage)
    if best is None and top > 0:
        best = recommendation(resolved, top=top, storage=storage, progress=progress, evaluator=pricer)
    return _marked(whole, best, pricer)


def _is_table(source: Source) -> bool:
    return isinstance(source, SearchResult) or hasattr(source, "iloc")


def _stored(study: optuna.Study, storage: str | None) -> SearchResult:
    """A study's trials, and of an enumeration the whole front and the larger sample, where they lie on this machine."""
    import pandas as pd

    result = study_result(study)
    tables = [result.frame]
    for name in ("front", "sample"):
        try:
            tables.append(read_artifact(study, storage, name))
        except UnknownNameError:
            continue
    if len(tables) == 1:
        return result
    names = [name for name in result.setting.dimensions if name in result.frame]
    frame = pd.concat(tables, ignore_index=True).drop_duplicates(names, ignore_index=True)
    known = [name for name in result.frame.columns if name not in ("trial", "violation", "front_of", "on_front")]
    return result.with_frame(frame[known].assign(feasible=frame["feasible"].ne(False)))


def _marked(whole: SearchResult, best: SearchResult | None, evaluator: Evaluator | None) -> Found:
    """The front of what keeps its limits, by the table's own objectives.

    Raises:
        InvalidInputError: recommendations of another space, or a table without the objectives.
    """
    setting = whole.setting
    if best is not None and best.setting.space != setting.space:
        raise InvalidInputError(f"front of {setting.space!r}, recommendations of {best.setting.space!r}")
    refused = 0
    if "feasible" in whole.frame:
        kept = whole.frame["feasible"].to_numpy(bool)
        refused, whole = int((~kept).sum()), whole.take(np.flatnonzero(kept))
    missing = [name for name in setting.objectives if name not in whole.frame]
    if missing:
        raise InvalidInputError(f"the table lacks its objectives {', '.join(missing)}")
    points = objective_matrix({name: whole.frame[name].to_numpy() for name in setting.objectives}, setting.objectives)
    return Found(whole, non_dominated(points), best, refused, evaluator)


def answered(model: Model, hardware: str | GpuSpec | None = None, **fields: Unpack[EstimateFields]) -> EstimateResult:
    """The answer about a model: the one that is given, or ``estimate``'s.

    Raises:
        InvalidInputError: hardware beside an answer, which has its own, or none beside a model.
        UnknownNameError, UnsupportedError: as ``estimate`` does.
    """
    if isinstance(model, EstimateResult):
        if hardware is not None or fields:
            named = ["hardware"] * (hardware is not None) + list(fields)
            text = f"{', '.join(named)}: no effect on the answer of estimate, which has its own; give a model's name"
            raise InvalidInputError(text, field=named)
        return model
    if hardware is None:
        raise InvalidInputError("name the GPU that the model runs on: {hardware}", field="hardware")
    return estimate(model, hardware, **fields)
