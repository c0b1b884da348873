"""Answers of the command line, asked in this process."""

from __future__ import annotations

import contextlib
import io
import json
from functools import cache
from typing import Any

Answer = dict[str, Any]


@cache
def asked(text: str) -> Answer:
    """What a command ``archsearch ...`` answers as JSON; equal ones are asked once.

    Raises:
        RuntimeError: it exits with another status than 0.
    """
    from archsearch.cli.main import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run([*(word for word in text.split()[1:] if word != "--json"), "--json"])
    if status:
        raise RuntimeError(f"{text}: {err.getvalue().strip()[:300]}")
    answer: Answer = json.loads(out.getvalue())
    return answer
