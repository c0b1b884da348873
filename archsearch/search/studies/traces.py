"""Traces of a user's modules beside their study: what was traced once answers without the module.

Each run or worker leaves what it traced itself as a table ``traces-...`` of texts (``models/tracing/stored.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from archsearch.search.space.space import SearchSpace
from archsearch.search.studies.artifacts import artifact_files, read_artifact, write_artifact

if TYPE_CHECKING:
    import optuna

    from archsearch.models.tracing.stored import StoredTraces

PREFIX = "traces-"


def keep_traces(study: optuna.Study, storage: str | None, space: SearchSpace) -> None:
    """Keep with a study what this process traced of its space and the study does not have yet."""
    if space.record.builder is None:
        return
    import pandas as pd

    from archsearch.models.tracing.stored import trace_texts

    texts = trace_texts(space.family_class)
    if texts:
        write_artifact(study, storage, f"{PREFIX}{uuid4().hex[:12]}", pd.DataFrame({"text": texts}))


def kept_traces(study: optuna.Study, storage: str | None) -> StoredTraces | None:
    """The traces that lie beside a study on this machine; None where there are none.

    Raises:
        InvalidInputError: another version wrote them.
    """
    names = [name for name in artifact_files(study, storage) if name.startswith(PREFIX)]
    if not names:
        return None
    from archsearch.models.tracing.stored import read_traces

    return read_traces(read_artifact(study, storage, name)["text"] for name in names)
