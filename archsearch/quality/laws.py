"""Published and fitted laws read from ``laws*.yaml``: constants, validity and 80 % bands, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from archsearch.arrays import Floats, as_float
from archsearch.errors import UnknownNameError
from archsearch.models.base import Modality
from archsearch.models.registry.families import family_names
from archsearch.quality.forms import FORMS, Form
from archsearch.quality.modalities import families_of
from archsearch.quality.proxy import Features, Quality, QualityProxy, positive_feature
from archsearch.yaml_records import Record, parse_records

LAW_FILES = ("laws.yaml", "laws_diffusion.yaml")


class Band(Record):
    """Half-width of the 80 % interval: in the metric's unit, or of the metric's natural logarithm."""

    absolute: float | None = None
    log: float | None = None

    @model_validator(mode="after")
    def _one(self) -> Band:
        if (self.absolute is None) == (self.log is None):
            raise ValueError("give either 'absolute' or 'log'")
        return self


class Table(Record):
    """Published figures that a law was fitted to."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]


class LawRecord(Record):
    """One entry of ``laws*.yaml``. ``families`` names families, or modalities that stand for all their families."""

    form: Literal["chinchilla", "kaplan", "aspect", "conditional", "shape", "depth", "power", "crossed", "compute"]
    metric: str
    unit: str
    families: tuple[str, ...]
    description: str
    title: str
    url: str
    constants: dict[str, float]
    valid: dict[str, tuple[float, float]]
    band: Band
    band_source: str
    parameters_are: str
    assumed: bool
    select: dict[str, float] = Field(default_factory=dict)
    table: Table | None = None

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        if not url.startswith("https://"):
            raise ValueError("the address of the source, https://...")
        return url

    @field_validator("families")
    @classmethod
    def _spoken_for(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = (*family_names(), *Modality)
        for name in names:
            if name not in known:
                raise ValueError(str(UnknownNameError("family or modality", name, known)))
        return names

    @field_validator("valid")
    @classmethod
    def _ordered(cls, ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (low, high) in ranges.items():
            if not 0 < low <= high:
                raise ValueError(f"{name}: a range is two positive numbers, the lower first")
        return ranges

    @model_validator(mode="after")
    def _constants_of_the_form(self) -> LawRecord:
        form = FORMS[self.form]
        lacking = [name for name in form.constants if name not in self.constants]
        other = [] if form.open else [name for name in self.constants if name not in form.constants]
        if lacking or other:
            problems = [f"constants lack {', '.join(lacking)}"] * bool(lacking)
            problems += [f"constants have no {', '.join(other)}"] * bool(other)
            raise ValueError(f"{'; '.join(problems)}: form {self.form} has {', '.join(form.constants)}")
        return self


@dataclass(frozen=True, slots=True)
class Law:
    """A published law as a ``QualityProxy``."""

    name: str
    record: LawRecord
    direction: str = "minimize"

    @property
    def form(self) -> Form:
        return FORMS[self.record.form]

    @property
    def metric(self) -> str:
        return self.record.metric

    @property
    def unit(self) -> str:
        return self.record.unit

    @property
    def families(self) -> tuple[str, ...]:
        return families_of(self.record.families)

    @property
    def valid(self) -> Mapping[str, tuple[float, float]]:
        return self.record.valid

    @property
    def description(self) -> str:
        return self.record.description

    @property
    def source(self) -> str:
        return self.record.title

    @property
    def url(self) -> str:
        return self.record.url

    @property
    def assumed(self) -> bool:
        return self.record.assumed

    @property
    def features(self) -> tuple[str, ...]:
        """What ``predict`` reads: the formula's features, and those that only tell whether it holds."""
        constants = self.record.constants if self.form.open else ()
        own = tuple(name for name in constants if name not in self.form.constants)
        return tuple(dict.fromkeys((*self.form.features, *own, *self.form.optional, *self.record.valid)))

    def size(self, features: Mapping[str, Floats]) -> Floats:
        """The parameter count that the law's training tokens are counted against."""
        return self.form.size(self.record.constants, features)

    def predict(self, features: Features) -> Quality:
        """Value, 80 % interval and range flag, broadcast over the features' shapes.

        Raises:
            InvalidInputError: a needed feature is missing or not positive.
        """
        optional = {name for name in self.form.optional if features.get(name) is None}
        x = {name: positive_feature(self.name, features, name) for name in self.features if name not in optional}
        value = self.form.value(self.record.constants, x)
        outside = sum((self._decades_outside(name, x[name]) for name in x), as_float(0.0))
        widen = 1.0 + outside
        band = self.record.band
        if band.absolute is not None:
            low, high = value - band.absolute * widen, value + band.absolute * widen
        else:
            factor = np.exp(np.float64(band.log) * widen)
            low, high = value / factor, value * factor
        return Quality(value=value, low=low, high=high, in_range=outside == 0)

    def _decades_outside(self, name: str, value: Floats) -> Floats:
        low, high = self.record.valid.get(name, (0.0, np.inf))
        with np.errstate(divide="ignore"):
            return as_float(np.maximum(np.log10(low) - np.log10(value), 0.0) + np.maximum(np.log10(value / high), 0.0))


@lru_cache(maxsize=1)
def published_laws() -> Mapping[str, QualityProxy]:
    """All laws of ``laws*.yaml`` by name."""
    laws: dict[str, QualityProxy] = {}
    for file in LAW_FILES:
        records = parse_records(LawRecord, Path(__file__).with_name(file))
        laws |= {name: Law(name, record) for name, record in records.items()}
    return laws
