"""Every verb and option of the command line, as it declares them: the tables of docs/reference/cli.md.

python benchmarks/cli_reference.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

OWN = "Options"
"""Where options stand that belong to no group."""


def verbs(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(full name, command) of every verb, in the order of ``--help``."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, verb in inner.items():
        yield from verbs(verb, f"{name} {word}")


def section(name: str, verb: Any) -> list[str]:
    """One verb: its synopsis, what it does, its arguments and its options by group."""
    arguments = [p for p in verb.params if p.param_type_name == "argument"]
    options = [p for p in verb.params if p.param_type_name == "option" and not p.hidden]
    words = [name, *(_place(p) for p in arguments), *(f"{p.opts[0]} {_kind(p)}" for p in options if p.required)]
    lines = [f"## {name.removeprefix('archsearch ')}", "", " ".join(verb.help.split()), ""]
    lines += ["```", " ".join([*words, "[OPTIONS]"]), "```"]
    if arguments:
        lines += ["", *_table("argument", [(_place(p), p) for p in arguments])]
    panels: dict[str, list[Any]] = {}
    for option in options:
        panels.setdefault(option.rich_help_panel or OWN, []).append(option)
    for panel, held in panels.items():
        lines += ["", f"**{panel}**", "", *_table("option", [(_spelled(p), p) for p in held])]
    return lines


def _table(head: str, rows: list[tuple[str, Any]]) -> list[str]:
    lines = [f"| {head} | type | default | meaning |", "| --- | --- | --- | --- |"]
    return [*lines, *(f"| `{name}` | {_kind(p)} | {_default(p)} | {_text(p)} |" for name, p in rows)]


def _place(argument: Any) -> str:
    word = (argument.metavar or argument.name).upper().strip("{}[]")
    return f"{word}{'...' if argument.nargs != 1 else ''}"


def _spelled(option: Any) -> str:
    return ", ".join([*option.opts, *option.secondary_opts])


def _kind(parameter: Any) -> str:
    """The placeholder that ``--help`` shows, or the value's type; a switch takes none."""
    if getattr(parameter, "is_flag", False):
        return "switch"
    kind = str(parameter.metavar or parameter.display_type(None)).strip("<>").replace("|", "\\|")
    return kind + (" (repeatable)" if getattr(parameter, "multiple", False) else "")


def _default(parameter: Any) -> str:
    """What holds where nothing is said; empty where the text tells it, for that follows from the rest."""
    if parameter.required:
        return "**required**"
    value = parameter.default
    if value is None or callable(value):
        return ""
    if isinstance(value, bool):
        return ("on" if value else "off") if parameter.secondary_opts or not value else "on"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"`{getattr(value, 'value', value)}`"


def _text(parameter: Any) -> str:
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    if parameter.envvar:
        text += f" Environment: `{parameter.envvar}`."
    return text


def reference() -> str:
    """All sections, after a list of the verbs with what each does."""
    import typer

    from archsearch.cli.main import app

    found = [*verbs(typer.main.get_command(app), "archsearch")]
    lines = ["| verb | |", "| --- | --- |"]
    for name, verb in found:
        short = name.removeprefix("archsearch ")
        lines.append(f"| [{short}](#{short.replace(' ', '-')}) | {' '.join(verb.help.split())} |")
    for name, verb in found:
        lines += ["", *section(name, verb)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the page's tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    print(reference())


if __name__ == "__main__":
    main()
