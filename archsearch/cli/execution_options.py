"""How a model runs, as options: one declaration under the same names and units for every verb that gives a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from archsearch.cli.groups import option, option_name, said
from archsearch.cli.options import keys_set
from archsearch.cli.output import note
from archsearch.cost.execution import ExecutionFields

if TYPE_CHECKING:
    from archsearch.search.space.space import SearchSpace

PANEL = "How it runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOptions:
    """What a user said of how the model runs: an execution, and fields of it; None where nothing was said."""

    execution: Annotated[
        str | None,
        option(
            "--execution",
            text="torch-eager, torch-compiled, diffusers-compiled, vllm, kernels, a YAML file, or FIELD=VALUE,...",
            metavar="NAME|FILE",
            panel=PANEL,
        ),
    ] = None
    changes: Annotated[ExecutionFields, PANEL] = field(default_factory=ExecutionFields)

    @property
    def flags(self) -> list[str]:
        """The options that were given."""
        return [option_name(name, value) for name, value in said(self).items()]

    def note_idle(self) -> None:
        """Say what of it changes nothing where one model runs alone: what stands beside a pipeline's graph launches
        its own kernels, a model in a graph launches none."""
        if self.changes.get("cuda_graphs") and self.changes.get("launch_us"):
            graphs, launch = option_name("cuda_graphs"), option_name("launch_us")
            note(f"{launch} has no effect beside {graphs}: a replayed graph launches all its kernels at once")

    def on(self, space: str, keys: list[str] | None = None) -> SearchSpace:
        """A space by name or file, with keys set as ``--set`` says, run as was said, or as it says itself.

        Raises:
            UnknownNameError, InvalidInputError: no such space or key, or what was said names no execution.
        """
        from archsearch.search.space.space import load_space

        loaded = load_space(space).with_keys(keys_set(keys))
        return loaded.with_execution(self.execution, self.changes) if self.flags else loaded
