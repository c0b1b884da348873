"""What the GPUs of one architecture share: units and limits of an SM, the blocks that libraries' kernels cut work into,
near relatives.

An architecture is a YAML file in ``architectures/`` beside the profiles, or stands in a GPU's profile under
``architecture``. What it does not state is the relative's that ``like`` names, so that a new architecture is as short
as what is new about it. Every fact that it does state has a source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.hardware.folders import profiles_dirs, yaml_files
from archsearch.hardware.parsed import parsed_mapping
from archsearch.hardware.source import Source, Vendor
from archsearch.yaml_records import Record, record_of

FOLDER = "architectures"
_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
Id = Annotated[str, Field(pattern=f"^{_ID.pattern}$")]
"""How GPUs and architectures are called, which is their files' name too."""
Changed = tuple[tuple[str, int], ...]
"""Files with the times that they last changed, in nanoseconds."""
Range = tuple[PositiveInt, PositiveInt | None]
"""Least and most, the most None where nothing bounds it."""


class Tile(Record):
    """Outputs that one block of a matrix product computes: ``m`` rows and ``n`` columns.

    ``resident`` are blocks that one SM holds at a time. ``serves_m`` and ``serves_n`` are the products that a library
    takes it for; ``split_k`` whether it may share one output among several blocks.
    """

    m: PositiveInt
    n: PositiveInt
    resident: PositiveInt
    serves_m: Range = (1, None)
    serves_n: Range = (1, None)
    split_k: bool = True


def _short_form(value: object) -> object:
    """``[128, 64, 2]`` for a tile of 128 rows, 64 columns and two resident blocks."""
    if isinstance(value, list | tuple) and len(value) == 3:
        m, n, resident = value
        return {"m": m, "n": n, "resident": resident}
    return value


Tiles = tuple[Annotated[Tile, BeforeValidator(_short_form)], ...]


class VectorTiles(Record):
    """Tiles of kernels on vector units: of products with weights (``linear``) and of two activations (``bmm``)."""

    linear: Annotated[Tiles, Field(min_length=1)]
    bmm: Annotated[Tiles, Field(min_length=1)]


class Served(Record):
    """The attention kernels that serving engines take: with a causal mask, without one, and for a ``head_dim`` above
    256 (the same where it is None)."""

    causal: Literal["fa2", "fa3", "fa4", "trtllm"]
    full: Literal["fa2", "fa3", "fa4"]
    wide: Literal["fa2", "fa3", "fa4"] | None = None


