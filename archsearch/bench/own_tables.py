"""Results of ``bench run`` as tables of kernels: which rows a kernel model serves, and what lay in the caches.

Every row holds two times. ``latency_us`` is measured over ``buffers`` sets of tensors in turn, ``warm_us`` over one:
the distance between two uses of a tensor is that many sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archsearch.arrays import Floats, Labels
from archsearch.cost.kernels.bandwidth import CLASS_OF, default_tensors
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

MARKS = ("purpose", "buffers", "warm_us", "key")
PRODUCTS = ("linear", "bmm", "scaled_mm", "attention")
SEVERAL_KERNELS = {"rope": "several kernels; the model's rope is one", "block": "a block: see whole models"}
VECTOR_ELEMENTS = 8


def is_results(frame: pd.DataFrame) -> bool:
    """Whether a table is what ``bench run`` writes."""
    return all(name in frame for name in MARKS)


def unserved(frame: pd.DataFrame) -> NDArray[np.object_]:
    """Why no kernel model serves a row, "" where one does: strings of shape [rows]."""
    reasons = np.full(len(frame), "", dtype=object)
    for op, index in frame.groupby("op", sort=False).indices.items():
        name = str(op)
        if name in SEVERAL_KERNELS:
            reasons[index] = SEVERAL_KERNELS[name]
        elif name == "convolution":
            reasons[index] = _convolutions(frame.iloc[index])
        elif name not in PRODUCTS and name not in CLASS_OF:
            reasons[index] = f"{name}: no library's kernel"
    return reasons


def _convolutions(part: pd.DataFrame) -> Labels:
    missing = [name for name in ("in_channels", "out_channels", "kernel") if name not in part]
    if missing:
        raise InvalidInputError(f"rows of op 'convolution' need the column {', '.join(missing)}")
    channels = part[["in_channels", "out_channels"]].to_numpy(dtype=np.float64)
    turned = np.where(part["kernel"] == "channels_last", "", "several kernels: layouts are turned around")
    return np.where((channels % VECTOR_ELEMENTS == 0).all(axis=1), turned, "channels are padded first")


def rotated_and_warm(frame: pd.DataFrame) -> pd.DataFrame:
    """Served rows twice over: rotated, then warm (``buffers`` 1, ``latency_us`` the warm time)."""
    import pandas as pd

    served: pd.DataFrame = frame[unserved(frame) == ""]
    warm = served[served["buffers"] > 1].assign(buffers=1)
    return pd.concat([served, warm.assign(latency_us=warm["warm_us"])], ignore_index=True)


def reuse(op: str, dtype: DType, dims: Mapping[str, Floats], buffers: Floats) -> dict[str, Floats]:
    """Bytes touched between two uses of the operands, for the kernel models (one set of tensors times ``buffers``)."""
    if op == "attention":
        return {}
    if "m" in dims:
        m, n, k = (dims[name] for name in ("m", "n", "k"))
        batch = dims.get("batch", 1.0)
        size = batch * (m * k * dtype.itemsize + k * n * dtype.weight_itemsize + m * n * max(dtype.itemsize, 2.0))
        return {"reuse_bytes": size * buffers, "activation_reuse_bytes": size * buffers}
    tensors = sum(default_tensors(op))
    return {"reuse_bytes": dims["rows"] * dims["cols"] * dtype.itemsize * tensors * buffers, "alone": np.asarray(0.0)}
