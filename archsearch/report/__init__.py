"""Pictures of results. What a picture shows is computed first, as plain values, then drawn."""

from archsearch.report.front import FrontInfo, front_info, plot_front

__all__ = ["FrontInfo", "front_info", "plot_front"]
