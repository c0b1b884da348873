"""The real transformers and diffusers modules that the families describe, one module of this package a family.

Each holds ``PRESETS`` (preset → ``Reference``) and ``SMALL`` (name → function from a number of layers to a
``Reference`` of small sizes, for what one layer launches, moves and keeps).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

_MODULES = [
    import_module(f"references.{path.stem}")
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if path.stem not in ("__init__", "tools")
]
PRESETS = {name: reference for module in _MODULES for name, reference in module.PRESETS.items()}
SMALL = {name: small for module in _MODULES for name, small in module.SMALL.items()}
