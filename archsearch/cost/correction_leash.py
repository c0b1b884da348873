"""The leash of a learned correction: how fast its factor may fall as a product grows wider.

What networks learn of measured widths they also say of all between, where nothing holds them: a feed-forward a step
wider came out some per cent faster that no library computes faster. So a factor is learned at the widths ``WIDTHS``
alone, which are those that tables measure and a few between; between them its logarithm is interpolated, linearly in
the logarithms of n and k. From one width to the next it falls by at most

    least(LEASH · log(wider / narrower), what the logarithm of the mechanism's time rises)

of which it is made the nearest that does. Hence, of two products of the same m and batch, of which the second is wider,
n'/n · k'/k = r:

* the corrected time grows at least as the mechanism's does, but for a factor of r^-LEASH;
* where both have widths of ``WIDTHS`` and the mechanism's time grows with every width, the corrected time does not
  fall.

Waves stay: they are the mechanism's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from threading import Lock

import numpy as np

from archsearch.arrays import Floats, Ints
from archsearch.cost.kernels.kernel_cost import Dims

LEASH = 0.5
"""Most that the logarithm of the factor falls for one of width: a product ten per cent wider is made faster by at most
4.7 %, one that is a hundredth wider by half a per cent, while the time of a busy GPU grows by the width itself."""
_NARROW = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1280, 1536, 2048, 2560, 3072, 3584, 4096)
_WIDE = (5120, 6144, 7168, 8192, 10240, 12288, 16384, 24576, 32768, 49152, 65536)
WIDTHS = np.array((*_NARROW, *_WIDE), dtype=np.float64)
"""What tables measure of n and k, and a few between; beyond them the factor stays."""
CONTEXTS = 32
"""Lattices of ``WIDTHS`` squared products costed at a time."""


REMEMBERED_LATTICES = 2048
"""Of 6 KB each."""
Learned = Callable[[Dims], tuple[Floats, Floats]]
"""log factor and log of the mechanism's time of products [S]."""
Context = Mapping[str, Floats]
"""All dimensions of products but n and k, each of shape [C, 1, 1], or [1, 1, 1] where all C share it."""
Recall = Callable[[Context, Learned], Floats]
"""Lattices of contexts from what was learned."""


class Lattices:
    """The lattices that were learned before, at most ``REMEMBERED_LATTICES``, by whose they are and their context.

    All ops of a model have few sizes of m and batch, and each asks for the whole lattice of them. Safe between threads
    (two that miss at once learn the same one twice); a copy in another process starts empty.
    """

    def __init__(self) -> None:
        self._tables: OrderedDict[Hashable, Floats] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Lattices], tuple[()]]:
        return type(self), ()

    def of(self, whose: Hashable, context: Context, learned: Learned) -> Floats:
        """The lattices of C contexts: [C, N, K]. Those that nobody asked for yet are learned.

        Args:
            whose: what the answer of ``learned`` depends on beside the context.
        """
        count = _size(context)
        if count > REMEMBERED_LATTICES // 2:  # they would drive each other out
            return _learned(context, learned)
        names = tuple(context)
        columns = [np.broadcast_to(value.ravel(), count).tolist() for value in context.values()]
        keys = [(whose, names, row) for row in zip(*columns, strict=True)]
        with self._lock:
            found = {key: self._tables[key] for key in keys if key in self._tables}
        fresh = [i for i, key in enumerate(keys) if key not in found]
        if fresh:
            for i, table in zip(fresh, _learned(_part(context, fresh), learned), strict=True):
                found[keys[i]] = table.copy()
        with self._lock:
            for key in keys:
                self._tables[key] = found[key]
                self._tables.move_to_end(key)
            while len(self._tables) > REMEMBERED_LATTICES:
                self._tables.popitem(last=False)
        return np.stack([found[key] for key in keys])


def leashed(
    dims: Dims,
    shape: tuple[int, ...],
    learned: Learned,
    lattices: Recall | None = None,
) -> Floats:
    """log factor of products of shape [S].

    Args:
        dims: of the products; n and k as far as the factor is to depend on them.
        learned: log factor and log of the mechanism's time of products.
        lattices: what remembers the lattices of ``learned`` (``Lattices.of``); None: they are learned anew.
    """
    n, k = (np.broadcast_to(np.asarray(dims[c], dtype=np.float64), shape) for c in "nk")
    context, which = _contexts(dims, shape)
    tables = (lattices or _learned)(context, learned)
    (i, u), (j, v) = _place(n), _place(k)
    below = tables[which, i, j] * (1 - v) + tables[which, i, j + 1] * v
    above = tables[which, i + 1, j] * (1 - v) + tables[which, i + 1, j + 1] * v
    answer: Floats = below * (1 - u) + above * u
    return answer


