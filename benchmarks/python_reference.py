"""The public names by what they are, for mkdocstrings to fill in: the list of docs/reference/python.md.

python benchmarks/python_reference.py
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Sequence


def _is_error(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, Exception)


GROUPS: dict[str, Callable[[object], bool]] = {
    "Functions": inspect.isfunction,
    "Classes": lambda thing: inspect.isclass(thing) and not _is_error(thing),
    "Errors": _is_error,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a heading for each kind and a line for each name; ``__version__`` needs none."""
    import archsearch
    from archsearch import plotting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    public = {name: getattr(archsearch, name) for name in archsearch.__all__ if not name.startswith("__")}
    parts = []
    for title, belongs in GROUPS.items():
        parts += [f"## {title}", *(f"::: archsearch.{name}" for name, thing in public.items() if belongs(thing))]
    drawn = [f"::: {getattr(plotting, name).__module__}.{name}" for name in plotting.__all__]
    parts += ["## Pictures", *drawn]  # by their modules: some have a function's name
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
