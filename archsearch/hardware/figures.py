"""Figures of GPUs as people look at them: how each is known, what follows from them, two GPUs beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from archsearch.dtypes import DType
from archsearch.hardware.source import Source
from archsearch.hardware.spec import Dispute, GpuSpec

Status = Literal["sourced", "inherited", "inferred"]
Value = object
"""A number, a text, a truth value or a list of them."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a GPU by its dotted ``field``, and how it is known.

    ``status``: ``sourced`` (documents name it), ``inherited`` (its architecture states it: ``inherited_from``) or
    ``inferred`` (no document does; ``inferred`` says how it was arrived at). ``disputed`` are other values that are
    about; an ``unchecked`` peak was inferred by a program and is refused until somebody confirms it.
    """

    field: str
    value: Value
    status: Status
    sources: tuple[Source, ...] = ()
    inherited_from: str | None = None
    inferred: str | None = None
    disputed: Dispute | None = None
    unchecked: bool = False

    def to_dict(self) -> dict[str, object]:
        """Plain values, as ``--json`` prints them."""
        return {
            "field": self.field,
            "value": self.value,
            "status": self.status,
            "sources": [{"title": source.title, "url": source.url} for source in self.sources],
            "inherited_from": self.inherited_from,
            "inferred": self.inferred,
            "disputed": None if self.disputed is None else self.disputed.model_dump(mode="json"),
            "unchecked": self.unchecked,
        }

    def known(self) -> str:
        """How it is known, in words."""
        titles = "; ".join(source.title for source in self.sources)
        told = {
            "sourced": titles,
            "inherited": f"inherited from {self.inherited_from}: {titles}",
            "inferred": f"inferred: {self.inferred}",
        }[self.status]
        parts = ["UNCHECKED, refused"] if self.unchecked else []
        parts.append(told)
        if self.disputed is not None:
            others = ", ".join(
                f"{other:g}" if isinstance(other, float) else str(other) for other in self.disputed.others
            )
            parts.append(f"disputed: others say {others} ({self.disputed.reason})")
        return "; ".join(parts)


def figures_of(spec: GpuSpec) -> list[Figure]:
    """Every figure of a GPU, its architecture's included, in the order of a profile."""
    dumped = spec.model_dump(mode="json")
    return [_figure(spec, path, _value(dumped, path)) for path in spec.figure_paths()]


def _figure(spec: GpuSpec, path: str, value: Value) -> Figure:
    lender, how = spec.inherited.get(path), spec.inferred.get(path)
    head, _, last = path.partition(".")
    return Figure(
        field=path,
        value=value,
        status="inherited" if lender is not None else "inferred" if how is not None else "sourced",
        sources=tuple(spec.sources_of(path)),
        inherited_from=lender,
        inferred=how,
        disputed=spec.disputed.get(path),
        unchecked=head == "peak_tflops" and last in spec.unchecked,
    )


def _value(dumped: Mapping[str, object], path: str) -> Value:
    value: object = dumped
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def main_format(specs: Sequence[GpuSpec]) -> DType:
    """The format that is taken where none was said: the first of bf16, fp16 and fp32 that all of these GPUs have."""
    return next((d for d in (DType.BF16, DType.FP16) if all(spec.supports(d) for spec in specs)), DType.FP32)


def derived_figures(spec: GpuSpec, dtype: DType, usd_per_hour: float | None = None) -> dict[str, float | None]:
    """What follows from a GPU's figures: memory that tensors can take (usable less a bare context, GiB), the ridge
    point (FLOPs per byte of device memory from which a kernel is bound by compute), dense TFLOP/s per watt of rated
    power, and
    per dollar of an hour. None where it is not known, of an unchecked peak too."""
    peak = None if dtype in spec.unchecked else spec.peak_tflops.get(dtype)
    told = dtype.value
    return {
        "available_gib": spec.available_bytes / 2**30,
        f"ridge_flop_per_byte.{told}": None if peak is None else peak * 1e3 / spec.memory.bandwidth_gb_s,
        f"tflops_per_w.{told}": None if peak is None else peak / spec.tdp_w,
        "usd_per_hour": usd_per_hour,
        f"tflops_per_usd.{told}": None if peak is None or usd_per_hour is None else peak / usd_per_hour,
    }


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of several GPUs: its values in their order, and each number's ratio to the first GPU's (None where
    one of both is no number, or there is none)."""

    field: str
    values: tuple[Value, ...]
    ratios: tuple[float | None, ...]
    derived: bool = False

    @property
    def differs(self) -> bool:
        """Whether the GPUs have more than one value."""
        return any(value != self.values[0] for value in self.values[1:])


def compared(specs: Sequence[GpuSpec], prices: Mapping[str, float]) -> list[Compared]:
    """GPUs figure by figure: what they are, what is stated of any, and what follows (``derived_figures``).

    Args:
        prices: USD per GPU-hour by id, of those whose price is known.
    """
    dtype = main_format(specs)
    dumped = [spec.model_dump(mode="json") for spec in specs]
    paths = dict.fromkeys((*_ALWAYS, *(path for spec in specs for path in spec.figure_paths())))
    stated = [_compared(path, [_value(one, path) for one in dumped]) for path in _in_order(paths)]
    following = [derived_figures(spec, dtype, prices.get(spec.id)) for spec in specs]
    return stated + [_compared(name, [one[name] for one in following], derived=True) for name in following[0]]


_ALWAYS = ("vendor", "architecture", "form_factor", "fp32_accumulation", "tensor_rate_cap")
"""Shown of every GPU, as defaults too."""


_NO_QUANTITY = ("released", "pcie.generation")
"""Numbers whose ratio means nothing."""


def _in_order(paths: Mapping[str, None]) -> list[str]:
    """Paths with those of one part together, in the order of their first."""
    heads = dict.fromkeys(path.partition(".")[0] for path in paths)
    return [path for head in heads for path in paths if path.partition(".")[0] == head]


def _compared(name: str, values: Sequence[Value], derived: bool = False) -> Compared:
    first = values[0]
    ratios = tuple(None if name in _NO_QUANTITY else _ratio(value, first) for value in values)
    return Compared(name, tuple(values), ratios, derived)


def _ratio(value: Value, first: Value) -> float | None:
    numbers = [one for one in (value, first) if isinstance(one, int | float) and not isinstance(one, bool)]
    return numbers[0] / numbers[1] if len(numbers) == 2 and numbers[1] else None
