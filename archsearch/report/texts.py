"""Numbers as a report's readers see them."""

from __future__ import annotations

from collections.abc import Mapping

GIB = 2**30


def seconds(value: float) -> str:
    """A time: milliseconds below a second."""
    if value >= 1:
        return f"{value:.4g} s"
    return f"{value * 1e3:.4g} ms" if value >= 1e-3 else f"{value * 1e6:.4g} µs"


def span(low: float, high: float) -> str:
    """A band of times in one unit."""
    scale, unit = (1.0, "s") if high >= 1 else (1e3, "ms") if high >= 1e-3 else (1e6, "µs")
    return f"{low * scale:.4g} to {high * scale:.4g} {unit}"


def gibibytes(value: float) -> str:
    """Bytes."""
    return f"{value / GIB:.4g} GiB"


def count(value: float) -> str:
    """Parameters."""
    return f"{value / 1e9:.4g} B" if value >= 1e9 else f"{value / 1e6:.4g} M"


def amount(value: object) -> str:
    """Any value of a table: numbers short, yes and no, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(amount, value))
    return str(value)


def share(value: float | None, digits: int = 1) -> str:
    """A fraction as per cent."""
    return "unknown" if value is None else f"{value:.{digits}%}"


def settings(values: Mapping[str, object]) -> str:
    """Settings in one line, those that say nothing left out."""
    said = {name: value for name, value in values.items() if value not in (None, False, 0.0, "auto", 1, 0)}
    return ", ".join(f"{name} {amount(value)}" if value is not True else name for name, value in said.items())
