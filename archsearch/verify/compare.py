"""Recommended architectures and the naive baseline, built and timed on this device, beside what was predicted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from archsearch.bench.built import build_module, compile_layers, plain_layer, time_layer, time_model
from archsearch.bench.micro.device import free_bytes, release
from archsearch.cost.asked_execution import chosen_execution
from archsearch.cost.estimate import Estimate
from archsearch.cost.execution import Execution
from archsearch.cost.model import CostModel
from archsearch.cost.ratio import ratio_of
from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.models.base import ModelConfig
from archsearch.models.huggingface.script import has_module
from archsearch.workload import Workload

if TYPE_CHECKING:
    import optuna
    import torch

    from archsearch.search.evaluate.setting import Setting

FITS = 0.8
"""Share of free memory that weights and activations may take for the whole model to be timed."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An architecture to time: ``rank`` 0 is the baseline."""

    rank: int
    name: str
    config: ModelConfig
    quality: float


@dataclass(frozen=True, slots=True)
class Checked:
    """Predicted and measured seconds of one architecture: the whole model and one layer; None where not measured."""

    rank: int
    name: str
    config: dict[str, Any]
    parameters: int
    quality: float
    predicted_s: float
    low_s: float
    high_s: float
    measured_s: float | None
    layer_predicted_s: float | None
    layer_measured_s: float | None
    method: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying found.

    ``compared`` says whether the figures below are of whole ``models`` or, where not all of these could be timed, of
    their ``layers``. ``kendall_tau`` compares the orders of predicted and measured times, the baseline among them;
    ``speedup`` is the baseline's measured time over the first recommendation's, ``predicted_speedup`` likewise, with
    the 80 % band of the ratio (``cost.ratio``) where whole models are compared.
    """

    space: str
    family: str
    hardware: str
    device: str
    execution: str
    workload: dict[str, Any]
    rows: tuple[Checked, ...]
    compared: str
    kendall_tau: float | None
    mape: float | None
    speedup: float | None
    predicted_speedup: float | None
    predicted_speedup_low: float | None = None
    predicted_speedup_high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return asdict(self)


def candidates_of(
    source: str | optuna.Study, hardware: str | None, top: int, storage: str | None
) -> tuple[list[Candidate], Setting]:
    """The baseline and the ``top`` recommendations of a study or space, and what they were searched under.

    Raises:
        ArchSearchError: see ``recommend``.
        InvalidInputError: the space names no baseline.
    """
    from archsearch.models.registry.families import get_family, load_preset
    from archsearch.search.answers.recommend import recommendation

    result = recommendation(source, hardware, top=top, storage=storage, progress=False)
    setting = result.setting
    if setting.family == "traced":
        raise UnsupportedError(f"space {setting.space!r} is over modules of your own: time them as they are")
    family = get_family(setting.family)
    baseline = None if result.advice is None else result.advice.baseline
    if baseline is None:
        raise InvalidInputError(f"space {setting.space!r} names no baseline to compare with")
    dimensions = {name: value for name, value in baseline.config.items() if name in setting.config_fields}
    named = baseline.name != "baseline"
    naive = load_preset(baseline.name) if named else family.from_dict({**setting.fixed, **dimensions})
    candidates = [Candidate(0, baseline.name, naive, float(baseline.metrics["quality"]))]
    for rank, quality in enumerate(result.frame["quality"].tolist(), start=1):
        candidates.append(Candidate(rank, f"rank {rank}", family.from_dict(result.config(rank)), float(quality)))
    return candidates, setting


def verify(
    source: str | optuna.Study,
    gpu: GpuSpec,
    *,
    device: torch.device,
    device_name: str,
    hardware: str | None = None,
    top: int = 3,
    execution: Execution | str | None = None,
    changes: Mapping[str, Any] | None = None,
    storage: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Time the ``top`` recommendations and the baseline on this device.

    Args:
        source: a stored study's name or a space; ``hardware`` as for ``recommend``.
        gpu: the profile that predictions are made for.
        device: a torch device; ``device_name`` is what it calls itself.
        execution: how it runs, in place of the space's execution, and ``changes`` of its fields; torch runs it eagerly
            or compiled.

    Raises:
        ArchSearchError: nothing to recommend, or no library to build modules with.
    """
    candidates, setting = candidates_of(source, hardware, top, storage)
    workload = setting.workload.workload()
    stated = setting.execution if execution is None else execution
    chosen = chosen_execution(workload, stated, changes).resolved(workload)
    if chosen.gpus > 1:
        raise UnsupportedError("bench verify times one device: leave out layouts over several GPUs (--*-parallel)")
    rows: list[Checked] = []
    for candidate in candidates:
        progress(f"{setting.space}: {candidate.name}")
        twin = next((row for row in rows if row.config == candidate.config.to_dict()), None)
        if twin is None:
            rows.append(_checked(candidate, workload, gpu, device, chosen))
        else:  # timed already
            rows.append(replace(twin, rank=candidate.rank, name=candidate.name, note=f"the same as {twin.name}"))
    agreement = _agreement(rows)
    return Verification(
        space=setting.space,
        family=setting.family,
        hardware=gpu.id,
        device=device_name,
        execution=chosen.line(),
        workload=setting.workload.model_dump(mode="json", exclude_none=True),
        rows=tuple(rows),
        **agreement,
        **_promised(candidates, workload, gpu, chosen, agreement),
    )


