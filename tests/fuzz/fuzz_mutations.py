"""What becomes of a valid file or command line in wrong hands: values of another kind and size, keys that are missing,
doubled or misspelt, structures too deep, and bytes that are no text."""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, TypeVar

import yaml

Item = TypeVar("Item")

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 7, 64, 1.5, -0.0, 1e-320, 1e308, -1e308),
    *(2**31, 2**31 + 1, 2**32, 2**53 + 1, 2**62, 2**63, 2**64, -(2**63), 10**30, 10**400),
    *(float("nan"), float("inf"), float("-inf")),
    *("", " ", "x" * 5000, "x" * 201, "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\x00b", "tab\there", "line\nbreak"),
    *("nan", "inf", "1e5", "0x10", "1_000", "-5", "3.0", "yes", "null", "2020-02-30", "١٢", "💥", "\ud800"),
    *("=cmd|' /C calc'!A0", "../../etc/passwd", "/", "C:\\new\\table", "%s%n", "{field}", "{0}", "__import__('os')"),
    *("99999999999999999999*hidden_size", "2**2**99", "hidden_size // 0", "(" * 300, "1 if x else 2", "min(1)"),
    *([], {}, [[]], [1, [2]], {"a": {}}, [None], [1, 2, 3], {"choices": [1, 2]}, {1: 2}, [float("nan")]),
)
"""Values that stand where another one should."""
BYTES = (
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x80",
    b"\r",
    b"\x1b[2J",
    b"\t",
    b"&a ",
    b"*a",
    b"{",
    b'"',
    b"\xed\xa0\x80",
)


@dataclass(frozen=True)
class Choice:
    """Decisions, each as likely as the others."""

    random: Random

    def of(self, items: Sequence[Item]) -> Item:
        return self.random.choice(items)

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)


def mutated(text: str, suffix: str, choice: Choice) -> bytes:
    """The bytes of a file that was valid."""
    kind = choice.number(0, 9)
    if kind == 0:
        return _bytes(text.encode(), choice)
    if kind == 1:
        return _text(text, suffix, choice).encode("utf-8", "surrogatepass")
    if suffix == ".csv":
        return _table(text, choice).encode("utf-8", "surrogatepass")
    document = _parsed(text, suffix)
    for _ in range(choice.of((1, 1, 1, 2, 3))):
        document = _document(document, choice)
    if suffix == ".yaml":
        try:
            dumped = yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
            return dumped.encode("utf-8", "surrogatepass")
        except (yaml.YAMLError, RecursionError, UnicodeError):
            return repr(document).encode("utf-8", "surrogatepass")
    return json.dumps(document).encode()


@cache
def _parsed(text: str, suffix: str) -> Any:
    return yaml.load(text, Loader=yaml.CSafeLoader) if suffix == ".yaml" else json.loads(text)


def _document(document: Any, choice: Choice) -> Any:
    """A document with one of its parts changed."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places:
        return choice.of(ODD)
    holder, key = choice.of(places)
    match choice.number(0, 11):
        case 0 | 1 | 2 | 3 | 4:
            holder[key] = choice.of(ODD)
        case 5:
            del holder[key]
        case 6 if isinstance(holder, dict):
            holder[choice.of((f"{key}s", f"{key} ", str(key).upper(), "", "x" * 300, "\x1b[1m", 7))] = holder.pop(key)
        case 6:
            holder.insert(key, copy.deepcopy(holder[key]))
        case 7:
            other, at = choice.of(places)
            holder[key] = copy.deepcopy(other[at])
        case 8:
            holder[key] = [holder[key]] if choice.number(0, 1) else {"a": holder[key]}
        case 9:
            for _ in range(choice.of((10, 70, 150))):
                holder[key] = [holder[key]]
        case 10 if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] *= choice.of((-1, 0, 1000, 10**6, 10**12, 10**18, 0.5))
        case _:
            holder[key] = str(holder[key])
    return document


def _places(value: Any) -> Any:
    """Holder and key of every part of a document."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _table(text: str, choice: Choice) -> str:
    """A table with one cell, column or row changed."""
    rows = list(csv.reader(io.StringIO(text)))
    for _ in range(choice.of((1, 1, 2, 3))):
        row, column = choice.number(1, len(rows) - 1), choice.number(0, len(rows[0]) - 1)
        match choice.number(0, 10):
            case 0 | 1 | 2 | 3:
                rows[row][column % max(len(rows[row]), 1) :][:1] = []
                value = choice.of(ODD)
                rows[row] = [*rows[row][:column], "" if value is None else str(value), *rows[row][column + 1 :]]
            case 4:
                rows = [[*cells[:column], *cells[column + 1 :]] for cells in rows]
                if not rows[0]:
                    return ""
            case 5:
                rows[0][column] = choice.of((f"{rows[0][column]}s", "", rows[0][0], " " + rows[0][column], "x" * 300))
            case 6:
                value = str(choice.of(ODD))
                rows = [rows[0], *([*cells[:column], value, *cells[column + 1 :]] for cells in rows[1:])]
            case 7:
                rows[row] = rows[row][: choice.number(0, len(rows[row]))]
            case 8:
                rows[row] = [*rows[row], "1", "2"]
            case 9:
                rows = rows[: choice.number(0, 1)]
                break
            case _:
                rows = [[f" {cell}" for cell in cells] for cells in rows]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().replace("\x00", choice.of(("\x00", "")))


WHOLE = ("", "\n", "null", "[]", "{}", "7", '"text"', "true", "- a\n- b", "%", "!!python/object:os.system")
"""Files that hold nothing, or something else."""
BOMB = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else '1'}]\n" for i in range(12))


def _text(text: str, suffix: str, choice: Choice) -> str:
    """A text with lines changed."""
    lines = text.splitlines()
    at = choice.number(0, max(len(lines) - 1, 0))
    line = lines[at] if lines else ""
    match choice.number(0, 9):
        case 0:
            lines[at:at] = [line]  # a key twice
        case 1:
            lines[at:at] = BOMB.splitlines()
        case 2:
            lines[at : at + 1] = [f"{line.partition(':')[0]}: &a [*a]"]
        case 3:
            del lines[at]
        case 4:
            lines[at : at + 1] = [line.partition(":")[0] + ": " + "[" * 5000 + "]" * 5000]
        case 5:
            lines[at : at + 1] = [line.replace(",", " , "), "   ", "# note", "---"]
        case 6:
            lines[at : at + 1] = ["\t" + line]
        case 7:
            lines[at : at + 1] = [line.partition(":")[0] + ": " + "9" * choice.of((20, 400, 5000))]
        case 8:
            return choice.of(
                ("", "\n", "null", "[]", "{}", "7", '"text"', "true", "- a\n- b", "%", "!!python/object:os.system")
            )
        case _:
            lines[at : at + 1] = [f"{line.partition(':')[0]}: !!python/object/apply:os.system [id]"]
    return "\n".join(lines) + "\n"


def _bytes(content: bytes, choice: Choice) -> bytes:
    """A file with bytes changed."""
    at = choice.number(0, max(len(content) - 1, 0))
    match choice.number(0, 7):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + choice.of(BYTES) + content[at:]
        case 2:
            return content.decode().encode("utf-16")
        case 3:
            return b"\xef\xbb\xbf" + content
        case 4:
            return content.replace(b"\n", b"\r\n")
        case 5:
            return content.decode().encode("utf-16-be")  # without a mark: no text that anyone could read
        case 6:
            return content[:at] + bytes([choice.number(0, 255)]) + content[at + 1 :]
        case _:
            return content[: at // 2] + content[at:]
