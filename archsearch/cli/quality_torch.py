"""The parts of ``archsearch quality`` that need torch: training-free scores and short training runs of a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch.cli.output import note

if TYPE_CHECKING:
    import pandas as pd


def add_training_free(frame: pd.DataFrame, family: str | None, device: str) -> pd.DataFrame:
    """The table with a column ``score_<name>`` per training-free score; models are scaled together to a small size.

    Raises:
        InvalidInputError: torch is missing, or a row cannot be built.
    """
    from archsearch.models.base import Modality
    from archsearch.quality.modules import shape_of
    from archsearch.quality.table import row_configs
    from archsearch.quality.trained import scale_together
    from archsearch.quality.training_free import SCORES, Settings, scores

    configs = row_configs(frame, family)
    shapes = scale_together([shape_of(config) for config in configs], 2e6)
    answer = frame.copy()
    found = []
    for config, shape in zip(configs, shapes, strict=True):
        found.append(
            scores(shape, settings=Settings(causal=config.modality is Modality.CAUSAL_LANGUAGE), device=device)
        )
    for name in SCORES:
        answer[f"score_{name}"] = [row[name] for row in found]
    return answer


def add_training(
    frame: pd.DataFrame, family: str | None, device: str, steps: int | None, data: Path | None
) -> pd.DataFrame:
    """The table with ``trained_loss``, ``trained_steps`` and ``trained_rank`` of a short run.

    Raises:
        InvalidInputError: torch is missing, a row cannot be built, or the text is missing.
    """
    from archsearch.quality.table import row_configs
    from archsearch.quality.trained import TrainSettings, train_table

    settings = TrainSettings(device=device, data=data)
    settings = settings if steps is None else replace(settings, steps=steps)
    columns = train_table(row_configs(frame, family), settings, note)
    return frame.assign(**columns)


def check_torch(device: str) -> None:
    """Refuse what cannot run here.

    Raises:
        InvalidInputError: torch is not installed, an unknown device, or no GPU.
    """
    from archsearch.errors import InvalidInputError

    try:
        import torch
    except ModuleNotFoundError:
        raise InvalidInputError(
            "--training-free and --train build real modules: install torch (pip install 'archsearch[torch]')"
        ) from None
    if device not in ("cpu", "cuda"):
        raise InvalidInputError(f"--device {device} is neither cpu nor cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidInputError("--device cuda: torch sees no GPU here; use --device cpu")
