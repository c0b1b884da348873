"""What the silicon is: GPU records, the database of profiles, pools of GPUs."""

from archsearch.hardware.architecture import Architecture, find_architecture
from archsearch.hardware.database import gpu_ids, list_gpus, load_gpu, readable_gpus
from archsearch.hardware.folders import profiles_dirs
from archsearch.hardware.pool import GpuPool
from archsearch.hardware.prices import (
    Price,
    Quote,
    Quotes,
    listed_price,
    listed_prices,
    parse_prices,
    price_of,
    price_source,
    quote,
    quotes,
)
from archsearch.hardware.source import Source
from archsearch.hardware.spec import GpuSpec, Interconnect, Memory, Pcie

__all__ = [
    "Architecture",
    "GpuPool",
    "GpuSpec",
    "Interconnect",
    "Memory",
    "Pcie",
    "Price",
    "Quote",
    "Quotes",
    "Source",
    "find_architecture",
    "gpu_ids",
    "list_gpus",
    "listed_price",
    "listed_prices",
    "load_gpu",
    "parse_prices",
    "price_of",
    "price_source",
    "profiles_dirs",
    "quote",
    "quotes",
    "readable_gpus",
]
