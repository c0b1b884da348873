"""A plan from plain words: what the command line and notebooks call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from archsearch.cost.execution import Execution, chosen_execution
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.spec import GpuSpec
from archsearch.pipeline.catalog import GenerationPipeline, load_pipeline
from archsearch.pipeline.estimate import cheapest_fit
from archsearch.pipeline.levers import apply, get_lever
from archsearch.pipeline.plan import Plan
from archsearch.pipeline.request import Placement, Run, make_request
from archsearch.workload import Workload

AUTO = "auto"
"""The placement that is the fastest that fits."""
CAPTION_TOKENS = 200
PROMPT_TOKENS = 300


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
    caption_tokens: int | None = None,
    prompt_tokens: int | None = None,
    **run: Any,
) -> tuple[Plan, tuple[str, ...]]:
    """A plan with its levers pulled, and what was assumed (``name=value``).

    ``execution`` is how the transformer runs (an ``Execution``, a name or a file of one), ``run`` fields of it to
    change. ``placement`` may be ``auto``: the fastest that fits this GPU. A captioner writes ``caption_tokens`` (200)
    after reading ``prompt_tokens`` (300).

    Raises:
        UnknownNameError: no such pipeline, lever, format, execution or placement.
        InvalidInputError: sizes that the pipeline cannot generate, with the nearest legal ones; what would have no
            effect on this pipeline.
        UnsupportedError: a format or lever that this GPU or combination does not have, or no placement that fits, with
            the reason.
    """
    found = load_pipeline(pipeline)
    levers = list(levers)
    _refuse_two_steps(steps, levers)
    _refuse_idle(
        found,
        {"caption-tokens": caption_tokens, "prompt-tokens": prompt_tokens} if caption_model is None else {},
        {"text-encoder-dtype": text_encoder_dtype},
        {"decoder-dtype": decoder_dtype, "vae-tiling": tiling, "vae-slicing": slicing or None},
    )
    request, assumed = make_request(
        found, height=height, width=width, frames=frames, steps=steps, guidance=guidance, batch_size=batch_size
    )
    if caption_model is not None:
        tokens = {"prompt_tokens": _or(prompt_tokens, PROMPT_TOKENS), "new_tokens": _or(caption_tokens, CAPTION_TOKENS)}
        found = found.with_captioner(caption_model, **tokens)
    chosen = found.record.defaults.dtype if dtype is None else DType.parse(dtype)
    if dtype is None:
        assumed = (*assumed, f"dtype={chosen.value}")
    step = Workload(height=1, width=1, dtype=chosen)
    plan = Run(
        dtype=chosen,
        execution=chosen_execution(step, execution, run),
        placement=_placement(None if placement == AUTO else placement),
        text_encoder_dtype=None if text_encoder_dtype is None else _stored(text_encoder_dtype),
        decoder_dtype=None if decoder_dtype is None else DType.parse(decoder_dtype),
        tiling=tiling,
        slicing=slicing,
        pcie_gb_s=pcie_gb_s,
    )
    asked = Plan(found, request, plan)
    made = apply(asked, levers, gpu)
    named: dict[str, Any] = {
        "dtype": dtype,
        "text_encoder_dtype": text_encoder_dtype,
        "tiling": tiling,
        "placement": placement,
    }
    named |= {"height": height, "width": width, "frames": frames, "steps": steps, "guidance": guidance}
    _refuse_overruled(asked, made, [*run, *(name for name, value in named.items() if value is not None)])
    return (placed(made, gpu) if placement == AUTO else made), assumed


def placed(plan: Plan, gpu: GpuSpec) -> Plan:
    """The plan with its fastest placement that fits.

    Raises:
        UnsupportedError: none does.
    """
    found = cheapest_fit(plan.pipeline, gpu, plan.request, plan.run)
    if found is None:
        raise UnsupportedError(f"{plan.pipeline.name} fits {gpu.id} under no placement: lower the size or the batch")
    return replace(plan, run=found.run)


def _refuse_idle(
    pipeline: GenerationPipeline, caption: Mapping[str, Any], text: Mapping[str, Any], decoder: Mapping[str, Any]
) -> None:
    """Refuse options of a part that the pipeline does not have.

    Raises:
        InvalidInputError: the first that was given.
    """
    parts = [(caption, "goes with --caption-model")]
    if not pipeline.text_encoders:
        parts.append((text, f"has no effect: {pipeline.name} has no text encoder"))
    if pipeline.decoder is None:
        parts.append((decoder, f"has no effect: {pipeline.name} has no decoder that is costed"))
    for options, why in parts:
        for flag, value in options.items():
            if value is not None:
                raise InvalidInputError(f"--{flag} {why}")


def _refuse_overruled(asked: Plan, made: Plan, named: Sequence[str]) -> None:
    """Refuse options that a lever sets to something else.

    Raises:
        InvalidInputError: the text names them.
    """

    def value(plan: Plan, name: str) -> Any:
        holder = next(h for h in (plan.run, plan.request, plan.run.execution) if hasattr(h, name))
        return getattr(holder, name)

    for name in named:
        one, other = value(asked, name), value(made, name)
        if one != other:
            raise InvalidInputError(
                f"{name} {_told(one)} was asked for and a lever sets {_told(other)}: give one of both"
            )


def _told(value: Any) -> str:
    return str(getattr(value, "value", value)).lower()


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


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
        raise UnknownNameError("placement", text, [*(p.value for p in Placement), AUTO]) from None


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
