"""A call imports its own verb's module alone, and the root's help is what the verbs themselves say."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer.main

from archsearch.cli.main import application, run
from archsearch.cli.verbs import GROUP, VERBS


def listed(app: typer.Typer) -> list[tuple[str, str]]:
    """Name and first paragraph of every verb, in the order of ``--help``."""
    verbs: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return [(name, " ".join(verb.help.split("\n\n")[0].split())) for name, verb in verbs.items()]


def test_the_help_of_verbs_that_are_not_imported_is_theirs() -> None:
    assert listed(application("")) == listed(application()) == [(verb.name, verb.text) for verb in VERBS]


def loaded(*arguments: str) -> set[str]:
    """Modules of verbs that a call imports."""
    code = "import sys; from archsearch.cli.main import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return {verb.module for verb in VERBS if f"archsearch.cli.{verb.module}" in done.stderr.split()}


@pytest.mark.parametrize(
    ("arguments", "modules"),
    [
        (("--help",), set()),
        (("hardware", "list"), {"hardware"}),
        (("serve", "fleet", "--help"), {"serve"}),
        (("--version", "estimate"), {verb.module for verb in VERBS}),
    ],
)
def test_a_call_imports_its_own_verb(arguments: tuple[str, ...], modules: set[str]) -> None:
    assert loaded(*arguments) == modules


def test_a_verb_alone_is_the_verb_among_all() -> None:
    for verb in VERBS:
        alone, among = (typer.main.get_command(application(name)) for name in (verb.name, None))
        found, wanted = (command.commands[verb.name] for command in (alone, among))  # type: ignore[attr-defined]
        assert [p.opts for p in found.params] == [p.opts for p in wanted.params]
        if verb.attribute == GROUP:
            assert list(found.commands) == list(wanted.commands)


def test_an_unknown_verb_and_no_verb_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["estimat"]) == 2
    assert "estimate" in capsys.readouterr().err
    assert run([]) == 2
    assert "estimate" in capsys.readouterr().out
