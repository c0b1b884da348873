"""Response times of queues, by calculation.

Requests arrive as a Poisson process. Two systems:

* ``multi_server``: one first-come-first-served queue for k servers, one request each (M/G/k). Waiting times are exact
  for service times of one length (M/D/k: Crommelin 1932; the distribution as in Franx 2001, Operations Research Letters
  29, 221-225) and for exponential ones (M/M/k, Erlang C). Between them quantiles are interpolated by the squared
  coefficient of variation, as Tijms, A First Course in Stochastic Models (2003), section 9.6, does.
* ``batch_server``: one server that takes up to ``limit`` waiting requests at a time, as soon as it is free, and needs
  longer for larger batches (M/D^[1,limit]/1). The queue left at the end of a batch is a Markov chain; response times
  follow from what an arrival finds and what arrives after it. k GPUs behind a load balancer that draws one at random
  are k such queues of a k-th of the traffic.

Distributions are ``Quantiles``: probability masses at points, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from archsearch.arrays import FloatArray, Floats
from archsearch.errors import UnsupportedError

POINTS = 2000
MAX_STATES = 6000
TAIL = 1e-10
TAIL_STATES = 14
"""Over 1 - utilisation: the queue's tail falls as exp(-2 (1 - u) / u) per request, so to TAIL in 11.5 / (1 - u)."""
STEPS = 48
MAX_WAIT_SERVICES = 4000


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution as masses ``weights`` [n] at ``values`` [n] seconds."""

    values: Floats
    weights: Floats

    def quantile(self, p: float) -> float:
        """The least value that a share ``p`` does not exceed."""
        order = np.argsort(self.values)
        reached = np.cumsum(self.weights[order]) / self.weights.sum()
        return float(self.values[order][min(int(np.searchsorted(reached, p)), len(order) - 1)])

    @property
    def mean(self) -> float:
        return float(np.average(self.values, weights=self.weights))

    def shifted(self, seconds: float) -> Quantiles:
        """Every value later by so much."""
        return Quantiles(self.values + seconds, self.weights)

    @staticmethod
    def mixture(parts: Sequence[tuple[float, Quantiles]]) -> Quantiles:
        """A share of each; shares need not sum to one."""
        values = np.concatenate([q.values for _, q in parts])
        weights = np.concatenate([share * q.weights / q.weights.sum() for share, q in parts])
        return Quantiles(values, weights)


@dataclass(frozen=True, slots=True)
class Service:
    """Service times of one GPU: probability ``shares`` of ``seconds`` (one entry where all requests are alike)."""

    seconds: tuple[float, ...]
    shares: tuple[float, ...] = (1.0,)

    @property
    def mean(self) -> float:
        return float(np.dot(self.seconds, self.shares))

    @property
    def scv(self) -> float:
        """Squared coefficient of variation."""
        second = float(np.dot(np.square(self.seconds), self.shares))
        return max(0.0, second / self.mean**2 - 1.0)


def multi_server(rate: float, service: Service, servers: int) -> Quantiles:
    """Response times of M/G/k.

    Args:
        rate: requests per second.

    Raises:
        UnsupportedError: the servers cannot keep up (utilisation of 1 or more).
    """
    utilisation = rate * service.mean / servers
    _require_stable(utilisation, rate, servers)
    probabilities = (np.arange(POINTS) + 0.5) / POINTS
    fixed = deterministic_wait(rate, service.mean, servers, probabilities)
    random = exponential_wait(rate, service.mean, servers, probabilities)
    wait = np.maximum(0.0, (1.0 - service.scv) * fixed + service.scv * random)
    seconds, shares = np.asarray(service.seconds), np.asarray(service.shares)
    return Quantiles((wait[:, None] + seconds).ravel(), np.broadcast_to(shares, (POINTS, len(shares))).ravel())


def exponential_wait(rate: float, mean_s: float, servers: int, probabilities: Floats) -> Floats:
    """Quantiles of the waiting time of M/M/k."""
    delayed = erlang_c(rate * mean_s, servers)
    decay = servers / mean_s - rate
    with np.errstate(divide="ignore"):
        return np.asarray(np.maximum(0.0, np.log(delayed / (1.0 - probabilities)) / decay))


def erlang_c(offered: float, servers: int) -> float:
    """Probability that an arrival of M/M/k waits; ``offered`` is rate times mean service time."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    share = offered / servers
    return blocked / (1.0 - share * (1.0 - blocked))


