"""Whether a device reaches a peak that was inferred for it: short products, and what they say of the product.

A product sells its silicon at less than its rate in three known ways: half rate where fp16, bf16, tf32 and fp8
accumulate in fp32 (GeForce since Turing), or all tensor formats capped to a half or a quarter (``GpuSpec``). They lie a
factor of two apart, and a large matrix product reaches more than half of what a GPU can do at the clock that it runs
at. So the least of these rates that the products do not exceed is the product's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from archsearch.dtypes import DType
from archsearch.hardware.spec import rate_share

MEASURED_ABOVE = 1.03
"""Factor by which a measured rate may exceed a peak that is the right one: clocks are read, not counted."""
CONFIRMS = (0.5, 1.05)
"""Shares of a peak, at the clock seen, that a large product of the right peak lies between."""
SIZE, SMALLER = 8192, 2048
"""Rows, columns and depth of a product, and of one that is taken where the large one would take long."""
LONG_S = 0.03
PER_FORMAT_S = 0.08
SETTLED_CLOCK = 0.3
"""Share of the highest clock below which a reading is that of an idle GPU."""
TIMED = (DType.BF16, DType.FP16, DType.FP8, DType.INT8, DType.TF32, DType.FP32)


@dataclass(frozen=True, slots=True)
class TimedProduct:
    """A dense matrix product on the device: TFLOP/s (TOP/s in int8) and the SM clock in MHz seen at it, None where
    nothing told."""

    tflops: float
    clock_mhz: float | None = None


TimeProduct = Callable[[DType], TimedProduct | None]
"""Times a product in a format; None where torch or the device has none."""


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """What a product leaves of its silicon's rates (fields of ``GpuSpec``)."""

    fp32_accumulation: Literal["full", "half"] = "full"
    tensor_rate_cap: float = 1.0

    def share(self, dtype: DType) -> float:
        """Of the silicon's dense rate in a format."""
        return rate_share(dtype, self.tensor_rate_cap, self.fp32_accumulation)

    def fields(self) -> dict[str, str | float]:
        """Those that differ from the silicon's, as a profile states them."""
        stated: dict[str, str | float] = {}
        if self.fp32_accumulation != "full":
            stated["fp32_accumulation"] = self.fp32_accumulation
        if self.tensor_rate_cap != 1.0:
            stated["tensor_rate_cap"] = self.tensor_rate_cap
        return stated

    def __str__(self) -> str:
        stated = ", ".join(f"{name}: {value}" for name, value in self.fields().items())
        return stated or "full rates"


HYPOTHESES = (
    ProductFacts(),
    ProductFacts(fp32_accumulation="half"),
    ProductFacts(tensor_rate_cap=0.5),
    ProductFacts(tensor_rate_cap=0.25),
)


@dataclass(frozen=True, slots=True)
class Silicon:
    """What peaks follow from: SMs, the architecture's full rates (dense FLOPs per clock of one SM), the clock that
    peaks are rated at and the highest, in MHz."""

    num_sms: int
    rates: Mapping[DType, float]
    boost_clock_mhz: float
    max_clock_mhz: float

    def tflops(self, dtype: DType, facts: ProductFacts, clock_mhz: float) -> float:
        """The dense peak of a product in a format at a clock, in TFLOP/s."""
        return self.num_sms * self.rates[dtype] * facts.share(dtype) * clock_mhz / 1e6

    def clock_of(self, product: TimedProduct) -> float:
        """The clock that a product ran at, in MHz: the one seen, or else the highest."""
        seen = product.clock_mhz
        return seen if seen is not None and seen >= SETTLED_CLOCK * self.max_clock_mhz else self.max_clock_mhz

    def reached(self, dtype: DType, facts: ProductFacts, product: TimedProduct) -> float:
        """The share of the peak, at the clock seen, that a product reached."""
        return product.tflops / self.tflops(dtype, facts, self.clock_of(product))


