"""Measured rows of gated delta nets: which kernel of which size each is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from archsearch.arrays import Floats, Ints
from archsearch.cost.delta_routes import delta_route
from archsearch.cost.routes import Route
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError
from archsearch.hardware.spec import GpuSpec
from archsearch.linear_attention import STATE_BYTES

if TYPE_CHECKING:
    import pandas as pd

OP = "gated_delta_net"
DIMENSIONS = ("batch", "seq", "conv_kernel", "num_k_heads", "head_k_dim", "num_v_heads", "head_v_dim")
KERNELS = {
    "causal_conv1d_fn": ("convolution", False),
    "causal_conv1d_update": ("convolution", True),
    "chunk_gated_delta_rule": ("rule", False),
    "fused_recurrent_gated_delta_rule_packed_decode": ("rule", True),
    "fused_recurrent_gated_delta_rule": ("rule", True),
}
"""Kernels as tables name them: which of a layer's two, and whether of a generation."""
UNPACKED = "fused_recurrent_gated_delta_rule"
"""The generation step of vLLM before 0.15: states in the activations' format, of which a block reads 8 columns, half of
a 32-byte sector (``BV`` of fla/ops/fused_recurrent.py)."""
UNPACKED_SHARE = 0.5
KEYS_ALONE = ("a100-sxm-80gb",)
"""GPUs whose published rows come from an earlier collector: its convolution was of the keys alone, over [channels,
tokens] (https://github.com/ai-dynamo/aiconfigurator, collector/vllm/collect_gdn.py: "Conv1D over key channels"). Their
times do not change with num_v_heads, and step at 1024 tokens as the package causal-conv1d does."""


def delta_routes(
    gpu: GpuSpec, dtype: DType, part: pd.DataFrame, dims: Mapping[str, Floats]
) -> list[tuple[Ints, Route]]:
    """Rows of one GPU and format by the kernel that serves them: (row indices, route) pairs.

    Raises:
        InvalidInputError: a kernel that ``KERNELS`` does not have, or none at all.
        UnsupportedError: see ``delta_route``.
    """
    named: list[str] = [str(name) for name in part["kernel"].fillna("")] if "kernel" in part else [""]
    unknown = sorted(set(named) - set(KERNELS))
    if unknown:
        raise InvalidInputError(f"op {OP!r}: kernel {unknown[0]!r} is none of {', '.join(KERNELS)}")
    routes = []
    for name in dict.fromkeys(named):
        index = np.flatnonzero(np.asarray(named) == name)
        kernel, generation = KERNELS[name]
        kernel = "channels-first" if kernel == "convolution" and gpu.id in KEYS_ALONE else kernel
        sizes = _sizes(gpu, dtype, {key: value[index] for key, value in dims.items()}, name)
        routes.append((index, delta_route(gpu, dtype, kernel, generation=generation, dims=sizes)))
    return routes


def _sizes(gpu: GpuSpec, dtype: DType, d: Mapping[str, Floats], name: str) -> dict[str, Floats]:
    """Dimensions of the kernel's model (``DeltaNetModel.predict``)."""
    if KERNELS[name][0] == "convolution":
        keys = d["num_k_heads"] * d["head_k_dim"]
        packed = 2 * keys + d["num_v_heads"] * d["head_v_dim"]
        channels = keys if gpu.id in KEYS_ALONE else packed
        return {"batch": d["batch"], "seq": d["seq"], "channels": channels, "conv_kernel": d["conv_kernel"]}
    size, share = (dtype.itemsize, UNPACKED_SHARE) if name == UNPACKED else (STATE_BYTES, 1.0)
    names = ("batch", "seq", "num_k_heads", "head_k_dim", "num_v_heads", "head_v_dim")
    state = {"state_itemsize": np.asarray(float(size)), "sector_share": np.asarray(share)}
    return {key: d[key] for key in names} | state
