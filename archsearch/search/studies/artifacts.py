"""Tables beside a study: fronts and samples as Parquet files, so that many points cost no transactions.

They are Optuna artifacts of the study (``optuna-dashboard`` lists them), kept in a directory next to a study's file, or
in the user's data directory where the study lives in a database.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.files import replacing
from archsearch.search.studies.places import artifacts_dir

if TYPE_CHECKING:
    import optuna
    import pandas as pd


def write_artifact(study: optuna.Study, storage: str | None, name: str, frame: pd.DataFrame) -> None:
    """Keep a table (without ``attrs``) as ``name``.parquet with the study; an older one of that name is superseded."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / f"{name}.parquet"
        frame.to_parquet(file, index=False)
        upload(study, storage, file)


def upload(study: optuna.Study, storage: str | None, file: Path) -> None:
    """Keep a file with a study: whole on the disk before the study names it.

    Raises:
        InvalidInputError: the study's directory cannot be written.
    """
    from optuna.artifacts import upload_artifact

    directory = artifacts_dir(study.study_name, storage)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{directory}: cannot be made: {error.strerror or error}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # artifacts are marked experimental
        upload_artifact(artifact_store=_Folder(directory), file_path=str(file), study_or_trial=study)


class _Folder:
    """A store of Optuna's artifacts in a directory, laid out as its own; each file is written whole or not at all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open_reader(self, artifact_id: str) -> BinaryIO:
        return (self._directory / artifact_id).open("rb")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        with replacing(self._directory / artifact_id) as draft, draft.open("wb") as file:
            shutil.copyfileobj(content_body, file)

    def remove(self, artifact_id: str) -> None:
        (self._directory / artifact_id).unlink()


def artifact_files(study: optuna.Study, storage: str | None) -> dict[str, Path]:
    """The study's tables by name, each the latest of its name that lies on this machine."""
    from optuna.artifacts import get_all_artifact_meta

    directory = artifacts_dir(study.study_name, storage)
    tables = [meta for meta in get_all_artifact_meta(study) if Path(meta.filename).suffix == ".parquet"]
    paths = {Path(meta.filename).stem: directory / Path(meta.artifact_id).name for meta in tables}  # nowhere else
    return {name: path for name, path in paths.items() if path.is_file()}


def read_artifact(study: optuna.Study, storage: str | None, name: str) -> pd.DataFrame:
    """A table of a study.

    Raises:
        UnknownNameError: the study has no such table here.
    """
    import pandas as pd

    files = artifact_files(study, storage)
    if name not in files:
        hint = f"(of study {study.study_name}, in {artifacts_dir(study.study_name, storage)})"
        raise UnknownNameError("table", name, files, hint=hint)
    return pd.read_parquet(files[name])
