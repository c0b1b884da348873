"""The architecture that a trial stands for, written in the trial's system attribute ``KEY``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

KEY = "archsearch:key"


def key_of(trial: FrozenTrial) -> str | None:
    """The architecture that a trial stands for, as stored."""
    key: str | None = trial.system_attrs.get(KEY)
    return key


def encode_key(key: Sequence[Any]) -> str:
    """A canonical key (``enumeration.canonical_keys``) as it is stored."""
    return json.dumps(list(key), separators=(",", ":"))
