"""How near to their rooflines the kernels of measured GPUs come: what stands for devices of unknown kernels.

For each kind of operation (``cost/kernels/roofline_time.py``) one fit over all measured GPUs and formats, each weighing
the same, and the band of whole GPUs held back: whoever asks about a device that nobody measured is in that position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from archsearch.bench.fit import Group, fit
from archsearch.bench.measurements import group_of, route_rows
from archsearch.bench.own_tables import is_results, unserved
from archsearch.bench.row_checks import COLLECTIVES
from archsearch.bench.unseen import MIN_ROWS, kernel_fit, pool, rounded, thinned, unseen_rows
from archsearch.cost.calibration import KernelFit
from archsearch.cost.kernels.kernel_cost import KernelModel
from archsearch.cost.routes import roofline_of

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "roofline/"
Measured = Mapping[str, list[Group]]
"""Groups of one format each, by GPU."""


def roofline_fits(
    frames: Iterable[pd.DataFrame], progress: Callable[[str], None] = lambda _: None
) -> dict[str, KernelFit]:
    """The fits of every kind, by kernel family (``roofline/gemm``), to the rows of tables."""
    rows: dict[str, dict[str, list[Group]]] = defaultdict(lambda: defaultdict(list))
    models: dict[str, KernelModel] = {}
    for frame in frames:
        served = frame[unserved(frame) == ""] if is_results(frame) else frame[~frame["op"].isin(COLLECTIVES)]
        served = served.reset_index(drop=True)
        for routed in route_rows(served):
            roofline = replace(routed, route=roofline_of(routed.route))
            group = group_of(roofline, served)
            if len(group) >= MIN_ROWS:
                models[roofline.route.kernel] = roofline.route.model
                rows[roofline.route.kernel][group.gpu.id].append(thinned(group))
    fits = {}
    for kernel, groups in sorted(rows.items()):
        progress(f"{kernel}: {sum(len(g) for among in groups.values() for g in among)} rows of {', '.join(groups)}")
        fits[kernel] = _fit(models[kernel], groups)
    return fits


def _fit(model: KernelModel, measured: Measured) -> KernelFit:
    """Shares of all GPUs, and what each GPU's rows leave under those of the others."""
    values = fit(model, _groups(measured))
    left_out = {}
    for gpu, own in measured.items():
        others = _groups({other: groups for other, groups in measured.items() if other != gpu})
        held = fit(model, others, prior=values) if others else values
        left_out[gpu] = pool([unseen_rows(model, group, held) for group in own])
    carried = {gpu: rounded(unseen.mape()) for gpu, unseen in left_out.items()}
    rows = {gpu: groups[0] for gpu, groups in measured.items()}
    found = kernel_fit(values, pool(list(left_out.values())), rows, "whole GPUs", carried=carried)
    return found.model_copy(update={"rows": sum(map(len, _groups(measured)))})


def _groups(measured: Measured) -> list[Group]:
    return [group for groups in measured.values() for group in groups]
