"""Columns of metrics: what evaluation gives, and what every table is made of."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Columns = dict[str, NDArray[Any]]
"""Metrics of N architectures by name, each of shape [N]."""
