"""Running a suite: cases in order under a budget of time, progress, and rows that survive an interrupt."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.bench.micro.cases import Case, case_bytes, describe, suite_cases
from archsearch.bench.micro.device import Identity, Monitor, cache_bytes, free_bytes, identify, probe, release
from archsearch.bench.micro.operations import Skipped, build
from archsearch.bench.micro.results import ResultsFile, Row
from archsearch.bench.micro.timing import CudaStopwatch, Stopwatch, Timing, buffer_sets, measure, stopwatch_for

if TYPE_CHECKING:
    import torch

PER_CASE_S = 0.15
"""Longest time that the repeats of one case may take."""
CHECKED = 2e-2
"""Largest relative error of our own kernels in 16 bits against float64."""


Progress = Callable[[int, int, float, str], None]


@dataclass(slots=True)
class Summary:
    """What a run did."""

    path: Path
    measured: int = 0
    resumed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    left: int = 0
    throttled: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    checks: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Runner:
    """Measures cases on one device. ``clock`` and ``stopwatch`` may be replaced in tests."""

    device: torch.device
    identity: Identity
    stopwatch: Stopwatch
    cache: float
    monitor: Monitor
    clock: Callable[[], float] = time.monotonic

    def measure(self, case: Case) -> Row:
        """One row.

        Raises:
            Skipped: the device cannot run the case.
        """
        sets = self._sets(case)
        actions = [build(case, self.device) for _ in range(sets)]
        rotated = self._time(actions)
        warm = self._time(actions[:1]) if sets > 1 else rotated
        state = self.monitor.state()
        return {
            **self.identity.columns(),
            "op": case.op,
            "dtype": case.dtype,
            "kernel": case.kernel,
            "purpose": case.purpose,
            "split": case.split,
            **case.dims,
            **({"inner": "k"} if case.op == "bmm" else {}),
            "config": case.config,
            **_microseconds(rotated, warm),
            "buffers": sets,
            "sm_clock_mhz": state.sm_clock_mhz,
            "temperature_c": state.temperature_c,
            "throttled": state.throttled,
            "date": datetime.date.today().isoformat(),
            "key": case.key,
        }

    def _sets(self, case: Case) -> int:
        if case.op == "block":
            return 1
        return buffer_sets(case_bytes(case), self.cache, free_bytes(self.device))

    def _time(self, actions: Sequence[Callable[[], object]]) -> Timing:
        import torch

        with torch.no_grad():
            try:
                return measure(actions, self.stopwatch, budget_s=PER_CASE_S)
            except RuntimeError:
                if not isinstance(self.stopwatch, CudaStopwatch) or not self.stopwatch.graphs:
                    raise
                torch.cuda.synchronize()  # some calls cannot be captured: time them queued instead
                return measure(actions, CudaStopwatch(graphs=False), budget_s=PER_CASE_S)


def _microseconds(rotated: Timing, warm: Timing) -> Row:
    times = {
        "latency_us": rotated.median_s,
        "low_us": rotated.low_s,
        "high_us": rotated.high_s,
        "warm_us": warm.median_s,
    }
    rounded = {name: f"{seconds * 1e6:.4g}" for name, seconds in times.items()}
    return {**rounded, "repeats": rotated.repeats, "calls": rotated.calls, "method": rotated.method}


def run_suite(
    suite: str,
    output: str | Path,
    *,
    device: str = "cuda",
    gpu: str | None = None,
    dtypes: tuple[str, ...] | None = None,
    budget_minutes: float | None = None,
    only: tuple[str, ...] = (),
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Measure a suite's cases that ``output`` does not hold yet; stop at the budget or at Ctrl-C, keeping every row.

    Args:
        device: what torch calls it: cuda, cuda:1, cpu.
        gpu: the id that rows carry (default: the device's name, which profiles list as an alias).
        only: purposes to measure (``grid``, ``wave``, ``attention`` ...); all where empty.
        progress: called with (done, of, seconds left, case).

    Raises:
        ValueError: unknown suite or format, an output that cannot be used, or no such device.
    """
    place = torch_device(device)
    cases = [case for case in suite_cases(suite, probe(place, dtypes)) if not only or case.purpose in only]
    if not cases:
        raise ValueError(f"no case has purpose {', '.join(only)}")
    return run_cases(cases, output, place, gpu=gpu, budget_minutes=budget_minutes, progress=progress, clock=clock)


