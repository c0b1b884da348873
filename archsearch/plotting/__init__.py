"""Pictures of studies, spaces, models, pipelines and fleets by one call.

What a picture shows is computed first, as a plain record (``front_info`` gives a ``FrontInfo``), then drawn with Plotly
(``plot_front``).
"""

from archsearch.plotting.axes import Axis
from archsearch.plotting.breakdown_tree import BreakdownInfo, OpTile, breakdown_info, plot_breakdown
from archsearch.plotting.front import plot_front
from archsearch.plotting.front_info import Density, FrontInfo, Points, Region, front_info
from archsearch.plotting.theme import template

__all__ = [
    "Axis",
    "BreakdownInfo",
    "Density",
    "FrontInfo",
    "OpTile",
    "Points",
    "Region",
    "breakdown_info",
    "front_info",
    "plot_breakdown",
    "plot_front",
    "template",
]
