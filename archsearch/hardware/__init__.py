"""What the silicon is: GPU records, the database of profiles, pools of GPUs."""

from archsearch.hardware.database import gpu_ids, list_gpus, load_gpu, profiles_dirs
from archsearch.hardware.pool import GpuPool
from archsearch.hardware.prices import parse_prices, price_of, price_source
from archsearch.hardware.spec import GpuSpec, Interconnect, Memory, Pcie, Price, Source

__all__ = [
    "GpuPool",
    "GpuSpec",
    "Interconnect",
    "Memory",
    "Pcie",
    "Price",
    "Source",
    "gpu_ids",
    "list_gpus",
    "load_gpu",
    "parse_prices",
    "price_of",
    "price_source",
    "profiles_dirs",
]
