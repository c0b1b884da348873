"""Values as JSON holds them."""

from __future__ import annotations

import math

import numpy as np


def plain(value: object) -> object:
    """A value as JSON can hold it: Python numbers, no NaN or infinity (None instead)."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
