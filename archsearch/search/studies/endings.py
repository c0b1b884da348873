"""How a search ends before it is done: what was kept and how it goes on, or that its study is no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.progress import remark
from archsearch.search.studies.storage import load_study, study_call

if TYPE_CHECKING:
    import optuna


@contextmanager
def telling_ends(study: optuna.Study, storage: str | None) -> Iterator[None]:
    """Tell, of an interrupt inside, what the study keeps and how to go on.

    Raises:
        InvalidInputError: in place of any other error, where the study was deleted meanwhile.
    """
    name = study.study_name
    try:
        yield
    except KeyboardInterrupt:
        with suppress(Exception):  # a storage that is away: nothing is known
            remark(_kept(name, storage))
        raise
    except ArchSearchError:
        raise
    except Exception:
        if not _is_gone(study, name):
            raise
        raise InvalidInputError(deleted(name)) from None


def deleted(name: str) -> str:
    """That a study was deleted by others."""
    return f"study {name!r} was deleted or replaced while it was worked on: this run stops, and nothing more is written"


def _kept(name: str, storage: str | None) -> str:
    """What stands in the storage, read anew: what was being written at that moment may stand there or not."""
    from optuna.trial import TrialState

    study = load_study(name, storage)
    finished = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
    if not finished and not study.get_trials(deepcopy=False):
        return f"study {name}: nothing was finished, it is not kept"
    return f"study {name} keeps {finished:,} finished trials; continue it with {study_call(f'resume {name}', storage)}"


def _is_gone(study: optuna.Study, name: str) -> bool:
    try:
        return bool(study._storage.get_study_id_from_name(name) != study._study_id)
    except KeyError:
        return True
    except Exception:
        return False
