"""The results file: one tidy row per case, appended as soon as it is measured, so that nothing is lost."""

from __future__ import annotations

import csv
import io
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
        text = self.rows.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        reader = csv.DictReader(io.StringIO((whole or text).decode("utf-8"), newline=""))
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{self.rows}: is no results file of this version; name another --output")
        rows = [row for row in reader if row["key"]]
        if whole != text:  # cut off in the middle of a row
            with self.rows.open("r+b") as file:
                file.truncate(len(whole))
        return {(row["device"], row["key"]): row for row in rows}

    def add(self, row: Mapping[str, object]) -> None:
        """Append one row and have it on the disk; where that fails, the file ends as it did."""
        lines = io.StringIO(newline="")
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        with self.rows.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end == 0:
                writer.writeheader()
            writer.writerow({name: row.get(name, "") for name in COLUMNS})
            rest = memoryview(lines.getvalue().encode("utf-8"))
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(end)
                raise
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
        draft = self.target.with_suffix(".draft.parquet")
        try:
            parquet.write_table(arrow_csv.read_csv(self.rows), draft)
            with draft.open("r+b") as file:
                os.fsync(file.fileno())
            os.replace(draft, self.target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        self.rows.unlink()
        return self.target

    def _unpack(self) -> None:
        from pyarrow import csv as arrow_csv
        from pyarrow import parquet

        arrow_csv.write_csv(parquet.read_table(self.target), self.rows)
