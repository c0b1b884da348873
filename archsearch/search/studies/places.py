"""Where studies and their tables lie on this machine, and where a study what is needed to repeat it."""

from __future__ import annotations

import re
from pathlib import Path

from archsearch.data import user_data_dir
from archsearch.errors import InvalidInputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")


def check_name(name: str) -> str:
    """A study name that is safe as a file name.

    Raises:
        InvalidInputError: any other name.
    """
    if not _NAME.fullmatch(name) or len(name) > 120:
        text = f"study name {name[:200]!r}: use up to 120 letters, digits and . _ + = -, a letter or digit first"
        raise InvalidInputError(text)
    return name


RECORD = "archsearch"
"""User attribute of a study under which archsearch keeps what is needed to repeat it."""


def studies_dir() -> Path:
    """Directory of the studies that are stored by default."""
    return user_data_dir() / "studies"


def default_storage_url(name: str | None = None) -> str:
    """The default place of a study (of all studies where no name is given), as ``--storage`` takes it."""
    return str(studies_dir() / f"{name}.journal") if name else str(studies_dir())


def artifacts_dir(study_name: str, storage: str | None) -> Path:
    """Where a study's tables lie.

    Raises:
        InvalidInputError: a name that would lead elsewhere, as a study of another program may have.
    """
    check_name(study_name)
    if storage is None or "://" in storage:
        return studies_dir() / f"{study_name}.artifacts"
    path = Path(storage).expanduser()
    return path.with_name(f"{path.name}.{study_name}.artifacts")
