"""Configs of models on the Hugging Face hub that lie in its local cache; nothing is downloaded.

The cache's layout is documented (https://huggingface.co/docs/huggingface_hub/guides/manage-cache):
``models--OWNER--NAME/refs/main`` holds the revision whose files lie in ``snapshots/REVISION``. It is where
``HF_HUB_CACHE`` says, or ``hub`` in ``HF_HOME``, by default ``~/.cache/huggingface``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from archsearch.errors import InvalidInputError
from archsearch.files import read_text

_COMMIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PART = r"[A-Za-z0-9][\w.-]*"
_HUB_ID = re.compile(rf"(?P<owner>{_PART})/(?P<name>{_PART})(?P<folder>(?:/{_PART})*)")


def is_hub_id(text: str) -> bool:
    """Whether a text may name a model of the hub: OWNER/NAME, or OWNER/NAME/FOLDER for a part of a pipeline."""
    return _HUB_ID.fullmatch(text) is not None


def cache_folder() -> Path:
    """Where huggingface_hub keeps what it has downloaded."""
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(os.environ.get("HF_HOME", default)).expanduser() / "hub"


def cached_config(hub_id: str) -> Path:
    """The directory of a hub id's config: of its ``main`` revision, or of the only one that is cached.

    Raises:
        InvalidInputError: it is not in the cache, with where that is and how to fetch the config.
    """
    match = _HUB_ID.fullmatch(hub_id)
    if match is None:
        raise InvalidInputError(f"{hub_id}: a model of the hub is OWNER/NAME or OWNER/NAME/FOLDER")
    repository = cache_folder() / f"models--{match['owner']}--{match['name']}"
    revisions = _revisions(repository)
    folder = revisions[0] / match["folder"].lstrip("/") if len(revisions) == 1 else None
    if folder is None or not folder.is_dir():
        found = f"holds {len(revisions)} revisions and no main of it" if len(revisions) > 1 else "does not hold it"
        raise InvalidInputError(
            f"{hub_id}: no such file, and the Hugging Face cache {cache_folder()} {found}; nothing is downloaded: "
            f"fetch its config with `hf download {match['owner']}/{match['name']} --include '*config.json'`"
        )
    return folder


def _revisions(repository: Path) -> list[Path]:
    main = repository / "refs" / "main"
    if main.is_file():
        commit = read_text(main).strip()
        if _COMMIT.fullmatch(commit) and (snapshot := repository / "snapshots" / commit).is_dir():
            return [snapshot]
    return sorted(p for p in (repository / "snapshots").glob("*") if p.is_dir())
