"""Errors a user can cause. The CLI prints their text as one line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ArchSearchError(Exception):
    """Base of every error that is the caller's to mend; its text says what, where and what to do."""


class UnknownNameError(ArchSearchError):
    """A name (GPU, preset, space, study, proxy) that does not exist; the text lists near matches."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        name, choices = str(name), sorted(set(known))
        lowered = {choice.lower(): choice for choice in choices}
        near = [lowered[m] for m in difflib.get_close_matches(name.lower(), lowered, n=4, cutoff=0.5)]
        listed = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(choices)}"
        super().__init__(f"unknown {kind} {name!r}: {listed}" + (f" {hint}" if hint else ""))
        self.kind = kind
        self.name = name
        self.near = tuple(near)


class InvalidInputError(ArchSearchError):
    """A value, file or expression that is malformed; the text says where and what would be legal."""


class UnsupportedError(ArchSearchError):
    """A legal request that this GPU, kernel or family cannot serve; the text gives the reason."""
