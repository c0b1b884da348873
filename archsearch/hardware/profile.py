"""A GPU's profile: what stands in its file, and what it takes from its architecture.

A peak is never inherited. Rates per clock are the architecture's, less what the product caps; a profile that states one
states the same, or the format is one that the architecture's file does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.hardware.architecture import (
    SM_FACTS,
    Architecture,
    ArchitectureRecord,
    Changed,
    completed,
    remembered_architecture,
)
from archsearch.hardware.parsed import parsed_mapping
from archsearch.hardware.profile_checks import RATES, figure_problems
from archsearch.hardware.spec import GpuSpec, rate_share
from archsearch.yaml_records import line_of, record_of


def read_profile(path: Path, directories: tuple[Path, ...], architectures: Changed) -> GpuSpec:
    """The GPU that a file describes, with the facts of its architecture, which stand in it or in a file of
    ``directories``; ``architectures`` are those files (``architecture_files``).

    Raises:
        InvalidInputError: every problem of the file, one a line: ``file:line: figure: what is wrong``.
    """
    content = parsed_mapping(path)
    if "inherited" in content:
        text = "set by the loader; leave out what the architecture states, and this with it"
        raise InvalidInputError(f"{path}:{line_of(path, 'inherited')}: inherited: {text}")
    try:
        generation = _generation(content.get("architecture"), path, directories, architectures)
    except UnknownNameError as error:
        raise InvalidInputError(f"{path}:{line_of(path, 'architecture')}: architecture: {error}") from None
    if generation is None:  # neither a name nor a record: the profile's own record says so
        return record_of(GpuSpec, content, path)
    spec = record_of(GpuSpec, _with_generation(content, generation), path).of_generation(generation)
    problems = figure_problems(spec)
    if problems:
        lines = [f"{path}:{line_of(path, *_steps(figure))}: {figure}: {text}" for figure, text in problems]
        raise InvalidInputError("\n".join(lines))
    return spec


def _steps(figure: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in figure.split(".")]


def _generation(
    stated: object, path: Path, directories: tuple[Path, ...], architectures: Changed
) -> Architecture | None:
    """The architecture that a profile names or states; None where it does neither."""
    if isinstance(stated, dict):
        return completed(record_of(ArchitectureRecord, stated, path, at=("architecture",)), directories)
    return remembered_architecture(stated, directories, architectures) if isinstance(stated, str) else None


def _with_generation(content: Mapping[str, object], generation: Architecture) -> dict[str, object]:
    """A profile's fields with those of its architecture that it does not state, and under ``inherited`` by dotted path
    which architecture each is from."""
    filled = {**content, "architecture": generation.id}
    inherited: dict[str, str] = {}
    for name in SM_FACTS:
        value, citation = getattr(generation, name), generation.citations.get(name)
        if name == RATES or name in content or citation is None or value is None:
            continue
        filled[name] = value
        inherited[name] = citation.architecture
    rates = _inherited_rates(content, generation)
    if rates:
        stated = content.get(RATES)
        if stated is not None and not isinstance(stated, dict):
            return {**filled, "inherited": inherited}  # the record refuses it
        filled[RATES] = {**rates, **(stated or {})}
        lender = generation.citations[RATES].architecture
        inherited |= {f"{RATES}.{name}": lender for name in rates}
    return {**filled, "inherited": inherited}


def _inherited_rates(content: Mapping[str, object], generation: Architecture) -> dict[str, float]:
    """Rates of the formats that a profile has a peak in and states no rate of."""
    peaks, stated = content.get("peak_tflops"), content.get(RATES)
    if not isinstance(peaks, dict) or RATES not in generation.citations:
        return {}
    cap, accumulation = content.get("tensor_rate_cap", 1.0), content.get("fp32_accumulation", "full")
    if not (isinstance(cap, int | float) and 0 < cap <= 1):
        return {}  # the record refuses it
    own = stated if isinstance(stated, dict) else {}
    return {
        dtype.value: rate * rate_share(dtype, float(cap), str(accumulation))
        for dtype, rate in generation.flops_per_clock_per_sm.items()
        if dtype.value in peaks and dtype.value not in own
    }
