"""Measured rows of one layer of a language model: the kernel that each of its operations is.

Such a table (Vidur's profiling, https://github.com/microsoft/vidur, data/profiling/compute) has ``tokens`` and the
layer's dimensions in place of a kernel's: hidden_size h, intermediate_size f, num_heads, num_kv_heads and ``gated``.

    linear_qkv   tokens by h to (num_heads + 2 num_kv_heads) head_dim       linear_out   h to h
    linear_up    h to f, to 2 f where gated                                 linear_down  f to h
    activation   swiglu over [tokens, f] where gated, else gelu             add, rmsnorm, embedding over [tokens, h]
    rope         over [tokens, (num_heads + num_kv_heads) head_dim]

Its times are whole microseconds off a profiler, those of short kernels mostly launch, and its kernels are vLLM's of
2023: nothing is fitted on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from archsearch.arrays import Floats, Ints
from archsearch.cost.kernels.bandwidth import default_tensors
from archsearch.cost.routes import Route, gemm_route, memory_route
from archsearch.dtypes import DType
from archsearch.hardware.spec import GpuSpec

DIMENSIONS = ("tokens", "hidden_size", "intermediate_size", "num_heads", "num_kv_heads", "gated")
LINEAR_OPS = ("linear_qkv", "linear_out", "linear_up", "linear_down")
MEMORY_OPS = ("activation", "add", "rmsnorm", "embedding", "rope")
KINDS = {True: "swiglu", False: "gelu"}
"""The kernel of an activation, by whether it is gated."""


def is_layer_row(op: str, columns: Iterable[str]) -> bool:
    """Whether rows of an op say a layer's dimensions and not a kernel's (``add`` is one of either)."""
    names = set(columns)
    return op in (*LINEAR_OPS, *MEMORY_OPS) and {"tokens", "hidden_size"} <= names and "rows" not in names


def layer_routes(gpu: GpuSpec, dtype: DType, op: str, d: Mapping[str, Floats]) -> list[tuple[Ints, Route]]:
    """Rows of one operation by the kernel that serves them: (row indices, route) pairs; ``d`` has ``DIMENSIONS``.

    Raises:
        UnsupportedError: the GPU cannot run it in this format.
    """
    everywhere = np.arange(d["tokens"].size)
    if op in LINEAR_OPS:
        return [(everywhere, gemm_route(gpu, dtype, _product(op, d), weights=True))]
    heads = d["num_heads"] + (d["num_kv_heads"] if op == "rope" else 0.0)
    wide = d["intermediate_size"] if op == "activation" else heads * _head_dim(d)
    if op != "activation":
        return [(everywhere, _queued(gpu, dtype, op, d["tokens"], wide))]
    parts = [(np.flatnonzero((d["gated"] > 0) == gated), kind) for gated, kind in KINDS.items()]
    return [(i, _queued(gpu, dtype, kind, d["tokens"][i], wide[i])) for i, kind in parts if i.size]


def _product(op: str, d: Mapping[str, Floats]) -> dict[str, Floats]:
    hidden, middle = d["hidden_size"], d["intermediate_size"]
    n = {
        "linear_qkv": (d["num_heads"] + 2.0 * d["num_kv_heads"]) * _head_dim(d),
        "linear_up": middle * (1.0 + d["gated"]),
    }.get(op, hidden)
    return {"m": d["tokens"], "n": n, "k": middle if op == "linear_down" else hidden}


def _head_dim(d: Mapping[str, Floats]) -> Floats:
    size: Floats = np.floor(d["hidden_size"] / d["num_heads"])
    return size


def _queued(gpu: GpuSpec, dtype: DType, kind: str, rows: Floats, cols: Floats) -> Route:
    """A bandwidth-bound kernel that queues behind others."""
    reads, writes = (np.asarray(tensors) for tensors in default_tensors(kind))
    return memory_route(gpu, dtype, kind, {"rows": rows, "cols": cols, "reads": reads, "writes": writes})
