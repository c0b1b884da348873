"""Options that several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from archsearch.errors import InvalidInputError

PROFILES_VARIABLE = "ARCHSEARCH_PROFILES"
STORAGE_VARIABLE = "ARCHSEARCH_STORAGE"
ALLOW_CODE_VARIABLE = "ARCHSEARCH_ALLOW_CODE"


def _use_profiles(directory: Path | None) -> Path | None:
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
        "--profiles", callback=_use_profiles, metavar="DIR", help="Your GPU profiles, before the shipped ones."
    ),
]
Gpu = Annotated[
    str, typer.Option("--hardware", "-g", metavar="GPU", help="A GPU's id or name; see `archsearch hardware list`.")
]
Pool = Annotated[
    str | None,
    typer.Option(
        "--hardware", "-g", metavar="GPU[,GPU...]", help="One GPU or a pool; a weight may follow each: t4=2,l4=1."
    ),
]
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
DtypeOption = Annotated[
    str, typer.Option("--dtype", help="Number format of the linear layers: bf16, fp16, fp32, tf32, fp8, int8, fp4.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", "-b", help="Sequences, images or videos at a time.")]
SeqLen = Annotated[
    int | None,
    typer.Option("--seq-len", "-s", help="Tokens per sequence; context length in decode; text tokens of image models."),
]
Height = Annotated[int | None, typer.Option("--height", help="Image or video height in pixels.")]
Width = Annotated[int | None, typer.Option("--width", help="Image or video width in pixels.")]
Frames = Annotated[int | None, typer.Option("--frames", help="Video frames.")]
PhaseOption = Annotated[
    str,
    typer.Option("--phase", help="forward, train, prefill or decode; autoencoders: encode, decode, forward (both)."),
]
Checkpointing = Annotated[
    bool, typer.Option("--checkpointing", help="Train with activation checkpointing: recompute every layer.")
]
AttentionOption = Annotated[
    str,
    typer.Option(
        "--attention", help="auto, flash (fastest fused), sdpa (torch's), fa2 (torch's without cuDNN), eager (unfused)."
    ),
]
Compiled = Annotated[
    bool, typer.Option("--compiled/--eager", help="Fuse bandwidth-bound ops as torch.compile does, or run them singly.")
]
Correction = Annotated[
    bool,
    typer.Option("--correction/--no-correction", help="Learned correction of matrix products, or mechanism alone."),
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
