"""Every architecture of a space, evaluated in chunks of an open mesh, reduced to the exact Pareto front.

A chunk's feasible cells are reduced to their own front, which is merged into the running front; memory is
that of one chunk and one front, whatever the size of the space.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from archsearch.errors import UnsupportedError
from archsearch.hardware import GpuPool
from archsearch.search.evaluate.columns import Columns
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import columns_frame, to_records
from archsearch.search.evaluate.metrics import OwnFronts
from archsearch.search.evaluate.pricing import Hardware, resolve_pool
from archsearch.search.explore.cluster import sweep_on_cluster
from archsearch.search.explore.progress import Advance, progress_bar
from archsearch.search.explore.windows import POOL, Front, Part, Views, Window, reduce_window, views
from archsearch.search.space.space import CHUNK_CELLS, Cells, SearchSpace, load_space
from archsearch.search.space.user_code import with_leave
from archsearch.tables import write_table

if TYPE_CHECKING:
    import pandas as pd

REGRET_CELLS = 10**9
"""Largest space that is enumerated for each GPU's own optimum."""


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

    def take(self, total: Part) -> Sweep:
        """Fill in what the windows of the whole space hold; returns itself."""
        self.architectures, self.legal, self.valid = total.architectures, total.legal, total.valid
        self.rejected, self.nearest = total.rejected, total.nearest
        self.provenance = {gpu: known.value for gpu, known in total.provenance.items()}
        fronts = {name: _distinct(self.space, front) for name, front in total.fronts.items()}
        empty = np.empty(0, dtype=np.int64)
        self.front_cells = fronts.pop(POOL, empty)
        self.gpu_front_cells = {gpu: fronts.get(gpu, empty) for gpu in views(self.evaluator) if gpu != POOL}
        self.sample_cells = np.setdiff1d(total.sample[1], self.front_cells)
        return self

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
        """Architectures by cell number as a table (see ``archsearch.search.evaluate.frames`` for the columns)."""
        frame = columns_frame(self.evaluator, self.columns(cells))
        frame.attrs |= {key: value for key, value in self.to_dict(rows=False).items() if key != "front"}
        return frame

    def to_dict(self, *, rows: bool = True) -> dict[str, Any]:
        """Plain values: the JSON answer of ``archsearch enumerate``."""
        answer: dict[str, Any] = {
            "space": self.space.name,
            "hardware": list(self.pool.ids),
            "weights": list(self.pool.weights),
            "execution": self.space.execution.to_dict(),
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
    scheduler: str | None = None,
) -> Sweep:
    """Evaluate every cell of a space on a pool and keep the exact Pareto front.

    ``sample`` asks for that many uniformly drawn valid cells besides the front. ``max_cells`` bounds a chunk.
    ``scheduler`` is the address of a Dask scheduler whose workers do the work; the answer is the same.

    Raises:
        UnknownNameError: unknown space, GPU, proxy or preset.
        InvalidInputError: malformed space.
        UnsupportedError: a GPU of the pool cannot run the workload's dtype.
        ArchSearchError: the cluster failed.
    """
    loaded = load_space(space)
    pricer = evaluator or Evaluator(loaded, resolve_pool(hardware, loaded))
    assert pricer.reference_s_per_token  # priced once, outside the timed loop
    ensure_own_fronts(pricer, progress=progress)
    started = time.perf_counter()
    with progress_bar(f"enumerating {loaded.name}", loaded.size, enabled=progress) as advance:
        windows = loaded.chunks(max_cells)
        if scheduler is None:
            total = _reduce(pricer, windows, sample, seed, advance)
        else:
            total = sweep_on_cluster(
                pricer, windows, scheduler, window_cells=max_cells, sample=sample, seed=seed, advance=advance
            )
    result = Sweep(loaded, pricer.pool, pricer, evaluation_s=time.perf_counter() - started)
    return result.take(total)


def ensure_own_fronts(evaluator: Evaluator, *, progress: bool) -> None:
    """Where regret is an objective, learn what each GPU of the pool could have at every quality: one sweep.

    Raises:
        UnsupportedError: the space is too large to enumerate.
    """
    if not evaluator.asks_regret or evaluator.own_fronts is not None:
        return
    space = evaluator.space
    if space.size > REGRET_CELLS:
        raise UnsupportedError(
            f"space {space.name}: regret is measured against each GPU's own optimum, and {space.size:.3g} cells are "
            "too many to find it; use the pool objectives worst, weighted or fleet"
        )
    shown = {gpu: {"quality": evaluator.quality_sign, f"throughput:{gpu}": -1.0} for gpu in evaluator.pool.ids}
    with progress_bar(f"each GPU's own front of {space.name}", space.size, enabled=progress) as advance:
        fronts = _reduce(evaluator, space.chunks(), 0, 0, advance, shown).fronts
    nothing = np.empty((0, 2))
    points = {gpu: fronts[gpu][0] if gpu in fronts else nothing for gpu in shown}
    seconds = {gpu: np.stack([p[:, 0], -1 / p[:, 1]], axis=1) for gpu, p in points.items()}
    evaluator.know_own_fronts(OwnFronts.of(seconds))


def _reduce(
    evaluator: Evaluator,
    windows: Iterator[Window],
    sample: int,
    seed: int,
    advance: Advance,
    shown: Views | None = None,
) -> Part:
    """All windows on all cores (NumPy frees the lock), merged in order; a few are in flight at a time."""
    total = Part()
    threads = os.cpu_count() or 1

    def one(window: Window) -> Part:
        return reduce_window(evaluator, window, sample=sample, seed=seed, known=dict(total.fronts), shown=shown)

    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Part]] = deque()
        try:
            for window in windows:
                waiting.append(pool.submit(one, window))
                if len(waiting) > threads:
                    _merge(total, waiting.popleft().result(), sample, advance)
            while waiting:
                _merge(total, waiting.popleft().result(), sample, advance)
        finally:
            for future in waiting:
                future.cancel()
    return total


def _merge(total: Part, part: Part, sample: int, advance: Advance) -> None:
    total.add(part, sample)
    advance(part.architectures)


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


@with_leave
def enumerate_space(
    space: SearchSpace | str | Path,
    hardware: Hardware | None = None,
    *,
    output: str | Path | None = None,
    progress: bool = False,
    scheduler: str | None = None,
    allow_code: bool = False,
) -> pd.DataFrame:
    """The exact Pareto front of a space on a pool as a table; counts and rates stand in ``attrs``.

    ``output`` also writes it (.parquet, .csv, .json). Raises as ``sweep`` does.
    """
    result = sweep(space, hardware, progress=progress, scheduler=scheduler)
    if output is not None:
        result.write(output)
    return result.front
