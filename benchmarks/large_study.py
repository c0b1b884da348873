"""Seconds and memory of the verbs that read a study of 100,000 trials: the table of docs/benchmarks.md.

python benchmarks/large_study.py [--trials N] [--storage journal|sqlite] [--check]

Makes a study of so many random architectures of a space, all written as ``study run`` writes them, in a data directory
of its own. Then each verb runs in a process of its own: once when nothing has read the study yet, which replays its
file, and once again, which reads what was kept of it. With ``--check`` a second run beyond the limits fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

TRIALS = 100_000
MOST_TRIALS = 300_000
SPACE = """
name: large
description: Llama-style decoders of many widths and depths, every combination legal.
family: decoder
fixed: {vocab_size: 32000, max_position_embeddings: 8192, tie_word_embeddings: true}
dimensions:
  head_dim: {choices: [64, 128]}
  queries_per_kv: {choices: [1, 2, 4, 8]}
  num_key_value_heads: {range: [2, 8]}
  intermediate_size: {range: [2048, 8192], step: 64}
  num_layers: {range: [8, 64]}
derived:
  num_attention_heads: num_key_value_heads * queries_per_kv
  hidden_size: num_key_value_heads * queries_per_kv * head_dim
workload: {phase: prefill, batch_size: 8, seq_len: 2048, dtype: bf16}
execution: {compiled: true}
quality: {proxy: chinchilla-besiroglu, tokens: 4.0e+11}
"""
"""A space of 309,624 architectures."""
GPU = "a100-sxm-80gb"
NAME = "large"
LIMIT_S = 2.0
LIMIT_MIB = 400
BATCH = 10_000
VERBS = (
    "study list",
    f"study show {NAME}",
    f"study export {NAME} --output {{home}}/large.parquet",
    f"recommend {NAME}",
)


@dataclass(frozen=True, slots=True)
class Spent:
    """Of one process: seconds by the clock and of a processor, and its greatest memory."""

    wall_s: float
    cpu_s: float
    memory_mib: float


def make_study(trials: int, storage: str | None, name: str = NAME) -> None:
    """Store a study of random architectures of ``SPACE``, no two alike."""
    import numpy as np

    from archsearch.search.evaluate.evaluator import Evaluator
    from archsearch.search.evaluate.pool_models import resolve_pool
    from archsearch.search.explore.samplers import cell_trials
    from archsearch.search.space.space import space_from_text
    from archsearch.search.studies.ledger import insert
    from archsearch.search.studies.study import create_study

    space = space_from_text(SPACE, "large")
    evaluator = Evaluator(space, resolve_pool(GPU))
    study = create_study(space, GPU, strategy="random", storage=storage, name=name)
    cells = np.random.default_rng(0).permutation(space.size)[:trials]
    for start in range(0, trials, BATCH):
        insert(study, cell_trials(evaluator, cells[start : start + BATCH]))


def spent(arguments: str, environment: Mapping[str, str]) -> Spent:
    """What one command takes.

    Raises:
        SystemExit: it fails.
    """
    words = [sys.executable, "-m", "archsearch", *arguments.split()]
    began = time.perf_counter()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        process = os.posix_spawn(
            words[0], words, environment, file_actions=[(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1)]
        )
        _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"{arguments}: exit {os.waitstatus_to_exitcode(status)}")
    seconds = usage.ru_utime + usage.ru_stime
    return Spent(time.perf_counter() - began, seconds, usage.ru_maxrss / 1024)  # KiB, on Linux


def table(found: Mapping[str, tuple[Spent, Spent]]) -> str:
    """One line a verb."""
    lines = [
        "| command | first: s | of a processor, s | MiB | then: s | of a processor, s | MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for verb, both in found.items():
        cells = [text for s in both for text in (f"{s.wall_s:.1f}", f"{s.cpu_s:.1f}", f"{s.memory_mib:.0f}")]
        lines.append(f"| `archsearch {verb}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS, help="architectures of the study")
    parser.add_argument("--storage", choices=("journal", "sqlite"), default="journal", help="where the study lies")
    parser.add_argument("--check", action="store_true", help="fail where a second run is beyond the limits")
    options = parser.parse_args(arguments)
    if not 0 < options.trials <= MOST_TRIALS:
        parser.error(f"--trials lies from 1 to {MOST_TRIALS:,}")
    with tempfile.TemporaryDirectory() as home:
        os.environ["ARCHSEARCH_HOME"] = home
        storage = None if options.storage == "journal" else f"{home}/large.db"
        # in a process of its own: what this one had in memory would count as its children's
        maker = get_context("spawn").Process(target=make_study, args=(options.trials, storage))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the study could not be made")
        where = "" if storage is None else f" --storage {storage}"
        found = {}
        for verb in VERBS:
            for kept in Path(home, "cache", "studies").glob("*"):
                kept.unlink()
            command = verb.format(home=home) + where
            found[verb.partition(" --output")[0]] = (spent(command, os.environ), spent(command, os.environ))
    print(table(found))
    beyond = [verb for verb, (_, s) in found.items() if s.cpu_s > LIMIT_S or s.memory_mib > LIMIT_MIB]
    if options.check and beyond:
        sys.exit(f"beyond {LIMIT_S:g} s or {LIMIT_MIB} MiB: {'; '.join(beyond)}")


if __name__ == "__main__":
    main()
