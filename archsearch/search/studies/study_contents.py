"""What studies hold, read back: the record that archsearch keeps in each, tables of trials, summaries, exports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.errors import InvalidInputError
from archsearch.hardware import GpuPool, load_gpu
from archsearch.search.evaluate.columns import per_gpu_column
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import with_named_layouts, with_whole_counts
from archsearch.search.evaluate.result import SearchResult, StoredStudy
from archsearch.search.evaluate.setting import Setting
from archsearch.search.explore.fidelity import Fidelity
from archsearch.search.pareto import non_dominated
from archsearch.search.space.space import SearchSpace, space_from_text
from archsearch.search.studies.known_gpus import of_now, unknown_gpus
from archsearch.search.studies.places import RECORD
from archsearch.search.studies.traces import kept_traces
from archsearch.search.studies.trial_table import keep_summary, kept_summary, read_stamp, trial_table
from archsearch.tables import write_table

if TYPE_CHECKING:
    import optuna
    import pandas as pd


def study_fidelity(study: optuna.Study) -> Fidelity:
    """How a study's trials are evaluated (studies of earlier versions: analytically)."""
    return Fidelity(**study_record(study).get("fidelity", {}))


def study_record(study: optuna.Study) -> dict[str, Any]:
    """What archsearch noted about a study.

    Raises:
        InvalidInputError: the study was not written by archsearch.
    """
    record = study.user_attrs.get(RECORD)
    if not isinstance(record, dict) or "space" not in record:
        raise InvalidInputError(f"study {study.study_name!r} was not written by archsearch")
    return dict(record)


def study_space(study: optuna.Study, storage: str | None = None) -> SearchSpace:
    """The space of a study, from the text and the traces that the study keeps."""
    record = study_record(study)
    origin, traces = f"study {study.study_name}", kept_traces(study, storage)
    return space_from_text(record["space"], origin, traces, record["frame"].get("set"))


def study_evaluator(study: optuna.Study, storage: str | None = None) -> Evaluator:
    """The evaluator that a study was run with, rebuilt from its record."""
    record = study_record(study)
    return Evaluator(study_space(study, storage), GpuPool.weighted(",".join(record["hardware"])))


def study_frame(study: optuna.Study, *, front_only: bool = False) -> pd.DataFrame:
    """All completed trials as a user's table, what they have in common in ``attrs`` (see ``study_result``).

    Raises:
        InvalidInputError: the study was not written by archsearch.
    """
    return study_result(study, front_only=front_only).to_frame()


def study_result(study: optuna.Study, *, front_only: bool = False) -> SearchResult:
    """All completed trials as a table: an enumeration's columns plus ``trial``, ``feasible``, ``violation``,
    ``on_front`` and, for pools, ``front_of`` (comma-separated). ``violation`` is the worst relative one.

    Raises:
        InvalidInputError: the study was not written by archsearch.
    """
    record = study_record(study)
    setting = Setting.from_dict(record["frame"])
    frame = trial_table(study, setting.objectives).frame
    result = SearchResult(frame, setting, study=StoredStudy(study.study_name, record.get("baseline")))
    if frame.empty:
        return result
    frame = with_named_layouts(with_whole_counts(frame)).assign(**_memory_shares(frame, setting))
    points = np.stack([sign * frame[name].to_numpy(float) for name, sign in setting.objectives.items()], axis=1)
    feasible = frame["violation"] <= 0
    points[~feasible.to_numpy()] = np.nan
    frame = frame.assign(proxy=record["proxy"], feasible=feasible, on_front=non_dominated(points))
    return result.with_frame(frame[frame["on_front"]].reset_index(drop=True) if front_only else frame)


def _memory_shares(frame: pd.DataFrame, setting: Setting) -> dict[str, pd.Series]:
    """Columns of the share of each GPU's memory, which trials do not store; without a GPU whose profile is not here."""
    unknown = unknown_gpus(setting.pool.ids)
    available = {gpu_id: load_gpu(gpu_id).available_bytes for gpu_id in setting.pool.ids if gpu_id not in unknown}
    return {per_gpu_column("memory_share", gpu_id): frame["memory_bytes"] / size for gpu_id, size in available.items()}


def summarize_study(study: optuna.Study) -> dict[str, Any]:
    """What a study searched and found, as plain values."""
    known = kept_summary(study)
    if known is not None:
        return of_now(known)
    read_at = read_stamp(study)
    summary = _summary(study)
    keep_summary(study, read_at, summary)
    return summary


def _summary(study: optuna.Study) -> dict[str, Any]:
    record = study_record(study)
    frame = study_result(study).frame
    counts = record.get("counts", {})
    return {
        "name": study.study_name,
        "space": record["space_name"],
        "set": record["frame"].get("set", {}),
        "hardware": record["frame"]["hardware"],
        "unknown_gpus": unknown_gpus(record["frame"]["hardware"]),
        "execution": record["frame"].get("execution"),
        "strategy": record["strategy"],
        "objective": study_fidelity(study).objective,
        "seed": record["seed"],
        "proxy": record["proxy"],
        "objectives": list(record["frame"]["objectives"]),
        "trials": len(frame),
        "unfinished": trial_table(study, record["frame"]["objectives"]).unfinished,
        "feasible": int(frame["feasible"].sum()) if len(frame) else 0,
        "front": int(frame["on_front"].sum()) if len(frame) else 0,
        "complete": bool(record.get("complete")),
        "version": record["version"],
        **{key: counts[key] for key in ("architectures", "legal", "valid", "architectures_per_s") if key in counts},
    }


def export_study(study: optuna.Study, path: str | Path, *, front_only: bool = False) -> Path:
    """Write a study's table to .parquet, .csv or .json.

    Raises:
        InvalidInputError: another suffix, or a path that cannot be written.
    """
    return write_table(study_frame(study, front_only=front_only), path)
