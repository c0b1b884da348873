"""What tables of routed experts do not say of their rows: how loads were drawn, and which layers were timed otherwise.

``distribution`` is ``balanced`` or ``power_law_X`` (exponent X). Under a power law five draws of the router take turns,
a balanced load is one (aiconfigurator, collector/vllm/collect_moe.py, ``num_iter``), so that weights of more experts
pass through L2 before one is read again. ``expert_tables.yaml`` has the layers without a gate and those whose rows
stem from releases that computed more than their own copies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import PositiveInt

from archsearch.arrays import Floats, Mask, as_float
from archsearch.errors import InvalidInputError
from archsearch.yaml_records import Record, parse_record

if TYPE_CHECKING:
    import pandas as pd

EXPERTS = (
    "tokens",
    "hidden_size",
    "moe_intermediate_size",
    "num_experts_per_tok",
    "num_experts",
    "expert_parallel",
)
"""Columns of sizes."""
SKEWED_ROUTINGS = 5.0
ALIKE_COPIES = 0.1
"""Copies per expert up to which draws do not differ: every share rounds to 0 copies, and the first experts get them."""
_POWER_LAW = re.compile(r"power_law_(\d+(?:\.\d+)?)")


class Mixture(Record):
    """The layers of a published model: its experts, and of which GPUs' rows this holds (all where there is none)."""

    num_experts: PositiveInt
    num_experts_per_tok: PositiveInt
    hidden_size: tuple[PositiveInt, ...]
    model: str
    source: str


class ExpertTables(Record):
    """The file: ``without_gate`` and ``whole_tokens`` by model; ``earlier_gpus``, whose rows are all of whole tokens
    and all have a gate."""

    without_gate: tuple[Mixture, ...]
    whole_tokens: tuple[Mixture, ...]
    earlier_gpus: tuple[str, ...]


@cache
def _tables() -> ExpertTables:
    return parse_record(ExpertTables, Path(__file__).with_name("expert_tables.yaml"))


def as_measured(gpu: str, part: pd.DataFrame, dims: Mapping[str, Floats]) -> dict[str, Floats]:
    """The kernel model's dimensions of rows of one GPU: the sizes, and what the table leaves unsaid.

    Raises:
        InvalidInputError: a distribution that is neither balanced nor a power law, or experts that the GPUs cannot
            share equally, or fewer than a token needs.
    """
    _check(dims)
    skew = _skews(part)
    tables = _tables()
    earlier = gpu in tables.earlier_gpus
    gated = ~_among(tables.without_gate, dims) | earlier
    whole = _among(tables.whole_tokens, dims) | earlier
    differ = dims["tokens"] * dims["num_experts_per_tok"] > ALIKE_COPIES * dims["num_experts"]
    return {
        **dims,
        "gated": gated.astype(np.float64),
        "whole_tokens": whole.astype(np.float64),
        "skew": skew,
        "routings": np.where((skew > 0) & differ, SKEWED_ROUTINGS, 1.0),
    }


def _check(dims: Mapping[str, Floats]) -> None:
    experts, parallel, per_token = (dims[n] for n in ("num_experts", "expert_parallel", "num_experts_per_tok"))
    if (experts % parallel != 0).any():
        row = int(np.flatnonzero(experts % parallel != 0)[0])
        raise InvalidInputError(
            f"{experts[row]:.0f} experts cannot be shared equally by {parallel[row]:.0f} GPUs: expert_parallel must "
            "divide num_experts"
        )
    if (per_token > experts).any():
        row = int(np.flatnonzero(per_token > experts)[0])
        raise InvalidInputError(f"num_experts_per_tok is {per_token[row]:.0f} of {experts[row]:.0f} experts: too many")


def _skews(part: pd.DataFrame) -> Floats:
    """The exponent of each row's power law, 0 of a balanced load."""
    if "distribution" not in part:
        return np.zeros(len(part))
    names = part["distribution"].fillna("balanced").astype(str)
    found: dict[str, float] = {}
    for name in names.unique():
        match = _POWER_LAW.fullmatch(name)
        if name != "balanced" and match is None:
            raise InvalidInputError(f"op 'experts': distribution must be balanced or power_law_X, not {name!r}")
        found[name] = 0.0 if match is None else float(match[1])
    return as_float(names.map(found).to_numpy())


def _among(mixtures: tuple[Mixture, ...], dims: Mapping[str, Floats]) -> Mask:
    """Whether a row's layer is one of these models'."""
    rows = np.zeros(len(dims["tokens"]), dtype=bool)
    for m in mixtures:
        same = (dims["num_experts"] == m.num_experts) & (dims["num_experts_per_tok"] == m.num_experts_per_tok)
        rows |= same & np.isin(dims["hidden_size"], m.hidden_size)
    return rows
