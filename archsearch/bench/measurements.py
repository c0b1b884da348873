"""Tidy tables of measured latencies: reading, checking, and turning rows into kernel routes.

Columns: ``gpu, op, dtype, latency_us`` and the dimensions of the op:

* ``linear``: m, n, k as in C[m, n] = A[m, k] · B[k, n] (batch 1), in any format, weight-only ones too; optional
  kernel: the library (see ``libraries``).
* ``bmm``: batch, m, n, k as in the NeuSight dataset: torch.bmm of [batch, m, n] and [batch, n, k], so **n is the
  summed dimension**. A column ``inner`` (``n`` or ``k``) overrides which one is summed, row by row.
* ``attention``: batch, heads_q, heads_kv, seq_q, seq_kv, head_dim, causal; optional window and kernel.
* ``decode_attention``: the same of one query a sequence over a cache; optional ``kv_dtype`` of the cache.
* ``experts`` (routed experts of a mixture): tokens, hidden_size, moe_intermediate_size, num_experts_per_tok,
  num_experts, expert_parallel, distribution (see ``expert_tables``).
* ``all_reduce``, ``all_gather``, ``reduce_scatter``, ``all_to_all`` of one node: gpus, message_bytes (the whole buffer
  of one rank, as nccl-tests count it); optional kernel: ``custom`` is vLLM's all_reduce, any other the library's.
* bandwidth-bound ops (add, addu, mul, gelu, softmax, layernorm ...): rows, cols; the suffix u marks a scalar operand.
* ``scaled_mm`` (fp8 operands that come quantized): m, n, k. ``convolution`` (channels last, padded to keep its size):
  batch, in_channels, out_channels, height, width, kernel_size, and frames of a three-dimensional one.
* ``gated_delta_net``: batch, seq, conv_kernel, num_k_heads, head_k_dim, num_v_heads, head_v_dim, and the kernel's name,
  which tells the convolution from the rule and a prompt from a generation.
* one layer of a language model (``linear_qkv``, ``activation`` ...): tokens and its dimensions (see ``layer_rows``).

In tables of ``bench run``, ``buffers`` tells how many sets of tensors took turns (see ``own_tables``).

``latency_us`` may be absent where only predictions are wanted; ``split`` (fit/test) says what may be fitted on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archsearch.arrays import Floats, Ints
from archsearch.bench import delta_rows, layer_rows
from archsearch.bench.expert_tables import EXPERTS, as_measured
from archsearch.bench.fit import Group
from archsearch.bench.measurement_columns import positive_numbers, whole_numbers
from archsearch.bench.own_tables import is_results, reuse
from archsearch.bench.routed import Routed
from archsearch.bench.row_checks import ATTENTION_OPS, COLLECTIVES, check_rows
from archsearch.bench.whole_models import is_whole_model_table, tidy
from archsearch.cost.collectives import collective_routes
from archsearch.cost.routes import (
    Route,
    attention_routes,
    convolution_route,
    experts_route,
    gemm_route,
    memory_route,
    scaled_route,
)
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError
from archsearch.hardware.database import load_gpu
from archsearch.hardware.formats import format_on
from archsearch.hardware.spec import GpuSpec
from archsearch.ops import Convolution
from archsearch.tables import numbers_of, read_table

if TYPE_CHECKING:
    import pandas as pd

GEMM_OPS = ("linear", "bmm")
COLLECTIVE_DIMENSIONS = ("gpus", "message_bytes")
DIMENSIONS = {
    "linear": ("m", "n", "k"),
    "bmm": ("batch", "m", "n", "k"),
    "scaled_mm": ("m", "n", "k"),
    "attention": ("batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim", "causal"),
    "decode_attention": ("batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim", "causal"),
    "experts": EXPERTS,
    "convolution": ("batch", "in_channels", "out_channels", "height", "width", "kernel_size"),
    delta_rows.OP: delta_rows.DIMENSIONS,
    **dict.fromkeys(COLLECTIVES, COLLECTIVE_DIMENSIONS),
}
MEMORY_DIMENSIONS = ("rows", "cols")
NUMBERS = ("window", "frames", "buffers", "warm_us", "latency_us", "in_channels", "out_channels")
"""Columns that are numbers wherever they stand; ``_dimensions`` checks those that a row's op needs."""


