"""How long ops take on a GPU: kernel models, their calibration, and the cost model that joins them."""

from archsearch.cost.calibration import Calibration
from archsearch.cost.estimate import Estimate, KernelCost, OpCost, Provenance
from archsearch.cost.model import CostModel

__all__ = ["Calibration", "CostModel", "Estimate", "KernelCost", "OpCost", "Provenance"]
