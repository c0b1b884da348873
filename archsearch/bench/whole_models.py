"""Measured whole forward passes, eager, with unfused attention: a table of ``gpu, model, batch, seq, dtype``.

``model`` is a preset's name, a config file, or a name of NeuSight's dataset. The time is ``latency_ms`` or
``latency_us``. Such rows are for validation only: nothing is ever fitted on them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from archsearch.arrays import Column
from archsearch.bench.measurement_columns import whole_numbers
from archsearch.bench.roofline import op_roofline_s
from archsearch.cost.execution import BURST
from archsearch.cost.model import CostModel
from archsearch.errors import InvalidInputError
from archsearch.hardware.database import load_gpu
from archsearch.hardware.formats import format_on
from archsearch.models.registry.families import load_preset
from archsearch.models.registry.load import load_model
from archsearch.tables import numbers_of
from archsearch.workload import Phase, Workload

if TYPE_CHECKING:
    import pandas as pd

    from archsearch.models.base import ModelConfig

COLUMNS = ("gpu", "model", "batch", "seq")
OP = "forward"
NEUSIGHT = {
    "gpt2_large": ("gpt2-large", {}),
    "bert_large": ("bert-large", {"pooler": False, "mlm_head": True}),
    "gpt3_xl": ("gpt3-xl", {}),
    "gpt3_27": ("gpt3-2.7b", {}),
    "opt_13": ("opt-1.3b", {}),
}
"""Names of NeuSight's labels (ASPLOS'25 artifact), the preset each is, and what differs from the preset."""
LONGEST = 4096
"""Positions that NeuSight gives its models, so that every measured sequence fits."""
NO_FAMILY = {"switchxl4": "a mixture of experts: no family lowers it"}


def is_whole_model_table(frame: pd.DataFrame) -> bool:
    """Whether a table measures whole models instead of single ops."""
    return "op" not in frame and all(c in frame for c in COLUMNS)


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with ``op``, ``dtype`` and ``latency_us`` filled in.

    Raises:
        InvalidInputError: a phase other than inference.
    """
    out = frame.assign(op=OP)
    if "dtype" not in out:
        out["dtype"] = "fp32"
    if "latency_us" not in out and "latency_ms" in out:
        out["latency_us"] = numbers_of(out, "latency_ms") * 1e3
    if "phase" in out and not out["phase"].astype(str).isin(("inf", "forward")).all():
        raise InvalidInputError("tables of whole models may hold forward passes alone (phase inf)")
    return out


def predict_models(frame: pd.DataFrame, *, correction: bool = True) -> dict[str, Column]:
    """Predicted columns of a tidy table of whole models, each of shape [rows].

    Models that no family lowers (``NO_FAMILY``) stay NaN, with the reason under ``skipped``.

    Raises:
        UnknownNameError: an unknown GPU, model or format.
        InvalidInputError: a batch or sequence that is no size, or that the model cannot take.
    """
    floats = ("predicted_us", "low_us", "high_us", "roofline_us")
    out: dict[str, Column] = {c: np.full(len(frame), np.nan) for c in floats}
    for name in ("provenance", "bound", "skipped"):
        out[name] = np.full(len(frame), "", dtype=object)
    places = frame.reset_index(drop=True)
    for (gpu_name, model, dtype_text), part in places.groupby(["gpu", "model", "dtype"], sort=False):
        index = part.index.to_numpy()
        if str(model) in NO_FAMILY:
            out["skipped"][index] = f"{model}: {NO_FAMILY[str(model)]}"
            continue
        gpu = load_gpu(str(gpu_name))
        dtype = format_on(str(dtype_text), [gpu])
        batch, seq = (whole_numbers(part[c], c, OP, index).astype(np.int64) for c in ("batch", "seq"))
        workload = Workload(phase=Phase.FORWARD, batch_size=batch, seq_len=seq, dtype=dtype)
        execution = replace(BURST, attention="eager", correction=correction)
        config = _model(str(model))
        ops = config.lower(workload)
        answer = CostModel(gpu).price(config, workload, execution)
        for name, value in (("predicted_us", answer.latency_s), ("low_us", answer.low_s), ("high_us", answer.high_s)):
            out[name][index] = value * 1e6
        out["roofline_us"][index] = sum(op_roofline_s(op, gpu) * op.count for op in ops) * 1e6
        out["provenance"][index] = answer.provenance.value
        out["bound"][index] = "several"
    return out


def _model(name: str) -> ModelConfig:
    if name not in NEUSIGHT:
        return load_model(name)
    preset, changes = NEUSIGHT[name]
    config = load_preset(preset)
    return replace(config, max_position_embeddings=LONGEST, **changes)
