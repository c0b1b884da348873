"""Errors and coverage on published runs of whole models, kind by kind and GPU by GPU: what docs/accuracy.md leads with.

python benchmarks/whole_runs.py --table NAME [RUNS.csv]     # ../shared/published_runs/runs.csv unless said

Every row of the file is asked by its own ``command``, in this process. Constants that only whole runs show (training's
two, the host's launches of compiled models, the bands' widths) are fitted on even rows (row 0 first below the header),
so that all tables but ``doubtful`` are of the odd rows that nothing makes doubtful. Notes of a command:

* ``(optimizer / N)``: N micro-batches times GPUs share one update of the weights;
* ``; + N x --phase decode -s K``: N further runs with these options changed;
* ``(denoise ... per call)``: one call of the denoiser, of a whole pipeline;
* ``(attention.core.backward)``: the backward pass of the attention of a training step;
* ``(this row)``: a row of ``kernels.csv`` beside the file.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import whole_run_fits as fits
from answers import Answer, asked
from whole_run_tables import by_gpu, by_kind, doubtful, sentence

RUNS = Path("../shared/published_runs/runs.csv")
PREDICTED = ["predicted_s", "low_s", "high_s"]
DENOISERS = ("denoise", "transformer", "denoising")
Band = tuple[float, float, float]
"""Seconds, and the low and high end of the band."""


def predicted(command: str) -> Band:
    """Seconds and band of a row's command (see the module's text).

    Raises:
        RuntimeError: a command that fails.
    """
    noted = re.fullmatch(r"(.*?)\s*\((.*)\)", command)
    base, note = (noted[1], noted[2]) if noted else (command, "")
    if ";" in base:
        return generated(base)
    answer = asked(base)
    whole = band_of(answer)
    share = part_of(answer, note) / whole[0] if note else 1.0
    return whole[0] * share, whole[1] * share, whole[2] * share


def band_of(answer: Answer) -> Band:
    return answer["latency_s"], answer["latency_low_s"], answer["latency_high_s"]


def generated(command: str) -> Band:
    """A prefill and N decoding steps: all options of the first but those that the second part changes."""
    first, rest = command.split(" ; + ")
    times, options = rest.split(" x ", 1)
    plain = re.sub(r"(--phase|-s|--seq-len) \S+", "", first)
    prefill, step = band_of(asked(first)), band_of(asked(f"{plain} {options}"))
    low, middle, high = (prefill[i] + int(times) * step[i] for i in (1, 0, 2))
    return middle, low, high


def part_of(answer: Answer, note: str) -> float:
    """Seconds of the part of an answer that a note names."""
    seconds: float = answer["latency_s"]
    if note.startswith("optimizer"):
        update = seconds_of(answer, lambda name: "optimizer" in name)
        return seconds - update * (1 - 1 / int(note.split("/")[1]))
    if "denoise" in note:
        stages = answer["stages"]
        named = [s for s in stages if s["name"] in DENOISERS] or [max(stages, key=lambda s: s["latency_s"])]
        return float(named[0]["latency_s"]) / int(named[0]["calls"])
    if "backward" in note:
        return seconds_of(answer, lambda name: re.fullmatch(r"attention\.\w+\.backward", name) is not None)
    raise ValueError(f"{note!r} is none of the notes of a command")


def seconds_of(answer: Answer, holds: Callable[[str], bool]) -> float:
    """Seconds of the rows of a breakdown whose names hold; of attention by its fused op alone."""
    rows = [r for r in answer["breakdown"] if holds(r["name"])]
    fused = [r for r in rows if r["op"] == "attention"]
    return float(sum(r["latency_s"] for r in fused or rows))


def kernels(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """``kernels.csv`` beside the runs, predicted back to back, for the rows that stand for it: told apart by GPU,
    source and published time, which no two of them share.

    Raises:
        ValueError: the file has other rows than these.
    """
    from archsearch.bench.measurements import read_measurements
    from archsearch.bench.validate import predict_frame

    found = predict_frame(read_measurements(path.with_name("kernels.csv")))
    found = found.assign(published_s=found["latency_us"] / 1e6).sort_values(["gpu", "grp", "published_s"])
    order = rows.sort_values(["gpu", "group", "published_s"])
    if len(found) != len(order) or not np.allclose(found["published_s"], order["published_s"], rtol=1e-3):
        raise ValueError("kernels.csv has other rows than the runs say")
    seconds = found[["predicted_us", "low_us", "high_us"]] / 1e6
    return seconds.set_axis(PREDICTED, axis=1).set_axis(order.index, axis=0)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """A working directory: commands name models beside the file."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@cache
def runs(path: Path) -> pd.DataFrame:
    """Every row of the file with ``predicted_s, low_s, high_s``; index as in the file. NaN where a row cannot run."""
    frame = pd.read_csv(path)
    rows = frame["command"].str.contains("(this row)", regex=False)
    with inside(path.parent):
        found = {i: predicted(c) for i, c in frame.loc[~rows, "command"].items()}
    whole = pd.DataFrame.from_dict(found, orient="index", columns=PREDICTED)
    return frame.join(pd.concat([whole, kernels(path, frame[rows])]))


TABLES: dict[str, Callable[[pd.DataFrame], str]] = {
    "sentence": sentence,
    "kinds": by_kind,
    "gpus": by_gpu,
    "doubtful": doubtful,
    "spreads": fits.spreads,
}
REFITS: dict[str, Callable[[pd.DataFrame], str]] = {"training": fits.training}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=Path, default=RUNS)
    parser.add_argument("--table", choices=(*TABLES, *REFITS), required=True)
    options = parser.parse_args(arguments)
    path = options.runs.resolve()
    if options.table in TABLES:
        print(TABLES[options.table](runs(path)))
    else:
        with inside(path.parent):
            print(REFITS[options.table](pd.read_csv(path)))


if __name__ == "__main__":
    main()
