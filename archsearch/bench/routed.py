"""Rows of a measured table and the kernel that serves them."""

from __future__ import annotations

from dataclasses import dataclass

from archsearch.arrays import Ints
from archsearch.cost.routes import Route


@dataclass(frozen=True, slots=True)
class Routed:
    """Rows of a table that one kernel family serves on one GPU: their positions and their route."""

    index: Ints
    op: str
    route: Route
