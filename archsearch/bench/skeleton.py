"""A profile of a GPU that the database lacks: what was read off the device, and what had to be inferred, told apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archsearch.bench.device_facts import DeviceFacts
from archsearch.bench.peak_check import (
    ProductFacts,
    Silicon,
    TimedProduct,
    TimeProduct,
    confirmed,
    product_facts,
    timed_products,
    told,
)
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError
from archsearch.hardware.architecture import Architecture, architecture_records, find_architecture
from archsearch.hardware.database import list_gpus
from archsearch.hardware.profile_checks import most_gbps
from archsearch.hardware.spec import GpuSpec

DOUBLE_DATA_RATE = 2.0
"""Transfers per clock that NVML's memory clock counts for HBM and GDDR alike (nvidia-smi's ``clocks.max.memory``)."""
OTHER_BRAND = 0.7
"""What a GeForce and another board are apart beside their figures: as much as twice the units."""
LARGEST_RESERVE = 0.13
"""Share of its memory that a device keeps for itself at most (error correction in GDDR: 1/16, and firmware)."""
REQUIRED = ("max_clock_mhz", "memory_clock_mhz", "bus_width_bits")
"""Facts of a device without which no profile can be."""
DOCUMENT = "https://docs.nvidia.com/deploy/nvml-api/index.html"


@dataclass(frozen=True, slots=True)
class _Guess:
    """What is inferred of a device: its figures, and by dotted figure how."""

    fields: dict[str, object]
    how: dict[str, str]


def skeleton(gpu: str, facts: DeviceFacts, date: str, time_product: TimeProduct | None = None) -> dict[str, object]:
    """A complete profile (``GpuSpec``'s fields) of a device.

    What the device tells is sourced, what the architecture states is left to it, the rest is ``inferred`` from the
    nearest GPU known of the architecture. Peaks are ``unchecked`` but for those that a product on the device confirms.

    Args:
        date: when it was read (ISO).
        time_product: times a product in a format on the device (``peak_check.on_device``); None: no peak is checked.

    Raises:
        InvalidInputError: a compute capability of no architecture known, or a device that tells no clocks or bus.
    """
    generation, known = architecture_of(facts), list_gpus()
    if facts.max_clock_mhz is None or facts.memory_clock_mhz is None or facts.bus_width_bits is None:
        missing = ", ".join(name for name in REQUIRED if getattr(facts, name) is None)
        raise InvalidInputError(
            f"neither NVML nor torch tells {missing} (pip install nvidia-ml-py, torch 2.9 or later); write {gpu}.yaml"
        )
    kin = nearest_kin(facts, [spec for spec in known if spec.architecture == generation.id])
    memory = _memory_read(facts, facts.memory_clock_mhz, facts.bus_width_bits)
    read = _read(facts)
    others = [spec for spec in known if spec.vendor == generation.vendor and spec.architecture != generation.id]
    boost, boost_told = _boost_clock(facts, facts.max_clock_mhz, [*kin, *nearest_kin(facts, others)])
    formats = [d for d in generation.flops_per_clock_per_sm if not kin or d in kin[0].peak_tflops]
    rates = {d: generation.flops_per_clock_per_sm[d] for d in formats}
    peaks = _peaks(Silicon(facts.num_sms, rates, boost, facts.max_clock_mhz), generation, kin, date, time_product)
    lent = _lent(facts, kin, known)
    size = {"memory.size_gib": "the least usual size that holds what torch reports"}
    return {
        "id": gpu,
        "name": facts.name,
        "vendor": generation.vendor,
        "architecture": generation.id,
        "aliases": [facts.name],
        "form_factor": "unknown",
        **read,
        "boost_clock_mhz": boost,
        **peaks.fields,
        "memory": {"type": _memory_type(kin, memory["data_rate_gbps"]), "size_gib": _size_gib(facts, known), **memory},
        **lent.fields,
        "sources": [_source(date, ["architecture", *read, *(f"memory.{name}" for name in memory)])],
        "inferred": {"boost_clock_mhz": boost_told, **peaks.how, **size, **lent.how},
        "notes": "Written by a program off the device. What stands under inferred wants a datasheet.",
    }


def _source(date: str, fields: list[str]) -> dict[str, object]:
    title = f"torch.cuda.get_device_properties and NVML on the device, {date}"
    return {"title": title, "url": DOCUMENT, "fields": fields}


def architecture_of(facts: DeviceFacts) -> Architecture:
    """The architecture of a device's compute capability.

    Raises:
        InvalidInputError: no architecture known has it.
    """
    generations = {number: record.id for record in architecture_records() for number in record.compute_capabilities}
    name = generations.get(facts.compute_capability)
    if name is None:
        numbers = ", ".join(sorted(generations, key=lambda number: [int(part) for part in number.split(".")]))
        raise InvalidInputError(
            f"{facts.name}: compute capability {facts.compute_capability} is of no architecture known ({numbers}); "
            "describe it in architectures/NAME.yaml of a folder of your own: id, name, vendor, `like:` a relative, "
            f'compute_capabilities: ["{facts.compute_capability}"] and their source (docs/hardware.md: An architecture '
            "that is new)"
        )
    return find_architecture(name)


def nearest_kin(facts: DeviceFacts, relatives: Sequence[GpuSpec]) -> list[GpuSpec]:
    """The GPUs of a device's architecture, the most alike first: by units, memory, bandwidth and power, each as a
    ratio, and by GeForce or not."""

    def apart(spec: GpuSpec) -> float:
        pairs = [(facts.num_sms, spec.num_sms), (facts.usable_bytes / 2**30, spec.memory.usable_gib)]
        if facts.memory_clock_mhz and facts.bus_width_bits:
            pairs.append((_bandwidth(facts.memory_clock_mhz, facts.bus_width_bits), spec.memory.bandwidth_gb_s))
        if facts.power_w:
            pairs.append((facts.power_w, spec.tdp_w))
        brand = OTHER_BRAND * (facts.geforce != _geforce(spec))
        return brand + sum(abs(math.log(one / other)) for one, other in pairs)

    return sorted(relatives, key=apart)


def _bandwidth(memory_clock_mhz: float, bus_width_bits: int) -> float:
    """GB/s of a memory clock (MHz) over a bus."""
    return memory_clock_mhz * DOUBLE_DATA_RATE / 1e3 * bus_width_bits / 8


def _memory_type(kin: Sequence[GpuSpec], data_rate_gbps: float) -> str:
    """That of the nearest kin whose memory reaches the rate."""
    types = (spec.memory.type for spec in kin)
    return next((name for name in types if data_rate_gbps <= most_gbps(name)), "unknown")


def _memory_read(facts: DeviceFacts, memory_clock_mhz: float, bus_width_bits: int) -> dict[str, float]:
    return {
        "usable_gib": round(facts.usable_bytes / 2**30, 3),
        "bus_width_bits": bus_width_bits,
        "data_rate_gbps": round(memory_clock_mhz * DOUBLE_DATA_RATE / 1e3, 4),
        "bandwidth_gb_s": round(_bandwidth(memory_clock_mhz, bus_width_bits), 1),
    }


def _read(facts: DeviceFacts) -> dict[str, object]:
    """Figures that the device tells, but for its memory's."""
    read: dict[str, object] = {
        "compute_capability": facts.compute_capability,
        "num_sms": facts.num_sms,
        "max_clock_mhz": facts.max_clock_mhz,
        "l2_cache_mib": round(facts.l2_bytes / 2**20, 2),
    }
    if facts.power_w is not None:
        read["tdp_w"] = facts.power_w
    if facts.power_limit_w is not None:
        read["power_limit_w"] = list(facts.power_limit_w)
    if facts.pcie_generation is not None and facts.pcie_lanes is not None:
        read["pcie"] = {"generation": facts.pcie_generation, "lanes": facts.pcie_lanes}
    return read


def _lent(facts: DeviceFacts, kin: Sequence[GpuSpec], known: Sequence[GpuSpec]) -> _Guess:
    """What the device does not tell and the nearest kin does: year, type of memory, power where NVML is silent.

    Raises:
        InvalidInputError: power that neither NVML nor any kin tells.
    """
    if not kin:
        if facts.power_w is None:
            raise InvalidInputError(f"{facts.name}: NVML tells no power limit, and no GPU of its architecture is known")
        year = max(spec.released for spec in known)
        return _Guess({"released": year}, dict.fromkeys(("released", "memory.type"), "not known"))
    lender = f"as {kin[0].id}, the most alike of the architecture"
    fields: dict[str, object] = {"released": kin[0].released}
    if facts.power_w is None:
        fields["tdp_w"] = kin[0].tdp_w
    return _Guess(fields, dict.fromkeys((*fields, "memory.type"), lender))


def _size_gib(facts: DeviceFacts, known: Sequence[GpuSpec]) -> float:
    """The advertised size: the least that a GPU is known of and that holds what torch reports, or whole GiB."""
    usable = facts.usable_bytes / 2**30
    usual = {spec.memory.size_gib for spec in known}
    holding = [size for size in usual if size * (1 - LARGEST_RESERVE) < usable <= size * 1.001]
    return min(holding, default=float(math.ceil(usable)))


def _boost_clock(facts: DeviceFacts, max_clock_mhz: float, relatives: Sequence[GpuSpec]) -> tuple[float, str]:
    """The clock that peaks are rated at, in MHz, and how it is inferred: by the first relative that tells both clocks
    and is a GeForce, or of a laptop, as the device is (GeForce boards clock a quarter above their rating, others
    hardly, and laptops are rated at what their power leaves).

    NVML's default applications clock is not it: a V100 tells 1312 MHz of 1530, a T4 585 of 1590.
    """
    laptop = _laptop(facts.name)
    for spec in relatives:
        if spec.max_clock_mhz is not None and (_geforce(spec), _laptop(spec.name)) == (facts.geforce, laptop):
            clock = min(max_clock_mhz, round(max_clock_mhz * spec.boost_clock_mhz / spec.max_clock_mhz, 1))
            ratio = f"{spec.boost_clock_mhz:g} of {spec.max_clock_mhz:g} MHz"
            return clock, f"the device's highest clock times the ratio of {spec.id}, {ratio}"
    return max_clock_mhz, "the device's highest clock: no relative tells both the rated and the highest"


def _geforce(spec: GpuSpec) -> bool:
    return "geforce" in spec.name.lower()


def _laptop(name: str) -> bool:
    return "laptop" in name.lower()


def _peaks(
    silicon: Silicon,
    generation: Architecture,
    kin: Sequence[GpuSpec],
    date: str,
    time_product: TimeProduct | None,
) -> _Guess:
    """Product facts and peaks: guessed as the nearest kin's, checked by products where the device is here."""
    guess, origin = ProductFacts(), "full rates assumed"
    if kin:
        guess = ProductFacts(kin[0].fp32_accumulation, kin[0].tensor_rate_cap)
        origin = f"{guess} as {kin[0].id}"
    products = timed_products(silicon.rates, time_product) if time_product is not None else {}
    facts = product_facts(silicon, products, guess)
    if facts != guess:
        origin = f"{facts}, which the products on the device speak for ({guess} of {kin[0].id if kin else 'none'})"
    sound = confirmed(silicon, facts, products)
    how = {name: _product_told(silicon, facts, products, origin, date) for name in facts.fields()}
    peaks: dict[str, float] = {}
    for dtype, rate in silicon.rates.items():
        clock = silicon.boost_clock_mhz
        peaks[dtype.value] = float(f"{silicon.tflops(dtype, facts, clock):.4g}")
        per_clock = f"{rate * facts.share(dtype):g} FLOPs per clock of {generation.id}"
        per_clock += "" if dtype is DType.FP32 else f" ({origin})"
        measured = told(silicon, facts, dtype, products[dtype], date) if dtype in products else "not measured"
        how[f"peak_tflops.{dtype.value}"] = f"{silicon.num_sms} SMs x {per_clock} x {clock:g} MHz; {measured}"
    unchecked = [d.value for d in silicon.rates if d not in sound]
    fields: dict[str, object] = {**facts.fields(), "peak_tflops": peaks}
    return _Guess({**fields, **({"unchecked": unchecked} if unchecked else {})}, how)


def _product_told(
    silicon: Silicon, facts: ProductFacts, products: Mapping[DType, TimedProduct], origin: str, date: str
) -> str:
    """Why a product fact stands: the product that speaks for it, or whom it is guessed from."""
    for dtype in (DType.BF16, DType.FP16):
        if dtype in products and dtype in silicon.rates:
            return f"{dtype.value}: {told(silicon, facts, dtype, products[dtype], date)}"
    return origin
