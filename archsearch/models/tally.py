"""Sums over a model's modules, cheap over grids of architectures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from archsearch.arrays import Dim, FloatArray, Floats, as_float

Elements = Dim | FloatArray
"""How many elements a tensor has, or columns its rows: a product of dimensions, whole or as a float."""
Mark = tuple[list[Elements], int, int]
"""A state of a ``Tally``: the terms that are added to, how many of them there are, and how many kinds of layers."""


class Tally:
    """A sum over modules, those inside layers times the number of layers; made when it is asked for.

    Terms are numbers or arrays that broadcast. One layer is summed up before it is multiplied, and terms of few axes
    before those of many, so that a grid over depth and width is summed over widths alone.
    """

    def __init__(self) -> None:
        self._outside: list[Elements] = []
        self._layers: list[tuple[Dim, list[Elements]]] = []
        self._here = self._outside

    def enter(self, count: Dim) -> None:
        """What is added from now on is of one of ``count`` layers."""
        self._here = []
        self._layers.append((count, self._here))

    def leave(self) -> None:
        """What is added from now on is outside layers."""
        self._here = self._outside

    def add(self, elements: Elements) -> None:
        self._here.append(elements)

    def mark(self) -> Mark:
        """A state for ``forget_since``."""
        return self._here, len(self._here), len(self._layers)

    def forget_since(self, mark: Mark) -> None:
        """Drop what was added since the mark."""
        here, terms, layers = mark
        del here[terms:], self._layers[layers:]

    def total(self) -> Floats:
        return summed([*self._outside, *(as_float(count) * summed(terms) for count, terms in self._layers)])

    def outside(self) -> Floats:
        """The sum outside layers."""
        return summed(self._outside)

    def largest_layer(self) -> Floats:
        """The sum of one layer, of the kind that has most."""
        largest = as_float(0.0)
        for _, terms in self._layers:
            largest = np.maximum(largest, summed(terms))
        return largest


def summed(terms: Iterable[Elements]) -> Floats:
    """The sum of numbers and arrays that broadcast, small ones first."""
    by_shape: dict[tuple[int, ...], Floats] = {}
    for term in map(as_float, terms):
        by_shape[term.shape] = by_shape[term.shape] + term if term.shape in by_shape else term
    total = as_float(0.0)
    for part in sorted(by_shape.values(), key=np.size):
        total = total + part
    return total
