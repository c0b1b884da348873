"""The one check of a number's range, and the one wording of its refusal."""

from __future__ import annotations

import math
from numbers import Real

from archsearch.errors import InvalidInputError

MOST_SHOWN = 20
"""Characters of a refused value that its error repeats."""


def require_range(
    field: str,
    value: object,
    low: float,
    high: float = math.inf,
    *,
    whole: bool = False,
    above: bool = False,
    below: bool = False,
    unit: str = "",
) -> None:
    """Check that a number lies in [low, high].

    Args:
        field: the argument's name, for the error.
        whole: it must be a whole number.
        above: ``low`` itself is excluded (and so is infinity, where ``high`` is infinite).
        below: ``high`` itself is excluded.
        unit: what is counted, for the error (``microseconds``).

    Raises:
        InvalidInputError: it is no number (a truth value is none, a NaN neither) or lies outside.
    """
    if _is_number(value, whole):
        number = _as_float(value)
        inside = low <= number <= high and math.isfinite(number)
        if inside and not (above and number == low) and not (below and number == high):
            return
    text = range_text(low, high, whole=whole, above=above, below=below, unit=unit)
    raise InvalidInputError(f"{{{field}}} must be {text}, not {_shown(value)[:MOST_SHOWN]}", field=field)


def range_text(
    low: float, high: float, *, whole: bool = False, above: bool = False, below: bool = False, unit: str = ""
) -> str:
    """A range in words: ``a whole number from 1``, ``a number of seconds above 0``, ``a number from 0 to 1``."""
    noun = ("a whole number" if whole else "a number") + (f" of {unit}" if unit else "")
    lower = f"{'above' if above else 'from'} {_shown(low)}"
    if math.isinf(high):
        return f"{noun} {lower}"
    upper = "and below" if below else "and at most" if above else "to"
    return f"{noun} {lower} {upper} {_shown(high)}"


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(value: object, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | Real):
        return False
    return not whole or isinstance(value, int) or float(value).is_integer()


def _as_float(value: object) -> float:
    """A number as a double; infinite where it is too large for one."""
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf
