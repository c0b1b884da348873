"""What must hold among a profile's figures: arithmetic that ties them, sources that cover them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from archsearch.dtypes import DType
from archsearch.hardware.architecture import LIMITS
from archsearch.hardware.spec import GpuSpec

RATES = "flops_per_clock_per_sm"
PEAK_TOLERANCE = 0.03
"""Share by which a datasheet's peak may differ from units times rate times clock (it rounds, and so does the clock)."""
NOTED_PEAK_TOLERANCE = 0.15
"""The same where the profile says why: another clock, never a factor of two (sparsity, accumulation)."""
BANDWIDTH_TOLERANCE = 0.01
MOST_SMS = 1000
"""More than any GPU's SMs or compute units, fewer than its lanes (a package of the MI300X has 304)."""
MOST_GBPS = {
    **{"GDDR5": 12, "GDDR5X": 14, "GDDR6": 24, "GDDR6X": 24, "GDDR7": 48, "DDR4": 3.6, "DDR5": 9.2},
    **{"LPDDR4": 4.3, "LPDDR5": 10.7, "HBM2": 2.5, "HBM2e": 3.7, "HBM3": 6.6, "HBM3e": 10.0, "HBM4": 13.0},
}
"""Gbit/s of a pin that a memory type reaches at most, by the start of its name, the longest that fits (JEDEC's
standards JESD232 to JESD270 and what vendors ship)."""
USABLE_TOLERANCE = 0.001
LEAST_USABLE = 0.7
"""Share of the advertised memory that a program sees at least (three quarters on Apple's, by Metal's own limit)."""


def figure_problems(spec: GpuSpec) -> list[tuple[str, str]]:
    """(dotted figure, what is wrong with it) of every contradiction in a profile; empty for a sound one."""
    return [
        *_missing(spec),
        *_units(spec),
        *_against_architecture(spec),
        *_clocks(spec),
        *_peaks(spec),
        *_memory(spec),
        *_provenance(spec),
    ]


def _missing(spec: GpuSpec) -> Iterator[tuple[str, str]]:
    differing = set(spec.peak_tflops) ^ set(spec.flops_per_clock_per_sm)
    if differing:
        names = ", ".join(sorted(differing))
        yield (
            RATES,
            f"peak_tflops and flops_per_clock_per_sm must name the same dtypes; differing: {names}",
        )


def _units(spec: GpuSpec) -> Iterator[tuple[str, str]]:
    if spec.num_sms > MOST_SMS:
        lanes = f"{spec.num_sms / 128:g} SMs of 128 CUDA cores?"
        yield "num_sms", f"{spec.num_sms} are more than any GPU's SMs or compute units ({lanes})"
    numbers = spec.generation.compute_capabilities
    if spec.compute_capability is not None and numbers and spec.compute_capability not in numbers:
        yield "compute_capability", f"{spec.compute_capability} is none of {spec.generation.id}: {', '.join(numbers)}"
    if "geforce" in spec.name.lower() and spec.tensor_cores_per_sm and "fp32_accumulation" not in spec.model_fields_set:
        yield (
            "fp32_accumulation",
            "state half or full: tensor cores of GeForce boards accumulate in fp32 at half rate, and a profile that "
            "does not say so has its peaks doubled",
        )


def _clocks(spec: GpuSpec) -> Iterator[tuple[str, str]]:
    boost, highest = spec.boost_clock_mhz, spec.max_clock_mhz or spec.boost_clock_mhz
    if spec.base_clock_mhz is not None and spec.base_clock_mhz > boost:
        yield "base_clock_mhz", f"{spec.base_clock_mhz:g} is above the boost clock of {boost:g}"
    if highest < boost:
        yield "max_clock_mhz", f"{highest:g} is below the boost clock of {boost:g}"
    if spec.sustained_clock_mhz is not None and spec.sustained_clock_mhz > highest:
        yield "sustained_clock_mhz", f"{spec.sustained_clock_mhz:g} is above the highest clock of {highest:g}"
    if spec.power_limit_w is not None and spec.power_limit_w[0] > spec.power_limit_w[1]:
        yield "power_limit_w", "write the least and the most that can be set, [least, most]"


def _peaks(spec: GpuSpec) -> Iterator[tuple[str, str]]:
    for dtype in spec.peak_notes:
        if dtype not in spec.peak_tflops:
            yield f"peak_notes.{dtype.value}", "a note on a format that peak_tflops lacks"
    for dtype, peak in spec.peak_tflops.items():
        rate = spec.flops_per_clock_per_sm.get(dtype)
        if rate is None:
            continue
        computed = spec.num_sms * rate * spec.boost_clock_mhz / 1e6
        tolerance = NOTED_PEAK_TOLERANCE if dtype in spec.peak_notes else PEAK_TOLERANCE
        if abs(computed / peak - 1) > tolerance:
            yield (
                f"peak_tflops.{dtype.value}",
                f"{peak:g} is not {spec.num_sms} SMs x {rate:g} FLOPs per clock x {spec.boost_clock_mhz:g} MHz = "
                f"{computed:.4g} within {tolerance:.0%}; {_advice(spec, dtype, peak / computed)}",
            )


