"""Times that can be trusted: warm-up, many repeats of many calls, medians, and a spread that says when to stop.

A ``Stopwatch`` runs ``calls`` of an operation and returns seconds. On a GPU the calls are captured once in a CUDA graph
(events around its replay), so that launches queue back to back and the host's time stays out; where capture fails they
are queued one by one between events, and the row says so. On a CPU the wall clock runs around the calls. Every call
works on another set of buffers; with sets enough to overflow the caches, operands come from device memory
(``rotated``), with one set they stay where the last call left them (``warm``).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

TARGET_S = 400e-6
"""Length of one timed run: long against events' resolution (0.5 µs) and a replay's launch."""
MAX_CALLS = 200
MIN_REPEATS = 7
MAX_REPEATS = 60
SETTLED = 0.005
"""Standard error of the median, relative, at which repeating stops."""
MEDIAN_ERROR = 1.2533
"""Standard error of a normal sample's median over that of its mean, sqrt(pi / 2)."""

Action = Callable[[], object]


class Stopwatch(Protocol):
    """Runs actions in turn, ``calls`` in all, and returns the seconds they took together."""

    method: str

    def prepare(self, actions: Sequence[Action], calls: int) -> Callable[[], float]:
        """Warm up and return a function that times one run."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call: median, 10th and 90th percentile over ``repeats`` runs of ``calls`` calls."""

    median_s: float
    low_s: float
    high_s: float
    repeats: int
    calls: int
    method: str


@dataclass(slots=True)
class WallClock:
    """Times on the host, for devices that finish a call before it returns."""

    clock: Callable[[], float] = time.perf_counter
    method: str = "wall"

    def prepare(self, actions: Sequence[Action], calls: int) -> Callable[[], float]:
        for action in actions:
            action()

        def run() -> float:
            start = self.clock()
            for i in range(calls):
                actions[i % len(actions)]()
            return self.clock() - start

        return run


class CudaStopwatch:
    """Times on an NVIDIA or AMD GPU by events around a graph's replay, or around queued calls (``graphs=False``)."""

    def __init__(self, graphs: bool = True) -> None:
        self.graphs = graphs
        self.method = "graph" if graphs else "events"

    def prepare(self, actions: Sequence[Action], calls: int) -> Callable[[], float]:
        import torch

        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for action in actions:
                action()
                action()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        replay = self._captured(actions, calls) if self.graphs else _queued(actions, calls)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

        def run() -> float:
            begin.record()
            replay()
            end.record()
            end.synchronize()
            return float(begin.elapsed_time(end)) * 1e-3

        run()
        return run

    def _captured(self, actions: Sequence[Action], calls: int) -> Action:
        import torch

        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(calls):
                actions[i % len(actions)]()
        return graph.replay


def _queued(actions: Sequence[Action], calls: int) -> Action:
    def run() -> None:
        for i in range(calls):
            actions[i % len(actions)]()

    return run


def measure(
    actions: Sequence[Action],
    stopwatch: Stopwatch,
    *,
    budget_s: float = 0.2,
    target_s: float = TARGET_S,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time one call of an operation given as an action per set of buffers.

    Runs get as many calls as make ``target_s``; they repeat until the median's standard error falls under ``SETTLED``,
    ``MAX_REPEATS`` are done, or ``budget_s`` of the host's clock is spent (never fewer than three).
    """
    started = clock()
    once = stopwatch.prepare(actions[:1], 1)
    rough = min(once(), once())
    calls = max(1, min(MAX_CALLS, round(target_s / max(rough, 1e-7))))
    calls = max(calls, min(len(actions), MAX_CALLS)) if rough < target_s else calls
    run = stopwatch.prepare(actions, calls)
    times: list[float] = []
    while len(times) < MAX_REPEATS:
        times.append(run() / calls)
        if len(times) >= MIN_REPEATS and _settled(times):
            break
        if len(times) >= 3 and clock() - started > budget_s:
            break
    low, high = _percentiles(times)
    return Timing(statistics.median(times), low, high, len(times), calls, stopwatch.method)


def _settled(times: Sequence[float]) -> bool:
    error = MEDIAN_ERROR * statistics.stdev(times) / len(times) ** 0.5
    return bool(error <= SETTLED * statistics.median(times))


def _percentiles(times: Sequence[float]) -> tuple[float, float]:
    """10th and 90th percentile; the extremes of few values."""
    ordered = sorted(times)
    reach = (len(ordered) - 1) / 10
    return ordered[round(reach)], ordered[len(ordered) - 1 - round(reach)]


def buffer_sets(set_bytes: float, cache_bytes: float, free_bytes: float, most: int = 64) -> int:
    """How many sets of buffers overflow a cache three times over; at least two, within a third of free memory."""
    wanted = 2 if set_bytes <= 0 else int(3 * cache_bytes / set_bytes) + 2
    fitting = int(free_bytes / 3 / max(set_bytes, 1.0))
    return max(1, min(wanted, most, fitting))


def stopwatch_for(device: torch.device) -> Stopwatch:
    """The stopwatch of a torch device."""
    return CudaStopwatch() if device.type == "cuda" else WallClock()
