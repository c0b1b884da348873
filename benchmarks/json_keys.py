"""What every verb prints with --json, as tables of a page: each key with type, unit and meaning.

python benchmarks/json_keys.py
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence

from archsearch.cli.answer_keys import PLAIN, Answers, Keys, VerbAnswer, answers
from archsearch.version import JSON_SCHEMA


def page_lines(found: Answers) -> Iterator[str]:
    """The page's lines: verbs in the order of the file, then the records that they share."""
    yield f"The version that these tables are of, `schema`: {JSON_SCHEMA}."
    for answer in found.verbs.values():
        yield ""
        yield from verb_lines(answer, found)
    shared = [name for name in found.records if name not in found.verbs]
    for name in shared:
        yield from ("", f"## {heading(name)}", "", found.about[name], "", *table(found.records[name], found))


def verb_lines(answer: VerbAnswer, found: Answers) -> Iterator[str]:
    """A verb: what its document is, and its keys where they are its own."""
    yield f"## `archsearch {answer.verb}`"
    yield ""
    unversioned = "" if answer.versioned else " It has no `schema`."
    if answer.kind == answer.verb:
        yield f"{answer.about}{unversioned}"
        yield ""
        yield from table(found.records[answer.verb], found)
    else:
        yield f"{answer.about}{unversioned} The document is {linked(answer.kind, found)}."


def table(keys: Keys, found: Answers) -> Iterator[str]:
    """A table of keys."""
    yield "| key | type | unit | meaning |"
    yield "| --- | --- | --- | --- |"
    for key in keys:
        left_out = "" if key.always else ", or left out"
        kind = cell(key.words) or linked(key.kind, found)
        yield f"| `{key.name}` | {kind}{left_out} | {key.unit} | {cell(key.meaning)} |"


def linked(kind: str, found: Answers) -> str:
    """A type in words, each record of it a link to its table."""
    names = sorted((name for name in found.records if name not in found.verbs), key=len, reverse=True)
    words = kind.replace("?", " or null")
    pattern = "|".join([*PLAIN, *names])
    return re.sub(rf"(?<![a-z_])({pattern})(?![a-z_])", lambda found: link(found[0]), words)


def link(name: str) -> str:
    """A type's name, of a record with a link to its table."""
    return name if name in PLAIN else f"[{heading(name)}](#{anchor(name)})"


def heading(name: str) -> str:
    """A record's name as people read it."""
    return name.replace("_", " ")


def anchor(name: str) -> str:
    """Where a record's table stands on the page."""
    return name.replace("_", "-")


def cell(text: str) -> str:
    """A text that stands in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def main(arguments: Sequence[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    print("\n".join(page_lines(answers())))


if __name__ == "__main__":
    main()
