"""Fit the band of differences (archsearch/quality/advantages.yaml), and how often it holds on tables left out.

    python benchmarks/quality_bands.py ../shared/quality_tables

Pairs are rows of one recipe whose sizes differ by at most ``WITHIN``. A table's differences are predicted by the law's
fit to the other tables (benchmarks/results/quality_refits.csv), and its band by the coefficients of the other tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import quality_refit
from quality_equal_size import left_out_constants
from quality_tables import Table, load_tables
from scipy.optimize import minimize

from archsearch.quality.advantage import EIGHTY, AdvantageRecord

WITHIN = 4.0
NOISE = {"openlm_grid": 0.02, "gemstones": 0.01, "our decoders": 0.031, "transformer variations": 0.01}
"""Standard deviation of one row's loss, nats, as in benchmarks/quality_refit.py."""
FITTED = tuple(NOISE)
CHECKED = (*FITTED, "misfitting", "openlm_overtrain")
OTHERS_NOISE = 0.02


@dataclass(frozen=True)
class Pairs:
    """Relative differences [P], predicted and measured; ratios of layers and size; the noise of one row, relative."""

    predicted: np.ndarray
    measured: np.ndarray
    depth: np.ndarray
    size: np.ndarray
    noise: float


def pairs(table: Table) -> Pairs:
    c = left_out_constants(table.name)
    law, size = np.log(quality_refit.law_values(c, table)), quality_refit.parts(c, table)[0]
    i, j = np.triu_indices(len(table), 1)
    near = np.abs(np.log(table.total[i] / table.total[j])) <= np.log(WITHIN)
    i, j = (index[near & (table.recipe[i] == table.recipe[j])] for index in (i, j))
    loss, layers = np.log(table.measured), table.features["num_layers"]
    noise = NOISE.get(table.name, OTHERS_NOISE) / float(np.median(table.measured))
    return Pairs(law[i] - law[j], loss[i] - loss[j], layers[i] / layers[j], size[i] / size[j], noise)


def spread(coefficients: Sequence[float], p: Pairs) -> np.ndarray:
    """Standard deviation of relative differences [P]: the function that ships."""
    depth, size = np.abs(coefficients)
    record = AdvantageRecord(laws=(), depth=float(depth), size=float(size), noise=0.0, source="a fit")
    return record.spread(p.depth, p.size, p.noise)


def fit(tables: Sequence[Table]) -> tuple[float, float]:
    """Coefficients of depth and size of the greatest likelihood, every table counting the same."""
    found = [pairs(table) for table in tables]

    def cost(v: np.ndarray) -> float:
        total = 0.0
        for p in found:
            s = spread(v, p)
            total += float(np.mean(np.log(s) + 0.5 * ((p.measured - p.predicted) / s) ** 2))
        return total

    options = {"maxiter": 2000, "xatol": 1e-6, "fatol": 1e-8}
    depth, size = np.abs(minimize(cost, np.array([0.015, 0.02]), method="Nelder-Mead", options=options).x)
    return float(depth), float(size)


def coverage_left_out(tables: dict[str, Table], name: str) -> float:
    """Share of a table's differences inside the 80 % band that the other tables give."""
    coefficients = fit([tables[other] for other in FITTED if other != name])
    p = pairs(tables[name])
    return float(np.mean(np.abs(p.measured - p.predicted) <= EIGHTY * spread(coefficients, p)))


def coverages(folder: Path | None) -> str:
    """A Markdown table."""
    tables = {table.name: table for table in load_tables(folder)}
    lines = ["| table | pairs | inside the 80 % band | half-width, median |", "| --- | ---: | ---: | ---: |"]
    for name in CHECKED:
        p = pairs(tables[name])
        half = EIGHTY * spread(fit([tables[other] for other in FITTED if other != name]), p)
        inside = coverage_left_out(tables, name)
        lines.append(f"| {name} | {len(p.measured)} | {inside:.0%} | {np.median(half):.1%} of the loss |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    tables = {table.name: table for table in load_tables(args.folder)}
    depth, size = fit([tables[name] for name in FITTED])
    print(f"depth: {depth:.4f}, size: {size:.4f}\n\n{coverages(args.folder)}")


if __name__ == "__main__":
    main()
