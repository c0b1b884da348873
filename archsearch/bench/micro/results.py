"""The results file: one tidy row per case, appended as soon as it is measured, so that nothing is lost."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

Row = dict[str, str | int | float | None]
"""A measured case: values by ``COLUMNS``, as far as it has them."""
DIMENSIONS = (
    *("batch", "m", "n", "k", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim", "causal", "rows", "cols"),
    *("in_channels", "out_channels", "frames", "height", "width", "kernel_size"),
    *("hidden_size", "num_attention_heads", "intermediate_size", "seq", "inner"),
)
COLUMNS = (
    *("gpu", "op", "dtype", "kernel", "purpose", "split"),
    *DIMENSIONS,
    *("config", "latency_us", "low_us", "high_us", "warm_us", "repeats", "calls", "buffers", "method"),
    *("sm_clock_mhz", "temperature_c", "throttled", "device", "driver", "torch", "triton", "cuda", "date", "key"),
)


class ResultsFile:
    """A .csv that grows by rows; a .parquet that is written from such a .csv when a run ends.

    Raises:
        ValueError: another suffix, or a file that holds something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.target = Path(path)
        if self.target.suffix not in (".csv", ".parquet"):
            raise ValueError(f"{self.target}: write results to .csv or .parquet")
        self.rows = self.target if self.target.suffix == ".csv" else self.target.with_suffix(".partial.csv")
        if not self.target.parent.is_dir():
            raise ValueError(f"{self.target.parent}: no such folder")
        if self.rows != self.target and self.target.exists() and not self.rows.exists():
            self._unpack()
        try:
            self.done = self._read()
        except UnicodeDecodeError:
            raise ValueError(f"{self.rows}: is no results file; name another --output") from None

    def _read(self) -> dict[tuple[str, str], dict[str, str]]:
        """Finished rows by (device, key); a last line that was cut off is dropped."""
        if not self.rows.exists() or self.rows.stat().st_size == 0:
            return {}
        with self.rows.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError(f"{self.rows}: is no results file of this version; name another --output")
            whole = [row for row in reader if row["key"]]
        text = self.rows.read_bytes()
        if not text.endswith(b"\n"):  # cut off in the middle of a row
            self.rows.write_bytes(text[: text.rfind(b"\n") + 1])
        return {(row["device"], row["key"]): row for row in whole}

    def add(self, row: Mapping[str, object]) -> None:
        """Append one row and flush it to disk."""
        fresh = not self.rows.exists() or self.rows.stat().st_size == 0
        with self.rows.open("a", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow({name: row.get(name, "") for name in COLUMNS})
        text = {name: str(row.get(name, "")) for name in COLUMNS}
        self.done[text["device"], text["key"]] = text

    def close(self) -> Path:
        """Write the .parquet if one was asked for; where pyarrow is missing a .csv stays. Returns the file's path."""
        if self.rows == self.target or not self.rows.exists():
            return self.rows
        try:
            from pyarrow import csv as arrow_csv
            from pyarrow import parquet
        except ImportError:
            plain = self.target.with_suffix(".csv")
            self.rows.replace(plain)
            return plain
        parquet.write_table(arrow_csv.read_csv(self.rows), self.target)
        self.rows.unlink()
        return self.target

    def _unpack(self) -> None:
        from pyarrow import csv as arrow_csv
        from pyarrow import parquet

        arrow_csv.write_csv(parquet.read_table(self.target), self.rows)
