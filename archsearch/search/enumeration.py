"""Every architecture of a space, evaluated in chunks of an open mesh, reduced to the exact Pareto front.

A chunk's feasible cells are reduced to their own front, which is merged into the running front; memory is
that of one chunk and one front, whatever the size of the space.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archsearch.hardware import GpuPool
from archsearch.search.evaluate import Columns, Evaluation, Evaluator, objective_matrix
from archsearch.search.frames import columns_frame, to_records
from archsearch.search.pareto import merge_fronts, non_dominated
from archsearch.search.pricing import Hardware, resolve_pool
from archsearch.search.progress import progress_bar
from archsearch.search.space import CHUNK_CELLS, Cells, SearchSpace, load_space
from archsearch.tables import write_table

if TYPE_CHECKING:
    import pandas as pd

Front = tuple[NDArray[np.float64], Cells]
_POOL = "pool"


@dataclass
class Sweep:
    """Result of an exhaustive enumeration.

    ``architectures`` counts combinations of dimension values evaluated, ``legal`` those that describe a real
    model within the space's constraints, ``valid`` those that also keep every budget. ``front_cells`` are the
    front's cell numbers, ``gpu_front_cells`` those of the front that each GPU of a pool alone would have, and
    ``sample_cells`` a uniform random sample of the valid cells (for plots). ``nearest`` is (worst relative
    violation, cell) of the cell that misses the budgets least, where none is valid.
    """

    space: SearchSpace
    pool: GpuPool
    evaluator: Evaluator
    architectures: int = 0
    legal: int = 0
    valid: int = 0
    evaluation_s: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)
    front_cells: Cells = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    gpu_front_cells: dict[str, Cells] = field(default_factory=dict)
    sample_cells: Cells = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    nearest: tuple[float, int] | None = None
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def architectures_per_s(self) -> float:
        return self.architectures / self.evaluation_s if self.evaluation_s else 0.0

    def columns(self, cells: Cells) -> Columns:
        """Dimensions and metrics [N] of cell numbers [N]."""
        return cell_columns(self.evaluator, cells)

    @property
    def front(self) -> pd.DataFrame:
        """The front's architectures, one a row, best quality first; ``attrs`` carry the counts."""
        return self.frame(self.front_cells)

    def frame(self, cells: Cells) -> pd.DataFrame:
        """Architectures by cell number as a table (see ``archsearch.search.frames`` for the columns)."""
        frame = columns_frame(self.evaluator, self.columns(cells))
        frame.attrs |= {key: value for key, value in self.to_dict(rows=False).items() if key != "front"}
        return frame

    def to_dict(self, *, rows: bool = True) -> dict[str, Any]:
        """Plain values: the JSON answer of ``archsearch enumerate``."""
        answer: dict[str, Any] = {
            "space": self.space.name,
            "hardware": list(self.pool.ids),
            "architectures": self.architectures,
            "legal": self.legal,
            "valid": self.valid,
            "evaluation_s": self.evaluation_s,
            "architectures_per_s": self.architectures_per_s,
            "rejected": dict(self.rejected),
            "objectives": list(self.evaluator.objective_columns),
            "provenance": self.provenance,
        }
        if rows:
            answer["front"] = to_records(self.front)
        return answer

    def write(self, path: str | Path) -> Path:
        """Write the front as .parquet, .csv or .json by the path's suffix.

        Raises:
            InvalidInputError: another suffix, or a path that cannot be written.
        """
        return write_table(self.front, path)


def cell_columns(evaluator: Evaluator, cells: Cells) -> Columns:
    """Dimensions and metrics [N] of cell numbers [N], derived fields included."""
    cells = np.asarray(cells, dtype=np.int64)
    dimensions = evaluator.space.decode(cells)
    if not len(cells):
        dimensions = {name: values[:1] for name, values in evaluator.space.dimensions.items()}
    evaluation = evaluator.evaluate(dimensions)
    metrics = evaluator.columns(evaluation, np.arange(len(cells)))
    fields = evaluator.space.field_values(dimensions)
    shown = {name: fields[name] for name in (*dimensions, *evaluator.space.derived)}
    length = max(len(cells), 1)
    return {name: np.broadcast_to(value, (length,))[: len(cells)] for name, value in shown.items()} | metrics


