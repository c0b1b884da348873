"""The same queues as discrete events (SimPy), to check the calculation and to replay traces."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from archsearch.arrays import Floats
from archsearch.serving.queueing import Service

if TYPE_CHECKING:
    import simpy

WARM_UP = 0.1
"""Share of the requests that only fill the queue and are not counted."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """Response times [n] in seconds of counted requests, and the share of time that GPUs worked."""

    response_s: Floats
    utilisation: float

    def quantile(self, p: float) -> float:
        return float(np.quantile(self.response_s, p))

    @property
    def mean(self) -> float:
        return float(self.response_s.mean())


def poisson_arrivals(rate: float, number: int, seed: int) -> Floats:
    """Arrival times [number] of a Poisson process."""
    return np.asarray(np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, number)))


def simulate_multi_server(
    arrivals: Sequence[float] | Floats, service: Service, servers: int, seed: int = 0, *, warm_up: float = WARM_UP
) -> Simulated:
    """One first-come-first-served queue before ``servers``, one request each."""
    import simpy

    environment = simpy.Environment()
    gpus = simpy.Resource(environment, capacity=servers)
    draws = np.random.default_rng(seed + 1).choice(service.seconds, size=len(arrivals), p=service.shares)
    response = np.zeros(len(arrivals))

    def request(i: int, seconds: float) -> Generator[simpy.Event, object, None]:
        came = environment.now
        with gpus.request() as turn:
            yield turn
            yield environment.timeout(seconds)
        response[i] = environment.now - came

    def source() -> Generator[simpy.Event, object, None]:
        for i, at in enumerate(arrivals):
            yield environment.timeout(max(0.0, float(at) - environment.now))
            environment.process(request(i, float(draws[i])))

    environment.process(source())
    environment.run()
    skipped = int(warm_up * len(arrivals))
    return Simulated(response[skipped:], float(draws.sum()) / (servers * environment.now))


def simulate_batch_servers(
    arrivals: Sequence[float] | Floats,
    batch_s: Callable[[int], float],
    limit: int,
    servers: int,
    seed: int = 0,
    *,
    warm_up: float = WARM_UP,
) -> Simulated:
    """A load balancer that draws one of ``servers`` at random; each takes up to ``limit`` of its queue at a time."""
    import simpy

    environment = simpy.Environment()
    seconds = [batch_s(b) for b in range(1, limit + 1)]
    queues: list[list[int]] = [[] for _ in range(servers)]
    wake = [environment.event() for _ in range(servers)]
    chosen = np.random.default_rng(seed + 1).integers(servers, size=len(arrivals))
    came, response = np.zeros(len(arrivals)), np.zeros(len(arrivals))
    busy = [0.0]

    def gpu(k: int) -> Generator[simpy.Event, object, None]:
        while True:
            if not queues[k]:
                wake[k] = environment.event()
                yield wake[k]
            batch, queues[k] = queues[k][:limit], queues[k][limit:]
            yield environment.timeout(seconds[len(batch) - 1])
            busy[0] += seconds[len(batch) - 1]
            response[batch] = environment.now - came[batch]

    def source() -> Generator[simpy.Event, object, None]:
        for i, at in enumerate(arrivals):
            yield environment.timeout(max(0.0, float(at) - environment.now))
            k = int(chosen[i])
            came[i] = environment.now
            queues[k].append(i)
            if not wake[k].triggered:
                wake[k].succeed()

    for k in range(servers):
        environment.process(gpu(k))
    environment.process(source())
    environment.run()
    skipped = int(warm_up * len(arrivals))
    return Simulated(response[skipped:], busy[0] / (servers * environment.now))
