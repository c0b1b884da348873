"""Timing logic under a clock that the test drives."""

from __future__ import annotations

import pytest

from archsearch.bench.micro.timing import MAX_REPEATS, WallClock, buffer_sets, measure


class Clock:
    """A clock that operations move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = 0

    def __call__(self) -> float:
        return self.now

    def operation(self, seconds):
        """An action that takes this long, or what a function of the number of calls says."""

        def run() -> None:
            self.calls += 1
            self.now += seconds(self.calls) if callable(seconds) else seconds

        return run


def timed(clock: Clock, *seconds, **options):
    return measure([clock.operation(s) for s in seconds], WallClock(clock), clock=clock, **options)


def test_a_steady_operation_is_timed_once_over_in_long_runs():
    clock = Clock()
    found = timed(clock, 10e-6, budget_s=1.0)
    assert found.median_s == pytest.approx(10e-6)
    assert found.calls == 40  # 400 microseconds of calls to a run
    assert found.repeats == 7  # no spread: the fewest runs are enough


def test_buffers_take_turns_evenly():
    clock = Clock()
    assert timed(clock, 10e-6, 20e-6, 30e-6, budget_s=1.0).median_s == pytest.approx(20e-6, rel=0.05)


def test_a_noisy_operation_is_repeated_until_the_budget_ends():
    clock = Clock()
    found = timed(clock, lambda call: 1e-3 * (1.0 if call % 3 else 5.0), target_s=1e-4, budget_s=0.05)
    assert 7 < found.repeats < MAX_REPEATS
    assert clock.now < 0.06
    assert found.low_s == pytest.approx(1e-3)
    assert found.high_s == pytest.approx(5e-3)


def test_outliers_do_not_move_the_median():
    clock = Clock()
    found = timed(clock, lambda call: 1.0 if call == 5 else 1e-3, target_s=1e-4, budget_s=5.0)
    assert found.median_s == pytest.approx(1e-3)


def test_three_runs_are_made_however_short_the_budget():
    assert timed(Clock(), 2.0, budget_s=0.1).repeats == 3


@pytest.mark.parametrize(
    ("set_bytes", "free", "expected"),
    [
        (10e6, 80e9, 17),  # 3 · 50 MB / 10 MB, and two
        (1e9, 80e9, 2),
        (30e9, 80e9, 1),  # a third of the memory at most
        (10.0, 80e9, 64),
    ],
)
def test_sets_of_buffers_overflow_the_cache_and_fit_the_memory(set_bytes, free, expected):
    assert buffer_sets(set_bytes, 50e6, free) == expected
