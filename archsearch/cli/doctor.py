"""``archsearch doctor``: what is installed, which GPU is here and how well it is known, where data lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archsearch.cli.options import Json, Profiles
from archsearch.cli.output import print_json, print_table, say

EXTRA_WIDTH = 11
"""Columns of an extra's name with its brackets: as wide as the other lines' names."""


def doctor(json: Json = False, profiles: Profiles = None) -> None:
    """Show what is installed, this machine's GPUs, where data lies, and what is missing with how to get it."""
    from archsearch.installation import examination

    found: Mapping[str, Any] = examination()
    if json:
        print_json(found)
        return
    say(f"archsearch {found['archsearch']}, Python {found['python']}, {found['platform']}")
    say(f"  installed   {_versions(found['packages']) or 'not as a package: it runs from the path'}")
    for extra in found["extras"]:
        say(f"  {'[' + extra['extra'] + ']':<{EXTRA_WIDTH}} {_versions(extra['packages'])}")
    for gpu in found["gpus"]:
        known = ", ".join(f"{kernel} {word}" for kernel, word in gpu["known"].items())
        say(f"  GPU         {gpu['device']}: {gpu['profile'] or 'no profile'}{f' ({known})' if known else ''}")
    if not found["gpus"]:
        say("  GPU         none seen")
    for name, value in found["environment"].items():
        say(f"  set         {name}={value}")
    rows = [(p["what"], p["count"] if p["exists"] else "not there yet", p["path"]) for p in found["places"]]
    print_table("", ("where", "files", "folder"), rows, left=("where", "folder"))
    for item in found["missing"]:
        say(f"missing: {item['what']}: {item['get']}")


def _versions(packages: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} {version or 'MISSING'}" for name, version in packages.items())
