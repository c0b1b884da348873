"""Reading and writing tables of rows, with errors that name the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.errors import InvalidInputError

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
        frame = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise InvalidInputError(f"{file}: cannot be read as a table: {error}") from None
    if frame.empty:
        raise InvalidInputError(f"{file}: has no rows")
    return frame


def write_table(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as .parquet, .csv or .json by the path's suffix.

    Raises:
        InvalidInputError: another suffix, or a path that cannot be written.
    """
    target = Path(path)
    try:
        match target.suffix:
            case ".parquet":
                frame.to_parquet(target, index=False)
            case ".csv":
                frame.to_csv(target, index=False)
            case ".json":
                frame.to_json(target, orient="records", indent=1)
            case _:
                suffix = target.suffix or "no suffix"
                raise InvalidInputError(f"{target}: write to .parquet, .csv or .json, not {suffix}")
    except OSError as error:
        raise InvalidInputError(f"{target}: cannot be written: {error.strerror or error}") from None
    return target
