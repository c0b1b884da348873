"""``archsearch study``: run, resume and read stored studies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.completion import complete_space, complete_study
from archsearch.cli.execution_options import ExecutionOptions
from archsearch.cli.groups import grouped, option, said
from archsearch.cli.invocation import next_call
from archsearch.cli.options import (
    STORAGE_VARIABLE,
    AllowStudyCode,
    Json,
    PoolOptions,
    Profiles,
    Scheduler,
    SetKeys,
    Storage,
)
from archsearch.cli.output import changes_line, note, print_json, print_table

if TYPE_CHECKING:
    from archsearch.search.explore.fidelity import Fidelity

app = typer.Typer(help="Stored search studies.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="The study's name; see `archsearch study list`.", autocompletion=complete_study)
]
SpaceName = Annotated[
    str, typer.Argument(help="A space's name (`archsearch spaces list`) or YAML file.", autocompletion=complete_space)
]
Strategy = Annotated[
    str, typer.Option("--strategy", help="auto, exhaustive, hybrid, nsga2, nsga3, tpe, gp, cmaes or random.")
]
Seed = Annotated[int, typer.Option("--seed", help="Equal seeds give equal studies.")]
Until = Annotated[
    int | None, typer.Option("--until", help="Stop when the study holds this many trials, whoever added them.")
]
Trials = Annotated[int, typer.Option("--trials", "-n", help="Architectures to evaluate where the space is sampled.")]


PANEL = "How trials are evaluated"


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityOptions:
    """How trials are evaluated; None where nothing was said, and the default of ``Fidelity`` holds."""

    objective: Annotated[
        str | None,
        option(
            "--objective",
            text="analytic (default); benchmark: measured on --device; train: a short run's loss.",
            panel=PANEL,
        ),
    ] = None
    trainer: Annotated[
        str | None,
        option(
            "--trainer", text="Your training function, not the built-in one.", metavar="MODULE:FUNCTION", panel=PANEL
        ),
    ] = None
    steps: Annotated[
        int | None, option("--steps", text="Steps of a training run, the most that a pruner grants (200).", panel=PANEL)
    ] = None
    pruner: Annotated[
        str | None,
        option("--pruner", text="hyperband (default) or median (loss alone), none (all objectives).", panel=PANEL),
    ] = None
    keep: Annotated[
        float | None,
        option("--keep", text="Share of the analytically priced that is measured or trained (0.1).", panel=PANEL),
    ] = None
    device: Annotated[
        str | None, option("--device", text="Where to measure or train: cpu, cuda, cuda:1 ...", panel=PANEL)
    ] = None

    @property
    def fidelity(self) -> Fidelity:
        """How trials are evaluated.

        Raises:
            InvalidInputError: a choice that makes no sense, or an option that the objective does not read.
        """
        from archsearch.errors import InvalidInputError
        from archsearch.search.explore.fidelity import Fidelity

        given = said(self)
        objective = given.get("objective", "analytic")
        read: tuple[str, ...] = {"benchmark": ("keep", "device"), "analytic": ()}.get(objective, tuple(given))
        idle = [f"--{name}" for name in given if name not in (*read, "objective")]
        if idle:
            raise InvalidInputError(f"{', '.join(idle)}: objective {objective} reads none of it (see --objective)")
        return Fidelity(**{"function" if name == "trainer" else name: value for name, value in given.items()})


@app.command("run")
@grouped
def run(
    space: SpaceName,
    trials: Annotated[
        int | None, typer.Option("--trials", "-n", help="Architectures to evaluate where the space is sampled (1000).")
    ] = None,
    strategy: Strategy = "auto",
    storage: Storage = None,
    name: Annotated[str | None, typer.Option("--name", help="The study's name.")] = None,
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a study of the same name.")] = False,
    set_keys: SetKeys = None,
    scheduler: Scheduler = None,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    pool: PoolOptions,
    fidelity: FidelityOptions,
    execution: ExecutionOptions,
) -> None:
    """Search a space on a GPU or pool and store the study."""
    from archsearch.api import run_study
    from archsearch.errors import InvalidInputError
    from archsearch.search.answers.candidates import refuse_infeasible
    from archsearch.search.studies.study import study_record, summarize_study

    if overwrite and name is None:
        raise InvalidInputError("--overwrite replaces the study of a name: give --name")
    chosen, searched, gpus = fidelity.fidelity, execution.on(space, set_keys), pool.pool
    study = run_study(
        searched,
        gpus,
        trials=trials,
        strategy=strategy,
        storage=storage,
        name=name,
        seed=seed,
        overwrite=overwrite,
        scheduler=scheduler,
        fidelity=chosen,
        allow_code=allow_code,
    )
    _show(summarize_study(study), json)
    refuse_infeasible(study, storage)
    enumerated = study_record(study)["strategy"] == "exhaustive" and chosen.objective == "analytic"
    if trials is not None and enumerated:
        note(f"--trials {trials} counts where a space is sampled: this one was enumerated, every architecture of it")
    if not json:
        note(f"next: {next_call('recommend', study.study_name)}")


@app.command("create")
@grouped
def create(
    space: SpaceName,
    strategy: Strategy = "auto",
    storage: Storage = None,
    name: Annotated[str | None, typer.Option("--name", help="The study's name.")] = None,
    seed: Seed = 0,
    set_keys: SetKeys = None,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    pool: PoolOptions,
    fidelity: FidelityOptions,
    execution: ExecutionOptions,
) -> None:
    """Make a study without trials, for workers to fill."""
    from archsearch.search.studies.study import create_study, summarize_study

    study = create_study(
        execution.on(space, set_keys),
        pool.pool,
        strategy=strategy,
        storage=storage,
        name=name,
        seed=seed,
        fidelity=fidelity.fidelity,
    )
    _show(summarize_study(study), json)
    if not json:
        call = next_call("study", "worker", study.study_name, "--seed", "1", "--until", "1000")
        note(f"next, in every process with a seed of its own: {call}")


@app.command("resume")
def resume(
    name: Name,
    trials: Trials = 1000,
    until: Until = None,
    storage: Storage = None,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Add architectures to a stored study."""
    from archsearch.api import resume_study
    from archsearch.search.answers.candidates import refuse_infeasible
    from archsearch.search.studies.study import summarize_study

    study = resume_study(name, trials=trials, until=until, storage=storage, allow_code=allow_code)
    _show(summarize_study(study), json)
    refuse_infeasible(study, storage)


