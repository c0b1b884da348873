"""What a recommendation says beside its rows: what it is compared with, and what several GPUs mean for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from archsearch.search.evaluate.columns import by_gpu
from archsearch.search.evaluate.plain import plain


@dataclass(frozen=True, slots=True)
class Beside:
    """An architecture that recommendations are compared with: its name, dimensions, and metrics by column."""

    name: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """One flat row."""
        return {"name": self.name, "config": dict(self.config), **self.metrics}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Beside:
        """From ``to_dict``."""
        metrics = {name: value for name, value in row.items() if name not in ("name", "config")}
        return cls(row["name"], row["config"], metrics)

    def record(self) -> dict[str, Any]:
        """In the shape of ``SearchResult.records``: columns per GPU together, plain values."""
        return by_gpu({name: plain(value) for name, value in self.to_dict().items()})


@dataclass(frozen=True, slots=True)
class Gain:
    """How many times as fast as another architecture (the baseline, the next rank) a recommendation is on a GPU.

    ``speedup`` is throughput over throughput, ``low`` and ``high`` the 80 % band of that ratio, in which errors that
    both share cancel (``cost.ratio``).
    """

    rank: int
    against: str
    gpu: str
    speedup: float
    low: float
    high: float

    @property
    def regret(self) -> float:
        """How much more throughput the other one has at the band's lower end, other / this - 1; 0 where it has none."""
        return max(0.0, 1.0 / self.low - 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the regret among them."""
        return asdict(self) | {"regret": self.regret}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Gain:
        """From ``to_dict``."""
        return cls(**{name: value for name, value in document.items() if name != "regret"})


@dataclass(frozen=True, slots=True)
class OwnChoice:
    """What one GPU of a pool alone would choose at no lower quality than rank 1, and the regret of rank 1 there: how
    much more throughput the own choice has on it, own / rank 1's - 1."""

    gpu: str
    config: Mapping[str, Any]
    parameters: int
    quality: float
    latency_s: float
    throughput: float
    pool_throughput: float
    regret: float


@dataclass(frozen=True, slots=True)
class DimensionCost:
    """A dimension's cost on every GPU: per cent of latency for one per cent of parameters (``search.evaluate.pools``).

    ``steps`` are the values compared; ``along`` is the dimension that had to change along, or None.
    """

    dimension: str
    cost: Mapping[str, float]
    pays_most_on: str
    pays_least_on: str
    steps: tuple[int, ...]
    along: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``along`` is called ``with``."""
        document = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "along"}
        return document | {"cost": dict(self.cost), "steps": list(self.steps), "with": self.along}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> DimensionCost:
        """From ``to_dict``."""
        values = {name: value for name, value in document.items() if name != "with"}
        return cls(**{**values, "steps": tuple(values["steps"]), "along": document["with"]})


@dataclass(frozen=True, slots=True)
class PriceOfOne:
    """What one architecture for a whole pool costs: the largest regret and its GPU, and the mean by weight."""

    worst: float
    worst_on: str
    weighted: float


@dataclass(frozen=True, slots=True)
class PoolAdvice:
    """What several GPUs mean for a recommendation, where speed decides: see the records."""

    own_choices: tuple[OwnChoice, ...]
    dimensions_pay: tuple[DimensionCost, ...]
    one_for_all: PriceOfOne | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of ``attrs``."""
        return {
            "pool": [asdict(choice) for choice in self.own_choices],
            "dimensions_pay": [item.to_dict() for item in self.dimensions_pay],
            "one_for_all": {} if self.one_for_all is None else asdict(self.one_for_all),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> PoolAdvice:
        """From ``to_dict``."""
        price = document["one_for_all"]
        return cls(
            tuple(OwnChoice(**choice) for choice in document["pool"]),
            tuple(DimensionCost.from_dict(item) for item in document["dimensions_pay"]),
            PriceOfOne(**price) if price else None,
        )


@dataclass(frozen=True, slots=True)
class Advice:
    """What a recommendation says beside its rows.

    ``exact`` whether the whole space stands behind it, ``front`` how many architectures it chose from, ``run`` what a
    latency is of and ``step`` one pass of the model, ``compared`` the quality proxies that rank the front, ``gains``
    how much faster each recommendation is than the baseline on each GPU, and rank 1 than rank 2.
    """

    exact: bool
    front: int
    prefer: str
    run: str
    step: str
    provenance: Mapping[str, str]
    compared: tuple[str, ...] = ()
    baseline: Beside | None = None
    reference: Beside | None = None
    gains: tuple[Gain, ...] = ()
    pool: PoolAdvice | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of ``attrs``, but for ``compared``, which stands under ``quality``."""
        return {
            "provenance": dict(self.provenance),
            "exact": self.exact,
            "front": self.front,
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
            "reference": None if self.reference is None else self.reference.to_dict(),
            "prefer": self.prefer,
            "per": {"run": self.run, "step": self.step},
            "gains": [gain.to_dict() for gain in self.gains],
            **({"pool": []} if self.pool is None else self.pool.to_dict()),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Advice:
        """From ``SearchResult.attributes``."""
        beside = {name: document[name] and Beside.from_dict(document[name]) for name in ("baseline", "reference")}
        return cls(
            exact=document["exact"],
            front=document["front"],
            prefer=document["prefer"],
            run=document["per"]["run"],
            step=document["per"]["step"],
            provenance=document["provenance"],
            compared=tuple(document["quality"]["compared"]),
            gains=tuple(Gain.from_dict(gain) for gain in document["gains"]),
            pool=PoolAdvice.from_dict(document) if "one_for_all" in document else None,
            **beside,
        )
