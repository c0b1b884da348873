"""The types of numbers and arrays, and the one conversion between them.

A quantity is a number where one architecture is described and an array where a grid of them is: the axes of an array
are the dimensions of a search space that the quantity depends on, and arrays broadcast against each other. Code is
written once for both, so its types name both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Dim = int | NDArray[np.int64]
"""A dimension: an integer, or an integer array with an axis per searched dimension it depends on."""
Ints = NDArray[np.int64]
"""An int64 array; zero-dimensional (or its NumPy scalar) where one architecture is described."""
Floats = NDArray[np.float64]
"""A float64 array; zero-dimensional (or its NumPy scalar) where one architecture is described."""
Reals = NDArray[np.floating[Any]]
"""A float array of single or double precision."""
FloatArray = float | Floats
"""A real quantity, of one architecture or of a grid."""
Count = Dim | FloatArray
"""How often something runs; a fraction where it is a mean."""
Labels = NDArray[np.str_]
"""An array of words."""
Mask = NDArray[np.bool_]
"""A bool array."""
Column = NDArray[Any]
"""Values of one name over rows or a grid: whole numbers, fractions or words, as the name has them."""
Rows = NDArray[np.int64] | NDArray[np.bool_] | slice
"""Which rows of a column are meant: indices, a mask or a slice."""
Flags = bool | np.bool_ | NDArray[np.bool_]
"""A truth, of one architecture or of a grid."""


def as_float(value: ArrayLike) -> Floats:
    """A number or array as a float64 array of the same shape, so that products of dimensions cannot overflow."""
    return np.asarray(value, dtype=np.float64)
