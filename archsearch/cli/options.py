"""Options that several verbs share."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.completion import complete_gpu
from archsearch.cli.groups import option_name
from archsearch.errors import InvalidInputError
from archsearch.workload import WorkloadFields

if TYPE_CHECKING:
    from archsearch.hardware import GpuPool

PROFILES_VARIABLE = "ARCHSEARCH_PROFILES"
STORAGE_VARIABLE = "ARCHSEARCH_STORAGE"
ALLOW_CODE_VARIABLE = "ARCHSEARCH_ALLOW_CODE"


def use_profiles(directory: Path | None) -> Path | None:
    """Put a user's profiles before those of the environment, for everything that loads a GPU."""
    if directory is not None:
        if not directory.expanduser().is_dir():
            raise InvalidInputError(f"--profiles: {directory} is not a directory of GPU profiles (*.yaml)")
        before = os.environ.get(PROFILES_VARIABLE)
        os.environ[PROFILES_VARIABLE] = f"{directory}{os.pathsep}{before}" if before else str(directory)
    return directory


def _use_code(allowed: bool) -> bool:
    """Give leave to the rest of this call (see ``archsearch.search.space.user_code``)."""
    if allowed:
        os.environ[ALLOW_CODE_VARIABLE] = "1"
    return allowed


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Profiles = Annotated[
    Path | None,
    typer.Option(
        "--profiles", callback=use_profiles, metavar="DIR", help="Your GPU profiles, before the shipped ones."
    ),
]
Gpu = Annotated[
    str,
    typer.Option(
        "--hardware",
        "-g",
        metavar="GPU",
        help="A GPU's id or name; see `archsearch hardware list`.",
        autocompletion=complete_gpu,
    ),
]
Pool = Annotated[
    str | None,
    typer.Option(
        "--hardware",
        "-g",
        metavar="GPU[=N],...",
        help="One GPU or a pool; a count may follow each: t4=2,l4.",
        autocompletion=complete_gpu,
    ),
]
PriceOption = Annotated[
    list[str] | None, typer.Option("--price", metavar="GPU=USD", help="Your USD per GPU-hour; repeatable.")
]
Report = Annotated[Path | None, typer.Option("--report", metavar="FILE.html", help="Also draw the answer.")]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        envvar=STORAGE_VARIABLE,
        help="Where studies are stored: a path, a database's URL or grpc://HOST:PORT (default: your data directory).",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="tcp://HOST:PORT", help="Enumerate on the workers of this Dask scheduler."),
]
SetKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A key of the space's file set otherwise, such as workload.batch_size=8 or fixed.num_layers=12; "
        "repeatable.",
    ),
]
Correction = Annotated[
    bool,
    typer.Option("--correction/--no-correction", help="Learned correction of matrix products, or mechanism alone."),
]
Checkpointing = Annotated[
    bool, typer.Option("--checkpointing", help="Train with every layer recomputed (activation checkpointing).")
]
AllowStudyCode = Annotated[
    bool,
    typer.Option("--allow-code", callback=_use_code, help="Run the code that a space or study names."),
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code", callback=_use_code, help="Run the code that MODEL (module:function) or its study names."
    ),
]


def keys_set(texts: list[str] | None) -> dict[str, object]:
    """What ``--set`` says.

    Raises:
        InvalidInputError: no KEY=VALUE, or no YAML value.
    """
    if not texts:
        return {}
    from archsearch.search.space.changes import parse_changes

    return parse_changes(texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadOptions:
    """What a model is run on: what was said, as ``archsearch.estimate`` takes it."""

    fields: Annotated[WorkloadFields, "What it runs on"] = field(default_factory=WorkloadFields)

    def refuse(self, why: str, *more: str) -> None:
        """Refuse whatever was said, and the flags of ``more``, with the reason.

        Raises:
            InvalidInputError: anything was said.
        """
        given = [*map(option_name, self.fields), *more]
        if given:
            raise InvalidInputError(f"{why}; leave out {', '.join(given)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """The GPUs that a space is searched for."""

    hardware: Pool = None
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="GPU=SHARE,...", help="Shares of the pool (default: they follow the counts)."
        ),
    ] = None

    @property
    def pool(self) -> GpuPool | None:
        """The pool; None where no GPU was named, and the space's own default holds.

        Raises:
            UnknownNameError: no such GPU.
            InvalidInputError: a malformed pool, or shares without GPUs.
        """
        from archsearch.hardware import GpuPool

        if self.hardware is not None:
            return GpuPool.parse(self.hardware, weights=self.weights)
        if self.weights is not None:
            raise InvalidInputError("--weights gives shares of the GPUs that --hardware names: give both")
        return None
