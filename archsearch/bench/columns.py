"""Reading the sizes of measured shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

MAX_DIMENSION = 1 << 31


def whole_numbers(column: pd.Series, name: str, op: str, positions: Any) -> Any:
    """A column of sizes as float64 (``causal``: as 0 and 1); ``positions`` are its rows in the file, from 0.

    Raises:
        InvalidInputError: a value that is no whole number from 1 to ``MAX_DIMENSION``; the text names row and column.
    """
    import pandas as pd

    if name == "causal":
        return column.astype(str).str.lower().isin(("true", "1", "1.0")).to_numpy(dtype=np.float64)
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~((values >= 1) & (values <= MAX_DIMENSION) & (values == np.floor(values))))
    if bad.size:
        row, found = int(positions[bad[0]]), column.iloc[bad[0]]
        found = found.item() if isinstance(found, np.generic) else found
        raise InvalidInputError(
            f"row {row + 2} (op {op!r}): {name} must be a whole number from 1 to {MAX_DIMENSION}, not {found!r}"
        )
    return values
