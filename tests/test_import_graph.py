"""Imports run downwards only: no circle between modules or rooms, and no import against the order of the floors.

What counts is read from the syntax tree of every module: imports at the top, inside functions and under TYPE_CHECKING,
and modules named in texts (``"archsearch.x.y"``, ``"archsearch.x.y:f"``, f-strings that end in a name). That importing
``a.b.c`` runs ``a.b``'s ``__init__`` does not count; ``from a.b import name`` does, where name is no module.

A room is a package; its sub-packages are rooms of their own. The modules at archsearch's top are a room each, since
they are its ground (``ops``) and its roof (``api``).
"""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

Graph = dict[str, set[str]]
"""What each node imports."""
Floors = tuple[tuple[str, ...], ...]

PACKAGE = Path(__file__).resolve().parents[1] / "archsearch"
FLOORS: Floors = (
    ("errors", "version"),
    ("files",),
    ("arrays", "data", "dtypes", "keywords", "notebook_html", "ranges", "tables", "yaml_keys", "yaml_records"),
    ("linear_attention", "routed_experts"),
    ("ops",),
    ("workload",),
    ("segments",),
    ("hardware",),
    ("cost.kernels",),
    ("cost",),
    ("models",),
    ("models.autoencoders", "models.diffusion", "models.language", "models.language.decoder"),
    ("models.huggingface.classes", "models.plain", "models.tracing"),
    ("models.huggingface",),
    ("models.registry",),
    ("quality",),
    ("pipeline",),
    ("serving", "bench.micro"),
    ("bench",),
    ("search",),
    ("search.space",),
    ("search.evaluate",),
    ("search.explore",),
    ("search.studies",),
    ("search.answers",),
    ("verify",),
    ("differences", "estimate_result", "installation"),
    ("testing",),
    ("api",),
    ("plotting",),
    ("study_view",),
    ("report",),
    ("ui",),
    ("archsearch",),
    ("cli",),
    ("__main__",),
)
"""The rooms from the ground up. A room may import those of floors below its own; rooms of one floor know nothing of
each other. ``archsearch`` is the package's ``__init__``, the public names."""


def modules_of(package: Path) -> dict[str, Path]:
    """Every module of a package by its dotted name; a package's ``__init__`` goes by the package's name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def import_graph(package: Path) -> Graph:
    """What each module of a package imports of the package, itself left out."""
    modules = modules_of(package)
    graph: Graph = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
        texts = {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        named = _named(tree, name, parent, package.name)
        graph[name] = {target for text in named for target in _resolved(text, modules, texts)} - {name}
    return graph


def _named(tree: ast.Module, name: str, parent: str, root: str) -> Iterator[str]:
    """Dotted names that a module may import; ``*`` stands for one name that is known only when it runs."""
    module_text = re.compile(rf"{re.escape(root)}(\.\w+)+(:\w+(\.\w+)*)?")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parent.split(".")
            here = above[: len(above) - node.level + 1] if node.level else []
            base = ".".join([*here, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and module_text.fullmatch(node.value):
            yield node.value.partition(":")[0]
        elif isinstance(node, ast.JoinedStr):
            text = _pattern(node, {"__name__": name, "__package__": parent})
            if text.startswith(f"{root}.") and re.fullmatch(r"[\w.*]+", text):
                yield text


def _pattern(text: ast.JoinedStr, known: Mapping[str, str]) -> str:
    parts = []
    for part in text.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        elif isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name):
            parts.append(known.get(part.value.id, "*"))
        else:
            parts.append("*")
    return "".join(parts)


def _resolved(text: str, modules: Mapping[str, Path], texts: Collection[str]) -> list[str]:
    """The modules that a dotted name means: itself, or the one that holds it as a name of its own.

    A name with ``*`` means those whose missing part is one of the ``texts`` of the module that names them, or all that
    fit where none is.
    """
    if "*" in text:
        pattern = re.compile(re.escape(text).replace(r"\*", r"(\w+)"))
        fit = {name: match for name in modules if (match := pattern.fullmatch(name))}
        return [name for name, match in fit.items() if set(match.groups()) <= set(texts)] or list(fit)
    while text not in modules and "." in text:
        text = text.rpartition(".")[0]
    return [text] if text in modules else []


def room_of(package: Path) -> Callable[[str], str]:
    """Which room a module is in, named without the root; modules at the root are a room each."""
    modules, root = modules_of(package), package.name

    def room(module: str) -> str:
        is_package = modules[module].name == "__init__.py"
        parts = module.split(".")[1:]
        if not parts:
            return root
        return ".".join(parts if is_package or len(parts) == 1 else parts[:-1])

    return room


def rooms(graph: Graph, room: Callable[[str], str]) -> tuple[Graph, dict[tuple[str, str], list[str]]]:
    """The graph between rooms, and for each of its edges the imports that make it."""
    between: Graph = {room(module): set() for module in graph}
    because: dict[tuple[str, str], list[str]] = {}
    for module, imported in graph.items():
        for other in sorted(imported):
            edge = (room(module), room(other))
            if edge[0] != edge[1]:
                between[edge[0]].add(edge[1])
                because.setdefault(edge, []).append(f"{module} imports {other}")
    return between, because


def strong_components(graph: Graph) -> list[set[str]]:
    """Sets of more than one node that all reach each other (Kosaraju, with loops instead of recursion)."""
    order: list[str] = []
    seen: set[str] = set()
    for start in sorted(graph):
        if start in seen:
            continue
        seen.add(start)
        stack = [(start, iter(sorted(graph[start])))]
        while stack:
            node, rest = stack[-1]
            following = next((n for n in rest if n not in seen), None)
            if following is None:
                order.append(node)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(sorted(graph[following]))))
    importers: Graph = {node: set() for node in graph}
    for node, imported in graph.items():
        for other in imported:
            importers[other].add(node)
    found, left = [], set(graph)
    for start in reversed(order):
        if start not in left:
            continue
        component, waiting = set(), [start]
        left.discard(start)
        while waiting:
            node = waiting.pop()
            component.add(node)
            reached = importers[node] & left
            left -= reached
            waiting += reached
        if len(component) > 1:
            found.append(component)
    return found


def shortest_circle(graph: Graph, component: set[str]) -> list[str]:
    """A shortest way round inside a component, its first node again at the end."""
    best: list[str] = []
    for start in sorted(component):
        came: dict[str, str] = {}
        waiting = deque([start])
        while waiting and start not in came:
            node = waiting.popleft()
            for other in sorted(graph[node] & component):
                if other not in came:
                    came[other] = node
                    waiting.append(other)
        chain = [start]
        while len(chain) == 1 or chain[-1] != start:
            chain.append(came[chain[-1]])
        if not best or len(chain) < len(best):
            best = chain[::-1]
    return best


def circles(graph: Graph) -> list[str]:
    """Every circle's shortest chain, as text."""
    return [" -> ".join(shortest_circle(graph, component)) for component in strong_components(graph)]


