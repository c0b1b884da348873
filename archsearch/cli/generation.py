"""One generation of a pipeline, as options: what is asked for, and where its weights are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from archsearch.cli.completion import complete_dtype, complete_lever
from archsearch.cli.execution_options import ExecutionOptions
from archsearch.cli.groups import option, said

if TYPE_CHECKING:
    from archsearch.hardware.spec import GpuSpec
    from archsearch.pipeline.plan import Plan

ASKED = "What is generated"
PLACED = "Where weights are, and what runs beside the transformer"


BatchSize = Annotated[int, option("--batch-size", "-b", text="Images or videos in one call.", panel=ASKED)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """What is asked of a pipeline; None where nothing was said, and the pipeline's default holds."""

    height: Annotated[int | None, option("--height", text="Height in pixels.", panel=ASKED)] = None
    width: Annotated[int | None, option("--width", text="Width in pixels.", panel=ASKED)] = None
    frames: Annotated[int | None, option("--frames", text="Frames of a video.", panel=ASKED)] = None
    steps: Annotated[int | None, option("--steps", text="Denoising steps.", panel=ASKED)] = None
    guidance: Annotated[
        str | None, option("--guidance", text="none, cfg (two passes a step), distilled (one).", panel=ASKED)
    ] = None
    dtype: Annotated[
        str | None,
        option("--dtype", text="Format of the transformer's linear layers.", panel=ASKED, completed=complete_dtype),
    ] = None
    lever: Annotated[
        list[str] | None,
        option(
            "--lever",
            text="Pull a lever (`pipeline levers`); feature-cache=0.5 sets its number.",
            metavar="NAME[=N]",
            panel=ASKED,
            completed=complete_lever,
        ),
    ] = None

    @property
    def fields(self) -> dict[str, Any]:
        """What was said, as ``make_plan`` takes it."""
        given = said(self)
        return {"levers" if name == "lever" else name: value for name, value in given.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementOptions:
    """Where a pipeline's weights are, and how the parts beside its transformer run."""

    placement: Annotated[
        str | None,
        option(
            "--placement", text="resident, model-offload, sequential-offload, or auto: fastest that fits.", panel=PLACED
        ),
    ] = None
    text_encoder_dtype: Annotated[
        str | None, option("--text-encoder-dtype", text="Format that text encoders are stored in.", panel=PLACED)
    ] = None
    decoder_dtype: Annotated[str | None, option("--decoder-dtype", text="Format of the autoencoder.", panel=PLACED)] = (
        None
    )
    vae_tiling: Annotated[
        bool | None, option("--vae-tiling/--no-vae-tiling", text="Decode tile by tile, or whole.", panel=PLACED)
    ] = None
    vae_slicing: Annotated[bool | None, option("--vae-slicing", text="Decode image by image.", panel=PLACED)] = None
    pcie_gb_s: Annotated[
        float | None, option("--pcie-gb-s", text="Host-to-device GB/s of offloading.", panel=PLACED)
    ] = None
    caption_model: Annotated[
        str | None,
        option(
            "--caption-model", text="A language model that rewrites the prompt first.", metavar="MODEL", panel=PLACED
        ),
    ] = None
    caption_tokens: Annotated[
        int | None, option("--caption-tokens", text="Tokens that it writes (200).", panel=PLACED)
    ] = None
    prompt_tokens: Annotated[
        int | None, option("--prompt-tokens", text="Tokens that it reads (300).", panel=PLACED)
    ] = None

    @property
    def fields(self) -> dict[str, Any]:
        """What was said, as ``make_plan`` takes it."""
        given = said(self)
        for name in ("vae_tiling", "vae_slicing"):
            if name in given:
                given[name.removeprefix("vae_")] = given.pop(name)
        return given

    def refuse_auto(self, why: str) -> None:
        """Refuse ``--placement auto`` where a verb tries placements itself.

        Raises:
            InvalidInputError: it was given.
        """
        from archsearch.errors import InvalidInputError

        if self.placement == "auto":
            raise InvalidInputError(f"--placement auto: {why}; name a placement to start from, or leave it out")

    def refuse_idle_link(self, plans: Sequence[Plan]) -> None:
        """Refuse ``--pcie-gb-s`` where no weights are fetched.

        Raises:
            InvalidInputError: it was given, and all plans keep their weights on the GPU.
        """
        from archsearch.errors import InvalidInputError
        from archsearch.pipeline.request import Placement

        resident = all(plan.deployment.placement is Placement.RESIDENT for plan in plans)
        if self.pcie_gb_s is not None and self.placement != "auto" and resident:
            raise InvalidInputError(
                "--pcie-gb-s has no effect on resident weights: give --placement model-offload, sequential-offload or "
                "auto"
            )

    def refuse_idle_format(self, plans: Sequence[Plan]) -> None:
        """Refuse ``--text-encoder-dtype`` where only time is told, which the format of resident weights leaves alone.

        Raises:
            InvalidInputError: it was given, and all plans keep their weights on the GPU.
        """
        from archsearch.errors import InvalidInputError
        from archsearch.pipeline.request import Placement

        if self.text_encoder_dtype is not None and all(p.deployment.placement is Placement.RESIDENT for p in plans):
            raise InvalidInputError(
                "--text-encoder-dtype has no effect on the time of resident weights: give --placement model-offload, "
                "sequential-offload or auto"
            )


def plan_of(
    pipeline: str, gpu: GpuSpec, request: RequestOptions, execution: ExecutionOptions, *, batch_size: int = 1
) -> tuple[Plan, tuple[str, ...]]:
    """The plan that the options describe, and what was assumed; raises as ``make_plan`` does."""
    from archsearch.pipeline.make_plan import make_plan

    fields = {**request.fields, **said(execution)}
    return make_plan(pipeline, gpu, batch_size=batch_size, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """One generation: what is asked for, where its weights are, and how its models run."""

    request: RequestOptions
    placing: PlacementOptions
    execution: ExecutionOptions

    @property
    def fields(self) -> dict[str, Any]:
        """What was said, as ``make_plan`` takes it."""
        return {**self.request.fields, **self.placing.fields, **said(self.execution)}

    def plan(self, pipeline: str, gpu: GpuSpec, *, batch_size: int = 1) -> tuple[Plan, tuple[str, ...]]:
        """The plan that the options describe, and what was assumed; raises as ``make_plan`` does."""
        from archsearch.pipeline.make_plan import make_plan

        return make_plan(pipeline, gpu, batch_size=batch_size, **self.fields)
