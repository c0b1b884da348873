"""What a search's table says of all its rows: the space, the pool, the law of quality, an enumeration's counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from archsearch.cost.execution import Execution
from archsearch.errors import InvalidInputError
from archsearch.hardware import Quotes
from archsearch.search.evaluate.columns import per_gpu_column
from archsearch.search.space.sections import WorkloadRecord


@dataclass(frozen=True, slots=True)
class PoolView:
    """The GPUs of a search by id, and their weights, which sum to one."""

    ids: tuple[str, ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, metric: str) -> str:
        """The column of a speed metric over the pool: the one GPU's, else that of the GPU that gains least."""
        return per_gpu_column(metric, self.ids[0]) if len(self.ids) == 1 else f"{metric.removesuffix('_s')}_worst"


@dataclass(frozen=True, slots=True)
class QualityLaw:
    """The law that predicts quality; ``assumed`` where it is borrowed from another setting."""

    proxy: str
    metric: str
    unit: str
    direction: str
    source: str
    url: str
    assumed: bool


@dataclass(frozen=True, slots=True)
class Economy:
    """How energy and prices are known, and the space's sections of training and lifetime, where it has them."""

    energy_basis: str
    quotes: Quotes
    training: Mapping[str, Any] | None = None
    lifetime: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; sections that the space lacks are left out."""
        document: dict[str, Any] = {"energy_basis": self.energy_basis, **self.quotes.to_dict()}
        sections = {"training": self.training, "lifetime": self.lifetime}
        return document | {name: dict(section) for name, section in sections.items() if section is not None}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Economy:
        """From ``to_dict`` of this version or an earlier one, which knew no prices."""
        basis = document.get("energy_basis", "")
        return cls(basis, Quotes.from_dict(document), document.get("training"), document.get("lifetime"))


@dataclass(frozen=True, slots=True)
class Setting:
    """What a search was of: the space, the pool, what is optimised, and how architectures run and are judged.

    ``dimensions`` are the columns of the space's dimensions and derived fields, ``config_fields`` the fields of its
    family's configs, ``fixed`` those with one value. ``objectives`` are {column: sign}, +1 where less is better.
    ``changes`` are the keys of the space's file that were set to other values.
    """

    space: str
    family: str
    pipeline: str | None
    throughput_unit: str
    pool: PoolView
    fixed: Mapping[str, Any]
    config_fields: tuple[str, ...]
    dimensions: tuple[str, ...]
    objectives: Mapping[str, float]
    prefer: str
    workload: WorkloadRecord
    execution: Execution
    economy: Economy
    quality: QualityLaw
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def in_usd(self) -> bool:
        """Whether its rows have prices: as objectives, or of training and a lifetime."""
        sections = (self.economy.training, self.economy.lifetime)
        return any("usd" in column for column in self.objectives) or any(section is not None for section in sections)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as studies store them and tables carry them."""
        return {
            "space": self.space,
            "set": dict(self.changes),
            "family": self.family,
            "pipeline": self.pipeline,
            "throughput_unit": self.throughput_unit,
            "hardware": list(self.pool.ids),
            "weights": list(self.pool.weights),
            "fixed": dict(self.fixed),
            "config_fields": list(self.config_fields),
            "dimensions": list(self.dimensions),
            "objectives": dict(self.objectives),
            "prefer": self.prefer,
            "workload": self.workload.model_dump(mode="json", exclude_none=True),
            "execution": self.execution.to_dict(),
            **self.economy.to_dict(),
            "quality": asdict(self.quality),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Setting:
        """From ``to_dict``; what earlier versions did not store takes its default.

        Raises:
            InvalidInputError: something that is no such document.
        """
        law = {item.name for item in fields(QualityLaw)}
        try:
            return cls(
                space=document["space"],
                family=document["family"],
                pipeline=document.get("pipeline"),
                throughput_unit=document["throughput_unit"],
                pool=PoolView(tuple(document["hardware"]), tuple(document["weights"])),
                fixed=document["fixed"],
                config_fields=tuple(document["config_fields"]),
                dimensions=tuple(document["dimensions"]),
                objectives=document["objectives"],
                prefer=document.get("prefer", "knee"),
                workload=WorkloadRecord.model_validate(document["workload"]),
                execution=Execution(**document.get("execution", {})),
                economy=Economy.from_dict(document),
                changes=document.get("set", {}),
                quality=QualityLaw(**{n: v for n, v in document["quality"].items() if n in law}),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"this table does not say what it is of ({type(error).__name__}: {error})"
            ) from None


@dataclass(frozen=True, slots=True)
class Counts:
    """What an enumeration evaluated: ``rejected`` by rule or budget, ``provenance`` of the latencies by GPU."""

    architectures: int
    legal: int
    valid: int
    evaluation_s: float
    rejected: Mapping[str, int]
    provenance: Mapping[str, str]

    @property
    def architectures_per_s(self) -> float:
        """0 where no time was taken."""
        return self.architectures / self.evaluation_s if self.evaluation_s else 0.0

    def to_dict(self, setting: Setting) -> dict[str, Any]:
        """Plain values: the JSON answer of ``archsearch enumerate`` but for the front."""
        return {
            "space": setting.space,
            "set": dict(setting.changes),
            "hardware": list(setting.pool.ids),
            "weights": list(setting.pool.weights),
            "execution": setting.execution.to_dict(),
            "architectures": self.architectures,
            "legal": self.legal,
            "valid": self.valid,
            "evaluation_s": self.evaluation_s,
            "architectures_per_s": self.architectures_per_s,
            "rejected": dict(self.rejected),
            "objectives": list(setting.objectives),
            **setting.economy.quotes.to_dict(),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Counts:
        """From ``to_dict``."""
        return cls(**{item.name: document[item.name] for item in fields(cls)})