@app.command("worker")
def worker(
    name: Name,
    seed: Annotated[int, typer.Option("--seed", help="This worker's own seed: give each worker another one.")],
    trials: Annotated[
        int | None, typer.Option("--trials", "-n", help="Architectures to add (default: 1000; no bound with --until).")
    ] = None,
    until: Until = None,
    storage: Storage = None,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Join a sampled study from another process or machine: the same storage, a seed of its own."""
    from archsearch.api import resume_study
    from archsearch.search.studies.study import summarize_study

    count = trials if trials is not None else 1000 if until is None else until
    study = resume_study(name, trials=count, until=until, storage=storage, seed=seed, allow_code=allow_code)
    _show(summarize_study(study), json)


@app.command("proxy")
def proxy(
    storage: Annotated[str, typer.Option("--storage", metavar="URL", envvar=STORAGE_VARIABLE, help="The database.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; only that machine's workers by default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 13000,
    json: Json = False,
) -> None:
    """Serve a database to many workers over gRPC: they use --storage grpc://HOST:PORT.

    The proxy keeps the database's connections few and its password on one machine. It knows no passwords of its own:
    listen only where every machine that can connect is trusted.
    """
    from archsearch.search.studies.storage import serve_proxy, shown

    if json:
        print_json({"storage": shown(storage), "address": f"grpc://{host}:{port}"})
    note(f"serving {shown(storage)} at grpc://{host}:{port} until interrupted")
    serve_proxy(storage, host, port)


@app.command("list")
def list_all(storage: Storage = None, json: Json = False) -> None:
    """List the stored studies."""
    from archsearch.search.studies.listing import LISTED, listed_studies

    rows = listed_studies(storage)
    if json:
        print_json(rows)
        return
    if not rows:
        note("no studies yet; run one with `archsearch study run SPACE --hardware GPU`")
        return
    columns = [*LISTED, *(["problem"] if any(row["problem"] for row in rows) else [])]
    left = ("name", "space", "hardware", "strategy", "problem")
    print_table("", columns, ([row[name] for name in columns] for row in rows), left=left)


@app.command("show")
def show(name: Name, storage: Storage = None, json: Json = False, profiles: Profiles = None) -> None:
    """Show what a study searched and found."""
    from archsearch.search.studies.listing import summary_of

    _show(summary_of(name, storage), json)


@app.command("export")
def export(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="A .parquet, .csv or .json file.")],
    front: Annotated[bool, typer.Option("--front", help="Only the Pareto front.")] = False,
    table: Annotated[
        str | None, typer.Option("--table", help="A table kept beside an exhaustive study: front or sample.")
    ] = None,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Write a study's architectures and metrics to a file."""
    from archsearch.errors import InvalidInputError
    from archsearch.search.studies.artifacts import read_artifact
    from archsearch.search.studies.storage import load_study
    from archsearch.search.studies.study import export_study
    from archsearch.tables import write_table

    if front and table is not None:
        raise InvalidInputError("--front and --table name two tables: give one of both")
    study = load_study(name, storage)
    if table is None:
        written = export_study(study, output, front_only=front)
    else:
        written = write_table(read_artifact(study, storage, table), output)
    if json:
        print_json({"study": name, "output": str(written)})
    else:
        note(f"wrote {written}")


@app.command("delete")
def delete(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Studies; see `archsearch study list`.", autocompletion=complete_study),
    ],
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Delete stored studies: all that are named, or none where one of them does not exist."""
    from archsearch.search.studies.storage import delete_study, require_study

    chosen = list(dict.fromkeys(names))
    for name in chosen:
        require_study(name, storage)
    for name in chosen:
        delete_study(name, storage)
    if json:
        print_json({"deleted": chosen[0] if len(chosen) == 1 else chosen})
    else:
        note(f"deleted {', '.join(chosen)}")


IF_ANY = ("set", "unknown_gpus")
"""What a table tells of a study where there is any."""


def _show(summary: dict[str, object], json: bool) -> None:
    if json:
        print_json(summary)
        return
    rows = [(key, _cell(key, value)) for key, value in summary.items() if key not in IF_ANY or value]
    print_table("", ("study", str(summary["name"])), rows[1:], left=("study", str(summary["name"])))


def _cell(name: str, value: object) -> object:
    if isinstance(value, dict) and name == "set":
        return changes_line(value)
    if isinstance(value, dict):
        from archsearch.cost.execution import Execution

        return Execution(**value).line()
    return ", ".join(map(str, value)) if isinstance(value, list) else value
