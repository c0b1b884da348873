"""Levers: changes of a plan (pipeline, request, deployment), each legal or refused with its reason.

Legality is judged on the plan as it is, so that an order matters nowhere: ``refusals`` judges a whole combination by
building it and asking every lever again about the finished plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.keywords import checked_call
from archsearch.pipeline.component_calls import Models
from archsearch.pipeline.lever_file import load_levers
from archsearch.pipeline.lever_group import Finished, Lever
from archsearch.pipeline.plan import Plan
from archsearch.pipeline.request import check_request


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why levers (their ids) are not legal. The text may mention ``fields`` as ``ArchSearchError`` does."""

    levers: str
    text: str
    fields: tuple[str, ...] = ()

    @classmethod
    def by(cls, levers: str, error: ArchSearchError) -> Refusal:
        """What an error says, its fields still to be spelled."""
        return cls(levers, error.spelled(lambda field: f"{{{field}}}"), error.fields)


def levers() -> Mapping[str, Lever]:
    """All levers that ship, by id."""
    return load_levers()


def get_lever(text: str, known: Mapping[str, Lever] | None = None) -> Lever:
    """A lever by id; ``id=NUMBER`` sets its number (``feature-cache=0.5``).

    Args:
        known: the levers to look among, else those that ship.

    Raises:
        UnknownNameError: no such lever.
        InvalidInputError: a number that this lever does not take.
    """
    known = levers() if known is None else known
    name, separator, number = text.partition("=")
    if name not in known:
        raise UnknownNameError("lever", name, known, hint="(`archsearch pipeline levers` lists all)")
    return known[name].numbered(number) if separator else known[name]


@checked_call
def apply(plan: Plan, names: Iterable[str], gpu: GpuSpec, known: Mapping[str, Lever] | None = None) -> Plan:
    """The plan with levers pulled.

    Args:
        plan: what ``make_plan`` gave.
        names: the levers, ``feature-cache=0.5`` with a number of its own.
        gpu: what it runs on.
        known: the levers to look among, else those that ship.

    Returns:
        A new plan.

    Raises:
        UnknownNameError: no such lever.
        InvalidInputError: two levers of one group.
        UnsupportedError: a lever that is not legal on this GPU or in this combination, with the reason.
    """
    chosen = [get_lever(name, known) for name in names]
    if refused := refusals(plan, chosen, gpu):
        text = "; ".join(f"{refusal.levers}: {refusal.text}" for refusal in refused)
        raise UnsupportedError(text, field=[field for refusal in refused for field in refusal.fields])
    return build(plan, chosen)


def build(plan: Plan, chosen: Sequence[Lever]) -> Plan:
    """The plan with levers pulled, legal or not."""
    for lever in sorted(chosen, key=lambda lever: lever.group.order):
        plan = lever.group.change(plan, lever)
    return plan


def refusals(plan: Plan, chosen: Sequence[Lever], gpu: GpuSpec, *, models: Models | None = None) -> tuple[Refusal, ...]:
    """Why a combination is not legal; empty where it is.

    Args:
        models: what remembers the operations of models, where many combinations are judged.

    Raises:
        InvalidInputError: two levers of one group.
    """
    _refuse_two_of_a_group(chosen)
    reasons = ((lever, lever.group.before and lever.group.before(plan, lever)) for lever in chosen)
    if refused := tuple(Refusal(lever.id, reason) for lever, reason in reasons if reason):
        return refused
    try:
        plan = build(plan, chosen)
        check_request(plan.pipeline, plan.request)
        ops = (models or Models()).ops(plan.pipeline.transformer, plan.transformer_workload)
    except ArchSearchError as error:
        return (Refusal.by("+".join(lever.id for lever in chosen) or "plan", error),)
    final = Finished(plan=plan, gpu=gpu, ops=ops)
    reasons = ((lever, lever.group.after and lever.group.after(final, lever)) for lever in chosen)
    return tuple(Refusal(lever.id, reason) for lever, reason in reasons if reason)


def _refuse_two_of_a_group(chosen: Sequence[Lever]) -> None:
    """Refuse two levers that exclude each other.

    Raises:
        InvalidInputError: with both.
    """
    taken: dict[str, str] = {}
    for lever in chosen:
        other = taken.get(lever.group.name)
        if other == lever.id:
            raise InvalidInputError(f"lever {other} is given twice: take one")
        if other is not None:
            raise InvalidInputError(f"levers {other} and {lever.id} exclude each other: take one")
        taken[lever.group.name] = lever.id
