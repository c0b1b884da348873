"""Several GPUs that one model has to serve, each with a weight."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from archsearch.errors import InvalidInputError
from archsearch.hardware.database import Profiles, load_gpu
from archsearch.hardware.spec import GpuSpec


@dataclass(frozen=True, slots=True)
class GpuPool:
    """GPUs with weights (the share of work or of users that each stands for); stored weights sum to one.

    Raises:
        InvalidInputError: no GPU, the same GPU twice, or a weight that is not a positive finite number.
    """

    members: tuple[tuple[GpuSpec, float], ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise InvalidInputError("a GPU pool needs at least one GPU, for example h100-sxm or t4,a10=2")
        seen: set[str] = set()
        for gpu, weight in self.members:
            if gpu.id in seen:
                raise InvalidInputError(f"GPU {gpu.id} is in the pool twice; name it once, with a weight ({gpu.id}=2)")
            seen.add(gpu.id)
            if not (math.isfinite(weight) and weight > 0):
                raise InvalidInputError(f"weight of {gpu.id} must be a positive number, not {weight}")
        total = math.fsum(weight for _, weight in self.members)
        object.__setattr__(self, "members", tuple((gpu, weight / total) for gpu, weight in self.members))

    @classmethod
    def of(cls, gpus: Sequence[GpuSpec]) -> GpuPool:
        """GPUs of equal weight."""
        return cls(tuple((gpu, 1.0) for gpu in gpus))

    @classmethod
    def parse(cls, text: str, profiles: Profiles = None) -> GpuPool:
        """A pool from comma-separated names, each with an optional weight: ``t4,a10,h100-sxm=2``.

        Raises:
            UnknownNameError: a name is no known GPU.
            InvalidInputError: an empty item, a weight that is no positive number, or a GPU named twice.
        """
        members = []
        for item in text.split(","):
            name, separator, weight = item.partition("=")
            if not name.strip():
                raise InvalidInputError(f"GPU pool {text!r} has an empty item; write names separated by commas")
            members.append((load_gpu(name, profiles), _weight(weight, item) if separator else 1.0))
        return cls(tuple(members))

    @property
    def gpus(self) -> tuple[GpuSpec, ...]:
        return tuple(gpu for gpu, _ in self.members)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights in the order of ``gpus``; they sum to one."""
        return tuple(weight for _, weight in self.members)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(gpu.id for gpu, _ in self.members)

    def __iter__(self) -> Iterator[tuple[GpuSpec, float]]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def _weight(text: str, item: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInputError(f"weight in {item.strip()!r} must be a number, as in h100-sxm=2") from None
