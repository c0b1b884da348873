"""A plan from plain words: what the command line and notebooks call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from archsearch.cost.execution import Execution, chosen_execution
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.hardware.spec import GpuSpec
from archsearch.pipeline.catalog import GenerationPipeline, load_pipeline
from archsearch.pipeline.levers import Plan, apply, get_lever
from archsearch.pipeline.request import Placement, Run, make_request
from archsearch.workload import Workload


def make_plan(
    pipeline: str | Path | GenerationPipeline,
    gpu: GpuSpec,
    *,
    height: int | None = None,
    width: int | None = None,
    frames: int | None = None,
    steps: int | None = None,
    guidance: str | None = None,
    batch_size: int = 1,
    dtype: str | None = None,
    execution: Execution | str | None = None,
    levers: Iterable[str] = (),
    placement: str | None = None,
    text_encoder_dtype: str | None = None,
    decoder_dtype: str | None = None,
    tiling: bool | None = None,
    slicing: bool = False,
    pcie_gb_s: float | None = None,
    caption_model: str | None = None,
    caption_tokens: int = 200,
    prompt_tokens: int = 300,
    **run: Any,
) -> tuple[Plan, tuple[str, ...]]:
    """A plan with its levers pulled, and what was assumed (``name=value``).

    ``execution`` is how the transformer runs (an ``Execution``, a name or a file of one), ``run`` fields of it to
    change.

    Raises:
        UnknownNameError: no such pipeline, lever, format, execution or placement.
        InvalidInputError: sizes that the pipeline cannot generate, with the nearest legal ones.
        UnsupportedError: a format or lever that this GPU or combination does not have, with the reason.
    """
    found = load_pipeline(pipeline)
    levers = list(levers)
    _refuse_two_steps(steps, levers)
    request, assumed = make_request(
        found, height=height, width=width, frames=frames, steps=steps, guidance=guidance, batch_size=batch_size
    )
    if caption_model is not None:
        found = found.with_captioner(caption_model, prompt_tokens=prompt_tokens, new_tokens=caption_tokens)
    chosen = found.record.defaults.dtype if dtype is None else DType.parse(dtype)
    if dtype is None:
        assumed = (*assumed, f"dtype={chosen.value}")
    step = Workload(height=1, width=1, dtype=chosen)
    plan = Run(
        dtype=chosen,
        execution=chosen_execution(step, execution, run),
        placement=_placement(placement),
        text_encoder_dtype=None if text_encoder_dtype is None else _stored(text_encoder_dtype),
        decoder_dtype=None if decoder_dtype is None else DType.parse(decoder_dtype),
        tiling=tiling,
        slicing=slicing,
        pcie_gb_s=pcie_gb_s,
    )
    return apply(Plan(found, request, plan), levers, gpu), assumed


def _refuse_two_steps(steps: int | None, levers: Sequence[str]) -> None:
    """Refuse two numbers of steps, the request's and a lever's.

    Raises:
        InvalidInputError: both are given, and differ.
    """
    for lever in map(get_lever, levers):
        if lever.group == "steps" and steps is not None and steps != lever.value:
            raise InvalidInputError(
                f"--steps {steps} and --lever {lever.id} both set the steps: give one (the lever starts from the "
                "pipeline's own steps)"
            )


def _placement(text: str | None) -> Placement:
    if text is None:
        return Placement.RESIDENT
    try:
        return Placement(text)
    except ValueError:
        raise UnknownNameError("placement", text, [p.value for p in Placement] + ["auto"]) from None


def _stored(text: str) -> DType:
    """A format that weights can be stored in, to be widened before use; any GPU can."""
    return DType.parse(text)


def parse_retained(items: Sequence[str]) -> dict[str, float]:
    """``LEVER=SHARE`` pairs.

    Raises:
        InvalidInputError: not of that form, or a share outside 0 to 1.
        UnknownNameError: no such lever.
    """
    return {get_lever(name).id: share for name, share in parse_shares("retained", items).items()}


def parse_shares(flag: str, items: Sequence[str]) -> dict[str, float]:
    """``NAME=SHARE`` pairs of a repeatable option.

    Raises:
        InvalidInputError: not of that form, or a share outside 0 to 1.
    """
    found = {}
    for item in items:
        name, _, text = item.partition("=")
        try:
            share = float(text)
        except ValueError:
            raise InvalidInputError(f"--{flag} {item!r}: write NAME=SHARE, with a share from 0 to 1") from None
        if not 0.0 <= share <= 1.0:
            raise InvalidInputError(f"--{flag} {item!r}: a share is from 0 to 1")
        found[name.strip()] = share
    return found
