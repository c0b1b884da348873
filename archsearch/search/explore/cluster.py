"""A sweep spread over a Dask cluster: ``--scheduler tcp://HOST:PORT``.

Windows go out in groups; each comes back as a ``Part``, and parts merge in any order into what one machine finds. The
evaluator travels inside every task (some hundred kilobytes), so that a task can be run again anywhere: Dask repeats
what a dying worker had, up to ``distributed.scheduler.allowed-failures`` times.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from types import ModuleType
from typing import Any

from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.progress import Advance
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.windows import Part, Window, reduce_windows
from archsearch.search.space.space import CHUNK_CELLS

TASK_CELLS = 32 * CHUNK_CELLS
"""Cells of one task: seconds of work, so that a lost worker costs little and the scheduler has little to do."""
CONNECT_S = 10


def sweep_on_cluster(
    evaluator: Evaluator,
    windows: Iterable[Window],
    scheduler: str,
    *,
    window_cells: int,
    sample: int,
    seed: int,
    advance: Advance,
) -> Part:
    """All windows on the cluster's workers, merged.

    Raises:
        InvalidInputError: no scheduler answers there, or it has no workers.
        UnsupportedError: dask.distributed is not installed.
        ArchSearchError: a worker failed, or one task lost several workers.
    """
    distributed = _distributed(evaluator)
    blob = pickle.dumps(evaluator)
    total = Part()
    with _connected(distributed, scheduler) as client, client.as_current():
        groups = list(_groups(windows, max(1, TASK_CELLS // window_cells)))
        futures = [client.submit(_task, blob, group, sample, seed, pure=False) for group in groups]
        for future in distributed.as_completed(futures):
            if future.status != "finished":
                raise ArchSearchError(f"the cluster at {scheduler} failed: {_first_line(future.exception())}")
            part = future.result()
            total = total.merged(part, sample)
            advance(part.architectures)
            future.release()
    return total


def require_cluster(evaluator: Evaluator, scheduler: str) -> None:
    """Refuse a scheduler that does not answer, before anything rests on it.

    Raises:
        InvalidInputError: no scheduler answers there, or it has no workers.
        UnsupportedError: dask.distributed is not installed, or the space's modules are traced here.
    """
    with _connected(_distributed(evaluator), scheduler):
        pass


def _distributed(evaluator: Evaluator) -> ModuleType:
    if find_spec("distributed") is None:
        raise UnsupportedError("a Dask scheduler needs dask.distributed: pip install 'archsearch[dask]'")
    if evaluator.space.record.builder is not None:
        raise UnsupportedError(f"space {evaluator.space.name}: a builder's modules are traced on this machine alone")
    return import_module("distributed")


def _connected(distributed: ModuleType, scheduler: str) -> AbstractContextManager[Any]:
    """A client of the scheduler; dask.distributed has no types."""
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InvalidInputError(f"no Dask scheduler answers at {scheduler!r}: {_first_line(error)}") from None
    if not client.scheduler_info()["workers"]:
        client.close()
        raise InvalidInputError(f"the Dask scheduler at {scheduler} has no workers: start `dask worker {scheduler}`")
    connected: AbstractContextManager[Any] = client
    return connected


def _groups(windows: Iterable[Window], size: int) -> Iterator[tuple[Window, ...]]:
    rest = iter(windows)
    while group := tuple(islice(rest, size)):
        yield group


def _task(blob: bytes, windows: tuple[Window, ...], sample: int, seed: int) -> Part:
    return reduce_windows(_evaluator(blob), windows, sample=sample, seed=seed)


@lru_cache(maxsize=2)
def _evaluator(blob: bytes) -> Evaluator:
    """One evaluator per worker process and sweep, so that prices stay known from task to task."""
    evaluator: Evaluator = pickle.loads(blob)
    return evaluator


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