def room_circles(graph: Graph, room: Callable[[str], str]) -> list[str]:
    """Every circle between rooms, with one import for each step."""
    between, because = rooms(graph, room)
    found = []
    for component in strong_components(between):
        chain = shortest_circle(between, component)
        steps = [because[edge][0] for edge in pairwise(chain)]
        found.append(f"{' -> '.join(chain)}: {'; '.join(steps)}")
    return found


def against_the_floors(graph: Graph, room: Callable[[str], str], floors: Floors) -> list[str]:
    """Imports that do not run to a lower floor, and rooms that stand on no floor, on two, or do not exist."""
    listed = [name for floor in floors for name in floor]
    level = {name: height for height, floor in enumerate(floors) for name in floor}
    between, because = rooms(graph, room)
    told = [f"room {name} is on no floor" for name in sorted(set(between) - set(listed))]
    told += [f"room {name} is listed and does not exist" for name in sorted(set(listed) - set(between))]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    told += [f"room {name} is listed {listed.count(name)} times" for name in twice]
    for (importer, imported), reasons in sorted(because.items()):
        if importer in level and imported in level and level[importer] <= level[imported]:
            told.append(f"{importer} must not import {imported}: {'; '.join(reasons)}")
    return told


# What the helpers find in a package made up for it.

HOUSE = {
    "__init__.py": "",
    "ground.py": "import json\n",
    "low/__init__.py": "from house.low.shelf import thing as thing\n",
    "low/shelf.py": "from house import ground\nthing = ground\n",
    "high/__init__.py": "",
    "high/top.py": "from house.low import thing\nimport house.low.shelf\n",
    "roof.py": "from . import high\nfrom .high import top\n",
}
HOUSE_FLOORS: Floors = (("ground", "house"), ("low",), ("high",), ("roof",))


def house(place: Path, **changes: str) -> tuple[Graph, Callable[[str], str]]:
    """The graph of the made-up package, some of its modules (``low__shelf``) written anew."""
    files = HOUSE | {f"{name.replace('__', '/')}.py": text for name, text in changes.items()}
    for name, text in files.items():
        path = place / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return import_graph(place / "house"), room_of(place / "house")