def read_measurements(path: str | Path) -> pd.DataFrame:
    """Read a CSV or Parquet table.

    Raises:
        InvalidInputError: no such file, no rows, or columns that every table needs are missing.
    """
    frame = read_table(path)
    if is_whole_model_table(frame):
        frame = tidy(frame)
    missing = [c for c in ("gpu", "op", "dtype") if c not in frame]
    if missing:
        raise InvalidInputError(f"{path}: lacks the column {', '.join(missing)}; it has: {', '.join(frame.columns)}")
    frame = frame.assign(**{n: numbers_of(frame, n, f"{path}: ") for n in NUMBERS if n in frame})
    for name in ("gpu", "op", "dtype"):
        empty = np.flatnonzero(frame[name].isna())
        if empty.size:
            raise InvalidInputError(f"{path}: row {int(empty[0]) + 2}: {name} is empty")
    return frame


def read_timed(path: str | Path) -> pd.DataFrame:
    """Read a table whose rows may be fitted on: times are positive numbers, ``split`` says fit or test.

    Raises:
        InvalidInputError: see ``read_measurements``; or a time or split that is none.
    """
    frame = read_measurements(path)
    if "latency_us" not in frame:
        raise InvalidInputError(f"{path}: lacks the column latency_us to fit to")
    names = ("latency_us", "warm_us", "buffers") if is_results(frame) else ("latency_us",)
    frame = frame.assign(**{name: positive_numbers(frame, name, path) for name in names})
    if "split" in frame:
        odd = np.flatnonzero(~frame["split"].isin(("fit", "test")))
        if odd.size:
            value = frame["split"].iloc[odd[0]]
            raise InvalidInputError(f"{path}: row {int(odd[0]) + 2}: split must be fit or test, not {value!r}")
    return frame


def route_rows(frame: pd.DataFrame) -> Iterator[Routed]:
    """Split a table by (gpu, op, dtype) and by the kernel that serves each row.

    Raises:
        InvalidInputError: missing dimensions, values that are not positive whole numbers, or rows that nothing can
            have run (``check_rows``).
        UnknownNameError: unknown GPU or dtype.
        UnsupportedError: an op that this GPU cannot run in this format.
    """
    for (gpu_name, op, dtype_text), part in frame.groupby(["gpu", "op", "dtype"], sort=False):
        gpu = load_gpu(str(gpu_name))
        dtype = format_on(str(dtype_text), [gpu])
        positions = frame.index.get_indexer(part.index)
        labels = part.index.to_numpy(dtype=np.int64) if part.index.inferred_type == "integer" else positions
        dims = _dimensions(part, str(op), labels)
        check_rows(str(op), part, dims, labels)
        if "kv_dtype" in part and op in ATTENTION_OPS:
            dims["kv_share"] = _cache_share(part, dtype)
        if "buffers" in part and op != "convolution":
            dims |= reuse(str(op), dtype, dims, part["buffers"].to_numpy(dtype=np.float64))
        if layer_rows.is_layer_row(str(op), part.columns):
            routes = layer_rows.layer_routes(gpu, dtype, str(op), dims)
        elif op in GEMM_OPS:
            routes = [(np.arange(len(part)), gemm_route(gpu, dtype, dims, weights=op == "linear"))]
        elif op == "scaled_mm":
            routes = [(np.arange(len(part)), scaled_route(gpu, dims))]
        elif op == "convolution":
            routes = _convolution_routes(gpu, dtype, part, dims)
        elif op == "experts":
            routes = [(np.arange(len(part)), experts_route(gpu, dtype, as_measured(gpu.id, part, dims)))]
        elif op == delta_rows.OP:
            routes = delta_rows.delta_routes(gpu, dtype, part, dims)
        elif op in ATTENTION_OPS:
            routes = attention_routes(gpu, dtype, dims, _kernel_names(part))
        elif op in COLLECTIVES:
            routes = collective_routes(gpu, dtype, str(op), dims["message_bytes"], dims["gpus"], _kernel_names(part))
        else:
            routes = [(np.arange(len(part)), memory_route(gpu, dtype, str(op), dims))]
        for index, route in routes:
            yield Routed(positions[index], str(op), route)


