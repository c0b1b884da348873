"""What a shell offers for a name that is being typed: file names alone are read, so that it comes at once."""

from __future__ import annotations

from collections.abc import Iterable


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


def complete_gpu(incomplete: str) -> list[str]:
    """Ids of GPUs; of a list, its last one."""
    from archsearch.hardware.folders import profiles_dirs, yaml_files

    before, comma, last = incomplete.rpartition(",")
    ids = {path.stem for folder in profiles_dirs() for path, _ in yaml_files(folder)}
    return [before + comma + gpu for gpu in _starting(last, ids)]


def complete_space(incomplete: str) -> list[str]:
    """Names of search spaces."""
    from archsearch.search.space.space import space_files

    return _starting(incomplete, space_files())


def complete_study(incomplete: str) -> list[str]:
    """Names of the studies that are stored by default."""
    from archsearch.search.studies.places import studies_dir

    return _starting(incomplete, {path.stem for path in studies_dir().glob("*.journal")})


def complete_source(incomplete: str) -> list[str]:
    """Studies and spaces."""
    return sorted({*complete_study(incomplete), *complete_space(incomplete)})


def complete_model(incomplete: str) -> list[str]:
    """Names of published models."""
    from archsearch.models.registry.families import preset_names

    return _starting(incomplete, preset_names())


def complete_design(incomplete: str) -> list[str]:
    """What has an architecture: published models, studies and spaces."""
    return sorted({*complete_model(incomplete), *complete_source(incomplete)})


def complete_reported(incomplete: str) -> list[str]:
    """What a report is of: studies, spaces, models and pipelines."""
    return sorted({*complete_design(incomplete), *complete_pipeline(incomplete)})


def complete_family(incomplete: str) -> list[str]:
    """Families of models."""
    from archsearch.models.registry.families import family_names

    return _starting(incomplete, family_names())


def complete_dtype(incomplete: str) -> list[str]:
    """Number formats."""
    from archsearch.dtypes import DType

    return _starting(incomplete, DType)


def complete_preference(incomplete: str) -> list[str]:
    """What a recommendation ranks first by."""
    from typing import get_args

    from archsearch.search.space.schema import Preference

    return _starting(incomplete, get_args(Preference))


def complete_lever(incomplete: str) -> list[str]:
    """Levers of pipelines."""
    from archsearch.pipeline.levers import levers

    return _starting(incomplete, levers())


def complete_pipeline(incomplete: str) -> list[str]:
    """Names of pipelines."""
    from archsearch.pipeline.catalog import pipeline_files

    return _starting(incomplete, pipeline_files())
