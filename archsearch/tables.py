"""Reading and writing tables of rows, with errors that name the file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.errors import InvalidInputError
from archsearch.files import read_text, replacing

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a .csv or .parquet table.

    Raises:
        InvalidInputError: no such file, not a table, or no rows.
    """
    import pandas as pd

    file = Path(path)
    if not file.is_file():
        raise InvalidInputError(f"{file}: {'is a directory, not a table' if file.is_dir() else 'no such file'}")
    try:
        if file.suffix == ".parquet":
            frame = pd.read_parquet(file)
        else:
            frame = pd.read_csv(io.StringIO(read_text(file)), skipinitialspace=True)
            frame.columns = frame.columns.str.strip()
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise InvalidInputError(f"{file}: cannot be read as a table: {error}") from None
    if frame.empty:
        raise InvalidInputError(f"{file}: has no rows")
    if not isinstance(frame.index, pd.RangeIndex):
        raise InvalidInputError(f"{file}: rows have more cells than the first line names columns")
    return frame


def numbers_of(frame: pd.DataFrame, name: str, where: str = "") -> pd.Series:
    """A column as numbers, NaN where a cell is empty.

    Raises:
        InvalidInputError: a cell that holds something else, or an infinity; the text names its row and the column.
    """
    import numpy as np
    import pandas as pd

    column = frame[name]
    plain = column if column.dtype.kind in "iuf" else column.astype(str)  # as text: true is no 1, 10^400 no overflow
    values = pd.to_numeric(plain, errors="coerce").mask(column.isna())
    odd = np.flatnonzero((values.isna() & column.notna()) | np.isinf(values.astype(np.float64)))
    if odd.size:
        at = frame.index[odd[0]]
        row = f"row {int(at) + 2}: " if isinstance(at, int | np.integer) else ""
        shown = str(column.iloc[odd[0]])[:40]
        raise InvalidInputError(f"{where}{row}{name} must be a number, not {shown!r}")
    return values


def write_table(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as .parquet, .csv or .json by the path's suffix.

    Raises:
        InvalidInputError: another suffix, or a path that cannot be written.
    """
    target = Path(path)
    if target.suffix not in (".parquet", ".csv", ".json"):
        raise InvalidInputError(f"{target}: write to .parquet, .csv or .json, not {target.suffix or 'no suffix'}")
    with replacing(target) as draft:
        match target.suffix:
            case ".parquet":
                frame.to_parquet(draft, index=False)
            case ".csv":
                _harmless(frame).to_csv(draft, index=False)
            case _:
                frame.to_json(draft, orient="records", indent=1)
    return target


def _harmless(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with ``'`` before each text that a spreadsheet would run as a formula (one that begins with = + - @, a
    tabulator or a carriage return, and is no number)."""
    import pandas as pd

    texts = frame.select_dtypes(exclude=["number", "bool"])
    changed = {
        str(name): column.mask(
            column.astype("string").str.match(r"[=+\-@\t\r]").fillna(False).astype(bool)
            & pd.to_numeric(column, errors="coerce").isna(),
            "'" + column.astype("string"),
        )
        for name, column in texts.items()
    }
    return frame.assign(**changed)