def deterministic_wait(rate: float, service_s: float, servers: int, probabilities: Floats) -> Floats:
    """Quantiles of the waiting time of M/D/k, interpolated between ``STEPS`` points per service time."""
    waiting = _waiting_counts(rate * service_s, servers)
    cumulative = np.cumsum(waiting)
    grid: list[float] = [0.0]
    reached = [_served_by(0.0, rate, service_s, servers, cumulative)]
    top = float(probabilities.max())
    while reached[-1] < top and len(grid) < MAX_WAIT_SERVICES * STEPS:
        grid.append(len(grid) / STEPS * service_s)
        reached.append(_served_by(grid[-1], rate, service_s, servers, cumulative))
    shape = np.maximum.accumulate(np.asarray(reached))
    return np.asarray(np.where(probabilities <= shape[0], 0.0, np.interp(probabilities, shape, grid)))


def _served_by(wait_s: float, rate: float, service_s: float, servers: int, cumulative: Floats) -> float:
    """P(waiting time <= wait_s) of M/D/k (Franx 2001): with m service times just above ``wait_s``, a Poisson-weighted
    sum of the probabilities of m · k - 1 - j or fewer waiting."""
    m = int(wait_s / service_s) + 1
    mean = rate * (m * service_s - wait_s)
    last = m * servers - 1
    j = np.arange(last + 1)
    found = cumulative[np.minimum(last - j, len(cumulative) - 1)]
    return float(np.dot(_poisson(mean, last), found))


def _waiting_counts(offered: float, servers: int) -> Floats:
    """Probabilities of 0, 1, ... waiting in M/D/k: of the number present one service time later it is known that all
    who were in service are gone, n' = max(n - k, 0) + Poisson(offered) (Crommelin 1932)."""
    utilisation = offered / servers
    states = int(servers + 60 + TAIL_STATES / (1.0 - utilisation) + 10 * np.sqrt(offered))
    if states > MAX_STATES:
        raise UnsupportedError(
            f"{servers} servers at a utilisation of {utilisation:.4f} are too close to their limit to be calculated; "
            "add servers"
        )
    arrivals = _poisson(offered, states)
    present = np.zeros(states + 1)
    present[min(int(offered), states)] = 1.0
    matrix = np.zeros((states + 1, states + 1))
    for n in range(states + 1):
        left = max(n - servers, 0)
        matrix[n, left:] = arrivals[: states + 1 - left]
    matrix[:, -1] += 1.0 - matrix.sum(axis=1)
    present = stationary(matrix)
    waiting = present[servers:].copy()
    waiting[0] = present[: servers + 1].sum()
    return waiting


def stationary(matrix: Floats) -> Floats:
    """The distribution that a stochastic matrix keeps: its left eigenvector of 1."""
    size = len(matrix)
    system = (matrix - np.eye(size)).T
    system[-1] = 1.0
    target = np.zeros(size)
    target[-1] = 1.0
    return np.asarray(np.maximum(np.linalg.solve(system, target), 0.0))


def batch_server(rate: float, batch_s: Callable[[int], float], limit: int) -> Quantiles:
    """Response times of one server that takes up to ``limit`` waiting requests at once.

    Args:
        batch_s: seconds that a batch of so many requests takes.

    Raises:
        UnsupportedError: full batches cannot keep up.
    """
    seconds = np.array([batch_s(b) for b in range(1, limit + 1)])
    utilisation = rate * seconds[-1] / limit
    _require_stable(utilisation, rate, 1)
    left = _left_behind(rate, seconds, limit, utilisation)
    values, weights = _idle_arrivals(rate, seconds, limit, left)
    for n in range(len(left)):
        if left[n] > TAIL:
            v, w = _busy_arrivals(rate, seconds, limit, n)
            values.append(v)
            weights.append(left[n] * w)
    return Quantiles(np.concatenate(values), np.concatenate(weights))


