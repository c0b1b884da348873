"""Tables of docs/quality.md: order within equal size and regret, per table, per law against counts.

python benchmarks/quality.py --only order|regret|terms --evidence ../shared/quality_tables
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import quality_refit
from quality_tables import Table, load_tables

from archsearch.quality.rank_agreement import SMALLEST_GROUP

LEAST_PAIRS = 10
"""Tables with fewer pairs of equal size say nothing."""
WEIGHTS = "layer weights"
LEFT_OUT = "depth-aware, table left out"
NAMES = ("total parameters", WEIGHTS, "shape-aware", LEFT_OUT)


def predictors(table: Table) -> dict[str, np.ndarray]:
    """Columns [N] by name, larger is worse: counts first."""
    from archsearch.quality import get_proxy

    ending = "-encoder" if table.kind != "decoder" else ""
    return {
        "total parameters": -table.total,
        WEIGHTS: -table.features["non_embedding_parameters"],
        "shape-aware": np.asarray(get_proxy(f"shape-aware{ending}").predict(table.features).value),
        LEFT_OUT: quality_refit.law_values(left_out_constants(table.name), table),
    }


def left_out_constants(name: str) -> dict[str, float]:
    """The constants of the fit that did not see a table; of tables that no fit sees the shipped ones."""
    rows = pd.read_csv(quality_refit.RESULTS, keep_default_na=False).query("form == 'kept'").set_index("left_out")
    together = {member: out for out, members in quality_refit.TOGETHER.items() for member in members}
    key = together.get(name, name)
    row = rows.loc[key if key in rows.index else ""]
    return quality_refit.constants({term: float(row[term]) for term in quality_refit.TERMS})


def spoken_for(folder: Path | None) -> list[Table]:
    """Tables with enough pairs of equal size."""
    return [table for table in load_tables(folder) if table.equal.pairs >= LEAST_PAIRS]


def order(folder: Path | None) -> str:
    """Spearman within equal size, and how far the law is above the count of layer weights."""
    lines = [f"| table: models, pairs | {' | '.join(NAMES)} | difference from {WEIGHTS} |"]
    lines.append(f"| --- |{' ---: |' * (len(NAMES) + 1)}")
    for table in spoken_for(folder):
        columns, equal = predictors(table), table.equal
        if max(map(len, equal.groups)) < SMALLEST_GROUP:
            continue
        found = {name: equal.agreement(values) for name, values in columns.items()}
        gain, (low, high) = equal.spearman_gain(columns[LEFT_OUT], columns[WEIGHTS])
        size = f"{found[WEIGHTS].models}, {found[WEIGHTS].pairs}"
        cells = [_number(found[name].spearman) for name in NAMES]
        lines.append(f"| {table.name}: {size} | {' | '.join(cells)} | {_number(gain)} ({low:.2f} to {high:.2f}) |")
    return "\n".join(lines)


def regret(folder: Path | None) -> str:
    """What is lost by taking each predictor's best among equals, in the table's metric, with 80 % intervals."""
    lines = [f"| table (metric) | {' | '.join(NAMES)} |", f"| --- |{' ---: |' * len(NAMES)}"]
    for table in spoken_for(folder):
        cells = []
        columns = predictors(table)
        for name in NAMES:
            found = table.equal.agreement(columns[name])
            low, high = found.regret_interval
            cells.append(f"{found.regret:.3g} ({low:.2g} to {high:.2g})")
        lines.append(f"| {table.name} ({table.metric}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def terms(folder: Path | None) -> str:
    """Which terms help on tables that were left out: misfit there, and Spearman within equal size."""
    del folder
    rows: Any = pd.read_csv(quality_refit.RESULTS, keep_default_na=False)
    outs = list(quality_refit.NOISE)
    lines = [f"| law | {' | '.join(outs)} |", f"| --- |{' ---: |' * len(outs)}"]
    for form in quality_refit.FORMS_TRIED:
        part = rows[rows["form"] == form].set_index("left_out")
        cells = [f"{float(part['misfit'][out]):.3g}, {float(part['spearman'][out]):.2f}" for out in outs]
        lines.append(f"| {form} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"


TABLES: dict[str, Callable[[Path | None], str]] = {"order": order, "regret": regret, "terms": terms}