def _learned(context: Context, learned: Learned) -> Floats:
    """The lattices of all contexts, some at a time."""
    starts = range(0, _size(context), CONTEXTS)
    return np.concatenate([_tables(_part(context, slice(i, i + CONTEXTS)), learned) for i in starts])


def _size(context: Context) -> int:
    return max(len(value) for value in context.values())


def _place(widths: Floats) -> tuple[Ints, Floats]:
    """Which of ``WIDTHS`` lies below each width, and how far it is to the next, 0 to 1 in the logarithm."""
    index = np.clip(np.searchsorted(WIDTHS, widths, side="right") - 1, 0, WIDTHS.size - 2)
    share = np.log(widths / WIDTHS[index]) / np.log(WIDTHS[index + 1] / WIDTHS[index])
    return index, np.clip(share, 0.0, 1.0)


def _contexts(dims: Dims, shape: tuple[int, ...]) -> tuple[dict[str, Floats], Ints]:
    """Everything but n and k, each combination once, of shape [C, 1, 1]; and which of them each product has."""
    others = {name: np.asarray(value, dtype=np.float64) for name, value in dims.items() if name not in "nk"}
    varying = [name for name, value in others.items() if value.size > 1 and name in ("m", "batch")]
    if not varying:
        return {name: value.ravel()[:1, None, None] for name, value in others.items()}, np.zeros(shape, dtype=np.int64)
    rows = np.stack([np.broadcast_to(others[name], shape) for name in varying], axis=-1)
    _, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    picked = {
        name: (np.broadcast_to(value, shape)[first] if value.size > 1 else value.ravel())[:, None, None]
        for name, value in others.items()
    }
    return picked, which.reshape(shape)


def _part(context: Context, rows: slice | list[int]) -> dict[str, Floats]:
    return {name: value if value.shape[0] == 1 else value[rows] for name, value in context.items()}


def _tables(context: Context, learned: Learned) -> Floats:
    """Log factors of every context on the lattice of widths, on the leash: [C, N, K].

    Half way between the least lattice above what was learned that is on the leash, and the greatest below: both are on
    it, and so is their mean.
    """
    size = (_size(context), WIDTHS.size, WIDTHS.size)
    lattice = {**context, "n": WIDTHS[None, :, None], "k": WIDTHS[None, None, :]}
    flat = {
        name: value.ravel() if value.size == 1 else np.broadcast_to(value, size).ravel()
        for name, value in lattice.items()
    }
    log_factor, log_time = (np.array(part, dtype=np.float64).reshape(size) for part in learned(flat))
    wider = LEASH * np.diff(np.log(WIDTHS))
    falls = [
        np.minimum(wider.reshape(form), np.maximum(np.diff(log_time, axis=axis), 0.0))
        for axis, form in ((1, (1, -1, 1)), (2, (1, 1, -1)))
    ]
    lowered = -_raised(-log_factor[:, ::-1, ::-1], falls[0][:, ::-1, ::-1], falls[1][:, ::-1, ::-1])[:, ::-1, ::-1]
    return (_raised(log_factor, *falls) + lowered) / 2


def _raised(log_factor: Floats, falls_n: Floats, falls_k: Floats) -> Floats:
    """The least lattice that is nowhere below this one and falls by no more than it may along n and along k.

    A point is held by its neighbours of one n or k less, so that those of one diagonal are found together: a slice of
    the lattice's points in a row, of a step one short of a row.
    """
    count, rows, cols = log_factor.shape
    held = np.ascontiguousarray(np.moveaxis(log_factor, 0, -1)).reshape(rows * cols, count)
    down = np.zeros((rows, cols, falls_n.shape[0]))
    down[1:] = np.moveaxis(falls_n, 0, -1)
    across = np.zeros((rows, cols, falls_k.shape[0]))
    across[:, 1:] = np.moveaxis(falls_k, 0, -1)
    for diagonal in range(1, rows + cols - 1):
        top, last = max(0, diagonal - cols + 1), min(diagonal, rows - 1)
        for fall, before, first, end in (
            (down.reshape(rows * cols, -1), cols, max(top, 1), last),  # the first row has none above
            (across.reshape(rows * cols, -1), 1, top, min(last, diagonal - 1)),  # the first column none to the left
        ):
            start = first * cols + diagonal - first
            stop = end * cols + diagonal - end + 1
            here, there = slice(start, stop, cols - 1), slice(start - before, stop - before, cols - 1)
            np.maximum(held[here], held[there] - fall[here], out=held[here])
    return np.moveaxis(held.reshape(rows, cols, count), -1, 0)