def _kernel_names(part: pd.DataFrame) -> NDArray[np.object_] | None:
    """The column ``kernel`` as strings, "" where it says nothing."""
    return part["kernel"].fillna("").astype(str).to_numpy() if "kernel" in part else None


def _convolution_routes(
    gpu: GpuSpec, dtype: DType, part: pd.DataFrame, dims: Mapping[str, Floats]
) -> list[tuple[Ints, Route]]:
    """Convolutions by their number of axes and by whether windows overlap: (row indices, route) pairs."""
    frames = part["frames"].to_numpy(dtype=np.float64) if "frames" in part else np.full(len(part), np.nan)
    routes = []
    for video, alone in product((False, True), (False, True)):
        index = np.flatnonzero((~np.isnan(frames) == video) & ((dims["kernel_size"] == 1) == alone))
        if not index.size:
            continue
        d = {name: value[index].astype(np.int64) for name, value in dims.items()}
        size = (d["height"], d["width"])
        op = Convolution(
            name="row",
            batch=d["batch"],
            in_channels=d["in_channels"],
            out_channels=d["out_channels"],
            kernel_size=(d["kernel_size"],) * (3 if video else 2),
            out_size=(frames[index].astype(np.int64), *size) if video else size,
            dtype=dtype,
            bias=False,
            channels_last=True,
        )
        routes.append((index, convolution_route(gpu, op)[0]))
    return routes


def group_of(routed: Routed, frame: pd.DataFrame) -> Group:
    """The measured group of routed rows."""
    latency = frame["latency_us"].to_numpy(dtype=np.float64)[routed.index] * 1e-6
    route = routed.route
    return Group(route.gpu, route.dtype, route.dims, latency, bursts=is_results(frame) and route.gpu.vendor != "cpu")


def _cache_share(part: pd.DataFrame, dtype: DType) -> Floats:
    """Bytes of a cached element against one of the queries'."""
    formats = part["kv_dtype"].fillna(dtype.value).astype(str)
    sizes = {text: DType.parse(text).itemsize for text in formats.unique()}
    return formats.map(sizes).to_numpy(dtype=np.float64) / dtype.itemsize


def _dimensions(part: pd.DataFrame, op: str, positions: Ints) -> dict[str, Floats]:
    of_layer = layer_rows.is_layer_row(op, part.columns)
    names = layer_rows.DIMENSIONS if of_layer else DIMENSIONS.get(op, MEMORY_DIMENSIONS)
    dims: dict[str, Floats] = {}
    for name in names:
        if name not in part:
            if name == "batch" and op in GEMM_OPS:
                continue
            raise InvalidInputError(f"rows of op {op!r} need the columns {', '.join(names)}; {name!r} is missing")
        dims[name] = whole_numbers(part[name], name, op, positions)
    if op in ATTENTION_OPS and "window" in part:
        dims["window"] = np.nan_to_num(part["window"].to_numpy(dtype=np.float64), nan=0.0)
    if op == "bmm":
        inner = part["inner"].fillna("n").to_numpy() if "inner" in part else np.full(len(part), "n")
        swap = inner == "n"
        dims["n"], dims["k"] = np.where(swap, dims["k"], dims["n"]), np.where(swap, dims["n"], dims["k"])
    return dims
