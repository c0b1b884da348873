"""Which library's kernels a measured row times, where a table names it, and which rows fits take.

A product in 16 bits is one kernel, and libraries differ by what they choose: their rows are fitted together. Before a
product in 8 bits each library quantizes the activations in passes of its own (one fused kernel, or several that a
compiler would fuse), which cost as much as the product: fits, and what corrections learned, are one library's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from archsearch.arrays import Mask
from archsearch.dtypes import DType

if TYPE_CHECKING:
    import pandas as pd

LIBRARIES = ("vllm", "sglang", "trtllm")
"""Libraries as the column ``kernel`` of products names them."""
QUANTIZES = "vllm"
"""The library whose quantizing passes the fits of 8-bit products hold."""


def of_other_passes(frame: pd.DataFrame) -> Mask:
    """Rows of products whose activations another library than ``QUANTIZES`` quantizes, of shape [rows]."""
    if "kernel" not in frame or "op" not in frame:
        return np.zeros(len(frame), dtype=bool)
    other = frame["kernel"].isin([name for name in LIBRARIES if name != QUANTIZES]).to_numpy()
    formats = {text: DType.parse(str(text)) for text in frame["dtype"].unique()}
    quantized = [text for text, dtype in formats.items() if dtype.itemsize < 2]
    rows: Mask = other & (frame["op"] == "linear").to_numpy() & frame["dtype"].isin(quantized).to_numpy()
    return rows
