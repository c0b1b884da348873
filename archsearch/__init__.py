"""archsearch: design transformers for the GPU they will run on.

>>> import archsearch
>>> archsearch.estimate("llama-3-8b", "h100-sxm", seq_len=2048).latency_s      # doctest: +SKIP
>>> archsearch.recommend("modernbert-base-budget", "t4,a10,h100-sxm")          # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archsearch.api import (
        EstimateResult,
        diff,
        enumerate_space,
        estimate,
        explain,
        load_gpu,
        recommend,
        run_study,
    )

    __version__: str

__all__ = [
    "EstimateResult",
    "__version__",
    "diff",
    "enumerate_space",
    "estimate",
    "explain",
    "load_gpu",
    "recommend",
    "run_study",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from archsearch.version import version

        return version()
    if name in __all__:
        return getattr(import_module("archsearch.api"), name)
    raise AttributeError(f"module 'archsearch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
