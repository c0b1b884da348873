"""``archsearch study``: run, resume and read stored studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.options import STORAGE_VARIABLE, AllowStudyCode, Json, Pool, Profiles, Scheduler, Storage
from archsearch.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from archsearch.search.explore.fidelity import Fidelity

app = typer.Typer(help="Stored search studies.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The study's name; see `archsearch study list`.")]
SpaceName = Annotated[str, typer.Argument(help="A space's name (`archsearch spaces list`) or YAML file.")]
Strategy = Annotated[
    str, typer.Option("--strategy", help="auto, exhaustive, hybrid, nsga2, nsga3, tpe, gp, cmaes or random.")
]
Seed = Annotated[int, typer.Option("--seed", help="Equal seeds give equal studies.")]
Until = Annotated[
    int | None, typer.Option("--until", help="Stop when the study holds this many trials, whoever added them.")
]
Objective = Annotated[
    str, typer.Option("--objective", help="analytic; benchmark: measured on --device; train: a short run's loss.")
]
TrainerFunction = Annotated[
    str | None,
    typer.Option("--trainer", metavar="MODULE:FUNCTION", help="Your training function, in place of the built-in one."),
]
Steps = Annotated[int, typer.Option("--steps", help="Steps of a training run, the most that a pruner grants.")]
Pruner = Annotated[str, typer.Option("--pruner", help="hyperband or median (loss alone), none (all objectives).")]
Keep = Annotated[
    float, typer.Option("--keep", help="Share of the analytically priced architectures that is measured or trained.")
]
Device = Annotated[str, typer.Option("--device", help="Where to measure or train: cpu, cuda, cuda:1 ...")]
Trials = Annotated[int, typer.Option("--trials", "-n", help="Architectures to evaluate where the space is sampled.")]


@app.command("run")
def run(
    space: SpaceName,
    hardware: Pool = None,
    trials: Trials = 1000,
    strategy: Strategy = "auto",
    storage: Storage = None,
    name: Annotated[str | None, typer.Option("--name", help="The study's name.")] = None,
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a study of the same name.")] = False,
    scheduler: Scheduler = None,
    objective: Objective = "analytic",
    trainer: TrainerFunction = None,
    steps: Steps = 200,
    pruner: Pruner = "hyperband",
    keep: Keep = 0.1,
    device: Device = "cpu",
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Search a space on a GPU or pool and store the study."""
    from archsearch.search.studies.storage import delete_study, study_names
    from archsearch.search.studies.study import run_study, summarize_study

    if overwrite and name and name in study_names(storage):
        delete_study(name, storage)
    fidelity = _fidelity(objective, trainer, steps, pruner, keep, device)
    options: dict[str, Any] = {"storage": storage, "name": name, "seed": seed, "scheduler": scheduler}
    options |= {"fidelity": fidelity, "allow_code": allow_code}
    study = run_study(space, hardware, trials=trials, strategy=strategy, **options)
    _show(summarize_study(study), json)
    if not json:
        note(f"next: archsearch recommend {study.study_name}")


@app.command("create")
def create(
    space: SpaceName,
    hardware: Pool = None,
    strategy: Strategy = "auto",
    storage: Storage = None,
    name: Annotated[str | None, typer.Option("--name", help="The study's name.")] = None,
    seed: Seed = 0,
    objective: Objective = "analytic",
    trainer: TrainerFunction = None,
    steps: Steps = 200,
    pruner: Pruner = "hyperband",
    keep: Keep = 0.1,
    device: Device = "cpu",
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Make a study without trials, for workers to fill."""
    from archsearch.search.studies.study import create_study, summarize_study

    fidelity = _fidelity(objective, trainer, steps, pruner, keep, device)
    options: dict[str, Any] = {"storage": storage, "name": name, "seed": seed, "fidelity": fidelity}
    study = create_study(space, hardware, strategy=strategy, **options)
    _show(summarize_study(study), json)
    if not json:
        note(f"next, on each machine: archsearch study worker {study.study_name} --storage ... --seed 1 --until 1000")


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
    from archsearch.search.studies.study import resume_study, summarize_study

    study = resume_study(name, trials=trials, until=until, storage=storage, allow_code=allow_code)
    _show(summarize_study(study), json)


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
    from archsearch.search.studies.study import resume_study, summarize_study

    count = trials if trials is not None else 1000 if until is None else until
    options: dict[str, Any] = {"storage": storage, "seed": seed, "allow_code": allow_code}
    _show(summarize_study(resume_study(name, trials=count, until=until, **options)), json)


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
    from archsearch.search.studies.study import list_studies

    frame = list_studies(storage)
    if json:
        print_json(frame.to_dict(orient="records"))
        return
    if frame.empty:
        note("no studies yet; run one with `archsearch study run SPACE --hardware GPU`")
        return
    if frame["problem"].isna().all():
        frame = frame.drop(columns="problem")
    left = ("name", "space", "hardware", "strategy", "problem")
    print_table("", list(frame.columns), frame.itertuples(index=False), left=left)


@app.command("show")
def show(name: Name, storage: Storage = None, json: Json = False) -> None:
    """Show what a study searched and found."""
    from archsearch.search.studies.storage import load_study
    from archsearch.search.studies.study import summarize_study

    _show(summarize_study(load_study(name, storage)), json)


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
    from archsearch.search.studies.artifacts import read_artifact
    from archsearch.search.studies.storage import load_study
    from archsearch.search.studies.study import export_study
    from archsearch.tables import write_table

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
def delete(name: Name, storage: Storage = None, json: Json = False) -> None:
    """Delete a stored study."""
    from archsearch.search.studies.storage import delete_study

    delete_study(name, storage)
    if json:
        print_json({"deleted": name})
    else:
        note(f"deleted {name}")


def _fidelity(objective: str, trainer: str | None, steps: int, pruner: str, keep: float, device: str) -> Fidelity:
    from archsearch.search.explore.fidelity import Fidelity

    choices: dict[str, Any] = {"objective": objective, "pruner": pruner}
    return Fidelity(function=trainer, steps=steps, keep=keep, device=device, **choices)


def _show(summary: dict[str, object], json: bool) -> None:
    if json:
        print_json(summary)
        return
    rows = [(key, ", ".join(map(str, v)) if isinstance(v, list) else v) for key, v in summary.items()]
    print_table("", ("study", str(summary["name"])), rows[1:], left=("study", str(summary["name"])))
