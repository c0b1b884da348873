"""What may be plotted: a study, a space, a table, or the name of one; and a model on a GPU, or the answer about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archsearch.api import estimate
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.estimate_result import EstimateFields, EstimateResult
from archsearch.hardware import GpuSpec
from archsearch.models.base import ModelConfig
from archsearch.models.registry.families import preset_family, preset_names
from archsearch.models.tracing import is_builder
from archsearch.search.answers.candidates import resolve_source, source_evaluator
from archsearch.search.answers.recommend import recommendation
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.pool_models import Hardware
from archsearch.search.evaluate.result import SearchResult, as_result
from archsearch.search.explore.enumeration import sweep
from archsearch.search.pareto import non_dominated, objective_matrix
from archsearch.search.space.space import SearchSpace, space_files
from archsearch.search.studies.artifacts import read_artifact
from archsearch.search.studies.storage import study_names
from archsearch.search.studies.study import SAMPLE_ROWS
from archsearch.search.studies.study_contents import study_result
from archsearch.yaml_records import read_mapping

if TYPE_CHECKING:
    from typing import TypeAlias, Unpack

    import optuna
    import pandas as pd

    Source: TypeAlias = "optuna.Study | SearchSpace | SearchResult | pd.DataFrame | str | Path | Found"
    """A search: a study, a space, one of their names, a table that ``enumerate_space`` or ``recommend`` gave, or what
    ``found`` made of one of these."""
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
    on_front: NDArray[np.bool_]
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
    """What a search found: of what is found already, that. A study and a space are asked for their ``top``
    recommendations where none are given.

    Raises:
        UnknownNameError: the name is neither a study nor a space.
        InvalidInputError: a table that is no answer of a search, tables of different spaces, or hardware beside what
            has its own.
        ArchSearchError: nothing is feasible.
    """
    if isinstance(source, Found):
        return source
    best = None if recommended is None else as_result(recommended)
    if _is_table(source):
        if hardware is not None:
            raise InvalidInputError("{hardware} has no effect on a table, which has its own", field="hardware")
        table = as_result(source)  # type: ignore[arg-type]
        return _marked(table, best if best is not None or table.advice is None else table, None)
    resolved = resolve_source(source, storage)  # type: ignore[arg-type]
    pricer, swept = source_evaluator(resolved, hardware, storage), None
    if isinstance(resolved, SearchSpace):
        swept = sweep(resolved, evaluator=pricer, progress=progress, sample=SAMPLE_ROWS)
        pricer = swept.evaluator
        cells = np.unique(np.concatenate([swept.front_cells, swept.sample_cells]))
        whole = swept.result(cells)
    else:
        if hardware is not None:
            raise InvalidInputError("{hardware} has no effect on a study, which has its own", field="hardware")
        whole = _stored(resolved, storage)
    if best is None and top > 0:
        best = recommendation(resolved, top=top, storage=storage, progress=progress, evaluator=pricer, swept=swept)
    return _marked(whole, best, pricer)


def is_search(source: Source | Model | Sequence[EstimateResult], storage: str | None = None) -> bool:
    """Whether a search is meant, and no model: by its type; of a name, by what has that name, models first.

    Raises:
        UnknownNameError: nothing has that name.
        InvalidInputError: a file that cannot be read.
    """
    if isinstance(source, EstimateResult | list | tuple) or (is_dataclass(source) and hasattr(source, "lower")):
        return False
    if not isinstance(source, str | Path):
        return True
    text = str(source)
    if text.endswith((".yaml", ".yml")):
        return "dimensions" in read_mapping(Path(text))
    if preset_family(text) is not None or is_builder(text) or "/" in text or Path(text).exists():
        return False
    searches = [*study_names(storage), *space_files()]
    if text not in searches:
        raise UnknownNameError("model, study or search space", text, [*preset_names(), *searches])
    return True


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


def ranks_of(shown: SearchResult, best: SearchResult | None) -> list[int]:
    """Each row's rank among the recommendations, by its dimensions; 0 where it has none."""
    if best is None or "rank" not in best.frame:
        return [0] * len(shown)
    names = [name for name in shown.setting.dimensions if name in shown.frame and name in best.frame]
    ranked = {tuple(row[name] for name in names): int(row["rank"]) for row in best.rows()}
    return [ranked.get(tuple(row[name] for name in names), 0) for row in shown.rows()]


def answered(model: Model, hardware: str | GpuSpec | None = None, **fields: Unpack[EstimateFields]) -> EstimateResult:
    """The answer about a model: the one that is given, or ``estimate``'s.

    Raises:
        InvalidInputError: hardware beside an answer, which has its own, or none beside a model.
        UnknownNameError, UnsupportedError: as ``estimate`` does.
    """
    if isinstance(model, EstimateResult):
        refuse_beside(hardware, fields)
        return model
    if hardware is None:
        raise InvalidInputError("name the GPU that the model runs on: {hardware}", field="hardware")
    return estimate(model, hardware, **fields)


def refuse_beside(hardware: object, fields: EstimateFields) -> None:
    """Refuse what has no effect beside an answer of ``estimate``.

    Raises:
        InvalidInputError: hardware, or a field.
    """
    if named := [*(["hardware"] if hardware is not None else []), *fields]:
        text = f"{', '.join(named)}: no effect on the answer of estimate, which has its own; give a model's name"
        raise InvalidInputError(text, field=named)
