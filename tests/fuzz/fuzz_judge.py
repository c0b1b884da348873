"""What must hold of every outcome, whatever was asked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from fuzz_worker import Outcome

ENDS = (0, 1, 2)
MOST_ECHOED = 200
"""Characters of a user's text that a message may repeat."""
NEVER_NEGATIVE = re.compile(
    r"(^|_)(latency|low|high|seconds|bytes|flops|parameters|throughput|memory|energy|usd|hours|count|calls|waves|mfu|"
    r"total|weights|activations|kv_cache|optimizer|peak|rows|mape|architectures|valid|efficiency)(_(s|us|ms|j|per_\w+))?$"
)
DIFFERENCES = ("shares", "difference", "differences", "seconds", "saved", "delta", "change")
"""Keys below which a number may be negative, being a difference."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def fault_of(outcome: Outcome, given: str, *, is_json: bool = True) -> str:
    """What is wrong with an outcome, empty where nothing is; ``given`` is what the user wrote."""
    if outcome.fault:
        return _brief(outcome.fault)
    if outcome.status not in ENDS:
        return f"exit status {outcome.status}"
    if wrong := _words(outcome, given):
        return wrong
    if outcome.status != 0:
        return ""
    answer = outcome.answer
    if answer is None and is_json:
        try:
            answer = json.loads(outcome.out, parse_constant=_refuse_constant)
        except ValueError as error:
            return f"no JSON: {error}"
    return next(_unphysical(answer, ()), "")


def _words(outcome: Outcome, given: str) -> str:
    """What is wrong with the message."""
    lines = [line for line in outcome.err.splitlines() if line.strip()]
    if outcome.status == 2:
        refusals = [line for line in lines if line.startswith("archsearch: ")]
        if not refusals:
            return "refused without a word"
    found = _CONTROL.search(outcome.err)
    if found:
        return f"control character {found.group()!r} in a message"
    for line in lines:
        if len(line) > MOST_ECHOED and any(
            line[i : i + MOST_ECHOED + 1] in given for i in range(0, len(line) - MOST_ECHOED)
        ):
            return f"over {MOST_ECHOED} characters of input in a message: {line[:80]}"
        if len(line) > 4000:
            return f"a message of {len(line)} characters: {line[:80]}"
    if "Traceback" in outcome.err:
        return "a traceback on stderr"
    return ""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} in JSON")


def _unphysical(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Numbers of an answer that nothing physical can have."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _unphysical(item, (*path, str(key)))
    elif isinstance(value, list):
        for item in value:
            yield from _unphysical(item, path)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{'.'.join(path)} is {value}"
    elif isinstance(value, int | float) and value < 0 and any(map(NEVER_NEGATIVE.search, path[-2:])):
        is_difference = set(path) & set(DIFFERENCES) or path[-1].endswith("_change")
        yield from () if is_difference else (f"{'.'.join(path)} is {value}",)


def _brief(fault: str) -> str:
    """Where a traceback ends, and of what: the same for the same fault."""
    if not fault.startswith("Traceback"):
        return fault
    places = re.findall(r'File "[^"]*/archsearch/([^"]+)", line (\d+)', fault)
    where = ":".join(places[-1]) if places else "?"
    last = fault.strip().splitlines()[-1]
    return f"{where} {re.sub(r'[0-9]+', 'N', last)[:160]}"
