"""A plan from plain words: what the command line and notebooks call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.cost.asked_execution import chosen_execution
from archsearch.cost.execution import Execution, ExecutionFields
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware.figures import main_format
from archsearch.hardware.formats import format_on
from archsearch.hardware.spec import GpuSpec
from archsearch.keywords import checked_call
from archsearch.pipeline.catalog import GenerationPipeline, load_pipeline
from archsearch.pipeline.generation_cost import cheapest_fit
from archsearch.pipeline.levers import apply, get_lever
from archsearch.pipeline.plan import Plan
from archsearch.pipeline.request import Deployment, Placement, make_request
from archsearch.workload import Workload

if TYPE_CHECKING:
    from typing import Unpack

AUTO = "auto"
"""The placement that is the fastest that fits."""
CAPTION_TOKENS = 200
PROMPT_TOKENS = 300


@checked_call
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
    **changes: Unpack[ExecutionFields],
) -> tuple[Plan, tuple[str, ...]]:
    """A plan with its levers pulled, and what was assumed (``name=value``).

    Args:
        pipeline: a name, a path, or a pipeline.
        gpu: what it runs on.
        height, width, frames: pixels, and frames of a video (default: the pipeline's).
        steps: denoising steps (default: the pipeline's).
        guidance: none, cfg or distilled (default: the pipeline's).
        batch_size: images or videos in one call.
        dtype: format of the transformer's linear layers (default: the pipeline's, or what this GPU has in its place).
        execution: how the transformer runs: an ``Execution``, a name or a file of one.
        levers: names of levers to pull.
        placement: resident, model-offload, sequential-offload, or auto: the fastest that fits this GPU.
        text_encoder_dtype, decoder_dtype: formats of the text encoders' weights and of the decoder.
        tiling, slicing: decode tile by tile, and image by image.
        pcie_gb_s: host-to-device GB/s of offloading.
        caption_model: a language model that rewrites the prompt: it reads ``prompt_tokens`` (300) and writes
            ``caption_tokens`` (200).
        changes: fields of the execution to change (``ExecutionFields``).

    Returns:
        The plan, and what was assumed.

    Raises:
        UnknownNameError: no such pipeline, lever, format, execution or placement.
        InvalidInputError: sizes that the pipeline cannot generate, or what would have no effect on it.
        UnsupportedError: a format or lever that this GPU or combination does not have, or no placement that fits.
    """
    loaded, levers = _captioned(load_pipeline(pipeline), caption_model, caption_tokens, prompt_tokens), list(levers)
    _refuse_two_steps(steps, levers)
    stored = {"text_encoder_dtype": text_encoder_dtype}
    decoded = {"decoder_dtype": decoder_dtype, "vae_tiling": tiling, "vae_slicing": slicing or None}
    _refuse_idle(loaded, stored, decoded)
    asked = {"height": height, "width": width, "frames": frames, "steps": steps, "guidance": guidance}
    request, assumed = make_request(loaded, batch_size=batch_size, **asked)  # type: ignore[arg-type]
    linear = _usual_format(loaded, gpu) if dtype is None else format_on(dtype, [gpu])
    deployment = Deployment(
        dtype=linear,
        execution=chosen_execution(Workload(height=1, width=1, dtype=linear), execution, changes),
        placement=_placement(None if placement == AUTO else placement),
        text_encoder_dtype=None if text_encoder_dtype is None else DType.parse(text_encoder_dtype),
        decoder_dtype=None if decoder_dtype is None else DType.parse(decoder_dtype),
        tiling=tiling,
        slicing=slicing,
        pcie_gb_s=pcie_gb_s,
    )
    plan = Plan(loaded, request, deployment)
    pulled = apply(plan, levers, gpu)
    given = {**asked, "dtype": dtype, **stored, "tiling": tiling, "placement": placement}
    _refuse_overruled(plan, pulled, [*changes, *(name for name, value in given.items() if value is not None)])
    assumed = assumed if dtype is not None else (*assumed, f"dtype={linear.value}")
    return (placed(pulled, gpu) if placement == AUTO else pulled), assumed


def _usual_format(pipeline: GenerationPipeline, gpu: GpuSpec) -> DType:
    """The format of a pipeline where none is asked for: its own, or on a GPU without it the main one there."""
    own = pipeline.record.defaults.dtype
    return own if gpu.supports(own) else main_format([gpu])


def placed(plan: Plan, gpu: GpuSpec) -> Plan:
    """The plan with its fastest placement that fits.

    Raises:
        UnsupportedError: none does.
    """
    fitting = cheapest_fit(plan.pipeline, gpu, plan.request, plan.deployment)
    if fitting is None:
        raise UnsupportedError(f"{plan.pipeline.name} fits {gpu.id} under no placement: lower the size or the batch")
    return replace(plan, deployment=fitting.deployment)


def _captioned(
    pipeline: GenerationPipeline, model: str | None, caption_tokens: int | None, prompt_tokens: int | None
) -> GenerationPipeline:
    """The pipeline with the language model that rewrites the prompt, where one is named.

    Raises:
        InvalidInputError: tokens of a captioner that is not named, or a model that writes no text.
    """
    if model is None:
        why = "goes with {caption_model}"
        _refuse_given(why, "caption_model", caption_tokens=caption_tokens, prompt_tokens=prompt_tokens)
        return pipeline
    prompt = PROMPT_TOKENS if prompt_tokens is None else prompt_tokens
    caption = CAPTION_TOKENS if caption_tokens is None else caption_tokens
    return pipeline.with_captioner(model, prompt_tokens=prompt, new_tokens=caption)


def _refuse_given(why: str, *others: str, **options: object) -> None:
    """Refuse options that have no effect; the reason may mention ``others``.

    Raises:
        InvalidInputError: the first that was given.
    """
    for name, value in options.items():
        if value is not None:
            raise InvalidInputError(f"{{{name}}} {why}", field=(name, *others))


def _refuse_idle(pipeline: GenerationPipeline, text: Mapping[str, object], decoder: Mapping[str, object]) -> None:
    """Refuse options of text encoders and of a decoder that the pipeline does not have.

    Raises:
        InvalidInputError: the first that was given.
    """
    if not pipeline.text_encoders:
        _refuse_given(f"has no effect: {pipeline.name} has no text encoder", **text)
    if pipeline.decoder is None:
        _refuse_given(f"has no effect: {pipeline.name} has no decoder that is costed", **decoder)


def _refuse_overruled(asked: Plan, pulled: Plan, named: Sequence[str]) -> None:
    """Refuse options that a lever sets to something else.

    Raises:
        InvalidInputError: the text names them.
    """

    def value(plan: Plan, name: str) -> object:
        holder = next(h for h in (plan.deployment, plan.request, plan.deployment.execution) if hasattr(h, name))
        held: object = getattr(holder, name)
        return held

    for name in named:
        one, other = value(asked, name), value(pulled, name)
        if one != other:
            raise InvalidInputError(
                f"{name} {_word(one)} was asked for and a lever sets {_word(other)}: give one of both", field=name
            )


def _word(value: object) -> str:
    return str(getattr(value, "value", value)).lower()


def _refuse_two_steps(steps: int | None, levers: Sequence[str]) -> None:
    """Refuse two numbers of steps, the request's and a lever's.

    Raises:
        InvalidInputError: both are given, and differ.
    """
    for lever in map(get_lever, levers):
        if lever.group.name == "steps" and steps is not None and steps != lever.value:
            raise InvalidInputError(
                f"{{steps}} {steps} and {{lever}} {lever.id} both set the steps: give one (the lever starts from the "
                "pipeline's own steps)",
                field=("steps", "lever"),
            )


def _placement(text: str | None) -> Placement:
    if text is None:
        return Placement.RESIDENT
    try:
        return Placement(text)
    except ValueError:
        raise UnknownNameError("placement", text, [*(p.value for p in Placement), AUTO]) from None


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
    shares = {}
    for item in items:
        name, _, text = item.partition("=")
        try:
            share = float(text)
        except ValueError:
            raise InvalidInputError(
                f"{{{flag}}} {item!r}: write NAME=SHARE, with a share from 0 to 1", field=flag
            ) from None
        if not 0.0 <= share <= 1.0:
            raise InvalidInputError(f"{{{flag}}} {item!r}: a share is from 0 to 1", field=flag)
        shares[name.strip()] = share
    return shares
