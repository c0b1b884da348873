"""Every architecture of a space, evaluated in chunks of an open mesh, reduced to the exact Pareto front.

A chunk's feasible cells are reduced to their own front, which is merged into the running front; memory is
that of one chunk and one front, whatever the size of the space.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from archsearch.errors import UnsupportedError
from archsearch.hardware import GpuPool
from archsearch.progress import Advance, progress_bar
from archsearch.search.evaluate.columns import Columns, per_gpu_columns
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import columns_result, setting_of
from archsearch.search.evaluate.metrics import OwnFronts
from archsearch.search.evaluate.pool_models import Hardware, resolve_pool
from archsearch.search.evaluate.result import SearchResult
from archsearch.search.evaluate.setting import Counts
from archsearch.search.explore.cluster import sweep_on_cluster
from archsearch.search.explore.windows import POOL, Front, Part, Views, Window, reduce_window, views
from archsearch.search.space.space import CHUNK_CELLS, Cells, SearchSpace, load_space
from archsearch.search.space.user_code import with_leave
from archsearch.tables import write_table

if TYPE_CHECKING:
    import pandas as pd

LONGEST_S = 3600.0
"""Seconds of an enumeration that is not begun unless it is asked for: sampling answers in minutes what it would."""
JUDGED_S = 3.0
"""Seconds of work from which the time of the whole is told."""
REGRET_CELLS = 10**9
"""Largest space that is enumerated for each GPU's own optimum."""


@dataclass(frozen=True)
class Sweep:
    """Result of an exhaustive enumeration.

    ``counts`` say how many combinations of dimension values were evaluated, how many of them describe a real model
    within the space's constraints (``legal``), and how many also keep every budget (``valid``). ``front_cells`` are the
    front's cell numbers, ``gpu_front_cells`` those of the front that each GPU of a pool alone would have, and
    ``sample_cells`` a uniform random sample of the valid cells (for plots). ``nearest`` is (worst relative
    violation, cell) of the cell that misses the budgets least, where none is valid.
    """

    evaluator: Evaluator
    counts: Counts
    front_cells: Cells
    gpu_front_cells: Mapping[str, Cells]
    sample_cells: Cells
    nearest: tuple[float, int] | None

    @classmethod
    def of(cls, evaluator: Evaluator, total: Part, evaluation_s: float) -> Sweep:
        """From what all windows of the evaluator's space hold."""
        cells = {name: _distinct(evaluator.space, front) for name, front in total.fronts.items()}
        nothing = np.empty(0, dtype=np.int64)
        front_cells = cells.get(POOL, nothing)
        counts = Counts(
            architectures=total.architectures,
            legal=total.legal,
            valid=total.valid,
            evaluation_s=evaluation_s,
            rejected=dict(total.rejected),
            provenance={gpu: known.value for gpu, known in total.provenance.items()},
        )
        return cls(
            evaluator=evaluator,
            counts=counts,
            front_cells=front_cells,
            gpu_front_cells={gpu: cells.get(gpu, nothing) for gpu in views(evaluator) if gpu != POOL},
            sample_cells=np.setdiff1d(total.sample[1], front_cells),
            nearest=total.nearest,
        )

    @property
    def space(self) -> SearchSpace:
        return self.evaluator.space

    @property
    def pool(self) -> GpuPool:
        return self.evaluator.pool

    @property
    def architectures(self) -> int:
        return self.counts.architectures

    @property
    def legal(self) -> int:
        return self.counts.legal

    @property
    def valid(self) -> int:
        return self.counts.valid

    @property
    def evaluation_s(self) -> float:
        return self.counts.evaluation_s

    @property
    def rejected(self) -> Mapping[str, int]:
        """How many combinations each rule and budget excludes; one may miss several."""
        return self.counts.rejected

    @property
    def provenance(self) -> Mapping[str, str]:
        """How the latencies on each GPU are known, by their least-known part."""
        return self.counts.provenance

    def excluded(self) -> str:
        """What to say where nothing is valid: how many architectures each reason excludes."""
        reasons = sorted(self.rejected.items(), key=lambda item: -item[1])
        told = "; ".join(f"{reason} ({count})" for reason, count in reasons if count)
        return (
            f"no architecture of {self.space.name} is valid on {', '.join(self.pool.ids)}: of {self.architectures}, "
            f"{self.legal} are legal and none is left; excluded by: {told}. "
            "`archsearch recommend` on the space names the nearest"
        )

    @property
    def architectures_per_s(self) -> float:
        return self.counts.architectures_per_s

    def columns(self, cells: Cells) -> Columns:
        """Dimensions and metrics [N] of cell numbers [N]."""
        return cell_columns(self.evaluator, cells)

    def result(self, cells: Cells) -> SearchResult:
        """Architectures by cell number, with what they have in common and the counts."""
        return replace(columns_result(self.evaluator, self.columns(cells)), counts=self.counts)

    @property
    def front(self) -> pd.DataFrame:
        """The front's architectures as a user's table, best quality first; ``attrs`` carry the counts."""
        return self.result(self.front_cells).to_frame()

    def to_dict(self, *, rows: bool = True) -> dict[str, Any]:
        """Plain values: the JSON answer of ``archsearch enumerate``."""
        answer = self.counts.to_dict(setting_of(self.evaluator))
        return answer | {"front": self.result(self.front_cells).records()} if rows else answer

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
    longest_s: float = math.inf,
) -> Sweep:
    """Evaluate every cell of a space on a pool and keep the exact Pareto front.

    ``sample`` asks for that many uniformly drawn valid cells besides the front. ``max_cells`` bounds a chunk.
    ``scheduler`` is the address of a Dask scheduler whose workers do the work; the answer is the same. Work that would
    take over ``longest_s``, as the first ``JUDGED_S`` tell, is refused then.

    Raises:
        UnknownNameError: unknown space, GPU, proxy or preset.
        InvalidInputError: malformed space.
        UnsupportedError: a GPU of the pool cannot run the workload's dtype; or more work than ``longest_s``.
        ArchSearchError: the cluster failed.
    """
    loaded = load_space(space)
    pricer = evaluator or Evaluator(loaded, resolve_pool(hardware, loaded))
    assert pricer.reference_s_per_token  # priced once, outside the timed loop
    pricer = with_own_fronts(pricer, progress=progress)
    started = time.perf_counter()
    with progress_bar(f"enumerating {loaded.name}", loaded.size, enabled=progress) as advance:
        windows = loaded.chunks(max_cells)
        if scheduler is None:
            total = _reduce(pricer, windows, sample, seed, advance, longest_s=longest_s)
        else:
            total = sweep_on_cluster(
                pricer, windows, scheduler, window_cells=max_cells, sample=sample, seed=seed, advance=advance
            )
    return Sweep.of(pricer, total, time.perf_counter() - started)


