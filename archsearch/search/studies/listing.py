"""The list of stored studies, and what one of them found: what was kept of them first, which takes little to read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.errors import ArchSearchError
from archsearch.search.studies.kept_tables import KeptStudy, kept_studies
from archsearch.search.studies.places import RECORD, default_storage_url
from archsearch.search.studies.storage import load_study, study_call, study_names

if TYPE_CHECKING:
    import pandas as pd

LISTED = ("name", "space", "hardware", "strategy", "trials", "feasible", "front")
"""What the list has of a summary."""


def list_studies(storage: str | None = None) -> pd.DataFrame:
    """The stored studies, one a row: name, space, hardware, strategy, trials, feasible, front, problem.

    A study that cannot be read stands in the list too: ``problem`` says what is wrong with it, None with the others.
    """
    import pandas as pd

    return pd.DataFrame(listed_studies(storage), columns=[*LISTED, "problem"], dtype=object)


def listed_studies(storage: str | None = None) -> list[dict[str, Any]]:
    """The rows of ``list_studies``."""
    return [row for name in study_names(storage) if (row := _listed(name, storage)) is not None]


def summary_of(name: str, storage: str | None = None) -> dict[str, Any]:
    """What a stored study searched and found, as plain values (``summarize_study``).

    Raises:
        UnknownNameError: no such study.
        InvalidInputError: archsearch did not write it, or it cannot be read.
    """
    known = _kept(name, storage)
    if known is not None and known.summary is not None:
        from archsearch.search.studies.known_gpus import of_now  # reads profiles, which a list has no need of

        return of_now(known.summary)
    from archsearch.search.studies.study_contents import summarize_study

    return summarize_study(load_study(name, storage))


def _listed(name: str, storage: str | None) -> dict[str, Any] | None:
    """A study's row of the list, None for other programs' studies; what is wrong with it stops no other row."""
    try:
        known = _kept(name, storage)
        attributes = load_study(name, storage).user_attrs if known is None else known.user_attrs
        if RECORD not in attributes:
            return None
        kept = None if known is None else known.summary
        summary = kept or summary_of(name, storage)
        return {key: summary[key] for key in LISTED} | {"hardware": ",".join(summary["hardware"]), "problem": None}
    except Exception as error:
        reason = str(error) if isinstance(error, ArchSearchError) else f"{type(error).__name__}: {error}"
        return dict.fromkeys(LISTED) | {
            "name": name,
            "problem": f"cannot be read ({reason}); {study_call(f'delete {name}', storage)}",
        }


def _kept(name: str, storage: str | None) -> KeptStudy | None:
    """What is kept of a study, where its file is as it was."""
    place = storage or default_storage_url(name)
    place = place.removeprefix("sqlite:///")
    return None if "://" in place else (kept_studies(Path(place)) or {}).get(name)
