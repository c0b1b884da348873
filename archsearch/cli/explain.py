"""``archsearch explain``: where time goes, what each dimension costs, the nearest better shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.execution import ExecutionOptions, runs
from archsearch.cli.options import (
    AllowCode,
    BatchSize,
    Checkpointing,
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

if TYPE_CHECKING:
    from archsearch.search.answers.explain import Explanation


@runs
def explain(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|STUDY:RANK", help="A model, or a study's (or space's) rank-th architecture.")
    ],
    hardware: Pool = None,
    dtype: DtypeOption = "bf16",
    batch_size: BatchSize = 1,
    seq_len: SeqLen = None,
    height: Height = None,
    width: Width = None,
    frames: Frames = None,
    phase: PhaseOption = "forward",
    checkpointing: Checkpointing = False,
    storage: Storage = None,
    allow_code: AllowCode = False,
    json: Json = False,
    profiles: Profiles = None,
    *,
    how: ExecutionOptions,
) -> None:
    """Explain an architecture on a GPU. A study's architecture is explained in the study's terms and workload."""
    source, _, rank = model.rpartition(":")
    if source and rank.isdigit():
        from archsearch.errors import InvalidInputError
        from archsearch.search.answers.ranked import explain_ranked

        asked = {"dtype": dtype != "bf16", "batch-size": batch_size != 1, "seq-len": seq_len, "height": height}
        asked |= {"width": width, "frames": frames, "phase": phase != "forward", "checkpointing": checkpointing}
        extra = [f"--{name}" for name, given in asked.items() if given]
        if extra or how.any:
            told = f"leave out {', '.join(extra or ['how it runs'])}"
            raise InvalidInputError(f"{model}: a study's architecture keeps its workload and execution; {told}")
        explanation: Explanation = explain_ranked(source, int(rank), hardware, storage=storage)
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
            checkpointing=checkpointing,
            execution=how.execution,
            allow_code=allow_code,
            **how.changes,
        )
    if json:
        print_json(explanation.to_dict())
    else:
        print("\n".join(explanation.lines()))
