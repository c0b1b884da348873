"""Model families: dimensions in, parameters, memory and op lists out."""

from archsearch.models.base import MemoryUse, ModelConfig, Phase, Requirement, Workload
from archsearch.models.registry import get_family, load_model, load_preset, preset_names

__all__ = [
    "MemoryUse",
    "ModelConfig",
    "Phase",
    "Requirement",
    "Workload",
    "get_family",
    "load_model",
    "load_preset",
    "preset_names",
]
