"""How a model runs, as options: one declaration under the same names and units for every verb that gives a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.groups import said

if TYPE_CHECKING:
    from archsearch.cost.execution import Execution
    from archsearch.search.space.space import SearchSpace
    from archsearch.workload import Workload

PANEL = "How it runs"


def _option(*names: str, text: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=text, metavar=metavar, rich_help_panel=PANEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOptions:
    """What a user said of how the model runs; None where nothing was said, and the default holds."""

    execution: Annotated[
        str | None,
        _option(
            "--execution",
            text="torch-eager, torch-compiled, diffusers-compiled, vllm, kernels, a YAML file, or FIELD=VALUE,...",
            metavar="NAME|FILE",
        ),
    ] = None
    torch: Annotated[str | None, _option("--torch", text="Release: 2.4 (before 2.8) or 2.8 (and later).")] = None
    attention: Annotated[
        str | None, _option("--attention", text="auto, sdpa (torch's choice), fastest, flash, fa2, eager (unfused).")
    ] = None
    compiled: Annotated[
        bool | None, _option("--compiled/--eager", text="Fuse bandwidth-bound ops as torch.compile does, or not.")
    ] = None
    cuda_graphs: Annotated[
        bool | None, _option("--cuda-graphs/--no-cuda-graphs", text="Replay all launches of a call at once.")
    ] = None
    fused_qkv: Annotated[
        bool | None, _option("--fused-qkv/--no-fused-qkv", text="Merge projections of one input into one product.")
    ] = None
    launch_us: Annotated[
        float | None, _option("--launch-us", text="Host microseconds per kernel; 0: back to back (modelled).")
    ] = None
    clock: Annotated[str | None, _option("--clock", text="sustained, burst, or a locked clock in MHz.")] = None
    power_limit_w: Annotated[float | None, _option("--power-limit-w", text="Power limit of the board in watts.")] = None
    correction: Annotated[
        bool | None,
        _option("--correction/--no-correction", text="Learned correction of matrix products, or mechanism alone."),
    ] = None
    tensor_parallel: Annotated[int | None, _option("--tensor-parallel", text="GPUs that share the widths.")] = None
    sequence_parallel: Annotated[
        int | None, _option("--sequence-parallel", text="GPUs that share the sequence (Ulysses).")
    ] = None
    pipeline_parallel: Annotated[int | None, _option("--pipeline-parallel", text="GPUs that share the layers.")] = None
    data_parallel: Annotated[int | None, _option("--data-parallel", text="GPUs that share the batch.")] = None

    @property
    def changes(self) -> dict[str, Any]:
        """Fields of an execution that were named."""
        return {n: v for n, v in said(self).items() if n != "execution"}

    @property
    def flags(self) -> list[str]:
        """The options that were given."""
        return [f"--{name.replace('_', '-')}" for name in said(self)]

    @property
    def any(self) -> bool:
        """Whether anything was said."""
        return bool(said(self))

    def on(self, space: str) -> SearchSpace:
        """A space by name or file, run as was said, or as it says itself.

        Raises:
            UnknownNameError, InvalidInputError: no such space, or what was said names no execution.
        """
        from archsearch.search.space.space import load_space

        found = load_space(space)
        return found.with_execution(self.execution, self.changes) if self.any else found

    def chosen(self, workload: Workload) -> Execution:
        """The execution for a workload: its default, or the named one, with what was said.

        Raises:
            UnknownNameError, InvalidInputError: what was said names no execution.
        """
        from archsearch.cost.execution import chosen_execution

        return chosen_execution(workload, self.execution, self.changes)
