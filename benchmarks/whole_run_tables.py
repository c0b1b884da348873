"""Tables of whole runs for ``whole_runs.py``: rows with ``published_s``, ``predicted_s``, ``low_s`` and ``high_s``."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

KINDS = {
    "train": "training",
    "encoder": "encoders",
    "image": "image generation",
    "video": "video generation",
    "llm": "language models",
    "kernel": "attention and products of other libraries",
}
COVERAGE = 0.8
"""What a band promises."""
REJECTED = 0.05
"""Probability below which the promise counts as broken."""
HEADS = ("rows", "median error %", "bias %", "in band %", "band holds")


def held_back(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that no fit saw: odd ones that nothing makes doubtful and that have a prediction."""
    return frame[(frame.index % 2 == 1) & frame["doubtful"].isna() & frame["predicted_s"].notna()]


def errors(frame: pd.DataFrame) -> pd.Series:
    """Predicted over published, less 1."""
    return frame["predicted_s"] / frame["published_s"] - 1


def covered(frame: pd.DataFrame) -> pd.Series:
    """Whether a row's published seconds lie in its band."""
    return frame["published_s"].between(frame["low_s"], frame["high_s"])


def verdict(inside: int, rows: int) -> str:
    """Whether as few or as many rows in band would be no surprise if 80 % were true: a two-sided exact binomial test at
    5 %. "too narrow" and "too wide" are bands that it rejects."""
    from scipy.stats import binomtest

    if binomtest(inside, rows, COVERAGE).pvalue >= REJECTED:
        return "yes"
    return "too wide" if inside > COVERAGE * rows else "too narrow"


def cells(frame: pd.DataFrame) -> list[str]:
    """Rows, median error, bias, coverage and its verdict."""
    error, within = 100 * errors(frame), covered(frame)
    shown = [f"{error.abs().median():.1f}", f"{error.median():+.1f}", f"{100 * within.mean():.0f}"]
    return [str(len(frame)), *shown, verdict(int(within.sum()), len(frame))]


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """A table whose first ``words`` columns are text, the others numbers."""
    lines = [f"| {' | '.join(heads)} |", f"| {'--- | ' * words}{'---: | ' * (len(heads) - words)}".rstrip()]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def by_kind(frame: pd.DataFrame) -> str:
    """Errors and coverage of odd rows by kind of run."""
    held = held_back(frame)
    parts = [(title, held[held["kind"] == kind]) for kind, title in KINDS.items()]
    rows = [[title, *cells(part)] for title, part in (*parts, ("all", held)) if len(part)]
    return markdown(("kind", *HEADS), rows, 1)


def by_gpu(frame: pd.DataFrame) -> str:
    """Errors and coverage of odd rows by kind of run and GPU."""
    held = held_back(frame)
    rows = [
        [title, str(gpu), *cells(part)]
        for kind, title in KINDS.items()
        for gpu, part in held[held["kind"] == kind].groupby("gpu")
    ]
    return markdown(("kind", "GPU", *HEADS), rows, 2)


def doubtful(frame: pd.DataFrame) -> str:
    """Rows that something makes doubtful, even ones too: no fit saw them."""
    rows = []
    for kind, title in KINDS.items():
        part = frame[(frame["kind"] == kind) & frame["doubtful"].notna() & frame["predicted_s"].notna()]
        rows += [[title, str(why), *cells(some)[:-1]] for why, some in part.groupby("doubtful")]
    return markdown(("kind", "why", *HEADS[:-1]), rows, 2)


def sentence(frame: pd.DataFrame) -> str:
    """The errors in a few words."""
    held = held_back(frame)
    inside = 100 * covered(held).mean()
    error = 100 * errors(held).abs().median()
    return f"{len(held)} published runs that no fit saw: median error {error:.0f} %, {inside:.0f} % in band."