def test_a_sound_house_passes(tmp_path: Path) -> None:
    graph, room = house(tmp_path)
    assert graph == {
        "house": set(),
        "house.ground": set(),
        "house.low": {"house.low.shelf"},
        "house.low.shelf": {"house.ground"},
        "house.high": set(),
        "house.high.top": {"house.low", "house.low.shelf"},
        "house.roof": {"house.high", "house.high.top"},
    }
    assert {name: room(name) for name in ("house", "house.ground", "house.low", "house.low.shelf")} == {
        "house": "house",
        "house.ground": "ground",
        "house.low": "low",
        "house.low.shelf": "low",
    }
    assert circles(graph) == room_circles(graph, room) == against_the_floors(graph, room, HOUSE_FLOORS) == []


@pytest.mark.parametrize(
    "text",
    [
        "from house.high import top\n",
        "import house.high.top as top\n",
        "from ..high.top import thing\n",
        "def later() -> None:\n    from house.high.top import thing\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.high.top import thing\n",
        "from importlib import import_module\nimport_module('house.high.top')\n",
        "ENTRY = 'house.high.top:thing'\n",
        "PARTS = {'a': ('house.high.top', 'thing')}\n",
        "from importlib import import_module\nPARTS = ('top',)\n[import_module(f'house.high.{p}') for p in PARTS]\n",
        "from importlib import import_module\ndef part(name):\n    return import_module(f'house.high.{name}')\n",
    ],
)
def test_every_way_to_import_counts(tmp_path: Path, text: str) -> None:
    graph, room = house(tmp_path, low__shelf=text)
    assert circles(graph) == ["house.high.top -> house.low.shelf -> house.high.top"]
    assert room_circles(graph, room) == [
        "high -> low -> high: house.high.top imports house.low; house.low.shelf imports house.high.top"
    ]
    assert against_the_floors(graph, room, HOUSE_FLOORS) == [
        "low must not import high: house.low.shelf imports house.high.top"
    ]


def test_a_mention_is_no_import(tmp_path: Path) -> None:
    graph, _ = house(tmp_path, low__shelf='"""Used by house.high.top: see there."""\nNAME = "house high"\n')
    assert graph["house.low.shelf"] == set()


def test_the_package_of_an_imported_module_does_not_count_but_a_name_of_it_does(tmp_path: Path) -> None:
    implicit, _ = house(tmp_path / "a", low__shelf="import house.low.box\n", low__box="")
    assert implicit["house.low.shelf"] == {"house.low.box"}
    explicit, _ = house(tmp_path / "b", low__shelf="from house.low import thing\n")
    assert circles(explicit) == ["house.low -> house.low.shelf -> house.low"]


def test_rooms_can_run_in_a_circle_where_no_modules_do(tmp_path: Path) -> None:
    graph, room = house(tmp_path, low__shelf="import house.high.door\n", high__door="")
    assert not circles(graph)
    assert room_circles(graph, room) == [
        "high -> low -> high: house.high.top imports house.low; house.low.shelf imports house.high.door"
    ]


def test_floors_name_every_room_once_and_no_other(tmp_path: Path) -> None:
    graph, room = house(tmp_path)
    assert against_the_floors(graph, room, (("ground", "house"), ("high", "low", "low"), ("attic",))) == [
        "room roof is on no floor",
        "room attic is listed and does not exist",
        "room low is listed 2 times",
        "high must not import low: house.high.top imports house.low; house.high.top imports house.low.shelf",
    ]


def test_a_chain_is_a_shortest_one_and_long_circles_need_no_recursion() -> None:
    small: Graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"c", "e"}, "e": {"f"}, "f": {"f"}}
    assert strong_components(small) == [{"a", "b", "c", "d"}]
    assert circles(small) == ["c -> d -> c"]
    long: Graph = {str(n): {str((n + 1) % 5000)} for n in range(5000)}
    assert strong_components(long) == [set(long)]


def _lines(found: Iterable[str]) -> str:
    return "\n" + "\n".join(found)


def test_no_circle_between_modules() -> None:
    found = circles(import_graph(PACKAGE))
    assert not found, _lines(found)


def test_no_circle_between_rooms() -> None:
    found = room_circles(import_graph(PACKAGE), room_of(PACKAGE))
    assert not found, _lines(found)


def test_imports_run_down_the_floors() -> None:
    found = against_the_floors(import_graph(PACKAGE), room_of(PACKAGE), FLOORS)
    assert not found, _lines(found)


TWINS = {
    Path("cli"): "a verb's file has the verb's name",
    Path("models/huggingface/classes"): "the family's name",
    Path("models/plain"): "the family's name",
}
"""Folders whose files are named after something elsewhere."""


def test_a_files_name_tells_which_it_is() -> None:
    paths: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if not place.name.startswith("__") and place.parent not in TWINS:
            paths.setdefault(place.name, []).append(str(place))
    twice = [" and ".join(places) for places in paths.values() if len(places) > 1]
    assert not twice, _lines(twice)
