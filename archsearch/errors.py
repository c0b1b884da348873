"""Errors a user can cause. The CLI prints their text as one line and exits with status 2."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Self

READABLE = 60
"""Names that an error lists whole: a family's fields are fewer, the published models more."""
SHOWN = 12
"""Names that it shows of more."""
LONGEST_ECHO = 200
"""Characters of one quoted value or one word that an error repeats."""
_HEAD, _TAIL = 80, 40
"""Characters that are kept of a longer one."""
_LONG = re.compile(
    rf"(?<!\w)'[^'\n]{{{LONGEST_ECHO},}}'(?!\w)|(?<!\w)\"[^\"\n]{{{LONGEST_ECHO},}}\"(?!\w)|\S{{{LONGEST_ECHO},}}"
)


def printable(text: str) -> str:
    """A text that a terminal shows and does not obey: control characters and those that turn the direction of writing
    are escaped (lines' ends stay), and what one cannot encode is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        one if one == "\n" or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else _escaped(one)
        for one in text
    )


def _escaped(one: str) -> str:
    return one.encode("unicode_escape", "backslashreplace").decode("ascii")


def shortened(text: str) -> str:
    """A text in which no quoted value and no word is longer than ``LONGEST_ECHO``."""
    if len(text) <= LONGEST_ECHO:
        return text
    return _LONG.sub(lambda found: f"{found.group()[:_HEAD]}...{found.group()[-_TAIL:]}", text)


_PASSWORDS = (
    re.compile(r"([?&]password=)([^&\s'\"]*)()"),
    re.compile(r"(:/{1,2}[^:/@\s]*:)(\S*)(@)"),  # with one slash too: a typing mistake tells no secret
)


def passwords_in(text: str) -> set[str]:
    """Passwords of addresses (``scheme://user:password@host``, ``?password=...``) in a text, as they are written."""
    return {match[1] for pattern in _PASSWORDS for match in pattern.findall(text)} - {""}


def masked(text: str, mask: str = "***") -> str:
    """A text in which ``mask`` stands for every password of an address."""
    if ":/" not in text and "password=" not in text:
        return text
    for pattern in _PASSWORDS:
        text = pattern.sub(rf"\g<1>{mask}\g<3>", text)
    return text


class ArchSearchError(Exception):
    """Base of every error that is the caller's to mend; its text says what, where and what to do.

    ``field`` names the argument (or arguments) that the error is about, as Python spells it. Where the text mentions
    one, it stands in braces, ``"{launch_us} must be a number from 0"``: the text of the error has the plain name, and
    the command line puts its own spelling there (``spelled``). What it repeats of the caller's is cut where it is long,
    escaped where a terminal would obey it, and without passwords.
    """

    def __init__(self, text: str, *, field: str | Iterable[str] = ()) -> None:
        self.fields = (field,) if isinstance(field, str) else tuple(field)
        self._template = text
        super().__init__(self.spelled(str))

    @property
    def field(self) -> str | None:
        """The argument that the error is about; the first where it is about several, None where it is about none."""
        return self.fields[0] if self.fields else None

    def spelled(self, spelling: Callable[[str], str]) -> str:
        """The text with each mentioned field as ``spelling`` writes it."""
        text = self._template
        for name in self.fields:
            text = text.replace(f"{{{name}}}", spelling(name))
        return shortened(printable(masked(text)))

    def about(self, place: str) -> Self:
        """The same error, its text preceded by where it arose."""
        error = self._of(f"{place}: {self._template}", self.fields)
        for name in vars(self).keys() - vars(error).keys():  # what a kind of error knows besides
            setattr(error, name, getattr(self, name))
        return error

    @classmethod
    def joined(cls, errors: Iterable[ArchSearchError]) -> Self:
        """One error of several reasons, each told once."""
        reasons = list(errors)
        text = "; ".join(dict.fromkeys(error._template for error in reasons))
        return cls._of(text, [name for error in reasons for name in error.fields])

    @classmethod
    def _of(cls, text: str, fields: Iterable[str]) -> Self:
        error = cls.__new__(cls)
        ArchSearchError.__init__(error, text, field=fields)
        return error


class UnknownNameError(ArchSearchError):
    """A name (GPU, preset, space, study, proxy) that does not exist; the text lists near matches.

    Near is what ``known`` has of similar spelling, unless ``near`` says what is; ``reason`` is told instead of it.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        hint: str = "",
        *,
        field: str | Iterable[str] = (),
        near: Iterable[str] | None = None,
        reason: str = "",
    ) -> None:
        name, choices = str(name), sorted(set(known))
        if near is None:
            lowered = {choice.lower(): choice for choice in choices}
            near = [lowered[m] for m in difflib.get_close_matches(name.lower(), lowered, n=4, cutoff=0.5)]
        self.kind = kind
        self.name = name
        self.near = tuple(near)
        listed = reason or (f"did you mean {', '.join(self.near)}?" if self.near else f"known: {_listed(choices)}")
        super().__init__(self._told(listed) + (f" {hint}" if hint else ""), field=field)

    def _told(self, listed: str) -> str:
        return f"unknown {self.kind} {self.name!r}: {listed}"


def _listed(names: list[str]) -> str:
    """All names, or the first of them and their number where nobody would read them all."""
    if len(names) <= READABLE:
        return ", ".join(names)
    return f"{', '.join(names[:SHOWN])}, ... ({len(names)} names in all)"


class AmbiguousNameError(UnknownNameError):
    """A name that may be each of several things, or says too little to be the one that is ``near``."""

    def __init__(
        self, kind: str, name: str, choices: Iterable[str], hint: str = "", *, field: str | Iterable[str] = ()
    ) -> None:
        super().__init__(kind, name, (), hint, field=field, near=choices)

    def _told(self, listed: str) -> str:
        if len(self.near) == 1:
            return f"{self.name!r} says too little to name a {self.kind}: is it {self.near[0]}?"
        return f"{self.name!r} may be {', '.join(self.near[:-1])} or {self.near[-1]}: say which"


class InvalidInputError(ArchSearchError):
    """A value, file or expression that is malformed; the text says where and what would be legal."""


class UnsupportedError(ArchSearchError):
    """A legal request that this GPU, kernel or family cannot serve; the text gives the reason."""
