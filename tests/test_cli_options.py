"""What holds for the options of all verbs: declared once, under one name and unit, few enough to read in 80 columns."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from dataclasses import is_dataclass
from typing import Any

import pytest
import typer.main

import archsearch.cli
from archsearch.cli import output
from archsearch.cli.execution_options import ExecutionOptions
from archsearch.cli.generation import GenerationOptions
from archsearch.cli.groups import grouped, options_of
from archsearch.cli.main import app, run
from archsearch.cli.options import PoolOptions

MOST_OPTIONS = 20
WIDTH = 80


def verbs(of: typer.Typer = app, before: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every verb's function by the words that call it."""
    found = {(*before, info.name): info.callback for info in of.registered_commands}
    for group in of.registered_groups:
        found |= verbs(group.typer_instance, (*before, group.name))
    return found


VERBS = verbs()


def groups(verb: Any) -> tuple[type[Any], ...]:
    return getattr(verb, "__option_groups__", ())


def own_parameters(verb: Any) -> set[str]:
    """A verb's parameters beside its groups'."""
    shared = {name for group in groups(verb) for name in options_of(group)}
    return set(inspect.signature(verb).parameters) - shared


def flags() -> dict[str, set[str]]:
    """Option names of each verb, as one types them."""
    root = typer.main.get_command(app)
    found = {}
    for words in VERBS:
        command: Any = root
        for word in words:
            command = command.commands[word]
        found[" ".join(words)] = {name for p in command.params for name in (*p.opts, *p.secondary_opts) if "--" in name}
    return found


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_verb_has_at_most_twenty_options_beside_the_shared(words):
    assert len(own_parameters(VERBS[words])) <= MOST_OPTIONS


def test_a_group_of_options_is_shared():
    """Options that a single verb takes stand in the verb."""
    used = Counter(group for verb in VERBS.values() for group in _all_groups(verb))
    assert len(used) >= 6
    assert {group.__name__ for group, times in used.items() if times < 2} == set()


def test_how_it_runs_is_declared_once():
    """A verb that takes one option of an execution or a pool takes the group. Kernels are validated back to back; the
    correction is all that they have of an execution."""
    listed = flags()
    for group in (ExecutionOptions, PoolOptions):
        names = {f"--{name.replace('_', '-')}" for name in options_of(group)} - {"--hardware"}
        for words, verb in VERBS.items():
            taken = listed[" ".join(words)] & names
            if group not in _all_groups(verb) and words != ("validate",):
                assert taken == set(), words


def _all_groups(verb: Any) -> set[type[Any]]:
    """A verb's groups and those inside them."""
    inside = {hint for g in groups(verb) for hint in inspect.get_annotations(g, eval_str=True).values()}
    return {*groups(verb), *(hint for hint in inside if is_dataclass(hint))}


