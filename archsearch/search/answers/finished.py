"""Answers that a finished study already holds, so that nothing is enumerated twice.

``study run SPACE`` stores the fronts that ``recommend SPACE`` would enumerate. They are used where they are still what
enumerating would give: the same space to the letter, the same pool, fronts kept whole, and prices that have not changed
since (another calibration or version prices otherwise), which the rows, priced anew, have to show (some of a sample).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archsearch.errors import ArchSearchError
from archsearch.search.evaluate.columns import per_gpu_column
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import with_named_layouts
from archsearch.search.evaluate.pool_models import Hardware, resolve_pool
from archsearch.search.evaluate.result import SearchResult
from archsearch.search.space.space import SearchSpace
from archsearch.search.studies.start import enumerable_cells, study_stem
from archsearch.search.studies.storage import load_study, study_names
from archsearch.search.studies.study import FRONT_TRIALS
from archsearch.search.studies.study_contents import study_fidelity, study_record, study_result

if TYPE_CHECKING:
    import optuna
    import pandas as pd

CHECKED_ROWS = 16
"""Architectures of a sampled study that are priced anew."""
SAME = 1e-9
"""Relative difference of two prices that are the same."""
OF_TRIALS = ("trial", "violation", "feasible", "on_front")
"""Columns that an enumeration's table does not have."""


def finished_study(space: SearchSpace, hardware: Hardware | None, storage: str | None) -> optuna.Study | None:
    """The last study of a space on a pool that was run under its own name and can answer for it; None: there is none.

    A space that is small enough to be enumerated is answered by an enumeration alone, a larger one by its trials.
    """
    pool = resolve_pool(hardware, space)
    named = re.compile(re.escape(study_stem(space, pool)) + r"(-(\d+))?")
    found = [match for name in study_names(storage) if (match := named.fullmatch(name))]
    for match in sorted(found, key=lambda match: -int(match[2] or 1)):
        try:
            study = load_study(match[0], storage)
            record = study_record(study)
            analytic = study_fidelity(study).objective == "analytic"
        except ArchSearchError:
            continue  # of another program, or broken: `study list` tells
        same = record["space"] == space.source_text and record["hardware"] == pool.to_text().split(",")
        whole = record["strategy"] == "exhaustive" and record.get("complete")
        sampled = record["strategy"] != "exhaustive" and space.size > enumerable_cells(space)
        if same and analytic and (whole or sampled):
            return study
    return None


def stored_fronts(study: optuna.Study, evaluator: Evaluator) -> SearchResult | None:
    """The front of an enumerated study and those of each GPU alone; None where they were thinned out on storing, or are
    priced differently today."""
    if not study_record(study).get("complete"):
        return None
    result = study_result(study)
    frame = result.frame
    if frame.empty:
        return None
    frame = frame[(frame["front_of"] != "") & (frame["violation"] <= 0)].reset_index(drop=True)
    labels = frame["front_of"].str.split(",").explode().value_counts()
    if not len(frame) or labels.max() >= FRONT_TRIALS:
        return None
    # trials hold whole numbers as floats, and no shares
    told = {name: np.rint(frame[name]).astype(np.int64) for name in ("parameters", "memory_bytes")}
    for gpu in evaluator.pool.gpus:
        told[per_gpu_column("memory_share", gpu.id)] = frame["memory_bytes"] / gpu.available_bytes
    kept = [name for name in frame if name not in OF_TRIALS]
    last = kept.index("proxy") if "proxy" in kept else len(kept)  # shares stand before it, as enumerating has them
    order = [*kept[:last], *(name for name in told if name not in kept), *kept[last:]]
    fronts = result.with_frame(frame.assign(**told)[order])
    anew = _priced_anew(fronts.frame, evaluator)
    if not _agree(fronts.frame, anew, fronts.setting.objectives):
        return None
    # what is stored is rounded, which makes and breaks ties: the rows have the figures that enumerating gives
    return fronts.with_frame(
        fronts.frame.assign(**{name: anew[name] for name in fronts.frame if name in anew and name not in told})
    )


def _priced_anew(frame: pd.DataFrame, evaluator: Evaluator) -> dict[str, NDArray[Any]]:
    """The figures of the architectures of a table, by column of shape [N]: those of numbers, and training layouts."""
    import pandas as pd

    priced = evaluator.evaluate({name: frame[name].to_numpy() for name in evaluator.space.dimensions})
    columns = evaluator.columns(priced, np.arange(len(frame), dtype=np.int64))
    arrays = {str(name): np.asarray(values) for name, values in columns.items()}
    numbers = with_named_layouts(pd.DataFrame({k: array for k, array in arrays.items() if array.dtype.kind in "iuf"}))
    return {str(name): numbers[name].to_numpy() for name in numbers}


def priced_alike(stored: SearchResult, evaluator: Evaluator) -> bool:
    """Whether a sample of the rows, priced anew, has the figures that were stored: of objectives, and of all else that
    an answer shows (prices, energy, memory, bands)."""
    rows = np.unique(np.linspace(0, len(stored) - 1, CHECKED_ROWS).astype(np.int64))
    frame = stored.frame.iloc[rows]
    return _agree(frame, _priced_anew(frame, evaluator), stored.setting.objectives)


def _agree(stored: pd.DataFrame, anew: Mapping[str, NDArray[Any]], objectives: Collection[str]) -> bool:
    """Whether rows have the same figures as priced anew: the objectives, and whatever else both have."""
    both = [name for name in anew if name in stored]
    return set(objectives) <= set(both) and all(_same(stored[name], anew[name]) for name in both)


def _same(stored: pd.Series[Any], anew: NDArray[Any]) -> bool:
    """Whether two columns [N] agree: numbers to the rounding of what is stored, text wholly."""
    if anew.dtype.kind not in "iuf":
        return bool((stored.to_numpy() == anew).all())
    return bool(np.allclose(stored.to_numpy(float), anew, rtol=SAME, atol=0, equal_nan=True))
