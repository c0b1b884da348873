"""``archsearch build``: a runnable torch script of one architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from archsearch.cli.options import (
    AllowStudyCode,
    BatchSize,
    DtypeOption,
    Frames,
    Height,
    Json,
    PhaseOption,
    Pool,
    Profiles,
    SeqLen,
    Storage,
    Width,
)
from archsearch.cli.output import note, print_json


def build(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|STUDY:RANK|SPACE:RANK",
            help="A preset, a config.json, an archsearch YAML, or a recommendation of a stored study or a space.",
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write it (default: stdout).")] = None,
    hardware: Pool = None,
    dtype: DtypeOption = "bf16",
    batch_size: BatchSize = 1,
    seq_len: SeqLen = None,
    height: Height = None,
    width: Width = None,
    frames: Frames = None,
    phase: PhaseOption = "forward",
    storage: Storage = None,
    allow_code: AllowStudyCode = False,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Write a small torch script that builds an architecture's real class and calls it.

    A recommendation keeps the workload that it was chosen for.
    """
    from archsearch.api import workload_of
    from archsearch.models.huggingface import to_hf
    from archsearch.models.huggingface.script import build_script, to_parameters
    from archsearch.models.registry.load import load_model

    sizes = {"batch_size": batch_size, "seq_len": seq_len, "height": height, "width": width, "frames": frames}
    source, _, rank = model.rpartition(":")
    if source and rank.isdigit():
        config, workload = _ranked(source, int(rank), hardware, storage)
    else:
        config = load_model(model)
        workload = workload_of(config, dtype=dtype, sizes=sizes, phase=phase)[0]
    text = build_script(config, workload, f"{model}, built by archsearch.")
    if output is not None:
        output.write_text(text, encoding="utf-8")
        note(f"wrote {output}")
    if json:
        document = to_hf(config)
        print_json({"model": model, "config": document, "parameters": int(to_parameters(document)), "script": text})
    elif output is None:
        print(text, end="")


def _ranked(source: str, rank: int, hardware: str | None, storage: str | None) -> tuple[Any, Any]:
    """The architecture of a rank of a stored study or a space, and the workload it was chosen for.

    Raises:
        InvalidInputError: no such rank.
        UnsupportedError: the space is over modules of the user's.
    """
    from archsearch.errors import InvalidInputError, UnsupportedError
    from archsearch.models.registry.families import get_family
    from archsearch.search.answers.recommend import config_of, recommend
    from archsearch.search.evaluate.frames import workload_from

    frame = recommend(source, hardware, top=max(rank, 1), storage=storage)
    if not 1 <= rank <= len(frame):
        raise InvalidInputError(f"{source} has {len(frame)} recommended architectures; there is no rank {rank}")
    if frame.attrs["family"] == "traced":
        given = ", ".join(f"{name}={value}" for name, value in config_of(frame, rank).items())
        raise UnsupportedError(f"{source}:{rank} is a module of your own: call the space's builder with {given}")
    config = get_family(frame.attrs["family"]).from_dict(config_of(frame, rank))
    return config, workload_from(frame.attrs["workload"])
