"""Pictures of a search's report: the front to pin, parallel axes, GPUs, memory, curves of rank 1, quality laws."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from archsearch.errors import ArchSearchError
from archsearch.plotting.bars import Bars, figure
from archsearch.report.curves import sensitivity_pictures
from archsearch.report.web_page import Picture

if TYPE_CHECKING:
    from archsearch.plotting.sources import Found
    from archsearch.report.pinned import Pinned
    from archsearch.search.evaluate.result import SearchResult

Drawn = tuple[tuple[Picture, ...], tuple[str, ...]]
"""Pictures, and sentences on what is not drawn and why."""
FRONT_HEIGHT = 520
LONGEST_LABEL = 24
"""Letters of a parallel axis' title."""


def front_pictures(search: Found, pins: Pinned) -> Drawn:
    """Every objective against quality (or the first), one shown at a time; the points can be pinned."""
    from archsearch.plotting.front import draw_front, note
    from archsearch.plotting.front_info import info_of

    objectives = list(search.whole.setting.objectives)
    upright = next((name for name in ("quality", "trained_loss") if name in objectives), objectives[0])
    pictures = []
    for number, column in enumerate(name for name in objectives if name != upright):
        info = info_of(search, x=column, y=upright)
        drawn = draw_front(info)
        drawn.update_layout(height=FRONT_HEIGHT)
        pins.mark(drawn)
        name, caption = f"front-{number}", f"{note(info)}."
        pictures.append(Picture(name, "Across", drawn, caption, "front", info.x_title, pins=True))
    return tuple(pictures), () if pictures else ("One objective: the best architecture is the front.",)


def parallel_picture(search: Found) -> Drawn:
    """Architectures over parallel axes."""
    from archsearch.plotting.parallel_lines import draw_parallel, parallel_info

    try:
        info = parallel_info(search)
    except ArchSearchError as error:
        return (), (f"No parallel axes: {error}.",)
    caption = "; ".join(["Orange: recommended; blue: the front; grey: beaten by it", *info.notes])
    told = f"{caption}. Drag along an axis to see only what lies there; click it to see all again."
    drawn = draw_parallel(info)
    for axis in drawn.data[0].dimensions:
        axis.label = textwrap.shorten(axis.label, LONGEST_LABEL, placeholder=" …")
    return (Picture("parallel", "Dimensions and objectives", drawn, told),), ()


def gpu_pictures(best: SearchResult) -> tuple[Picture, ...]:
    """Latency on each GPU of the pool, and memory against what can be used."""
    from archsearch.plotting.gpu_bars import latency_info, memory_info

    latency, memory = latency_info(best), memory_info(best)
    ranks = {name: f"rank {name.partition('.')[0]}" for name in memory.labels}
    return (
        Picture("latency", "Latency on each GPU", figure(_renamed(latency, ranks)), "Lines are 80 % bands."),
        Picture("memory", "Memory", figure(_renamed(memory, ranks)), "The marks: what a program can use of each GPU."),
    )


def _renamed(bars: Bars, names: Mapping[str, str]) -> Bars:
    """Bars whose labels and series are called otherwise."""
    series, low, high = (
        {names.get(name, name): values for name, values in group.items()}
        for group in (bars.series, bars.low, bars.high)
    )
    labels = [names.get(label, label) for label in bars.labels]
    return replace(bars, labels=labels, series=series, low=low, high=high)


def curve_pictures(best: SearchResult) -> Drawn:
    """Latency along each dimension of rank 1, on each GPU: of a pipeline's transformer, one call of it."""
    from archsearch.api import estimate
    from archsearch.search.answers.export import export_of

    try:
        export = export_of(best, 1)
        w = export.workload
        sizes = {name: getattr(w, name) for name in ("batch_size", "seq_len", "height", "width", "frames")}
        fields = {name: value for name, value in sizes.items() if value is not None}
        fields |= {"phase": w.phase.value, "dtype": w.dtype.value}
        run = best.setting.execution
        estimates = [estimate(export.config, gpu, execution=run, **fields) for gpu in best.setting.pool.ids]
    except ArchSearchError as error:
        return (), (f"No curves: {error}.",)
    pictures, notes = sensitivity_pictures(estimates)
    whole = "Curves are of one call of the transformer." if export.whole is not None else ""
    return pictures, (*([whole] if whole else []), *notes)


def proxy_picture(search: Found) -> Drawn:
    """Where independent laws of quality disagree about the front's order."""
    from archsearch.plotting.proxy_ranks import draw_proxies, proxies_info

    try:
        info = proxies_info(search)
    except ArchSearchError as error:
        return (), (f"Not compared: {error}.",)
    told = "; ".join(f"{pair.a} and {pair.b}: Kendall's tau {pair.kendall:.2f}" for pair in info.pairs)
    caption = f"On the dotted line two laws agree; starred: recommended. {told}."
    return (Picture("proxies", "Rank by quality under two laws", draw_proxies(info), caption),), ()
