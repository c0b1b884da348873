"""The lowest versions that pyproject.toml allows, as constraints for pip: requirements/lowest.txt is what this prints.

    python checks/lowest.py > requirements/lowest.txt

Of packages that several extras name, the highest of the lower bounds counts: they are installed side by side.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
NOT_INSTALLED = {"checks", "dev", "docs", "flash", "notebooks", "torch", "ui"}
"""Extras of contributors, and those that need CUDA or a second torch; NiceGUI needs a pydantic
above the base's lowest."""
HEAD = (
    "# The lowest version of every dependency that pyproject.toml allows (python checks/lowest.py); make test-lowest.\n"
)


def extras(project: dict[str, dict[str, list[str]]]) -> list[str]:
    """Names of the extras that are installed with their lowest versions."""
    return sorted(set(project["optional-dependencies"]) - NOT_INSTALLED)


def lowest() -> str:
    """Lines ``name==version``, one for each direct dependency of the base and of ``extras``.

    Raises:
        ValueError: a dependency has no lower bound of the form ``>=``.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for e in extras(project) for line in project["optional-dependencies"][e])]
    bounds: dict[str, Version] = {}
    for requirement in map(Requirement, lines):
        (bound,) = [s.version for s in requirement.specifier if s.operator == ">="] or [None]
        if bound is None:
            raise ValueError(f"{requirement} has no lower bound")
        name = requirement.name.lower()
        bounds[name] = max(Version(bound), bounds.get(name, Version("0")))
    return HEAD + "".join(f"{name}=={bounds[name]}\n" for name in sorted(bounds))


if __name__ == "__main__":
    print(lowest(), end="")
