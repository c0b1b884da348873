"""Formats by the names of a vendor's own: which GPUs they are of."""

from __future__ import annotations

from collections.abc import Iterable

from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.spec import GpuSpec

NVIDIA_ONLY = "nvfp4"
"""Blocks of 16 with fp8 scales and one for the tensor, which only NVIDIA's units multiply; others' fp4 is mxfp4 (OCP
Microscaling Formats, blocks of 32 with powers of two, which NVIDIA's units take too)."""


def format_on(text: str, gpus: Iterable[GpuSpec]) -> DType:
    """A format as a user names it, for what is to run on these GPUs.

    Raises:
        UnknownNameError: no such format.
        UnsupportedError: a vendor's own format on another vendor's GPU.
    """
    dtype = DType.parse(text)
    for gpu in gpus:
        if (reason := why_foreign(gpu, text)) is not None:
            raise UnsupportedError(f"{{dtype}} {reason}", field="dtype")
    return dtype


def why_foreign(gpu: GpuSpec, text: str) -> str | None:
    """Why a GPU has no format of this name, which is another vendor's, and what to use; None where it may."""
    if speaks(gpu, text):
        return None
    return f"{gpu.id}: {NVIDIA_ONLY} is NVIDIA's block format (Blackwell); fp4 units here take mxfp4: use fp4"


def speaks(gpu: GpuSpec, text: str) -> bool:
    """Whether a format's name is one of this GPU's vendor, or of all."""
    return gpu.vendor == "nvidia" or text.lower() != NVIDIA_ONLY