def with_own_fronts(evaluator: Evaluator, *, progress: bool) -> Evaluator:
    """The evaluator; where regret is an objective, one that knows what each GPU of the pool could have at every
    quality, which takes one sweep unless it knows already.

    Raises:
        UnsupportedError: the space is too large to enumerate.
    """
    if not evaluator.asks_regret or evaluator.own_fronts is not None:
        return evaluator
    space = evaluator.space
    if space.size > REGRET_CELLS:
        raise UnsupportedError(
            f"space {space.name}: regret is measured against each GPU's own optimum, and {space.size:.3g} cells are "
            "too many to find it; use the pool objectives worst, weighted or fleet"
        )
    throughputs = per_gpu_columns("throughput", evaluator.pool.ids)
    shown = {gpu: {"quality": evaluator.quality_sign, column: -1.0} for gpu, column in throughputs.items()}
    with progress_bar(f"each GPU's own front of {space.name}", space.size, enabled=progress) as advance:
        fronts = _reduce(evaluator, space.chunks(), 0, 0, advance, shown).fronts
    nothing = np.empty((0, 2))
    points = {gpu: fronts[gpu][0] if gpu in fronts else nothing for gpu in shown}
    seconds = {gpu: np.stack([p[:, 0], -1 / p[:, 1]], axis=1) for gpu, p in points.items()}
    return evaluator.knowing(OwnFronts.of(seconds))


def _reduce(
    evaluator: Evaluator,
    windows: Iterator[Window],
    sample: int,
    seed: int,
    advance: Advance,
    shown: Views | None = None,
    longest_s: float = math.inf,
) -> Part:
    """All windows on all cores (NumPy frees the lock), merged in order; a few are in flight at a time."""
    total, judge = Part(), _Judge(evaluator.space, longest_s)
    threads = os.cpu_count() or 1

    def one(window: Window) -> Part:  # against the fronts as they are when its turn comes
        return reduce_window(evaluator, window, sample=sample, seed=seed, known=total.fronts, shown=shown)

    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Part]] = deque()
        try:
            for window in windows:
                waiting.append(pool.submit(one, window))
                if len(waiting) > threads:
                    part = waiting.popleft().result()
                    total = total.merged(part, sample)
                    advance(part.architectures)
                    judge.look(total.architectures)
            while waiting:
                part = waiting.popleft().result()
                total = total.merged(part, sample)
                advance(part.architectures)
        finally:
            for future in waiting:
                future.cancel()
    return total


class _Judge:
    """Refuses work that would take too long, once a part of it has told how fast it goes."""

    def __init__(self, space: SearchSpace, longest_s: float) -> None:
        self.space, self.longest_s = space, longest_s
        self.started, self.judged = time.perf_counter(), math.isinf(longest_s)

    def look(self, done: int) -> None:
        """Judge, the first time that enough was done.

        Raises:
            UnsupportedError: the whole would take too long.
        """
        passed = time.perf_counter() - self.started
        if self.judged or passed < JUDGED_S:
            return
        self.judged = True
        rate = done / passed
        if self.space.size / rate > self.longest_s:
            longest = max(self.space.dimensions, key=lambda name: len(self.space.dimensions[name]))
            raise UnsupportedError(
                f"space {self.space.name} has {self.space.size:,} combinations: {_long(self.space.size / rate)} at "
                f"{rate:,.0f} a second. Sample it (`archsearch study run`, `archsearch recommend`), make it smaller "
                f"(dimension {longest} has {len(self.space.dimensions[longest])} values: a larger step), or give "
                "{long} to enumerate it all the same",
                field="long",
            )


def _long(seconds: float) -> str:
    """A time in the unit that one counts it in."""
    for unit, size in (("years", 365.25 * 86400), ("days", 86400.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds / 3600:,.1f} hours"


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
    long: bool = False,
    allow_code: bool = False,
) -> pd.DataFrame:
    """The exact Pareto front of a space on a pool as a table; counts and rates stand in ``attrs``.

    ``output`` also writes it (.parquet, .csv, .json). Raises as ``sweep`` does.
    """
    longest_s = math.inf if long else LONGEST_S
    swept = sweep(space, hardware, progress=progress, scheduler=scheduler, longest_s=longest_s)
    if output is not None:
        swept.write(output)
    return swept.front