def _left_behind(rate: float, seconds: Floats, limit: int, utilisation: float) -> Floats:
    """Probabilities of 0, 1, ... waiting when a batch ends."""
    states = int(4 * limit + 60 + TAIL_STATES / (1.0 - utilisation))
    if states > MAX_STATES:
        raise UnsupportedError(f"a utilisation of {utilisation:.4f} is too close to the limit to be calculated")
    matrix = np.zeros((states + 1, states + 1))
    for n in range(states + 1):
        taken = min(max(n, 1), limit)
        rest = max(n - taken, 0)
        matrix[n, rest:] = _poisson(rate * seconds[taken - 1], states)[: states + 1 - rest]
    matrix[:, -1] += 1.0 - matrix.sum(axis=1)
    return stationary(matrix)


def _idle_arrivals(rate: float, seconds: Floats, limit: int, left: Floats) -> tuple[list[Floats], list[Floats]]:
    """An arrival that finds the server idle is served alone at once: one per cycle that ended with nobody waiting."""
    return [np.array([seconds[0]])], [np.array([left[0]])]


def _busy_arrivals(rate: float, seconds: Floats, limit: int, n: int, instants: int = 24) -> tuple[Floats, Floats]:
    """Response times and expected numbers of those who arrive during the batch that follows ``n`` waiting.

    An arrival after u seconds of a batch of d stands behind those left waiting and the Poisson(rate · u) that came
    before it. It waits the rest of the batch and every full batch ahead of it; its own batch also takes those who
    come after it, Poisson(rate · its wait), up to ``limit``.
    """
    taken = min(max(n, 1), limit)
    duration = seconds[taken - 1]
    u = (np.arange(instants) + 0.5) / instants * duration
    most = int(rate * duration + 8 * np.sqrt(rate * duration + 1) + 8)
    before = np.stack([_poisson(rate * x, most) for x in u])  # [u, a]
    ahead = max(n - taken, 0) + np.arange(most + 1)  # [a]
    full, place = ahead // limit, ahead % limit
    wait = (duration - u)[:, None] + full[None, :] * seconds[-1]  # [u, a]
    later = np.stack([_poisson_array(rate * wait, j) for j in range(limit)], axis=-1)  # [u, a, j]
    later[..., -1] = np.maximum(1.0 - later[..., :-1].sum(axis=-1), 0.0)
    own = np.minimum(place[None, :, None] + 1 + np.arange(limit), limit)
    values = wait[..., None] + seconds[own - 1]
    weights = before[..., None] * later * (rate * duration / instants)
    keep = weights > TAIL * 1e-2
    return np.broadcast_to(values, weights.shape)[keep], weights[keep]


def mean_batch(rate: float, batch_s: Callable[[int], float], limit: int) -> tuple[float, float]:
    """Mean size of a batch and the share of time that the server works."""
    seconds = np.array([batch_s(b) for b in range(1, limit + 1)])
    left = _left_behind(rate, seconds, limit, rate * seconds[-1] / limit)
    taken = np.minimum(np.maximum(np.arange(len(left)), 1), limit)
    busy = float(np.dot(left, seconds[taken - 1]))
    cycle = busy + left[0] / rate
    return float(np.dot(left, taken)), busy / cycle


def _poisson(mean: float, last: int) -> Floats:
    """Probabilities of 0 to ``last``."""
    from scipy.stats import poisson

    return np.asarray(poisson.pmf(np.arange(last + 1), mean), dtype=np.float64)


def _poisson_array(mean: FloatArray, count: int) -> Floats:
    """Probabilities of ``count`` by mean."""
    from scipy.stats import poisson

    return np.asarray(poisson.pmf(count, mean), dtype=np.float64)


def _require_stable(utilisation: float, rate: float, servers: int) -> None:
    if utilisation >= 1.0:
        raise UnsupportedError(
            f"{rate:g} requests/s keep {servers} GPU(s) {utilisation:.2f} times busy: the queue grows without end"
        )
