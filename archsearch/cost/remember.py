"""A cost model for searches: every distinct shape is priced once.

Neighbouring architectures share most of their matrix products. Within one op, equal shapes of a mesh (a width derived
from two dimensions takes the same value many times) are found by sorting and priced once. Between chunks of a space, an
op that does not depend on the dimensions that are cut comes with the same arrays again: its answer is kept, in at most
``REMEMBERED_BYTES``. Neither changes a price.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.cost.calibration import Calibration
from archsearch.cost.estimate import KernelCost, Provenance
from archsearch.cost.model import CostModel
from archsearch.cost.routes import Route
from archsearch.hardware.spec import GpuSpec

REMEMBERED_BYTES = 128 * 2**20
SORT_FROM = 64
"""Fewest shapes among which looking for equal ones pays."""

Times = NDArray[np.float64]


class SearchCostModel(CostModel):
    """``CostModel`` without the explanation (``bound`` is empty, ``details`` are left out), for many shapes at once."""

    def __init__(self, gpu: GpuSpec, calibration: Calibration | None = None, *, correction: bool = True) -> None:
        super().__init__(gpu, calibration, correction=correction)
        self._known: OrderedDict[bytes, tuple[Times, Provenance]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: not the prices that are known here."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_known", "_bytes", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._known, self._bytes, self._lock = OrderedDict(), 0, Lock()

    def route_cost(self, route: Route) -> KernelCost:
        """Cost of routed 1-d shapes; arrays of shape [S]."""
        key = _digest(route)
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
        times, provenance = found or self._price(route, key)
        latency, low, high = times
        nothing = np.broadcast_to(np.array(""), latency.shape)
        return KernelCost(latency_s=latency, low_s=low, high_s=high, provenance=provenance, bound=nothing)

    def _price(self, route: Route, key: bytes) -> tuple[Times, Provenance]:
        rows, inverse = _distinct(route.dims)
        cost = super().route_cost(Route(route.kernel, route.model, route.gpu, route.dtype, rows))
        times = np.stack([cost.latency_s, cost.low_s, cost.high_s])
        answer = (times if inverse is None else times[:, inverse], cost.provenance)
        with self._lock:
            self._known[key] = answer
            self._bytes += answer[0].nbytes
            while self._bytes > REMEMBERED_BYTES:
                _, (dropped, _) = self._known.popitem(last=False)
                self._bytes -= dropped.nbytes
        return answer


def _digest(route: Route) -> bytes:
    digest = hashlib.blake2b(f"{route.kernel} {route.dtype.value}".encode(), digest_size=16)
    for name, values in route.dims.items():
        array = np.ascontiguousarray(values)
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.digest()


def _distinct(dims: Any) -> tuple[dict[str, Any], NDArray[np.int64] | None]:
    """Distinct rows of 1-d dims, and where each row stands among them; (dims, None) where there is little to gain."""
    arrays = {name: np.asarray(values) for name, values in dims.items()}
    vectors = {name: a for name, a in arrays.items() if a.ndim}
    size = max((a.size for a in vectors.values()), default=0)
    if size < SORT_FROM or any(a.size != size for a in vectors.values()):
        return dict(dims), None
    columns = [a for a in vectors.values() if (a != a[0]).any()]
    if not columns:
        return {n: a[:1] if a.ndim else a for n, a in arrays.items()}, np.zeros(size, dtype=np.int64)
    order = np.lexsort(columns)
    fresh = np.ones(size, dtype=bool)
    fresh[1:] = np.any([a[order[1:]] != a[order[:-1]] for a in columns], axis=0)
    if np.count_nonzero(fresh) > 0.9 * size:
        return dict(dims), None
    inverse = np.empty(size, dtype=np.int64)
    inverse[order] = np.cumsum(fresh) - 1
    first = order[fresh]
    return {n: a[first] if a.ndim else a for n, a in arrays.items()}, inverse
