"""The public names: listed, documented, typed, quick to import; examples and notebooks use no others."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import archsearch
from archsearch import plotting
from archsearch.cli.groups import option_name, options_of
from archsearch.cli.main import app
from archsearch.cost.execution import Execution, ExecutionFields
from archsearch.workload import Workload, WorkloadFields

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
PUBLIC = {name: getattr(archsearch, name) for name in archsearch.__all__ if name != "__version__"}
PLOTTING = {f"plotting.{name}": getattr(plotting, name) for name in plotting.__all__}
PUBLIC |= {name: thing for name, thing in PLOTTING.items() if thing not in PUBLIC.values()}
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if inspect.isfunction(thing)}
CLASSES = {name: thing for name, thing in PUBLIC.items() if isinstance(thing, type)}


def has_any(annotation: object) -> bool:
    """Whether a hint leaves something open; the values of a JSON document may be."""
    return bool(re.search(r"\bAny\b", re.sub(r"(dict|Mapping)\[str, Any\]", "", str(annotation))))


def test_what_is_imported_is_what_type_checkers_read():
    """Names are imported from where the block for type checkers says."""
    imports = [n for n in ast.walk(ast.parse(inspect.getsource(archsearch))) if isinstance(n, ast.ImportFrom)]
    places = {
        alias.asname or alias.name: f"{node.module}" + (f":{alias.name}" if alias.asname else "")
        for node in imports
        for alias in node.names
        if (node.module or "").startswith("archsearch.") and node.module != "archsearch.version"
    }
    assert {name: f"archsearch.{place}" for name, place in archsearch._PLACES.items()} == places


def test_every_public_thing_is_a_function_or_a_class():
    assert {*FUNCTIONS, *CLASSES} == set(PUBLIC)
    assert plotting.__all__ == sorted(plotting.__all__)
    assert archsearch.__all__ == sorted(archsearch.__all__)


@pytest.mark.parametrize("name", [*archsearch.__all__, *PLOTTING])
def test_the_page_lists_it(name):
    assert f"`archsearch.{name}`" in PAGE


def test_the_page_lists_nothing_else():
    assert set(re.findall(r"`archsearch\.(\w+)`", PAGE)) - {"__all__", *archsearch._PACKAGES} == set(archsearch.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_typed_and_tells_its_parameters(name):
    signature, text = inspect.signature(FUNCTIONS[name]), inspect.getdoc(FUNCTIONS[name])
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter
        assert not has_any(parameter.annotation), parameter
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            assert str(parameter.annotation).startswith("Unpack["), parameter
        assert re.search(rf"^ *(\w+, )*{parameter.name}(, \w+)*: |``{parameter.name}``", text, re.MULTILINE), parameter
    assert not has_any(signature.return_annotation)
    assert signature.return_annotation == "None" or "\nReturns:\n" in text
    assert not signature.parameters or "\nRaises:\n" in text


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties that a class itself has, by name."""
    for name, thing in vars(cls).items():
        plain = thing.fget if isinstance(thing, property) else getattr(thing, "__func__", thing)
        if inspect.isfunction(plain) and plain.__module__.startswith("archsearch") and not name.startswith("_"):
            yield name, plain


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_typed_and_tells_its_fields(name):
    cls = CLASSES[name]
    text = inspect.getdoc(cls)
    assert text
    for field, hint in inspect.get_annotations(cls).items():
        assert field.startswith("_") or not has_any(hint), field
    if dataclasses.is_dataclass(cls):
        assert [f.name for f in dataclasses.fields(cls) if not re.search(rf"\b{f.name}\b", text)] == []
    for member, function in members(cls):
        signature = inspect.signature(function)
        assert not has_any(signature.return_annotation), member
        assert not any(has_any(p.annotation) for p in signature.parameters.values()), member


