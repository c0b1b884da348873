"""What a GPU's silicon is: one frozen record per part, units in the names, a source per figure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from pydantic import Field, PositiveFloat, PositiveInt, PrivateAttr, model_validator

from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.architecture import Architecture, find_architecture
from archsearch.hardware.source import Source, Vendor
from archsearch.yaml_records import Record


class Memory(Record):
    """Device memory. bandwidth_gb_s = bus_width_bits / 8 · data_rate_gbps (decimal gigabytes)."""

    type: str
    size_gib: PositiveFloat
    bus_width_bits: PositiveInt
    data_rate_gbps: PositiveFloat
    bandwidth_gb_s: PositiveFloat


class Interconnect(Record):
    """GPU-to-GPU link; ``bandwidth_gb_s`` is the datasheet's total of both directions per GPU."""

    name: str
    bandwidth_gb_s: PositiveFloat


class Pcie(Record):
    """Host link; one direction's bandwidth follows from generation and lanes."""

    generation: PositiveInt
    lanes: PositiveInt


class GpuSpec(Record):
    """One GPU part.

    ``flops_per_clock_per_sm`` holds dense FLOPs (two per multiply-add) per clock of one SM (NVIDIA) or CU
    (AMD) for each dtype that the silicon has, tensor/matrix cores where they serve that dtype with fp32
    accumulation, vector units for ``fp32``. ``peak_tflops`` are the datasheet's dense peaks (TOPS for int8),
    and equal num_sms · flops_per_clock_per_sm · boost_clock_mhz within 3 % unless ``peak_notes[dtype]`` says
    why not. ``alignment_elements`` is the multiple of k and n that reaches full tensor-core speed. ``architecture`` is
    a name; ``generation`` has the facts.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    name: str
    vendor: Vendor
    architecture: str
    aliases: tuple[str, ...] = ()
    compute_capability: str | None = None
    released: int = Field(ge=2010, le=2100)
    form_factor: str
    num_sms: PositiveInt
    tensor_cores_per_sm: int = Field(ge=0)
    flops_per_clock_per_sm: dict[DType, PositiveFloat]
    base_clock_mhz: PositiveFloat | None = None
    boost_clock_mhz: PositiveFloat
    peak_tflops: dict[DType, PositiveFloat]
    peak_notes: dict[DType, str] = Field(default={})
    memory: Memory
    l2_cache_mib: PositiveFloat
    shared_memory_per_sm_kib: PositiveFloat
    registers_per_sm: PositiveInt
    max_threads_per_sm: PositiveInt
    max_blocks_per_sm: PositiveInt
    alignment_elements: dict[DType, PositiveInt]
    tdp_w: PositiveFloat
    interconnect: Interconnect | None = None
    pcie: Pcie | None = None
    sources: tuple[Source, ...]
    notes: str = ""
    _generation: Architecture | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _consistent(self) -> GpuSpec:
        missing = set(self.peak_tflops) ^ set(self.flops_per_clock_per_sm)
        if missing:
            names = ", ".join(sorted(missing))
            raise ValueError(f"peak_tflops and flops_per_clock_per_sm must name the same dtypes; differing: {names}")
        unsourced = [path for path in self.figure_paths() if not self.sources_of(path)]
        if unsourced:
            raise ValueError(f"no source names these figures: {', '.join(unsourced)}; add them to sources[].fields")
        return self

    def __hash__(self) -> int:
        return hash((self.id, self.boost_clock_mhz, self.num_sms))

    def figure_paths(self) -> list[str]:
        """Dotted paths of every figure that needs a source (identity, aliases and notes aside)."""
        exempt = {"id", "name", "vendor", "aliases", "sources", "notes", "peak_notes", "form_factor"}
        paths: list[str] = []
        for key, value in self.model_dump(exclude=exempt, exclude_none=True).items():
            if isinstance(value, dict):
                paths += [f"{key}.{getattr(sub, 'value', sub)}" for sub in value]
            else:
                paths.append(key)
        return paths

    def sources_of(self, path: str) -> list[Source]:
        """The sources whose ``fields`` cover a dotted path (a parent name covers its children)."""
        head = path.split(".")[0]
        return [s for s in self.sources if any(fnmatchcase(path, f) or f == head for f in s.fields)]

    @property
    def generation(self) -> Architecture:
        """What the GPUs of its architecture share.

        Raises:
            UnknownNameError: a spec that was not read from a profile names an architecture that has no file.
        """
        found = self._generation
        return found if found is not None and found.id == self.architecture else find_architecture(self.architecture)

    def of_generation(self, generation: Architecture) -> GpuSpec:
        """The same GPU with the facts of its architecture at hand."""
        spec = self.model_copy()
        spec._generation = generation
        return spec

    @property
    def memory_bytes(self) -> float:
        return self.memory.size_gib * 2**30

    @property
    def bandwidth_bytes_s(self) -> float:
        return self.memory.bandwidth_gb_s * 1e9

    @property
    def l2_bytes(self) -> float:
        return self.l2_cache_mib * 2**20

    def supports(self, dtype: DType) -> bool:
        """Whether the silicon multiplies this format natively."""
        return dtype in self.peak_tflops

    def peak_flops(self, dtype: DType) -> float:
        """Dense datasheet peak in FLOP/s.

        Raises:
            UnsupportedError: the silicon has no such format.
        """
        if dtype not in self.peak_tflops:
            raise UnsupportedError(self.why_unsupported(dtype))
        return self.peak_tflops[dtype] * 1e12

    def why_unsupported(self, dtype: DType) -> str:
        """The reason a format is refused, with the formats that are legal here."""
        have = ", ".join(sorted(d.value for d in self.peak_tflops))
        needs = _NEEDS.get(dtype, "")
        where = f" (compute capability {self.compute_capability})" if self.compute_capability else ""
        return f"{self.id}{where} has no native {dtype.value} matrix units{needs}; it has: {have}"


_NEEDS = {
    DType.FP8: ": FP8 needs NVIDIA compute capability 8.9 or later, or AMD CDNA3 or later",
    DType.FP4: ": FP4 needs NVIDIA compute capability 10.0 or later, or AMD CDNA4 or later",
    DType.BF16: ": bf16 needs NVIDIA compute capability 8.0 or later, or AMD CDNA or later",
    DType.TF32: ": TF32 needs NVIDIA compute capability 8.0 or later",
    DType.FP16: ": fp16 tensor cores need NVIDIA compute capability 7.0 or later",
}
