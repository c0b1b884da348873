"""Command lines with odd words: every verb with every option that it has."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

import typer
from fuzz_mutations import ODD, Choice

ARGUMENTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "estimate": (("bert-base", "gpt2", "dit-s-2", "sd-vae", "{model}", "{config.json}"),),
    "explain": (("bert-base", "dit-s-2", "{model}"),),
    "enumerate": (("{space}", "{sampling table}"),),
    "recommend": (("{space}", "{sampling table}"),),
    "build": (("gpt2", "dit-s-2", "{model}", "{space}:1", "{config.json}"),),
    "diff": (("{answer}",), ("{answer}",)),
    "validate": (("{measurements}",),),
    "quality": (("gpt2", "{quality table}"),),
    "hardware show": (("l4", "h100-sxm"),),
    "hardware compare": (("l4",), ("t4", "h100-sxm")),
    "models show": (("bert-base", "{model}"),),
    "models fields": (("decoder", "dit"),),
    "spaces show": (("{space}",),),
    "spaces new": (("dit", "decoder"),),
    "study create": (("{space}",),),
    "pipeline estimate": (("{pipeline}",),),
    "pipeline fits": (("{pipeline}",),),
    "pipeline student": (("{pipeline}",),),
    "pipeline compare": (("{pipeline}",),),
    "serve simulate": (("{pipeline}",),),
    "serve trace": (("{pipeline}",), ("{arrivals}",)),
}
"""Arguments by verb; a verb that is not here takes none."""
LEFT_OUT = {
    "ui": "serves until it is stopped",
    "bench run": "measures this machine",
    "bench verify": "measures this machine",
    "study worker": "needs a stored study; see tests/services",
    "study resume": "needs a stored study",
    "study proxy": "serves until it is stopped",
    "study run": "minutes of trials where --trials is large",
    "study export": "needs a stored study",
    "study show": "needs a stored study",
    "study delete": "needs a stored study",
    "report": "draws for seconds; its options are those of what it reports",
    "pipeline optimize": "searches for seconds",
    "serve fleet": "searches for seconds",
    "doctor": "looks at this machine",
}
"""Verbs whose options are not tried, and why."""
OF_ALL_GPUS = ("pipeline fits",)
"""Verbs that price every GPU where none is named, which takes as long as it takes."""
PLAIN = ("1", "2", "8", "64", "128", "0.5", "auto", "bf16", "fp16", "fp8", "none", "cfg", "l4", "t4,l4", "h100-sxm=2")
GPUS = ("l4", "h100-sxm", "t4", "own", "l4=2", "l4,t4")


def _commands(command: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    if hasattr(command, "commands"):
        return {v: c for n, sub in command.commands.items() for v, c in _commands(sub, (*path, n)).items()}
    return {" ".join(path): command}


main: Any = importlib.import_module("archsearch.cli.main")
ALL: dict[str, Any] = _commands(typer.main.get_command(main.app))
COMMANDS = {verb: command for verb, command in ALL.items() if verb not in LEFT_OUT}


def typed(verb: str, choice: Choice, files: Mapping[str, str], out: str) -> list[str]:
    """The words of a call of a verb with one to three of its options, each with an odd or a plain value."""
    words = verb.split()
    for choices in ARGUMENTS.get(verb, ()):
        word = choice.of(choices) if choice.number(0, 9) else str(choice.of(ODD))
        words.append(_named(word, files))
    options = {p.opts[0]: p for p in COMMANDS[verb].params if p.param_type_name == "option"}
    options = {name: p for name, p in options.items() if name not in ("--json", "--help", "--storage", "--scheduler")}
    if "--hardware" in options and (choice.number(0, 9) or verb in OF_ALL_GPUS):
        words += ["--hardware", choice.of(GPUS) if choice.number(0, 4) == 0 else "l4"]
    for _ in range(choice.number(1, 3) if options else 0):
        name = choice.of(sorted(options))
        option = options[name]
        words.append(choice.of([*option.opts, *option.secondary_opts]))
        if not option.is_flag:
            words.append(_value(name, option, choice, out))
    if "--storage" in {p.opts[0] for p in COMMANDS[verb].params}:
        words += ["--storage", f"{out}/s.journal"]
    return [word.replace("\x00", "") for word in [*words, "--json"]]  # no system passes a NUL


def _value(name: str, option: Any, choice: Choice, out: str) -> str:
    if name in ("--output", "--report", "--profiles"):
        return choice.of((f"{out}/a.csv", f"{out}/a.json", f"{out}/a.html", f"{out}/a.exe", f"{out}/no/a.csv", out, ""))
    words = re.findall(r"[a-z0-9][a-z0-9_.-]+", option.help or "")  # legal ones are among them
    if words and choice.number(0, 2) == 0:
        return choice.of(words)
    return str(choice.of(ODD)) if choice.number(0, 2) else choice.of(PLAIN)


def _named(word: str, files: Mapping[str, str]) -> str:
    for name, file in files.items():
        word = word.replace(f"{{{name}}}", file)
    return word
