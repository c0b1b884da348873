"""The command line as tests call it: in this process, its documents parsed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from archsearch.cli.main import run

Ask = Callable[..., Any]


def asker(capsys: pytest.CaptureFixture[str]) -> Ask:
    """A function that runs a verb, which must succeed, and returns its JSON document, or its text with ``as_text``."""

    def ask(*arguments: str, as_text: bool = False) -> Any:
        capsys.readouterr()
        words = [str(a) for a in arguments] + ([] if as_text else ["--json"])
        status = run(words)
        out, err = capsys.readouterr()
        assert status == 0, f"archsearch {' '.join(words)}: {err}"
        return out if as_text else json.loads(out)

    return ask
