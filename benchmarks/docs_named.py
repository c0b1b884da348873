"""What the text of a page names: commands, options, files, links and yaml that must be real."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import docs_commands as commands
import yaml
from docs_pages import ROOT, Block, DocsError

_CODE = re.compile(r"`+([^`]+)`+")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FILE = re.compile(r"^[\w.-]+(?:/[\w.-]+)+/?$")
_NAME = re.compile(r"^archsearch(\.\w+)+(?![\w/])")
_FOLDERS = ("archsearch", "benchmarks", "docs", "hardware_profiles", "notebooks", "pipelines", "search_spaces", "tests")


def check_text(lines: list[str], page: str) -> None:
    """Hold inline code and links of a stretch of text against what there is.

    Raises:
        DocsError: those that are not.
    """
    text = re.sub(r"\s*\n\s*", " ", "\n".join(lines))
    checks = [(_check_code, (code,)) for code in _CODE.findall(text)]
    _all([*checks, *((_check_link, (target, page)) for target in _LINK.findall(text))])


def check_commands(lines: list[str]) -> None:
    """Hold the ``archsearch`` and ``python`` lines of a block against what there is; indented lines continue one.

    Raises:
        DocsError: those that are not legal.
    """
    joined: list[str] = []
    base = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
    for line in lines:
        continues = joined and (line[base : base + 1] == " " or joined[-1].endswith("\\"))
        bare = re.sub(r"(^|\s)#\s.*$", "", line)
        if continues:
            joined[-1] = f"{joined[-1].rstrip(chr(92))} {bare.strip()}"
        else:
            joined.append(bare.strip())
    found = [line.removeprefix("$ ") for line in joined]
    checks = [(commands.check, (command,)) for command in found if command.startswith("archsearch ")]
    _all([*checks, *((commands.check_python, (command,)) for command in found if command.startswith("python "))])


def load_yaml(block: Block) -> None:
    """Load a block as the model, pipeline, space, part of a space, execution or GPU's profile that it is.

    Raises:
        ArchSearchError: it is none that the library accepts.
    """
    from archsearch.cost.asked_execution import parse_execution
    from archsearch.hardware.architecture import architecture_files
    from archsearch.hardware.folders import profiles_dirs
    from archsearch.hardware.profile import read_profile
    from archsearch.models.registry.load import load_model
    from archsearch.pipeline import load_pipeline
    from archsearch.search.space.space import list_spaces, load_space, space_files
    from archsearch.workload import Workload

    told: dict[str, Any] = yaml.safe_load("\n".join(block.body))
    if "in" in block.options:
        base = block.options["in"]
        if base not in list_spaces():
            raise DocsError(f"in={base}: no such space")
        told = yaml.safe_load(space_files()[base].read_text(encoding="utf-8")) | told
    path = Path(block.options.get("file", f"block-{block.line}.yaml")).absolute()
    path.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
    if block.options.get("is") == "execution":
        parse_execution(str(path), Workload())
    elif block.options.get("is") == "profile":
        folders = tuple(profiles_dirs(path.parent))
        read_profile(path, folders, architecture_files(folders))
    elif "dimensions" in told:
        load_space(path)
    elif "transformer" in told:
        load_pipeline(path)
    else:
        load_model(str(path))


def _all(checks: Iterable[tuple[Callable[..., None], tuple[str, ...]]]) -> None:
    problems = []
    for check, arguments in checks:
        try:
            check(*arguments)
        except DocsError as error:
            problems.append(str(error))
    if problems:
        raise DocsError("; ".join(problems))


def _check_code(code: str) -> None:
    if code.startswith("archsearch "):
        commands.check(code, whole=False)
    elif code.startswith("python "):
        commands.check_python(code)
    elif code.startswith("--"):
        for option in re.findall(r"(?:^|(?<=\|)|(?<= ))(--?[a-z][\w-]*)", code):
            if option not in commands.all_options():
                raise DocsError(f"`{code}`: no verb has the option {option}")
    elif match := _NAME.match(code):
        _check_name(match[0])
    elif _FILE.match(code) and code.split("/")[0] in (*_FOLDERS, *_rooms()) and not _exists(code):
        raise DocsError(f"`{code}`: no such file")


def _check_name(name: str) -> None:
    """A module, or what it holds, by its dotted name."""
    words = name.split(".")
    found: Any = importlib.import_module(words[0])
    for number, word in enumerate(words[1:], 2):
        if not hasattr(found, word):
            try:
                importlib.import_module(".".join(words[:number]))
            except ModuleNotFoundError:
                raise DocsError(f"`{name}`: {found.__name__} has no {word}") from None
        found = getattr(found, word)


def _exists(path: str) -> bool:
    return any((folder / path).exists() for folder in (ROOT, ROOT / "archsearch"))


@cache
def _rooms() -> tuple[str, ...]:
    return tuple(p.name for p in (ROOT / "archsearch").iterdir() if p.is_dir())


def _check_link(target: str, page: str) -> None:
    if target.startswith(("http://", "https://")):
        return
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    if not file.exists():
        raise DocsError(f"link to {target}: no such file")
    if anchor and anchor not in _anchors(file):
        raise DocsError(f"link to {target}: no such heading")


@cache
def _anchors(file: Path) -> frozenset[str]:
    """Headings as GitHub names them."""
    heads = re.findall(r"^#+ +(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads)
