"""Pictures of studies, spaces, models, pipelines and fleets by one call.

What a picture shows is computed first, as a plain record (``front_info`` gives a ``FrontInfo``), then drawn with Plotly
(``plot_front``). ``draw`` draws a record, ``save`` writes a picture to a file.
"""

from archsearch.plotting.axes import Axis
from archsearch.plotting.bars import Bars
from archsearch.plotting.breakdown_tree import BreakdownInfo, OpTile, breakdown_info, plot_breakdown
from archsearch.plotting.front import plot_front
from archsearch.plotting.front_info import Density, FrontInfo, Points, Region, front_info
from archsearch.plotting.gpu_bars import latency_info, memory_info, plot_latency_per_gpu, plot_memory
from archsearch.plotting.parallel_lines import ParallelInfo, parallel_info, plot_parallel
from archsearch.plotting.pipeline_bars import fleet_info, plot_fleet, plot_stages, stages_info
from archsearch.plotting.proxy_ranks import Pair, ProxiesInfo, plot_proxies, proxies_info
from archsearch.plotting.save import draw, save
from archsearch.plotting.sensitivity_curves import Curve, SensitivityInfo, plot_sensitivity, sensitivity_info
from archsearch.plotting.theme import template

__all__ = [
    "Axis",
    "Bars",
    "BreakdownInfo",
    "Curve",
    "Density",
    "FrontInfo",
    "OpTile",
    "Pair",
    "ParallelInfo",
    "Points",
    "ProxiesInfo",
    "Region",
    "SensitivityInfo",
    "breakdown_info",
    "draw",
    "fleet_info",
    "front_info",
    "latency_info",
    "memory_info",
    "parallel_info",
    "plot_breakdown",
    "plot_fleet",
    "plot_front",
    "plot_latency_per_gpu",
    "plot_memory",
    "plot_parallel",
    "plot_proxies",
    "plot_sensitivity",
    "plot_stages",
    "proxies_info",
    "save",
    "sensitivity_info",
    "stages_info",
    "template",
]
