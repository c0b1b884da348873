"""Whether a pool has the format that a space asks for."""

from __future__ import annotations

from archsearch.errors import UnsupportedError
from archsearch.hardware import GpuPool
from archsearch.hardware.formats import why_foreign
from archsearch.search.space.space import SearchSpace


def refuse_unsupported(space: SearchSpace, pool: GpuPool) -> None:
    """Refuse a format that a GPU of the pool has no units for.

    Raises:
        UnsupportedError: it has none, or the space names another vendor's own format; with what the pool has.
    """
    dtype = space.workload.dtype
    for gpu in pool.gpus:
        if (reason := why_foreign(gpu, space.format_in_file)) is not None:
            raise UnsupportedError(f"space {space.name} asks for {space.format_in_file} (workload.dtype): {reason}")
        if not gpu.supports(dtype):
            common = [d.value for d in type(dtype) if all(g.supports(d) for g in pool.gpus)]
            raise UnsupportedError(
                f"space {space.name} asks for {dtype.value}: {gpu.why_unsupported(dtype)}; "
                f"set workload.dtype to one that the whole pool has ({', '.join(common)}) or leave {gpu.id} out"
            )
