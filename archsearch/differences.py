"""Why two answers differ: the fields in which they do, and the seconds that each accounts for.

Every combination of the fields of one answer and of the other is priced anew, and a field's share is its Shapley value
(Shapley 1953): its effect averaged over all orders in which the fields could have been changed one after the other. The
shares add up to the difference, and no order is preferred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import factorial
from typing import Any

from archsearch.cost.asked_execution import execution_of
from archsearch.cost.execution import Execution
from archsearch.cost.model import CostModel
from archsearch.cost.remember import PriceCache
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware import GpuSpec, load_gpu
from archsearch.keywords import checked_call
from archsearch.models.base import ModelConfig
from archsearch.models.registry.families import get_family
from archsearch.notebook_html import facts_html, milliseconds, table_html
from archsearch.pipeline.catalog import load_pipeline
from archsearch.pipeline.component_calls import Pricer
from archsearch.pipeline.generation_cost import estimate_pipeline
from archsearch.pipeline.request import Deployment, Placement, Request, make_request
from archsearch.workload import Phase, Workload

MOST_FIELDS = 10
"""Fields told apart: 2^10 combinations are priced in seconds. Of more, the parts (model, workload, ...) are."""
NEITHER = "diff reads what `estimate --json` and `pipeline estimate --json` print; this is neither"
Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Share:
    """One field (``part.field``) with its values in both answers, and the seconds of b − a that it accounts for."""

    field: str
    a: object
    b: object
    seconds: float


@dataclass(frozen=True, slots=True)
class Difference:
    """What makes two answers differ: ``a_s`` and ``b_s`` are their seconds as priced now, ``shares`` the fields
    that differ, the largest first."""

    a_s: float
    b_s: float
    shares: tuple[Share, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        rows = [{"field": s.field, "a": s.a, "b": s.b, "seconds": s.seconds} for s in self.shares]
        return {"a_latency_s": self.a_s, "b_latency_s": self.b_s, "difference_s": self.b_s - self.a_s, "fields": rows}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        title = f"{milliseconds(self.a_s)} and {milliseconds(self.b_s)}: {(self.b_s - self.a_s) * 1e3:+.4g} ms"
        rows = [(s.field, s.a, s.b, f"{s.seconds * 1e3:+.4g}") for s in self.shares]
        return facts_html(title, ()) + table_html(("field", "a", "b", "ms"), rows)


@checked_call
def diff(a: Mapping[str, object], b: Mapping[str, object]) -> Difference:
    """What makes two answers differ.

    Args:
        a, b: documents of ``estimate --json`` or ``pipeline estimate --json``, both of one kind.

    Returns:
        The seconds of both, and those that each field accounts for.

    Raises:
        InvalidInputError: a document that is neither, or one of each.
        UnsupportedError: a combination of their fields that nothing can run; the text names it.

    >>> from archsearch import estimate
    >>> one, two = (estimate("gpt2", "a10", seq_len=n).to_dict() for n in (512, 1024))
    >>> print(*[share.field for share in diff(one, two).shares])
    workload.seq_len
    """
    kinds = {_kind(a), _kind(b)}
    if len(kinds) > 1:
        raise InvalidInputError("diff compares two answers of one verb: `estimate`, or `pipeline estimate`")
    with _as_printed():
        one, other = (_pipeline_fields(d) if kinds == {"pipeline"} else _model_fields(d) for d in (a, b))
    price = _pipeline_price if kinds == {"pipeline"} else _model_price
    groups = _groups(one, other)

    @lru_cache(maxsize=1 << MOST_FIELDS)
    def seconds(taken: frozenset[int]) -> float:
        fields = {**one, **{n: other[n] for i in taken for n in groups[i][1]}}
        try:
            with _as_printed():
                return price(fields)
        except ArchSearchError as error:
            names = " and ".join(groups[i][0] for i in sorted(taken)) or "the first answer"
            place = f"with {names} of the second answer nothing can be priced"
            raise UnsupportedError.joined([error.about(place)]) from None

    shares = [
        Share(name, *_apart(_values(one, names), _values(other, names)), value)
        for (name, names), value in zip(groups, _shapley(len(groups), seconds), strict=True)
    ]
    whole = frozenset(range(len(groups)))
    ranked = tuple(sorted(shares, key=lambda s: -abs(s.seconds)))
    return Difference(seconds(frozenset()), seconds(whole), ranked)


@contextmanager
def _as_printed() -> Iterator[None]:
    """What follows reads an answer: a section that is missing or of another kind is the document's fault.

    Raises:
        InvalidInputError: there is one.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise InvalidInputError(f"an answer was changed since it was printed, and cannot be read: {what}") from None


def _shapley(count: int, value: Callable[[frozenset[int]], float]) -> list[float]:
    """Shapley values of ``count`` players; value(taken) for every subset."""
    shares = []
    for player in range(count):
        rest = [i for i in range(count) if i != player]
        total = 0.0
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for chosen in combinations(rest, size):
                before = frozenset(chosen)
                total += weight * (value(before | {player}) - value(before))
        shares.append(total)
    return shares