def imported(code: str) -> Iterator[str]:
    """What Python code imports of archsearch, as dotted names."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "archsearch":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "archsearch")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "archsearch":
            yield f"archsearch.{node.attr}"


def examples() -> Iterator[tuple[str, str]]:
    """Python code of the pages and of the notebooks, with where it stands."""
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for code in re.findall(r"^```python.*?\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            yield page.name, code
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            code = "".join(cell["source"])
            if cell["cell_type"] == "code" and not code.startswith("%%"):  # another language than Python
                yield notebook.name, code


def test_examples_and_notebooks_use_public_names_alone():
    used = {(where, name) for where, code in examples() for name in imported(code)}
    assert len({where for where, _ in used}) >= 6
    public = {"archsearch", "archsearch.plotting"}
    public |= {f"archsearch.{name}" for name in (*archsearch.__all__, *PLOTTING)}
    assert {(where, name) for where, name in used if name not in public} == set()


def test_pages_name_public_things_alone():
    """In a text ``archsearch.x`` is public: a name of the package's, of its ``plotting`` or ``testing``."""
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        named = set(re.findall(r"`archsearch\.([\w.]+)", page.read_text(encoding="utf-8")))
        tests = {name for name in named if name.startswith("testing")}
        assert named - tests <= {*archsearch.__all__, *PLOTTING, *archsearch._PACKAGES, "__all__"}, page.name


def test_a_field_of_an_execution_or_a_workload_is_an_option_and_a_keyword():
    assert list(ExecutionFields.__annotations__) == [f.name for f in dataclasses.fields(Execution)]
    sizes = {f.name for f in dataclasses.fields(Workload)} - {"checkpointing"}  # an option of its own
    assert set(WorkloadFields.__annotations__) == sizes
    fields = {*typing.get_type_hints(ExecutionFields), *typing.get_type_hints(WorkloadFields)}
    for verb in (info.callback for info in app.registered_commands if info.name in ("estimate", "explain")):
        offered = {name for group in verb.__option_groups__ for name in options_of(group)}
        assert fields <= offered
    with pytest.raises(archsearch.UnknownNameError, match="did you mean compiled"):
        archsearch.estimate("gpt2", "t4", dtype="fp16", compile=True)


def test_importing_is_quick_and_lazy():
    """Neither the package nor the command line's options load what answers need."""
    code = "import sys, archsearch, archsearch.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "pandas", "yaml", "pydantic", "torch", "optuna", "archsearch.api"} & set(loaded)


def test_an_unknown_attribute_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        archsearch.no_such_name  # noqa: B018


OURS = {"ArchSearchError", "InvalidInputError", "UnknownNameError", "UnsupportedError"}


def raised(tree: ast.Module) -> Iterator[ast.Call]:
    """Calls that make an error of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in OURS:
            yield node


SHELL = re.compile(r"`[^`]*`")


def test_the_library_knows_no_options():
    """Errors outside the command line name arguments in braces; the command line spells them. A shell command in
    backticks is a text."""
    found = []
    for path in sorted((ROOT / "archsearch").rglob("*.py")):
        if "cli" in path.relative_to(ROOT).parts:
            continue
        for call in raised(ast.parse(path.read_text(encoding="utf-8"))):
            words = [n.value for n in ast.walk(call) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            if re.search(r"(^|[ '(])--[a-z]", SHELL.sub("", "".join(words))):
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert found == []


def test_what_an_error_is_about_is_an_option():
    """A field in braces is spelled as an option that some verb has."""
    options = {name for command in _commands(app) for name in command}
    fields = set()
    for path in (ROOT / "archsearch").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        fields |= set(re.findall(r"require_range\(\s*\"(\w+)\"", text))
        fields |= {
            name for group in re.findall(r"field=(\([^)]*\)|\"\w+\")", text) for name in re.findall(r"\"(\w+)\"", group)
        }
    assert len(fields) > 20
    in_python_alone = {"model", "cfg_parallel", "cached_share", "config_class"}
    assert {name for name in fields if option_name(name) not in options} <= in_python_alone


def _commands(of: Any) -> Iterator[set[str]]:
    import typer.main

    def walk(command: Any) -> Iterator[set[str]]:
        yield {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
        for inner in getattr(command, "commands", {}).values():
            yield from walk(inner)

    yield from walk(typer.main.get_command(of))