def sweep(
    space: SearchSpace | str | Path,
    hardware: Hardware | None = None,
    *,
    progress: bool = True,
    sample: int = 0,
    seed: int = 0,
    max_cells: int = CHUNK_CELLS,
    evaluator: Evaluator | None = None,
) -> Sweep:
    """Evaluate every cell of a space on a pool and keep the exact Pareto front.

    ``sample`` asks for that many uniformly drawn valid cells besides the front. ``max_cells`` bounds a chunk.

    Raises:
        UnknownNameError: unknown space, GPU, proxy or preset.
        InvalidInputError: malformed space.
        UnsupportedError: a GPU of the pool cannot run the workload's dtype.
    """
    loaded = load_space(space)
    pricer = evaluator or Evaluator(loaded, resolve_pool(hardware, loaded))
    result = Sweep(loaded, pricer.pool, pricer)
    reservoir = _Reservoir(sample, seed)
    views = _views(pricer)
    fronts: dict[str, Front] = {n: (np.empty((0, len(v))), np.empty(0, dtype=np.int64)) for n, v in views.items()}
    assert pricer.reference_s_per_token  # priced once, outside the timed loop
    started = time.perf_counter()
    with progress_bar(f"enumerating {loaded.name}", loaded.size, enabled=progress) as advance:
        for window in loaded.chunks(max_cells):
            columns, cells = _chunk(result, window)
            for name, view in views.items() if len(cells) else ():
                fronts[name] = _extend(fronts[name], objective_matrix(columns, view), cells)
            reservoir.add(cells)
            advance(math.prod(cut.stop - cut.start for cut in window))
    result.evaluation_s = time.perf_counter() - started
    result.front_cells = _distinct(loaded, fronts.pop(_POOL))
    result.gpu_front_cells = {name: _distinct(loaded, front) for name, front in fronts.items()}
    result.sample_cells = np.setdiff1d(reservoir.cells, result.front_cells)
    return result


def _views(evaluator: Evaluator) -> dict[str, dict[str, float]]:
    """The objectives whose fronts are kept: the pool's, and where it has several GPUs, each one's own."""
    alone = {gpu: evaluator.gpu_objectives(gpu) for gpu in evaluator.pool.ids} if len(evaluator.pool) > 1 else {}
    return {_POOL: evaluator.objective_columns} | alone


def _extend(front: Front, objectives: NDArray[np.float64], cells: Cells) -> Front:
    keep = non_dominated(objectives)
    return merge_fronts(front, (objectives[keep], cells[keep]))


def _chunk(result: Sweep, window: tuple[slice, ...]) -> tuple[Columns, Cells]:
    """Evaluate one window: metrics and cell numbers of its valid cells; counts go to ``result``."""
    evaluation = result.evaluator.evaluate(result.space.mesh(window))
    result.architectures += evaluation.legal.size
    result.legal += int(np.count_nonzero(evaluation.legal))
    result.provenance = {gpu: known.value for gpu, known in evaluation.provenance.items()}
    local = np.flatnonzero(evaluation.feasible)
    result.valid += len(local)
    result.rejected.update(evaluation.rejected())
    if not len(local):
        _note_nearest(result, evaluation, window)
    return result.evaluator.columns(evaluation, local), result.space.window_cells(window, local)


def _note_nearest(result: Sweep, evaluation: Evaluation, window: tuple[slice, ...]) -> None:
    """Remember the legal cell with the smallest worst violation, for the message when nothing is valid."""
    legal = np.flatnonzero(evaluation.legal)
    if result.valid or not len(legal) or not evaluation.violations:
        return
    worst = np.max(np.stack(list(evaluation.violation_columns(legal).values())), axis=0)
    best = int(np.nanargmin(worst)) if not np.isnan(worst).all() else 0
    if result.nearest is None or worst[best] < result.nearest[0]:
        cell = result.space.window_cells(window, legal[best : best + 1])
        result.nearest = (float(worst[best]), int(cell[0]))


def _distinct(space: SearchSpace, front: Front) -> Cells:
    """Front cells of distinct architectures, best first objective first, in a reproducible order.

    Two cells may describe one architecture (a helper dimension without effect): the first of them stays.
    """
    objectives, cells = front
    cells = cells[np.lexsort((cells, *objectives.T[::-1]))]
    seen: dict[tuple[Any, ...], int] = {}
    for position, key in enumerate(canonical_keys(space, cells)):
        seen.setdefault(key, position)
    return np.asarray(cells[sorted(seen.values())], dtype=np.int64)


def canonical_keys(space: SearchSpace, cells: Cells) -> list[tuple[Any, ...]]:
    """What identifies each architecture [N]: the values of the config fields that vary in the space."""
    if not len(cells):
        return []
    values = space.field_values(space.decode(cells))
    varying = [n for n in (*space.dimensions, *space.derived) if n in space.config_fields]
    columns = [np.broadcast_to(values[name], (len(cells),)).tolist() for name in varying]
    return list(zip(*columns, strict=True))


class _Reservoir:
    """A uniform random sample of a stream of cells (algorithm R by random keys: keep the smallest keys)."""

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._random = np.random.default_rng(seed)
        self._keys = np.empty(0)
        self.cells: Cells = np.empty(0, dtype=np.int64)

    def add(self, cells: Cells) -> None:
        if not self._size or not len(cells):
            return
        keys = np.concatenate((self._keys, self._random.random(len(cells))))
        merged = np.concatenate((self.cells, cells))
        keep = np.argsort(keys)[: self._size]
        self._keys, self.cells = keys[keep], merged[keep]


def enumerate_space(
    space: SearchSpace | str | Path,
    hardware: Hardware | None = None,
    *,
    output: str | Path | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """The exact Pareto front of a space on a pool as a table; counts and rates stand in ``attrs``.

    ``output`` also writes it (.parquet, .csv, .json). Raises as ``sweep`` does.
    """
    result = sweep(space, hardware, progress=progress)
    if output is not None:
        result.write(output)
    return result.front
