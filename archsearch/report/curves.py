"""How latency moves along each dimension of a model, GPU by GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from archsearch.errors import ArchSearchError
from archsearch.report.web_page import Picture

if TYPE_CHECKING:
    from archsearch.estimate_result import EstimateResult

MOST_GPUS = 6
"""GPUs of a pool whose curves are drawn: each is as many estimates as its dimensions have values."""
CAPTION = (
    "Shaded: the 80 % band; starred: the model itself. Hover for the waves of the op that moves most: latency steps "
    "where they do."
)


def sensitivity_pictures(estimates: Sequence[EstimateResult]) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    """Curves of the first GPUs, one shown at a time; and why there are none, or fewer."""
    from archsearch.plotting.sensitivity_curves import draw_sensitivity, sensitivity_info

    pictures, notes = [], []
    for number, estimate in enumerate(estimates[:MOST_GPUS]):
        try:
            info = sensitivity_info(estimate)
        except ArchSearchError as error:
            notes.append(f"No curves on {estimate.hardware}: {error}.")
            continue
        if not info.curves:
            notes.append(f"No curves on {estimate.hardware}: no dimension takes another value alone.")
            continue
        figure, name = draw_sensitivity(info), f"curves-{number}"
        pictures.append(Picture(name, "Latency along each dimension", figure, CAPTION, "curves", estimate.hardware))
    if len(estimates) > MOST_GPUS:
        notes.append(f"Curves are of the first {MOST_GPUS} of {len(estimates)} GPUs.")
    return tuple(pictures), tuple(dict.fromkeys(notes))
