"""The architecture that a space's are compared with: its model, and what is wrong with it in the space's terms."""

from __future__ import annotations

from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.models.base import ModelConfig
from archsearch.search.space.space import SearchSpace


def baseline_of(space: SearchSpace) -> ModelConfig | None:
    """The space's naive reference: a preset, or dimension values over the fixed fields.

    Raises:
        UnknownNameError: no such preset.
        InvalidInputError: the values describe no real model.
    """
    baseline = space.record.baseline
    if baseline is None:
        return None
    if isinstance(baseline, str):
        from archsearch.models.registry.families import load_preset

        preset: ModelConfig = load_preset(baseline)
        return preset
    config: ModelConfig = space.family_class.from_dict({**space.record.fixed, **baseline})
    return config


def baseline_error(space: SearchSpace, error: ArchSearchError) -> ArchSearchError:
    """What a baseline that cannot be priced on the space's workload is refused with: it names the key of the file."""
    kind = UnsupportedError if isinstance(error, UnsupportedError) else InvalidInputError
    named = f" {space.record.baseline}" if isinstance(space.record.baseline, str) else ""
    return kind(f"{space.origin}: baseline{named}: {error}; name another baseline, or change the workload")
