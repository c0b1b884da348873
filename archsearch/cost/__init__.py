"""How long ops take on a GPU: kernel models, their calibration, and the cost model that joins them.

The names below are imported when they are asked for: ``archsearch.cost.execution`` alone loads no NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archsearch.cost.calibration import Calibration
    from archsearch.cost.estimate import Estimate, KernelCost, OpCost, Provenance
    from archsearch.cost.model import CostModel

__all__ = ["Calibration", "CostModel", "Estimate", "KernelCost", "OpCost", "Provenance"]

_PLACES = {
    "Calibration": "archsearch.cost.calibration",
    "CostModel": "archsearch.cost.model",
    **dict.fromkeys(("Estimate", "KernelCost", "OpCost", "Provenance"), "archsearch.cost.estimate"),
}


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
