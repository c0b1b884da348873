"""The tables of published runs (``benchmarks/whole_runs.py``) against figures worked by hand."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def modules() -> Iterator[tuple[ModuleType, ModuleType]]:
    """The tables and the fits."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import whole_run_fits
        import whole_run_tables

        yield whole_run_tables, whole_run_fits
    finally:
        sys.path.remove(str(BENCHMARKS))


def _runs(published: list[float], doubtful: list[str | None]) -> pd.DataFrame:
    count = len(published)
    columns = {"kind": "image", "gpu": "l20", "group": "one", "predicted_s": 1.0, "low_s": 0.8, "high_s": 1.25}
    return pd.DataFrame({**columns, "published_s": published, "doubtful": doubtful}, index=range(count))


def test_tables_are_of_odd_rows_that_nothing_makes_doubtful(modules: tuple[ModuleType, ModuleType]) -> None:
    tables, _ = modules
    # rows 1 and 3 count: 1 / 1.0 and 1 / 2.0, of which the second lies outside [0.8, 1.25]; row 5 is doubtful
    frame = _runs([9.0, 1.0, 9.0, 2.0, 9.0, 4.0], [None] * 5 + ["rounded"])
    assert "| image generation | 2 | 25.0 | -25.0 | 50 | yes |" in tables.by_kind(frame)
    assert "| image generation | rounded | 1 | 75.0 | -75.0 | 0 |" in tables.doubtful(frame)


@pytest.mark.parametrize(
    ("inside", "rows", "said"),
    # 0.2^2 = 0.04 for none of two; 0.8^13 = 0.055 and 0.8^16 = 0.028 for all, plus what is as rare below
    [(0, 2, "too narrow"), (1, 2, "yes"), (13, 13, "yes"), (20, 20, "too wide"), (80, 100, "yes")],
)
def test_a_verdict_is_a_binomial_test(
    modules: tuple[ModuleType, ModuleType], inside: int, rows: int, said: str
) -> None:
    assert modules[0].verdict(inside, rows) == said


def test_a_width_is_the_least_that_holds_four_rows_of_five(modules: tuple[ModuleType, ModuleType]) -> None:
    _, fits = modules
    frame = _runs([1.0, 1.1, 0.9, np.exp(0.5), np.exp(3.0)], [None] * 5)
    # kernels' own band in the file: log 1.25 with a width of 0.1 in it
    own = np.log(1.25) ** 2 - 0.1**2
    width = fits.spread_fitted(frame, 0.1)
    assert width == pytest.approx(np.sqrt(0.5**2 - own))
    assert fits.coverage(frame, 0.1, width) == "80"
    assert fits.coverage(frame, 0.1, width * 0.99) == "60"


def test_a_width_is_told_in_percent(modules: tuple[ModuleType, ModuleType]) -> None:
    _, fits = modules
    assert [fits.percent(width) for width in (0.0, np.log(1.25), np.log(2.0), np.nan)] == ["0", "25", "100", ""]