def run_cases(
    cases: Sequence[Case],
    output: str | Path,
    place: torch.device,
    *,
    gpu: str | None = None,
    budget_minutes: float | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Measure cases that ``output`` does not hold yet on a torch device (see ``run_suite``).

    Raises:
        ValueError: an output that cannot be used, or our own kernels computing something wrong.
    """
    import torch

    if budget_minutes is not None and not (0 < budget_minutes < float("inf")):
        raise ValueError(f"a budget must be a positive number of minutes, not {budget_minutes}")
    results = ResultsFile(output)
    runner = Runner(place, identify(place, gpu), stopwatch_for(place), cache_bytes(place), Monitor(place), clock)
    summary = Summary(results.target)
    started = clock()
    deadline = started + budget_minutes * 60 if budget_minutes else float("inf")
    torch.manual_seed(0)
    if any(case.op.startswith("triton") for case in cases):
        summary.checks = _checked_kernels(place)
    try:
        for number, case in enumerate(cases):
            if clock() >= deadline:
                summary.left = len(cases) - number
                break
            _one(case, runner, results, summary)
            if progress:
                spent = clock() - started
                ahead = spent / (number + 1) * (len(cases) - number - 1)
                progress(number + 1, len(cases), min(ahead, max(deadline - clock(), 0.0)), describe(case))
    except KeyboardInterrupt:
        summary.interrupted = True
        summary.left = len(cases) - summary.measured - summary.resumed - sum(summary.skipped.values())
    summary.path, summary.seconds = results.close(), clock() - started
    return summary


def _one(case: Case, runner: Runner, results: ResultsFile, summary: Summary) -> None:
    import torch

    if (runner.identity.device, case.key) in results.done:
        summary.resumed += 1
        return
    try:
        row = runner.measure(case)
    except Skipped as reason:
        _count(summary, str(reason))
    except torch.OutOfMemoryError:
        _count(summary, "out of memory")
    except RuntimeError as error:
        _count(summary, f"{case.op}: {str(error).splitlines()[0][:120]}")
    else:
        results.add(row)
        summary.measured += 1
        summary.throttled += bool(row["throttled"])
        return
    release(runner.device)


def _count(summary: Summary, reason: str) -> None:
    summary.skipped[reason] = summary.skipped.get(reason, 0) + 1


def _checked_kernels(device: torch.device) -> dict[str, float]:
    """Errors of our own kernels; they must be right before their times mean anything.

    Raises:
        ValueError: a kernel that is wrong on this device.
    """
    import torch

    from archsearch.bench.micro import kernels

    dtype = torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    errors = kernels.check(device, dtype)
    wrong = {name: error for name, error in errors.items() if not error < CHECKED}
    if wrong:
        raise ValueError(f"Triton kernels are wrong on this device: {wrong}")
    return errors


def torch_device(device: str) -> torch.device:
    import torch

    try:
        place = torch.device(device)
    except RuntimeError:
        raise ValueError(f"torch knows no device {device!r}; use cuda, cuda:1 or cpu") from None
    if place.type not in ("cuda", "cpu"):
        raise ValueError(f"bench runs on cuda (NVIDIA or ROCm) and cpu, not {place.type}")
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no GPU here; --device cpu measures this processor instead")
    return place


def print_progress(done: int, of: int, left_s: float, case: str) -> None:
    """One line on stderr that overwrites itself; a line per 5 % where stderr is no terminal."""
    text = f"{done}/{of}  {left_s:4.0f} s left  {case}"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text[:110]:<110}" + ("\n" if done == of else ""))
    elif done == of or done % max(of // 20, 1) == 0:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()
