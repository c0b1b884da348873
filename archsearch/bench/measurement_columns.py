"""Reading the sizes of measured shapes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archsearch.arrays import Floats, Ints, as_float
from archsearch.errors import InvalidInputError
from archsearch.workload import MAX_DIMENSION

if TYPE_CHECKING:
    import pandas as pd

FLAGS = ("causal", "gated")
TRUTH = {"true": 1.0, "1": 1.0, "1.0": 1.0, "false": 0.0, "0": 0.0, "0.0": 0.0}


def whole_numbers(column: pd.Series, name: str, op: str, positions: Ints) -> Floats:
    """A column of sizes as float64 (``FLAGS``: as 0 and 1); ``positions`` are its rows in the file, from 0.

    Raises:
        InvalidInputError: a value that is no whole number from 1 to ``MAX_DIMENSION``; the text names row and column.
    """
    import pandas as pd

    if name in FLAGS:
        flags = as_float(column.astype(str).str.lower().map(TRUTH).to_numpy())
        if np.isnan(flags).any():
            row = int(np.flatnonzero(np.isnan(flags))[0])
            raise InvalidInputError(
                f"row {int(positions[row]) + 2} (op {op!r}): {name} must be true or false, not {column.iloc[row]!r}"
            )
        return flags
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~((values >= 1) & (values <= MAX_DIMENSION) & (values == np.floor(values))))
    if bad.size:
        row, value = int(positions[bad[0]]), column.iloc[bad[0]]
        value = value.item() if isinstance(value, np.generic) else value
        raise InvalidInputError(
            f"row {row + 2} (op {op!r}): {name} must be a whole number from 1 to {MAX_DIMENSION}, not {value!r}"
        )
    return values


def positive_numbers(frame: pd.DataFrame, name: str, path: str | Path) -> Floats:
    """A column of times or counts as float64.

    Raises:
        InvalidInputError: one that is missing or not a positive number; the text names its row.
    """
    import pandas as pd

    values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~((values > 0) & np.isfinite(values)))
    if bad.size:
        where = int(frame.index[bad[0]]) + 2
        raise InvalidInputError(
            f"{path}: row {where}: {name} must be a positive number, not {frame[name].iloc[bad[0]]!r}"
        )
    return values
