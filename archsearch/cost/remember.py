"""Remembering: the one way in which answers are kept between calls.

Three things can be remembered, each in an object that somebody made and holds, never in a module or behind a class:

* ``Remembered``: a function by its arguments (a pipeline's calls of its models, what an op list of a model is);
* ``Answers``: the same where a key stands for the arguments;
* ``PriceCache``: everything that a ``CostModel`` prices. Neighbouring architectures share most of their matrix
  products: within one op, equal shapes of a mesh (a width derived from two dimensions takes the same value many times)
  are found by sorting and priced once. Between chunks of a space, an op that does not depend on the dimensions that are
  cut comes with the same arrays again: its answer is kept, in at most ``REMEMBERED_BYTES``. Combinations of levers
  share most of their calls: whole estimates of scalar models are kept too, and segments that say whose they are.

A ``CostModel`` without one remembers only the tables that its learned corrections make of themselves
(``correction_leash.Lattices``).

What files hold is kept by ``functools.lru_cache`` on the path and the time at which it last changed.

Keys of kernels hold every field of the execution but those of ``NOT_OF_A_KERNEL``, which decide what kernels run and
not how long one takes, so that a new field counts until somebody lists it there.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import fields, replace
from threading import Lock
from typing import Generic, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from archsearch.arrays import FloatArray
from archsearch.cost.estimate import Estimate, KernelCost, SegmentCost
from archsearch.cost.execution import LAYOUT, QUANTIZING, Execution
from archsearch.cost.kernels.kernel_cost import Dims
from archsearch.cost.routes import Route
from archsearch.ops import Op

REMEMBERED_BYTES = 128 * 2**20
REMEMBERED_CALLS = 4096
SORT_FROM = 64
"""Fewest shapes among which looking for equal ones pays; fewer keep their explanation."""
NOT_OF_A_KERNEL = frozenset(
    ("torch", "attention", "compiled", "cuda_graphs", "fused_qkv", "launch_us", "zero", *QUANTIZING, *LAYOUT)
)
_IN_KEYS = tuple(f.name for f in fields(Execution) if f.name not in NOT_OF_A_KERNEL)

P = ParamSpec("P")
T = TypeVar("T")


class Answers(Generic[T]):
    """Answers by key, at most ``most``; the one that was asked for longest ago goes first.

    Safe between threads (two that miss at once compute the same answer twice); a copy in another process starts empty.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._answers: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Answers[T]], tuple[int]]:
        return type(self), (self._most,)

    def of(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The answer of a key, computed where it is not known; a key that does not hash (arrays in it) is nobody's."""
        try:
            with self._lock:
                answer = self._answers.get(key)
                if answer is not None:
                    self._answers.move_to_end(key)
                    return answer
        except TypeError:
            return compute()
        answer = compute()
        with self._lock:
            self._answers[key] = answer
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)
        return answer


class Remembered(Generic[P, T]):
    """A function whose answers are kept by its arguments (``Answers``): ``self.price = Remembered(self._price, 4096)``.

    What the answer depends on must be among the arguments or never change; None is computed anew every time.
    """

    def __init__(self, compute: Callable[P, T], most: int) -> None:
        self._compute = compute
        self._answers: Answers[T] = Answers(most)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._answers.of((args, *kwargs.items()), lambda: self._compute(*args, **kwargs))


def shape_key(op: Op) -> Hashable:
    """What an op's cost rests on: all but its name and count. None where its dimensions are arrays."""
    values: list[Hashable] = [type(op).__name__]
    for f in fields(op):
        value = getattr(op, f.name)
        if f.name in ("name", "count"):
            continue
        if isinstance(value, np.ndarray):
            if value.size > 1:
                return None
            value = value.item()
        elif f.name == "members":
            value = tuple(map(shape_key, value))
            if None in value:
                return None
        elif isinstance(value, tuple):
            value = tuple(int(side) if np.ndim(side) == 0 else None for side in value)
            if None in value:
                return None
        values.append(value)
    return tuple(values)


class PriceCache:
    """What a ``CostModel`` has priced. Safe between threads; a copy in another process starts empty."""

    def __init__(self) -> None:
        self._calls: Answers[Estimate] = Answers(REMEMBERED_CALLS)
        self._segments: Answers[SegmentCost] = Answers(REMEMBERED_CALLS)
        self._kernels: OrderedDict[bytes, KernelCost] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[PriceCache], tuple[()]]:
        return type(self), ()

    def call(self, key: Hashable, compute: Callable[[], Estimate]) -> Estimate:
        """A whole estimate by (config, workload, execution); one with array dimensions is computed every time."""
        return self._calls.of(key, compute)

    def segment(self, key: Hashable, compute: Callable[[], SegmentCost]) -> SegmentCost:
        """A segment's cost by (its key, execution)."""
        return self._segments.of(key, compute)

    def kernel(self, route: Route, execution: Execution, compute: Callable[[Route], KernelCost]) -> KernelCost:
        """The cost of routed shapes [S]; ``compute`` gives that of distinct ones."""
        key = _digest(route, execution)
        with self._lock:
            found = self._kernels.get(key)
            if found is not None:
                self._kernels.move_to_end(key)
                return found
        rows, inverse = _distinct(route.dims)
        cost = compute(Route(route.kernel, route.model, route.gpu, route.dtype, rows))
        if np.size(cost.latency_s) >= SORT_FROM or inverse is not None:
            cost = _without_reasons(cost, inverse)
        with self._lock:
            self._kernels[key] = cost
            self._bytes += _size(cost)
            while self._bytes > REMEMBERED_BYTES:
                _, dropped = self._kernels.popitem(last=False)
                self._bytes -= _size(dropped)
        return cost


def _without_reasons(cost: KernelCost, inverse: NDArray[np.int64] | None) -> KernelCost:
    """Times alone, spread to where each distinct row stood."""
    times = [cost.latency_s, cost.low_s, cost.high_s]
    latency, low, high = times if inverse is None else np.stack(times)[:, inverse]
    bound = np.broadcast_to(np.array(""), latency.shape)
    return replace(cost, latency_s=latency, low_s=low, high_s=high, bound=bound, details={})


def _size(cost: KernelCost) -> int:
    return 3 * int(np.asarray(cost.latency_s).nbytes) + sum(int(np.asarray(v).nbytes) for v in cost.details.values())


def of_a_kernel(execution: Execution) -> tuple[Hashable, ...]:
    """What the time of one kernel rests on in how it runs."""
    return tuple(getattr(execution, name) for name in _IN_KEYS)


def _digest(route: Route, execution: Execution) -> bytes:
    digest = hashlib.blake2b(f"{route.kernel} {route.dtype.value} {of_a_kernel(execution)}".encode(), digest_size=16)
    for name, values in route.dims.items():
        array = np.ascontiguousarray(values)
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.digest()


def _distinct(dims: Dims) -> tuple[dict[str, FloatArray], NDArray[np.int64] | None]:
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