Blocks = tuple[PositiveInt, PositiveInt, PositiveInt]
"""Largest head_dim, query rows and keys of a block."""


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a fact of an architecture comes from: the architecture whose file states it, and that file's sources."""

    architecture: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture with all its facts, its own or borrowed.

    * ``kernels``: whether its libraries' kernels are known as tiles; ``roofline`` where they are not, and times are
      those of units and memory alone.
    * ``tensor_cores_per_sm``, ``shared_memory_per_sm_kib``, ``registers_per_sm``, ``max_threads_per_sm``,
      ``max_blocks_per_sm``: what an SM has; None where a device of unknown kernels has no such thing.
    * ``flops_per_clock_per_sm``: dense FLOPs (two per multiply-add) per clock of one SM with fp32 accumulation, before
      what a product caps (``GpuSpec.tensor_rate_cap``, ``fp32_accumulation``).
    * ``vector_formats``: formats that vector units multiply; matrix units serve the others, where there are any.
    * ``context_mib``: device memory that a process takes before its first tensor.

    * ``nearest``: architectures whose fitted coefficients serve where none of its own are, nearest first.
    * ``fitted_as``: the architecture whose fitted coefficients are its own as well, None where it has some alone.
    * ``warp_group_units``: whether matrix units reach their peak under instructions of a warp group alone, with TMA to
      feed them.
    * ``tensor_tiles``, ``fp8_tiles``, ``fp4_tiles``, ``vector_tiles``: tiles of matrix products on matrix units, of
      those in fp8 and fp4 (None: the same) and on vector units.
    * ``fa2_blocks``: FlashAttention-2's blocks, ascending by head_dim.
    * ``flash_max_head_dim``: the widest heads of FlashAttention's kernels, None where it has none.
    * ``efficient_attention``: formats of PyTorch's own fused kernel.
    * ``torch_attention``: the kernel that scaled_dot_product_attention prefers; ``serving_attention`` the engines'.
    * ``triton``: whether Triton, and so torch.compile, generates code.
    * ``keeps_clock``: by format, a board of the same process whose long dense products keep their rated clock.
    * ``citations``: by fact, where it comes from.
    """

    id: str
    name: str
    vendor: Vendor
    nearest: tuple[str, ...]
    fitted_as: str | None
    compute_capabilities: tuple[str, ...]
    citations: Mapping[str, Citation]
    kernels: Literal["tiles", "roofline"]
    tensor_cores_per_sm: int
    flops_per_clock_per_sm: Mapping[DType, float]
    vector_formats: tuple[DType, ...]
    shared_memory_per_sm_kib: float | None
    registers_per_sm: int | None
    max_threads_per_sm: int | None
    max_blocks_per_sm: int | None
    context_mib: float
    warp_group_units: bool
    tensor_tiles: tuple[Tile, ...]
    fp8_tiles: tuple[Tile, ...] | None
    fp4_tiles: tuple[Tile, ...] | None
    vector_tiles: VectorTiles
    fa2_blocks: tuple[Blocks, ...]
    flash_max_head_dim: int | None
    efficient_attention: tuple[DType, ...]
    torch_attention: str
    serving_attention: Served
    triton: bool
    keeps_clock: Mapping[DType, str]

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def tiles_known(self) -> bool:
        """Whether its kernels are modelled by tiles; else its times are a roofline with a wide band."""
        return self.kernels == "tiles"

    def serves(self, attention: str) -> bool:
        """Whether serving engines take an attention kernel (``fa3``) here."""
        served = self.serving_attention
        return self.tiles_known and attention in (served.causal, served.full, served.wide)


class ArchitectureRecord(Record):
    """What a file, or a GPU's profile, states of an architecture (see ``Architecture``).

    ``like`` names the relative that has the facts that are not stated; ``nearest`` is then that relative and its own.
    """

    id: Id
    name: str
    vendor: Vendor
    like: Id | None = None
    nearest: tuple[Id, ...] = ()
    fitted_as: Id | None = None
    compute_capabilities: tuple[str, ...] = ()
    kernels: Literal["tiles", "roofline"] = "tiles"
    tensor_cores_per_sm: int = Field(default=0, ge=0)
    flops_per_clock_per_sm: dict[DType, PositiveFloat] = Field(default={})
    vector_formats: tuple[DType, ...] = (DType.FP32,)
    shared_memory_per_sm_kib: PositiveFloat | None = None
    registers_per_sm: PositiveInt | None = None
    max_threads_per_sm: PositiveInt | None = None
    max_blocks_per_sm: PositiveInt | None = None
    context_mib: NonNegativeFloat = 0.0
    warp_group_units: bool = False
    tensor_tiles: Annotated[Tiles, Field(min_length=1)] = ()
    fp8_tiles: Annotated[Tiles, Field(min_length=1)] | None = None
    fp4_tiles: Annotated[Tiles, Field(min_length=1)] | None = None
    vector_tiles: VectorTiles | None = None
    fa2_blocks: Annotated[tuple[Blocks, ...], Field(min_length=1)] = ()
    flash_max_head_dim: PositiveInt | None = None
    efficient_attention: tuple[DType, ...] = ()
    torch_attention: Literal["torch_fa2", "torch_cudnn"] = "torch_fa2"
    serving_attention: Served | None = None
    triton: bool = False
    keeps_clock: dict[DType, str] = Field(default={})
    sources: tuple[Source, ...] = ()
    notes: str = ""

    @model_validator(mode="after")
    def _complete_and_sourced(self) -> ArchitectureRecord:
        facts = self.stated()
        unsourced = [fact for fact in facts if not any(fact in source.fields for source in self.sources)]
        if unsourced:
            raise ValueError(f"no source names these facts: {', '.join(unsourced)}; add them to sources[].fields")
        optional = _OF_TILES if self.kernels == "roofline" else ()
        missing = [fact for fact in FACTS if fact not in facts and fact not in (*_DEFAULTED, *optional)]
        if self.like is None and missing:
            raise ValueError(f"{', '.join(missing)}: state them, or name a relative that has them with like: NAME")
        return self

    def stated(self) -> tuple[str, ...]:
        """The facts that stand here."""
        return tuple(name for name in (*FACTS, *OWN) if name in self.model_fields_set)


OWN = ("fitted_as", "compute_capabilities", "keeps_clock")
"""Facts that no relative lends."""
FACTS = tuple(f.name for f in fields(Architecture) if f.name not in ("id", "name", "vendor", "citations", *OWN))
"""Facts that a relative lends where they are not stated."""
SM_FACTS = (
    *("tensor_cores_per_sm", "flops_per_clock_per_sm", "shared_memory_per_sm_kib", "registers_per_sm"),
    *("max_threads_per_sm", "max_blocks_per_sm", "context_mib"),
)
"""Facts that are figures of each GPU of the architecture, unless its profile states its own."""
_DEFAULTED = ("kernels", "context_mib", "vector_formats", "fp4_tiles")
"""Facts that hold as their defaults say where nothing is stated."""
LIMITS = ("shared_memory_per_sm_kib", "registers_per_sm", "max_threads_per_sm", "max_blocks_per_sm")
_OF_TILES = (
    *("nearest", "warp_group_units", "tensor_tiles", "fp8_tiles", "fp4_tiles", "vector_tiles", "fa2_blocks"),
    *("flash_max_head_dim", "efficient_attention", "torch_attention", "serving_attention", *LIMITS),
)
"""Facts that a device of unknown kernels does without."""


def find_architecture(name: str, directories: Sequence[Path] | None = None) -> Architecture:
    """The architecture of a name.

    Args:
        directories: folders of profiles in which its file may be, first match wins (default: ``profiles_dirs``).

    Raises:
        UnknownNameError: no folder has it; the text lists the nearest names.
        InvalidInputError: its file, or that of a relative, is malformed.
    """
    folders = tuple(profiles_dirs() if directories is None else directories)
    return completed(_record(name, folders), folders)


@lru_cache(maxsize=256)
def remembered_architecture(name: str, directories: tuple[Path, ...], files: Changed) -> Architecture:
    """``find_architecture`` of folders whose files (``architecture_files``) a caller has looked at already.

    Raises:
        UnknownNameError, InvalidInputError: see ``find_architecture``.
    """
    return find_architecture(name, directories)


def completed(record: ArchitectureRecord, directories: Sequence[Path], borrowers: tuple[str, ...] = ()) -> Architecture:
    """An architecture with what its record leaves to relatives; ``borrowers`` are those that borrow from it.

    Raises:
        UnknownNameError: a relative that no folder has.
        InvalidInputError: a relative's file is malformed, or relatives that borrow from each other.
    """
    lineage = (*borrowers, record.id)
    if record.id in borrowers:
        raise InvalidInputError(f"architectures that are like each other: {', '.join(lineage)}")
    facts: dict[str, Any] = {name: getattr(record, name) for name in (*OWN, *FACTS)}
    citations: dict[str, Citation] = {}
    if record.like is not None:
        relative = completed(_record(record.like, directories), directories, lineage)
        facts |= {name: getattr(relative, name) for name in FACTS} | {"nearest": (relative.id, *relative.nearest)}
        citations |= relative.citations
    facts |= {name: getattr(record, name) for name in record.stated()}
    for name in record.stated():
        citations[name] = Citation(record.id, tuple(source for source in record.sources if name in source.fields))
    return Architecture(id=record.id, name=record.name, vendor=record.vendor, citations=citations, **facts)


def architecture_records(directories: Sequence[Path] | None = None) -> list[ArchitectureRecord]:
    """The records of all architectures that have a file, by name."""
    folders = profiles_dirs() if directories is None else directories
    return [_record(name, folders) for name in architecture_names(folders)]


def fitted_alike(name: str) -> tuple[str, ...]:
    """The architectures whose coefficients are those fitted on another (``Architecture.fitted_as``)."""
    return tuple(record.id for record in architecture_records() if record.fitted_as == name)


def architecture_names(directories: Sequence[Path]) -> list[str]:
    """Names of the architectures that have a file in these folders of profiles."""
    return sorted({path.stem for folder in directories for path in (folder / FOLDER).glob("*.yaml")})


def architecture_files(directories: Sequence[Path]) -> Changed:
    """The files of architectures in these folders of profiles."""
    return tuple((str(path), changed) for folder in directories for path, changed in yaml_files(folder / FOLDER))


def _record(name: str, directories: Sequence[Path]) -> ArchitectureRecord:
    for folder in directories if _ID.fullmatch(name) else ():  # never a path
        path = folder / FOLDER / f"{name}.yaml"
        if path.is_file():
            return _parse(path, path.stat().st_mtime_ns)
    raise UnknownNameError("architecture", name, architecture_names(directories))


@lru_cache(maxsize=256)
def _parse(path: Path, changed_ns: int) -> ArchitectureRecord:
    """One file; ``changed_ns`` is its modification time, the cache's second key."""
    record = record_of(ArchitectureRecord, parsed_mapping(path), path)
    if record.id != path.stem:
        raise InvalidInputError(f"{path}: id: {record.id!r} must be the file's name, {path.stem!r}")
    return record
