"""Latency and memory GPU by GPU: of a model, of several answers, or of what a search recommends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.estimate_result import EstimateFields, EstimateResult
from archsearch.hardware.figures import main_format
from archsearch.keywords import checked_call
from archsearch.plotting.bars import Bars, figure
from archsearch.plotting.breakdown_tree import workload_words
from archsearch.plotting.front_info import labels_of
from archsearch.plotting.sources import answered, found, is_search, refuse_beside
from archsearch.search.evaluate.columns import per_gpu_column
from archsearch.search.evaluate.pool_models import Hardware, resolve_pool
from archsearch.search.evaluate.result import SearchResult

if TYPE_CHECKING:
    from typing import Unpack

    import plotly.graph_objects as go

    from archsearch.plotting.sources import Model, Source

GIB = 2**30
MEMORY_PARTS = ("weights", "activations", "kv_cache", "optimizer")
USABLE = "usable memory"


@checked_call
def latency_info(
    source: Model | Source | Sequence[EstimateResult],
    hardware: Hardware | None = None,
    *,
    storage: str | None = None,
    top: int = 5,
    **fields: Unpack[EstimateFields],
) -> Bars:
    """Milliseconds of one pass on each GPU, with their 80 % bands.

    Args:
        source: a model with ``hardware``, an answer of ``estimate`` or several, or a search (as ``plot_front`` takes
            it), whose recommendations are compared with each other and with the baseline.
        hardware: the GPUs, beside a model or a space (``t4,a10,h100-sxm``).
        storage: where a study is that is named.
        top: how many recommendations of a search.
        fields: the workload and the execution, as ``estimate`` takes them, beside a model.

    Returns:
        Bars by GPU, one series for each model.

    Raises:
        UnknownNameError, InvalidInputError: as ``estimate`` and ``plot_front`` do.
        UnsupportedError: no GPU can run the model; those that cannot, beside others that can, are named in ``notes``.
    """
    if is_search(source, storage):
        return _searched_latency(_recommended(source, hardware, storage, top, fields))  # type: ignore[arg-type]
    answers, notes = _answers(source, hardware, fields)  # type: ignore[arg-type]
    names, gpus = _distinct([a.model for a in answers]), _distinct([_where(a) for a in answers])
    placed = {(a.model, _where(a)): a for a in answers}
    unknown = float("nan")

    def column(name: str, field: str) -> list[float]:
        return [getattr(placed[name, gpu], field) * 1e3 if (name, gpu) in placed else unknown for gpu in gpus]

    return Bars(
        title=f"Latency of {', '.join(names)}: {workload_words(answers[0])}",
        unit="ms",
        labels=gpus,
        series={name: column(name, "latency_s") for name in names},
        low={name: column(name, "latency_low_s") for name in names},
        high={name: column(name, "latency_high_s") for name in names},
        stacked=False,
        notes=notes,
    )


@checked_call
def plot_latency_per_gpu(
    source: Model | Source | Sequence[EstimateResult],
    hardware: Hardware | None = None,
    *,
    storage: str | None = None,
    top: int = 5,
    theme: str = "light",
    **fields: Unpack[EstimateFields],
) -> go.Figure:
    """Draw the latency on each GPU with Plotly: bars with their 80 % bands.

    Args:
        source, hardware, storage, top, fields: as ``latency_info`` takes them.
        theme: light or dark.

    Returns:
        A figure.

    Raises:
        UnknownNameError, InvalidInputError, UnsupportedError: as ``latency_info`` does; or no such theme.
    """
    return figure(latency_info(source, hardware, storage=storage, top=top, **fields), theme)


@checked_call
def memory_info(
    source: Model | Source | Sequence[EstimateResult],
    hardware: Hardware | None = None,
    *,
    storage: str | None = None,
    top: int = 5,
    **fields: Unpack[EstimateFields],
) -> Bars:
    """GiB of each GPU that a pass takes, by what they hold, against what a program can use of it.

    Args:
        source, hardware, storage, top, fields: as ``latency_info`` takes them.

    Returns:
        Stacked bars; ``limits`` has the usable memory of each GPU. Of a model by GPU; of a search by recommendation,
        with a limit for each of its GPUs.

    Raises:
        UnknownNameError, InvalidInputError, UnsupportedError: as ``latency_info`` does.
    """
    if is_search(source, storage):
        return _searched_memory(_recommended(source, hardware, storage, top, fields))  # type: ignore[arg-type]
    answers, notes = _answers(source, hardware, fields)  # type: ignore[arg-type]
    several = len({a.model for a in answers}) > 1
    labels = [f"{a.model} on {_where(a)}" if several else _where(a) for a in answers]
    parts = {part: [a.memory_bytes[part] / GIB for a in answers] for part in MEMORY_PARTS}
    over = [f"{label} does not fit" for label, a in zip(labels, answers, strict=True) if not a.fits]
    return Bars(
        title=f"Memory of {', '.join(_distinct([a.model for a in answers]))}: {workload_words(answers[0])}",
        unit="GiB of each GPU" if any(a.gpus > 1 for a in answers) else "GiB",
        labels=labels,
        series={part: values for part, values in parts.items() if any(values)},
        limits={USABLE: [a.available_memory_bytes / GIB for a in answers]},
        notes=(*over, *notes),
    )


@checked_call
def plot_memory(
    source: Model | Source | Sequence[EstimateResult],
    hardware: Hardware | None = None,
    *,
    storage: str | None = None,
    top: int = 5,
    theme: str = "light",
    **fields: Unpack[EstimateFields],
) -> go.Figure:
    """Draw the memory that a pass takes with Plotly: stacked parts, and a line at what each GPU has to use.

    Args:
        source, hardware, storage, top, fields: as ``latency_info`` takes them.
        theme: light or dark.

    Returns:
        A figure.

    Raises:
        UnknownNameError, InvalidInputError, UnsupportedError: as ``latency_info`` does; or no such theme.
    """
    return figure(memory_info(source, hardware, storage=storage, top=top, **fields), theme)


def _answers(
    source: Model | Sequence[EstimateResult], hardware: Hardware | None, fields: EstimateFields
) -> tuple[list[EstimateResult], tuple[str, ...]]:
    """One answer per model and GPU, and which GPUs cannot run it.

    Raises:
        InvalidInputError: nothing to draw, or hardware beside answers.
        UnsupportedError: none of the GPUs can run the model.
    """
    if isinstance(source, EstimateResult) or (isinstance(source, Sequence) and not isinstance(source, str)):
        refuse_beside(hardware, fields)
        answers = [source] if isinstance(source, EstimateResult) else list(source)
        if not answers:
            raise InvalidInputError("no answers of estimate to draw")
        return answers, ()
    if hardware is None:
        raise InvalidInputError("name the GPUs that the model runs on: {hardware}", field="hardware")
    answers, refused = [], list[ArchSearchError]()
    gpus = resolve_pool(hardware).gpus
    if fields.get("dtype") is None:
        fields = {**fields, "dtype": main_format(gpus).value}  # one format of all, as in every answer about a pool
    for gpu in gpus:
        try:
            answers.append(answered(source, gpu, **fields))
        except UnsupportedError as error:
            refused.append(error.about(f"{gpu.id} left out"))
    if not answers:
        raise UnsupportedError.joined(refused)
    return answers, tuple(str(error) for error in refused)


def _recommended(
    source: Source, hardware: Hardware | None, storage: str | None, top: int, fields: EstimateFields
) -> SearchResult:
    """What a search recommends; the rows of a table without ranks.

    Raises:
        InvalidInputError: a workload beside a search, which has its own.
    """
    if fields:
        text = f"{', '.join(fields)}: no effect on a search, whose space says what it runs"
        raise InvalidInputError(text, field=list(fields))
    search = found(source, hardware=hardware, storage=storage, top=top)
    return search.front.take(range(min(top, len(search.front)))) if search.best is None else search.best


def _searched_latency(best: SearchResult) -> Bars:
    gpus, names = list(best.setting.pool.ids), labels_of(best)
    rows = dict(zip(names, best.rows(), strict=True))
    if best.advice is not None and best.advice.baseline is not None:
        rows[best.advice.baseline.name] = dict(best.advice.baseline.metrics)

    def column(name: str, metric: str) -> list[float]:
        return [float(rows[name][per_gpu_column(metric, gpu)]) * 1e3 for gpu in gpus]

    return Bars(
        title=f"Latency of what {best.setting.space} recommends",
        unit="ms" if best.advice is None else f"ms per {best.advice.run}",
        labels=gpus,
        series={name: column(name, "latency_s") for name in rows},
        low={name: column(name, "latency_low_s") for name in rows},
        high={name: column(name, "latency_high_s") for name in rows},
        stacked=False,
    )


def _searched_memory(best: SearchResult) -> Bars:
    names = labels_of(best)
    held = best.frame["memory_bytes"].to_numpy(float)
    limits = {}
    for gpu in resolve_pool(",".join(best.setting.pool.ids)).gpus:
        limits[f"{USABLE} of {gpu.id}"] = [gpu.available_bytes / GIB] * len(names)
    title = f"Memory of what {best.setting.space} recommends, on the GPU where it needs most"
    return Bars(title, "GiB", names, {"one run": (held / GIB).tolist()}, limits=limits)


def _where(answer: EstimateResult) -> str:
    return f"{answer.gpus} × {answer.hardware}" if answer.gpus > 1 else answer.hardware


def _distinct(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))