def test_a_quantity_has_one_unit():
    names = set().union(*flags().values())
    stems = [
        name.rsplit("-", 1)[0] for name in names if name.rsplit("-", 1)[-1] in ("s", "ms", "us", "minutes", "hours")
    ]
    assert [stem for stem, times in Counter(stems).items() if times > 1] == []
    assert "--max-latency-ms" in names


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_help_fits_eighty_columns(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("TERMINAL_WIDTH", str(WIDTH))
    assert run([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "…" not in text
    assert [name for name in flags()[" ".join(words)] if name not in text] == []


@pytest.mark.parametrize("words", ["estimate", "study run", "pipeline optimize", "serve fleet"])
@pytest.mark.parametrize("width", [50, 60])
def test_help_cuts_no_name_on_a_narrow_terminal(words, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert run([*words.split(), "--help"]) == 0
    told = capsys.readouterr().out.split()
    assert [name for name in flags()[words] if not {name, f"{name},"} & set(told)] == []


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        ("pipeline flux-dev --hardware h100-sxm", "archsearch pipeline estimate flux-dev"),
        ("pipeline flux-dev -g h100-sxm --optimize", "archsearch pipeline optimize flux-dev"),
        ("pipeline flux-dev --fits-on all", "archsearch pipeline fits flux-dev"),
        ("pipeline sana-0.6b -g h100-sxm --against flux-dev", "archsearch pipeline compare sana-0.6b"),
        ("pipeline flux-dev -g h100-sxm --student 0.5", "archsearch pipeline student flux-dev"),
        ("pipeline --list", "archsearch pipeline list"),
        ("pipeline --levers", "archsearch pipeline levers"),
        ("pipeline estimat flux-dev", "archsearch pipeline estimate"),
        ("serve flux-dev -g h100-sxm --rate 2", "archsearch serve fleet flux-dev"),
        ("serve flux-dev -g h100-sxm --rate 2 --simulate", "archsearch serve simulate flux-dev"),
        ("serve flux-dev -g h100-sxm --trace t.csv", "archsearch serve trace flux-dev"),
    ],
)
def test_a_call_without_a_job_names_the_one_that_was_meant(call, meant, capsys):
    assert run(call.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"write `{meant}`" in err


def test_groups_nest_and_bring_their_options_after_the_verbs_own():
    @grouped
    def verb(name: str, *, generation: GenerationOptions) -> None:
        told.append((name, generation))

    told: list[Any] = []
    given = dict.fromkeys(options_of(GenerationOptions))
    verb(name="x", **{**given, "steps": 3, "torch": "2.4", "vae_tiling": True})
    assert told[0][0] == "x"
    assert told[0][1].fields == {"steps": 3, "tiling": True, "torch": "2.4"}
    assert list(inspect.signature(verb).parameters)[:3] == ["name", "height", "width"]


class _Terminal:
    def isatty(self) -> bool:
        return True


def test_lines_fold_at_words_on_a_terminal_alone(monkeypatch, tmp_path):
    line = "  latency     " + " ".join(f"word{i}" for i in range(40))
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    shown = output.folded(line, _Terminal()).splitlines()
    assert max(map(len, shown)) <= WIDTH
    assert " ".join(shown).split() == line.split()
    assert all(part.startswith(" " * 14 + "word") for part in shown[1:])
    long = "word" * 40
    assert output.folded(long, _Terminal()) == long  # a word that is longer stays one
    listed = output.folded("torch=2.8," + "field=value," * 12, _Terminal()).splitlines()
    assert max(map(len, listed)) <= WIDTH
    assert all(line.endswith(",") for line in listed)  # a list folds behind its commas
    with (tmp_path / "file").open("w") as file:
        assert output.folded(line, file) == line


@pytest.mark.parametrize(
    "call",
    [
        "estimate flux1-dev -g h100-sxm",
        "explain bert-base -g h100-sxm",
        "enumerate modernbert-base-budget -g h100-sxm",
        "recommend modernbert-base-budget -g t4,h100-sxm",
        "pipeline estimate flux-dev -g l40s",
        "pipeline compare sana-0.6b flux-schnell -g h100-sxm",
        "pipeline student sana-0.6b -g h100-sxm --share 0.7",
        "serve fleet flux-schnell -g h100-sxm,l40s --rate 2 --p95-s 12 --max-batch 1",
        "quality llama-3-8b",
        "hardware show h100-sxm",
    ],
)
def test_no_line_of_text_breaks_within_a_word(call, capsys, monkeypatch):
    names = [module.name for module in pkgutil.iter_modules(archsearch.cli.__path__)]
    for loaded in [importlib.import_module(f"archsearch.cli.{name}") for name in names]:  # all, before one is changed
        monkeypatch.setattr(loaded, "print_table", lambda *_, **__: None, raising=False)
    assert run(call.split()) == 0
    whole = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(call.split()) == 0
    shown = capsys.readouterr().out
    for line in shown.splitlines():
        assert len(line) <= WIDTH or len(line.split()) == 1, line
    if not call.startswith("enumerate"):  # which tells how fast this machine was
        assert shown.split() == whole.split()
