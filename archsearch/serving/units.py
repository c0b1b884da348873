"""What serves: a pipeline on a GPU with its seconds at each batch size, and the service level that is to be kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archsearch.cost.execution import Execution
from archsearch.cost.power import board_power_w
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.keywords import checked_call
from archsearch.pipeline.component_calls import Pricer
from archsearch.pipeline.generation_cost import estimate_pipeline
from archsearch.pipeline.plan import Plan
from archsearch.ranges import require_range
from archsearch.serving.queueing import Quantiles, Service

BATCHES = (1, 2, 4, 8, 16)
LEAST_GAIN = 0.03
"""A larger batch limit has to raise the throughput by so much to be worth its longer batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLevel:
    """Limits on quantiles of the response time in seconds: ``p50_s`` (the median), ``p95_s``, ``p99_s``; None leaves
    one open.

    Raises:
        InvalidInputError: a limit that is no positive number.
    """

    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.limits():
            require_range(name, value, 0, above=True, unit="seconds")

    def limits(self) -> Iterator[tuple[str, float]]:
        """The limits that are set, by field."""
        for name in ("p50_s", "p95_s", "p99_s"):
            value = getattr(self, name)
            if value is not None:
                yield name, value

    def kept(self, response: Quantiles) -> bool:
        """Whether a distribution of response times keeps every limit."""
        return all(response.quantile(int(name[1:3]) / 100) <= value for name, value in self.limits())

    @property
    def tightest_s(self) -> float:
        """The least limit; infinite where there is none."""
        return min((value for _, value in self.limits()), default=float("inf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One serving unit: a plan on a ``gpu`` (or on the few, ``gpus``, that share a request).

    ``batch_s`` are seconds by batch size, ``usd_per_hour`` a GPU's price and ``price_source`` who says so,
    ``available`` how many GPUs there are. ``mix`` are the service times of requests that are not alike; they are served
    one by one. ``video_s`` is the length of a video that a request makes, where it is one; ``execution`` how the
    transformer runs, ``plan`` what is asked and run. ``high`` is how many times as long as estimated it takes at the
    upper end of the 80 % band.
    """

    gpu: GpuSpec
    gpus: int
    batch_s: Mapping[int, float]
    usd_per_hour: float | None
    available: int | None = None
    mix: Service | None = None
    video_s: float | None = None
    execution: Execution | None = None
    plan: Plan | None = None
    price_source: str = "given"
    high: float = 1.0

    @property
    def slow(self) -> Replica:
        """The same unit at the upper end of its band."""
        mix = None if self.mix is None else Service(tuple(s * self.high for s in self.mix.seconds), self.mix.shares)
        return replace(self, batch_s={batch: s * self.high for batch, s in self.batch_s.items()}, mix=mix, high=1.0)

    @property
    def watts(self) -> float:
        """Board power of one of its GPUs."""
        return board_power_w(self.gpu, self.execution or Execution())

    @property
    def service(self) -> Service:
        """Service times of single requests."""
        return self.mix or Service((self.batch_s[1],))

    def seconds(self, batch: int) -> float:
        """Seconds of a batch: sizes between those that were estimated lie on the line between them."""
        sizes = sorted(self.batch_s)
        return float(np.interp(batch, sizes, [self.batch_s[b] for b in sizes]))

    def limits(self) -> list[int]:
        """Batch limits worth considering: 1, and those whose full batches serve faster than all smaller ones."""
        kept, best = [1], self.batch_s[1]
        for batch in sorted(self.batch_s)[1:]:
            if self.batch_s[batch] / batch < (1.0 - LEAST_GAIN) * best:
                kept.append(batch)
                best = self.batch_s[batch] / batch
        return kept

    def price(self, number: int) -> float:
        """USD per hour of so many replicas; infinite where the GPU has no price."""
        return float("inf") if self.usd_per_hour is None else self.usd_per_hour * self.gpus * number


@checked_call
def replica(
    plan: Plan,
    gpu: GpuSpec,
    *,
    max_batch: int,
    usd_per_hour: float | None,
    available: int | None = None,
    mix: Sequence[tuple[Plan, float]] = (),
    price_source: str = "given",
) -> Replica:
    """A serving unit: a plan's seconds at each batch size that fits the GPU.

    Args:
        plan: the pipeline, one image or video of it, and how it runs (``make_plan``).
        gpu: what it runs on.
        max_batch: the largest batch that is tried.
        usd_per_hour: a GPU's price, None where nobody knows it.
        available: how many GPUs there are, None for as many as it takes.
        mix: plans with their shares, where requests are not alike; they are served singly.
        price_source: who says what a GPU costs.

    Returns:
        What ``plan_fleet`` takes.

    Raises:
        InvalidInputError: a plan of several images or videos.
        UnsupportedError: a single request does not fit.
    """
    if np.any(np.asarray(plan.request.batch_size) != 1):
        raise InvalidInputError(
            "requests come one by one and are batched as they wait: give {max_batch}, no batch lever", field="max_batch"
        )
    if mix:
        each: dict[str, Any] = {"usd_per_hour": usd_per_hour, "available": available, "price_source": price_source}
        return _mixed([replica(p, gpu, max_batch=1, **each) for p, _ in mix], [share for _, share in mix])
    seconds, high = _batch_seconds(plan, gpu, max_batch)
    fps, frames = plan.pipeline.record.defaults.frames_per_second, plan.request.frames
    return Replica(
        gpu=gpu,
        gpus=plan.deployment.gpus,
        batch_s=seconds,
        usd_per_hour=usd_per_hour,
        available=available,
        video_s=None if fps is None or frames is None else float(np.max(frames)) / fps,
        execution=plan.deployment.step_execution,
        plan=plan,
        price_source=price_source,
        high=high,
    )


def _mixed(parts: Sequence[Replica], shares: Sequence[float]) -> Replica:
    """One unit that serves requests of several kinds singly, each with its share."""
    service = Service(tuple(part.batch_s[1] for part in parts), tuple(shares))
    high = max(part.high for part in parts)
    return replace(parts[0], batch_s={1: service.mean}, mix=service, video_s=None, high=high)


def _batch_seconds(plan: Plan, gpu: GpuSpec, max_batch: int) -> tuple[dict[int, float], float]:
    """Seconds at each batch size that fits, and the most by which the band's upper end is above them.

    Raises:
        UnsupportedError: a single request does not fit.
    """
    pricer = Pricer(gpu)
    seconds: dict[int, float] = {}
    high = 1.0
    for batch in (b for b in BATCHES if b <= max_batch):
        request = replace(plan.request, batch_size=batch)
        estimate = estimate_pipeline(plan.pipeline, gpu, request, plan.deployment, pricer=pricer)
        if not bool(estimate.fits):
            if batch == 1:
                peak = float(estimate.peak_memory_bytes) / 2**30
                raise UnsupportedError(
                    f"{plan.pipeline.name} needs {peak:.1f} GiB of {gpu.id}'s {gpu.available_gib:.1f}: pull a lever "
                    "that saves memory (fp8, text-int8, model-offload)"
                )
            break
        seconds[batch] = float(estimate.latency_s)
        high = max(high, float(estimate.total("high_s")) / seconds[batch])
    return seconds, high