def predicted(
    config: ModelConfig, workload: Workload, gpu: GpuSpec, execution: Execution
) -> tuple[Estimate, float | None]:
    """The estimate of a whole model as torch runs it, and of what one more layer adds to it."""
    model = CostModel(gpu)

    def cost(c: ModelConfig) -> Estimate:
        return model.price(c, workload, execution)

    layers = getattr(config, "num_layers", None)
    if layers is None or layers < 2:
        return cost(config), None
    one, two = (cost(replace(config, num_layers=n)) for n in (1, 2))
    return cost(config), float(two.latency_s - one.latency_s)


def _checked(
    candidate: Candidate, workload: Workload, gpu: GpuSpec, device: torch.device, execution: Execution
) -> Checked:
    config = candidate.config
    answer, layer = predicted(config, workload, gpu, execution)
    measured, layer_measured, method, note = None, None, "", ""
    try:
        measured, layer_measured, method = _measured(config, workload, device, execution.compiled)
    except ArchSearchError:
        raise
    except RuntimeError as error:  # out of memory, or a compiler that gave up: told, and the next one is tried
        note = str(error).splitlines()[0][:160]
    return Checked(
        rank=candidate.rank,
        name=candidate.name,
        config=config.to_dict(),
        parameters=int(config.parameters()),
        quality=float(candidate.quality),
        predicted_s=float(answer.latency_s),
        low_s=float(answer.low_s),
        high_s=float(answer.high_s),
        measured_s=measured,
        layer_predicted_s=layer,
        layer_measured_s=layer_measured,
        method=method,
        note=note,
    )


def _measured(
    config: ModelConfig, workload: Workload, device: torch.device, compiled: bool
) -> tuple[float | None, float | None, str]:
    """Seconds of the whole model where it fits, of one layer, and how they were timed."""
    if not has_module(config):  # a plain layer of the same kind stands for it
        plain = plain_layer(config, workload, device, compiled=compiled)
        return None, plain.median_s, plain.method
    whole = float(config.memory(workload).total) < FITS * free_bytes(device)
    built_config = config if whole else replace(config, num_layers=2)
    built = build_module(built_config, workload, device)
    if compiled:
        compile_layers(built)
    layer = time_layer(built, device)
    model = time_model(built, device) if whole else None
    del built
    release(device)
    timed = model or layer
    method = "" if timed is None else timed.method
    return (model.median_s if model else None), (layer.median_s if layer else None), method


def _agreement(rows: Sequence[Checked]) -> dict[str, Any]:
    """Order, error and speed-up by whole models where all were timed, else by their layers alone."""
    from scipy.stats import kendalltau

    whole = [(r.rank, r.predicted_s, r.measured_s) for r in rows if r.measured_s]
    layers = [
        (r.rank, r.layer_predicted_s * r.config["num_layers"], r.layer_measured_s * r.config["num_layers"])
        for r in rows
        if r.layer_predicted_s and r.layer_measured_s
    ]
    timed = whole if len(whole) >= len(layers) else layers
    tau = float(kendalltau([p for _, p, _ in timed], [m for _, _, m in timed]).statistic) if len(timed) > 2 else None
    by_rank = {rank: (predicted, measured) for rank, predicted, measured in timed}
    both = 0 in by_rank and 1 in by_rank
    return {
        "compared": "models" if timed is whole else "layers",
        "kendall_tau": tau,
        "mape": 100 * sum(abs(p / m - 1) for _, p, m in timed) / len(timed) if timed else None,
        "speedup": by_rank[0][1] / by_rank[1][1] if both else None,
        "predicted_speedup": by_rank[0][0] / by_rank[1][0] if both else None,
    }


def _promised(
    candidates: Sequence[Candidate],
    workload: Workload,
    gpu: GpuSpec,
    execution: Execution,
    agreement: Mapping[str, Any],
) -> dict[str, Any]:
    """The band of the speed-up of rank 1 over the baseline, where it is of whole models."""
    if agreement["compared"] != "models" or agreement["speedup"] is None:
        return {}
    model, by_rank = CostModel(gpu), {candidate.rank: candidate.config for candidate in candidates}
    ratio = ratio_of(*(model.price(by_rank[rank], workload, execution) for rank in (0, 1)))
    return {"predicted_speedup_low": float(ratio.low), "predicted_speedup_high": float(ratio.high)}


def verification_rows(result: Verification) -> list[dict[str, object]]:
    """One flat record per architecture, for tables and files; configs and workload as JSON."""
    shared = {"space": result.space, "gpu": result.hardware, "device": result.device, "execution": result.execution}
    work = json.dumps(result.workload)
    return [{**shared, **asdict(row), "config": json.dumps(row.config), "workload": work} for row in result.rows]
