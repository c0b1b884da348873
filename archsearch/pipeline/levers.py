"""Levers: changes of a plan (pipeline, request, run), each legal or refused with its reason.

Legality is judged on the plan as it is, so that an order matters nowhere: ``refusals`` judges a whole combination by
building it and asking every lever again about the finished plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.pipeline.lever_changes import CHANGES, ORDER, kind_of
from archsearch.pipeline.lever_rules import reason_after, reason_before
from archsearch.pipeline.plan import Lever, Plan, transformer_ops
from archsearch.pipeline.request import check_request

LEVERS_FILE = Path(__file__).with_name("levers.yaml")
_SHARES = ("cache", "student")
_COUNTS = ("steps", "batch", "sequence-parallel")
TRAINING = ("none", "distill", "retrain")


@lru_cache(maxsize=1)
def levers() -> dict[str, Lever]:
    """All levers by id."""
    raw: dict[str, dict[str, Any]] = yaml.safe_load(LEVERS_FILE.read_text(encoding="utf-8"))
    found = {}
    for name, fields in raw.items():
        values = [fields.pop(key) for key in ("steps", "gpus", "batch", "share", "release") if key in fields]
        quality = fields.pop("quality", "unknown")
        rows = quality if isinstance(quality, str) else tuple(tuple(row) for row in quality)
        found[name] = Lever(id=name, value=values[0] if values else None, quality=rows, **fields)
    return found


def get_lever(text: str) -> Lever:
    """A lever by id; ``id=NUMBER`` sets its number (``feature-cache=0.5``).

    Raises:
        UnknownNameError: no such lever.
        InvalidInputError: a number that this lever does not take.
    """
    known = levers()
    name, separator, number = text.partition("=")
    if name not in known:
        raise UnknownNameError("lever", name, known, hint="(`archsearch pipeline levers` lists all)")
    lever = known[name]
    if not separator:
        return lever
    changed = replace(lever, id=text, value=_number(lever, number))
    return changed if isinstance(lever.quality, str) else replace(changed, quality="unknown")


def _number(lever: Lever, text: str) -> Any:
    """The number of a lever as the kind that it takes: a share, or a whole number.

    Raises:
        InvalidInputError: the lever takes none, or not this one.
    """
    if lever.group not in _SHARES and lever.group not in _COUNTS:
        raise InvalidInputError(f"lever {lever.id} takes no number")
    try:
        value: Any = float(text) if lever.group in _SHARES else int(text)
    except ValueError:
        value = -1
    legal = 0.0 < value < 1.0 if lever.group in _SHARES else value >= 1
    if not legal:
        kind = "a share between 0 and 1" if lever.group in _SHARES else "a whole number from 1"
        raise InvalidInputError(f"lever {lever.id}={text}: needs {kind}")
    return value


def apply(plan: Plan, names: Iterable[str], gpu: GpuSpec) -> Plan:
    """The plan with levers pulled.

    Raises:
        UnknownNameError: no such lever.
        InvalidInputError: two levers of one group.
        UnsupportedError: a lever that is not legal on this GPU or in this combination, with the reason.
    """
    chosen = [get_lever(name) for name in names]
    found = refusals(plan, chosen, gpu)
    if found:
        raise UnsupportedError("; ".join(f"{name}: {reason}" for name, reason in found.items()))
    return build(plan, chosen)


def build(plan: Plan, chosen: Sequence[Lever]) -> Plan:
    """The plan with levers pulled, legal or not."""
    for lever in sorted(chosen, key=lambda lever: ORDER.get(lever.group, 0)):
        plan = CHANGES[kind_of(lever)](plan, lever)
    return plan


def refusals(plan: Plan, chosen: Sequence[Lever], gpu: GpuSpec) -> dict[str, str]:
    """Why a combination is not legal: lever → reason; empty where it is."""
    groups: dict[str, str] = {}
    for lever in chosen:
        if lever.group in groups:
            other = groups[lever.group]
            told = (
                f"lever {other} is given twice"
                if other == lever.id
                else f"levers {other} and {lever.id} exclude each other"
            )
            raise InvalidInputError(f"{told}: take one")
        groups[lever.group] = lever.id
    found = {lever.id: reason for lever in chosen if (reason := reason_before(plan, lever))}
    if found:
        return found
    try:
        final = build(plan, chosen)
        check_request(final.pipeline, final.request)
        ops = transformer_ops(final)
    except ArchSearchError as error:
        return {"+".join(lever.id for lever in chosen) or "plan": str(error)}
    return {lever.id: reason for lever in chosen if (reason := reason_after(final, lever, gpu, ops))}
