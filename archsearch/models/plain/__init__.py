"""Architectures that no published class has, as self-contained torch modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archsearch.models.base import ModelConfig
from archsearch.models.modality import ImageModel
from archsearch.workload import Workload

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class PlainModule:
    """A torch module of a family: ``name`` is its class in ``file`` (nothing of which but torch is imported).

    ``fits`` says whether it can be a config; ``arguments`` are the class's for a config and a workload. ``like`` is the
    published class whose inputs it takes.
    """

    name: str
    file: str
    like: str
    fits: Callable[[ModelConfig], bool]
    arguments: Callable[[ModelConfig, Workload], dict[str, Any]]

    def source(self) -> str:
        """The file's classes and functions, without its description and imports."""
        text = (FOLDER / self.file).read_text(encoding="utf-8")
        return text[text.index("\nclass ") :].strip()

    def imports(self) -> str:
        """The file's imports."""
        text = (FOLDER / self.file).read_text(encoding="utf-8")
        lines = [line for line in text.split("\nclass ")[0].splitlines() if line.startswith(("import ", "from "))]
        return "\n".join(line for line in lines if "__future__" not in line)


def _dit_fits(config: ModelConfig) -> bool:
    return str(getattr(config, "layout", "")) == "original"


def _dit_arguments(config: ModelConfig, workload: Workload) -> dict[str, object]:
    assert isinstance(config, ImageModel)
    names = ("num_layers", "hidden_size", "num_attention_heads", "intermediate_size", "patch_size", "in_channels")
    sizes: dict[str, Any] = {name: int(getattr(config, name)) for name in (*names, "out_channels", "num_classes")}
    return sizes | {"grid": tuple(int(side) for side in config.grid(workload))}


PLAIN: Mapping[str, PlainModule] = {
    "dit": PlainModule("DiT", "dit.py", "DiTTransformer2DModel", _dit_fits, _dit_arguments),
}
"""Family → its module."""


def plain_module(config: ModelConfig) -> PlainModule | None:
    """The plain module of a config, or None where its family has none that can be it."""
    module = PLAIN.get(config.family)
    return module if module is not None and module.fits(config) else None
