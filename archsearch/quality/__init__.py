"""What quality an architecture can be expected to reach: published laws behind one small interface."""

from archsearch.quality.features import training_features
from archsearch.quality.proxy import Quality, QualityProxy, default_proxy, get_proxy, list_proxies, register_proxy

__all__ = [
    "Quality",
    "QualityProxy",
    "default_proxy",
    "get_proxy",
    "list_proxies",
    "register_proxy",
    "training_features",
]