def _groups(one: Fields, other: Fields) -> list[tuple[str, list[str]]]:
    """Fields that differ, one each; where they are too many, by part."""
    names = [n for n in one if one[n] != other.get(n)] + [n for n in other if n not in one]
    for name in names:
        one.setdefault(name, None)
        other.setdefault(name, None)
    if len(names) <= MOST_FIELDS:
        return [(n, [n]) for n in names]
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(name.split(".")[0], []).append(name)
    return list(parts.items())


def _values(fields: Fields, names: Iterable[str]) -> object:
    """The one value of a name; of several a mapping, their part left out."""
    values = [fields.get(n) for n in names]
    return values[0] if len(values) == 1 else {n.split(".", 1)[1]: v for n, v in zip(names, values, strict=True)}


def _apart(a: object, b: object) -> tuple[object, object]:
    """Of two configs of one family only the fields that differ."""
    if not (isinstance(a, tuple) and isinstance(b, tuple)):
        return a, b
    one, other = dict(a[1]), dict(b[1])
    if a[0] != b[0]:
        return {"family": a[0], **one}, {"family": b[0], **other}
    names = [n for n in {**one, **other} if one.get(n) != other.get(n)]
    return {n: one.get(n) for n in names}, {n: other.get(n) for n in names}


def _kind(document: Mapping[str, object]) -> str:
    """Which verb printed a document: ``pipeline`` or ``model``."""
    sections = ("config", "workload", "execution", "request", "run", "models")
    wrong = [name for name in sections if name in document and not isinstance(document[name], Mapping)]
    if wrong or not isinstance(document.get("hardware"), str):
        raise InvalidInputError(NEITHER)
    if "pipeline" in document and "request" in document:
        return "pipeline"
    if "config" in document and "workload" in document and "execution" in document:
        return "model"
    raise InvalidInputError(NEITHER)


def _flat(**parts: Mapping[str, Any]) -> Fields:
    return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}


def _part(fields: Fields, part: str) -> dict[str, Any]:
    prefix = f"{part}."
    return {n.removeprefix(prefix): v for n, v in fields.items() if n.startswith(prefix)}


def _model_fields(d: Mapping[str, Any]) -> Fields:
    if "builder" in d["config"]:
        raise InvalidInputError("diff cannot rebuild a traced module from its answer; compare configs or presets")
    model = {"config": (d["family"], _frozen(d["config"]))}
    return _flat(model=model, hardware={"gpu": d["hardware"]}, workload=d["workload"], execution=d["execution"])


def _frozen(values: Mapping[str, object]) -> tuple[tuple[str, Any], ...]:
    return tuple((n, tuple(v) if isinstance(v, list) else v) for n, v in values.items())


def _config(value: tuple[str, tuple[tuple[str, Any], ...]]) -> ModelConfig:
    family, values = value
    config: ModelConfig = get_family(family).from_dict(dict(values))
    return config


@lru_cache(maxsize=8)
def _model(gpu: GpuSpec) -> CostModel:
    return CostModel(gpu, cache=PriceCache())


def _model_price(fields: Fields) -> float:
    work = {n: v for n, v in _part(fields, "workload").items() if v is not None}
    dtype, phase = DType.parse(work.pop("dtype")), Phase(work.pop("phase"))
    workload = Workload(dtype=dtype, phase=phase, **work)
    execution = _execution(fields, workload)
    return float(
        _model(load_gpu(fields["hardware.gpu"])).price(_config(fields["model.config"]), workload, execution).latency_s
    )


def _execution(fields: Fields, workload: Workload) -> Execution:
    return execution_of(_part(fields, "execution"), workload)


def _pipeline_fields(d: Mapping[str, Any]) -> Fields:
    model = {"name": d["pipeline"]} | {n: (c["family"], _frozen(c["config"])) for n, c in d["models"].items() if c}
    return _flat(
        model=model, hardware={"gpu": d["hardware"]}, request=d["request"], run=d["run"], execution=d["execution"]
    )


@lru_cache(maxsize=8)
def _pricer(gpu: GpuSpec) -> Pricer:
    return Pricer(gpu)


def _pipeline_price(fields: Fields) -> float:
    pipeline = load_pipeline(fields["model.name"])
    if fields.get("model.transformer"):
        pipeline = pipeline.with_transformer(_config(fields["model.transformer"]))
    if fields.get("model.decoder"):
        decoder = _config(fields["model.decoder"])
        pipeline = pipeline if decoder == pipeline.decoder else pipeline.with_decoder(decoder)
    stated = {n: v for n, v in _part(fields, "request").items() if v is not None}
    request: Request = make_request(pipeline, **stated)[0]
    deployed = {n: v for n, v in _part(fields, "run").items() if v is not None}
    formats = {n: DType.parse(v) for n, v in deployed.items() if n.endswith("dtype")}
    step = Workload(height=1, width=1, dtype=formats["dtype"])
    run = Deployment(**{**deployed, **formats, **_placement(deployed)}, execution=_execution(fields, step))
    pricer = _pricer(load_gpu(fields["hardware.gpu"]))
    return float(estimate_pipeline(pipeline, pricer.gpu, request, run, pricer=pricer).latency_s)


def _placement(deployed: Mapping[str, Any]) -> dict[str, Any]:
    return {"placement": Placement(deployed["placement"])} if "placement" in deployed else {}