def product_facts(silicon: Silicon, products: Mapping[DType, TimedProduct], guess: ProductFacts) -> ProductFacts:
    """The product facts that timed products speak for; ``guess`` where none was timed on matrix units.

    The facts of least rate among those whose peaks no product exceeds (by more than ``MEASURED_ABOVE``). A half for
    fp32 accumulation and a cap of a half differ in int8 alone; where that was not timed, the guess is taken of the two.
    """
    timed = {d: product for d, product in products.items() if d in silicon.rates and d is not DType.FP32}
    if not timed:
        return guess

    def exceeded(facts: ProductFacts) -> bool:
        return any(silicon.reached(d, facts, product) > MEASURED_ABOVE for d, product in timed.items())

    possible = [facts for facts in dict.fromkeys((guess, *HYPOTHESES)) if not exceeded(facts)]
    main = next((d for d in (DType.BF16, DType.FP16) if d in timed), next(iter(timed)))
    return min(
        possible, key=lambda facts: (facts.share(main), sum(map(facts.share, timed)), facts != guess), default=guess
    )


def confirmed(silicon: Silicon, facts: ProductFacts, products: Mapping[DType, TimedProduct]) -> list[DType]:
    """The formats whose peaks timed products confirm (``CONFIRMS``)."""
    least, most = CONFIRMS
    return [
        d
        for d, product in products.items()
        if d in silicon.rates and least <= silicon.reached(d, facts, product) <= most
    ]


def told(silicon: Silicon, facts: ProductFacts, dtype: DType, product: TimedProduct, date: str) -> str:
    """A timed product in words, for a profile."""
    share = silicon.reached(dtype, facts, product)
    clock = silicon.clock_of(product)
    return f"a product on the device, {date}, reached {product.tflops:.4g} TFLOP/s, {share:.2f} of it at {clock:g} MHz"


def timed_products(rates: Mapping[DType, float], time_product: TimeProduct) -> dict[DType, TimedProduct]:
    """The products of each format that can be timed, of those that an architecture has rates in."""
    found = {dtype: time_product(dtype) for dtype in TIMED if dtype in rates}
    return {dtype: product for dtype, product in found.items() if product is not None}


def on_device(device: str, *, size: int = SIZE, budget_s: float = PER_FORMAT_S) -> TimeProduct:
    """Times products on a torch device, each for about ``budget_s`` seconds, by the means of ``bench run``."""
    import torch

    from archsearch.bench.micro.device import Monitor, release
    from archsearch.bench.micro.operations import Skipped
    from archsearch.bench.micro.timing import CudaStopwatch, Stopwatch, WallClock, measure

    where = torch.device(device)
    stopwatch: Stopwatch = CudaStopwatch(graphs=False) if where.type == "cuda" else WallClock()
    monitor = Monitor(where)

    def seconds(dtype: DType, side: int) -> float:
        with torch.no_grad():
            return measure([_action(dtype, side, device)], stopwatch, budget_s=budget_s).low_s

    def time_product(dtype: DType) -> TimedProduct | None:
        try:
            small = min(size, SMALLER)
            short = seconds(dtype, small)
            side = size if short * (size / small) ** 3 < LONG_S else small
            best = seconds(dtype, side) if side != small else short
            clock = monitor.state().sm_clock_mhz
        except (Skipped, RuntimeError, NotImplementedError):  # no such kernel in this torch, or memory too short
            return None
        finally:
            release(where)
        return TimedProduct(2 * side**3 / best / 1e12, clock)

    return time_product


def _action(dtype: DType, side: int, device: str) -> Callable[[], object]:
    """A square product in a format."""
    import torch

    from archsearch.bench.micro.cases import Case
    from archsearch.bench.micro.operations import build

    if dtype is DType.INT8:
        a, b = (torch.randint(-8, 8, (side, side), dtype=torch.int8, device=device) for _ in range(2))
        return lambda: torch._int_mm(a, b.t())
    op, name = ("scaled_mm", "fp8_e4m3") if dtype is DType.FP8 else ("linear", dtype.value)
    dims = {"m": side, "n": side, "k": side}
    return build(Case(op, name, dims, "peak"), torch.device(device))