def _advice(spec: GpuSpec, dtype: DType, ratio: float) -> str:
    inherited = spec.inherited.get(f"{RATES}.{dtype.value}")
    if abs(ratio - 2) < 2 * NOTED_PEAK_TOLERANCE:
        return "a peak with sparsity is doubled: state the dense one"
    if inherited is not None and abs(ratio - 0.5) < 0.5 * NOTED_PEAK_TOLERANCE:
        return "if the product halves it, say so: fp32_accumulation: half or tensor_rate_cap: 0.5"
    if inherited is not None and 0.03 < ratio < 0.97:
        return f"the rate is that of {inherited}: if the product caps it, tensor_rate_cap: {ratio:.2g}"
    if inherited is not None:
        return f"the rate is that of {inherited}: state flops_per_clock_per_sm where it differs"
    return "say why in peak_notes if it is rated at another clock"


def most_gbps(memory_type: str) -> float:
    """Gbit/s of a pin that a memory type reaches at most; infinite for a type that is not known."""
    fitting = [name for name in MOST_GBPS if memory_type.upper().startswith(name.upper())]
    return MOST_GBPS[max(fitting, key=len)] if fitting else math.inf


def _memory(spec: GpuSpec) -> Iterator[tuple[str, str]]:
    memory = spec.memory
    computed = memory.bus_width_bits / 8 * memory.data_rate_gbps
    if abs(computed / memory.bandwidth_gb_s - 1) > BANDWIDTH_TOLERANCE:
        yield (
            "memory.bandwidth_gb_s",
            f"{memory.bandwidth_gb_s:g} is not {memory.bus_width_bits} bits / 8 x {memory.data_rate_gbps:g} Gbit/s = "
            f"{computed:.6g} within {BANDWIDTH_TOLERANCE:.0%}",
        )
    most = most_gbps(memory.type)
    if memory.data_rate_gbps > most:
        yield (
            "memory.data_rate_gbps",
            f"{memory.data_rate_gbps:g} Gbit/s of a pin are more than {memory.type}'s {most:g}",
        )
    if memory.usable_gib < LEAST_USABLE * memory.size_gib:
        text = f"{memory.usable_gib:g} is less than {LEAST_USABLE:.0%} of {memory.size_gib:g} GiB: is it in GiB?"
        yield "memory.usable_gib", text
    if memory.usable_gib > memory.size_gib * (1 + USABLE_TOLERANCE):
        yield "memory.usable_gib", f"{memory.usable_gib:g} is more than the {memory.size_gib:g} GiB that there are"
    if spec.context_mib >= memory.usable_gib * 1024:
        yield "context_mib", f"{spec.context_mib:g} leaves nothing of {memory.usable_gib:g} GiB"


def _provenance(spec: GpuSpec) -> Iterator[tuple[str, str]]:
    figures = spec.figure_paths()
    known = {*figures, *(path.split(".")[0] for path in figures)}
    for number, source in enumerate(spec.sources):
        unknown = [name for name in source.fields if name not in known or name in spec.inherited]
        if unknown:
            text = f"names no figure that stands in this profile: {', '.join(unknown)}"
            yield f"sources.{number}.fields", text
    for name, marks in (("inferred", spec.inferred), ("disputed", spec.disputed)):
        for path in marks:
            if path not in figures:
                yield f"{name}.{path}", "no figure of this profile; write its dotted path, as peak_tflops.bf16"
    for path in figures:
        if path not in spec.inferred and path not in spec.inherited and not spec.sources_of(path):
            yield path, "no source names it: add it to sources[].fields, or say under inferred how it was arrived at"
    for dtype in spec.unchecked:
        if dtype not in spec.peak_tflops:
            yield "unchecked", f"a format that peak_tflops lacks: {dtype.value}"


def _against_architecture(spec: GpuSpec) -> Iterator[tuple[str, str]]:
    """What neither a profile nor its architecture states; rates that it and the product facts contradict."""
    generation = spec.generation
    if spec.vendor != generation.vendor:
        yield "vendor", f"{spec.vendor}, but the architecture {generation.id} is {generation.vendor}'s"
    if generation.tiles_known:
        for name in (*LIMITS, "l2_cache_mib"):
            if getattr(spec, name) is None:
                yield name, f"required: neither this profile nor the architecture {generation.id} states it"
    for dtype, rate in spec.flops_per_clock_per_sm.items():
        if f"{RATES}.{dtype.value}" in spec.inherited or dtype not in generation.flops_per_clock_per_sm:
            continue
        full = generation.flops_per_clock_per_sm[dtype]
        if abs(rate / (full * spec.tensor_rate_share(dtype)) - 1) > 1e-6:
            yield (
                f"{RATES}.{dtype.value}",
                f"{rate:g} is {rate / full:g} of the {full:g} of {generation.id}: say what the product caps "
                "(tensor_rate_cap, fp32_accumulation: half), or state an architecture of its own",
            )
