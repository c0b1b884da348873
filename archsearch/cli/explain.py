"""``archsearch explain``: where time goes, what each dimension costs, the nearest better shapes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from archsearch.cli.options import (
    AllowCode,
    AttentionOption,
    BatchSize,
    Compiled,
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
from archsearch.cli.output import print_json


def explain(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|STUDY:RANK", help="A model, or a study's rank-th architecture.")
    ],
    hardware: Pool = None,
    dtype: DtypeOption = "bf16",
    batch_size: BatchSize = 1,
    seq_len: SeqLen = None,
    height: Height = None,
    width: Width = None,
    frames: Frames = None,
    phase: PhaseOption = "forward",
    attention: AttentionOption = "auto",
    compiled: Compiled = False,
    storage: Storage = None,
    allow_code: AllowCode = False,
    json: Json = False,
    profiles: Profiles = None,
) -> None:
    """Explain an architecture on a GPU. A study's architecture keeps the study's workload."""
    study, _, rank = model.rpartition(":")
    if study and rank.isdigit():
        explanation = _explain_ranked(study, int(rank), hardware, storage)
    else:
        from archsearch.api import explain as run
        from archsearch.search.evaluate.pricing import resolve_pool

        explanation = run(
            model,
            resolve_pool(hardware),
            dtype=dtype,
            batch_size=batch_size,
            seq_len=seq_len,
            height=height,
            width=width,
            frames=frames,
            phase=phase,
            attention=attention,
            compiled=compiled,
            allow_code=allow_code,
        )
    if json:
        print_json(explanation.to_dict())
    else:
        print("\n".join(explanation.lines()))


def _explain_ranked(study: str, rank: int, hardware: str | None, storage: str | None) -> Any:
    from archsearch.errors import InvalidInputError
    from archsearch.search.answers.explain import explain as run
    from archsearch.search.answers.recommend import config_of, recommend
    from archsearch.search.studies.storage import load_study
    from archsearch.search.studies.study import study_space

    if rank < 1:
        raise InvalidInputError(f"ranks count from 1, not {rank}")
    stored = load_study(study, storage)
    frame = recommend(stored, top=rank, storage=storage)
    if len(frame) < rank:
        raise InvalidInputError(f"study {study!r} has {len(frame)} recommended architectures; there is no rank {rank}")
    space = study_space(stored, storage)
    config = space.family_class.from_dict(config_of(frame, rank))
    execution = space.record.execution
    pool = hardware or ",".join(frame.attrs["hardware"])
    return run(config, space.workload, pool, compiled=execution.compiled, attention=execution.attention)
