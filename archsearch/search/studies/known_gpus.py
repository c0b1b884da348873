"""Which GPUs of a study this installation knows: a user's profiles may not be at hand whenever a study is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archsearch.errors import UnknownNameError
from archsearch.hardware import load_gpu

KEY = "unknown_gpus"
"""The key of a summary that says so."""


def unknown_gpus(ids: Sequence[str]) -> list[str]:
    """GPUs of a study whose profiles are not here (a user's, which ``--profiles`` names)."""
    return [gpu_id for gpu_id in ids if not _is_known(gpu_id)]


def of_now(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary that was kept, with the GPUs that are unknown now."""
    return summary | {KEY: unknown_gpus(summary["hardware"])}


def _is_known(gpu_id: str) -> bool:
    try:
        load_gpu(gpu_id)
    except UnknownNameError:
        return False
    return True
