"""Measured rows that no machine can have run, found before they get a prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from archsearch.arrays import Floats, Ints, Mask
from archsearch.bench.delta_rows import KERNELS, OP
from archsearch.bench.layer_rows import is_layer_row
from archsearch.cost.collectives import CUSTOM
from archsearch.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

ATTENTION_OPS = ("attention", "decode_attention")
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")


@dataclass(frozen=True, slots=True)
class Fault:
    """Rows that are none: where they are, the column to look at, and the reason (``{other}``: values of the row)."""

    rows: Mask
    column: str
    reason: str


def check_rows(op: str, part: pd.DataFrame, dims: Mapping[str, Floats], positions: Ints) -> None:
    """Refuse rows whose sizes contradict each other or their kernel.

    Args:
        part: rows of one op; ``positions`` are their places in the file, from 0.
        dims: their sizes, arrays [S].

    Raises:
        InvalidInputError: the first such row, with its column and the reason.
    """
    for fault in _faults(op, part, dims):
        bad = np.flatnonzero(fault.rows)
        if bad.size:
            row = int(bad[0])
            values = {name: f"{values[row]:g}" for name, values in dims.items()}
            where = f"row {int(positions[row]) + 2} (op {op!r}): {fault.column}"
            raise InvalidInputError(f"{where} {fault.reason.format(**values)}")


def _faults(op: str, part: pd.DataFrame, d: Mapping[str, Floats]) -> Iterator[Fault]:
    if op in ATTENTION_OPS:
        yield from _heads("heads_q", "heads_kv", d)
        if "window" in d:
            yield Fault(d["window"] < 0, "window", "is {window}: it counts keys; leave it empty for none")
    elif op in COLLECTIVES:
        yield Fault(d["gpus"] < 2, "gpus", "is {gpus}: a collective joins 2 GPUs or more")
        if op != "all_reduce":
            reason = f"is {CUSTOM!r}, and vLLM's own kernel is an all_reduce alone: name nccl, or leave it empty"
            yield Fault(_named(part, CUSTOM), "kernel", reason)
    elif op == OP:
        for name in (name for name, (_, generates) in KERNELS.items() if generates):
            reason = f"is {{seq}}, and {name} generates one token a sequence: seq is 1 there"
            yield Fault(_named(part, name) & (d["seq"] != 1), "seq", reason)
        yield from _heads("num_v_heads", "num_k_heads", d)
    elif is_layer_row(op, part.columns):
        reason = "is {num_heads}, which does not divide hidden_size {hidden_size}: heads have no whole width"
        yield Fault(d["hidden_size"] % d["num_heads"] != 0, "num_heads", reason)
        yield from _heads("num_heads", "num_kv_heads", d)


def _heads(many: str, few: str, d: Mapping[str, Floats]) -> Iterator[Fault]:
    """Heads of which several share one of another kind."""
    reason = f"is {{{few}}}, which does not divide {many} {{{many}}}: every {few} serves as many of them"
    yield Fault(d[many] % d[few] != 0, few, reason)


def _named(part: pd.DataFrame, kernel: str) -> Mask:
    if "kernel" not in part:
        return np.zeros(len(part), dtype=bool)
    return np.asarray(part["kernel"].fillna("").astype(str) == kernel)
