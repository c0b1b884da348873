"""What quality an architecture can be expected to reach: published laws behind one small interface."""

from archsearch.quality.diffusion import LatentDiffusionFid, ReconstructionPsnr
from archsearch.quality.diffusion_512 import LatentDiffusionFid512
from archsearch.quality.ensemble import EnsembleProxy
from archsearch.quality.features import training_features
from archsearch.quality.laws import published_laws
from archsearch.quality.proxy import (
    Quality,
    QualityProxy,
    default_proxy,
    get_proxy,
    list_proxies,
    register_proxy,
    ship_proxies,
)

__all__ = [
    "Quality",
    "QualityProxy",
    "default_proxy",
    "get_proxy",
    "list_proxies",
    "register_proxy",
    "training_features",
]

_IN_CODE: tuple[QualityProxy, ...] = (
    LatentDiffusionFid(),
    LatentDiffusionFid512(),
    ReconstructionPsnr(),
    EnsembleProxy(),
)
ship_proxies(published_laws)
ship_proxies(lambda: {proxy.name: proxy for proxy in _IN_CODE})
