"""Tables beside a study: fronts and samples as Parquet files, so that many points cost no transactions.

They are Optuna artifacts of the study (``optuna-dashboard`` lists them), kept in a directory next to a study's file, or
in the user's data directory where the study lives in a database.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.errors import UnknownNameError
from archsearch.search.studies.places import artifacts_dir

if TYPE_CHECKING:
    import optuna
    import pandas as pd


def write_artifact(study: optuna.Study, storage: str | None, name: str, frame: pd.DataFrame) -> None:
    """Keep a table (without ``attrs``) as ``name``.parquet with the study; an older one of that name is superseded."""
    from optuna.artifacts import FileSystemArtifactStore, upload_artifact

    directory = artifacts_dir(study.study_name, storage)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(scratch) / f"{name}.parquet"
        frame.to_parquet(file, index=False)
        upload_artifact(
            artifact_store=FileSystemArtifactStore(str(directory)), file_path=str(file), study_or_trial=study
        )


def artifact_files(study: optuna.Study, storage: str | None) -> dict[str, Path]:
    """The study's tables by name, each the latest of its name that lies on this machine."""
    from optuna.artifacts import get_all_artifact_meta

    directory = artifacts_dir(study.study_name, storage)
    tables = [meta for meta in get_all_artifact_meta(study) if Path(meta.filename).suffix == ".parquet"]
    paths = {Path(meta.filename).stem: directory / meta.artifact_id for meta in tables}
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
