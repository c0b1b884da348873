"""Recorded traffic: a CSV of arrivals, and the fleet that serves it as it came."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archsearch.arrays import Floats
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.files import read_text
from archsearch.serving.fleet import MAX_REPLICAS
from archsearch.serving.queueing import Quantiles
from archsearch.serving.simulation import Simulated, simulate_batch_servers, simulate_multi_server
from archsearch.serving.units import Replica, ServiceLevel

COLUMN = "arrival_s"
LATEST_S = 1e12
"""Seconds from the origin of a trace: thirty thousand years, and differences are still exact to a millisecond."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrival times [n] in seconds from the first, ascending."""

    arrivals_s: Floats

    @property
    def rate(self) -> float:
        """Requests per second over the whole trace."""
        return (len(self.arrivals_s) - 1) / float(self.arrivals_s[-1])

    @property
    def scv(self) -> float:
        """Squared coefficient of variation of the times between arrivals: 1 of a Poisson process, more of bursts."""
        gaps = np.diff(self.arrivals_s)
        return float(gaps.var() / gaps.mean() ** 2)


def read_trace(path: Path) -> Trace:
    """Arrivals of a CSV with a column ``arrival_s`` (seconds, any origin).

    Raises:
        InvalidInputError: no such file or column, fewer than two arrivals, or a value that is no number of seconds.
    """
    with io.StringIO(read_text(path), newline="") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        if COLUMN not in (rows.fieldnames or ()):
            raise InvalidInputError(f"{path}:1: needs a column {COLUMN!r} (seconds); it has {rows.fieldnames}")
        times = []
        for row in rows:
            try:
                times.append(float(row[COLUMN]))
            except (TypeError, ValueError):
                raise InvalidInputError(f"{path}:{rows.line_num}: {COLUMN} {row[COLUMN]!r} is no number") from None
    arrivals = np.sort(np.asarray(times))
    if len(arrivals) and not np.abs(arrivals).max() <= LATEST_S:
        raise InvalidInputError(f"{path}: {COLUMN} must be numbers of seconds up to {LATEST_S:g}")
    if len(arrivals) < 2 or not np.isfinite(arrivals).all() or arrivals[-1] == arrivals[0]:
        raise InvalidInputError(f"{path}: needs at least two arrivals at different times")
    return Trace(arrivals - arrivals[0])


def replay(trace: Trace, unit: Replica, number: int, limit: int) -> Simulated:
    """The trace through ``number`` replicas, every request counted."""
    if limit == 1:
        return simulate_multi_server(trace.arrivals_s, unit.service, number, warm_up=0.0)
    return simulate_batch_servers(trace.arrivals_s, unit.seconds, limit, number, warm_up=0.0)


@dataclass(frozen=True, slots=True)
class Replayed:
    """``number`` replicas of ``unit`` under a batch limit, and what came of the trace."""

    unit: Replica
    number: int
    limit: int
    outcome: Simulated

    @property
    def gpus(self) -> int:
        return self.number * self.unit.gpus

    @property
    def usd_per_hour(self) -> float:
        """Infinite where the GPU has no price."""
        return self.unit.price(self.number)


def size_for_trace(trace: Trace, unit: Replica, level: ServiceLevel) -> Replayed:
    """The least number of replicas that keeps the level on the trace, over batch limits.

    Raises:
        UnsupportedError: none does.
    """
    if min(unit.service.seconds) > level.tightest_s:
        raise UnsupportedError(f"{unit.gpu.id}: one request alone takes {unit.batch_s[1]:.3g} s, longer than the level")
    most = MAX_REPLICAS if unit.available is None else unit.available // unit.gpus
    best: Replayed | None = None
    for limit in unit.limits():
        low, high = 0, min(most, best.number if best else len(trace.arrivals_s))
        outcome = replay(trace, unit, high, limit)
        if not _kept(outcome, level):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            tried = replay(trace, unit, middle, limit)
            if _kept(tried, level):
                high, outcome = middle, tried
            else:
                low = middle
        if best is None or high < best.number:
            best = Replayed(unit, high, limit, outcome)
    if best is None:
        raise UnsupportedError(f"{unit.gpu.id}: no number of replicas keeps the level on this trace")
    return best


def _kept(outcome: Simulated, level: ServiceLevel) -> bool:
    return level.kept(Quantiles(outcome.response_s, np.ones(len(outcome.response_s))))
