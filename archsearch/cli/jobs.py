"""Verbs that are groups of jobs: a call without a job is refused with the line that names the right one."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar

from typer.core import TyperGroup

from archsearch.errors import InvalidInputError


class JobGroup(TyperGroup):
    """A group of jobs. ``flags`` of a call tell which job was meant, ``default`` is meant where none does."""

    verb: ClassVar[str]
    default: ClassVar[str]
    flags: ClassVar[Mapping[str, str]]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse what names no job before anything is read.

        Raises:
            InvalidInputError: the first word is no job; the text has the one that was meant.
        """
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            raise InvalidInputError(self._meant(args))
        return super().parse_args(ctx, args)

    def _meant(self, args: list[str]) -> str:
        near = get_close_matches(args[0], list(self.commands), n=1)
        job = near[0] if near else next((job for flag, job in self.flags.items() if flag in args), self.default)
        takes_name = any(p.param_type_name == "argument" for p in self.commands[job].params)
        named = args[:1] if takes_name and not near and not args[0].startswith("-") else []
        call = " ".join(("archsearch", self.verb, job, *named))
        return f"`archsearch {self.verb}` has a verb for each job ({', '.join(self.commands)}): write `{call}`"
