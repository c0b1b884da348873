"""What a GPU's silicon and product are: one frozen record per part, units in the names, a source per figure."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, PositiveFloat, PositiveInt, PrivateAttr

from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.hardware.architecture import Architecture, Id, find_architecture
from archsearch.hardware.source import Source, Vendor
from archsearch.notebook_html import facts_html, table_html
from archsearch.yaml_records import Record

Text = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(min_length=3)]
Clock = Annotated[float, Field(ge=100, le=10_000)]
"""MHz."""


class Memory(Record):
    """Device memory. bandwidth_gb_s = bus_width_bits / 8 · data_rate_gbps (decimal gigabytes).

    ``size_gib`` is what is advertised, ``usable_gib`` what a program sees of it (torch's ``total_memory``: less what
    error correction and firmware keep). ``unified``: processor and GPU share it.
    """

    type: str = Field(description="HBM3, GDDR6X ...")
    size_gib: Annotated[float, Field(gt=0, le=4096)] = Field(description="what is advertised, GiB")
    usable_gib: PositiveFloat = Field(description="what a program sees of it, GiB")
    unified: bool = Field(default=False, description="processor and GPU share it")
    bus_width_bits: PositiveInt = Field(description="width of the bus")
    data_rate_gbps: PositiveFloat = Field(description="Gbit/s of one pin")
    bandwidth_gb_s: PositiveFloat = Field(description="GB/s: bus_width_bits / 8 * data_rate_gbps")


class Interconnect(Record):
    """GPU-to-GPU link; ``bandwidth_gb_s`` is the datasheet's total of both directions per GPU, ``domain_gpus`` how many
    GPUs reach each other by it."""

    name: str = Field(description="NVLink 4 ...")
    bandwidth_gb_s: PositiveFloat = Field(description="GB/s of one GPU, both directions together")
    domain_gpus: PositiveInt = Field(description="GPUs that reach each other by it")


class Pcie(Record):
    """Host link; one direction's bandwidth follows from generation and lanes. ``peer_access``: whether the driver lets
    two GPUs copy to each other over it (None: not known)."""

    generation: Annotated[int, Field(ge=1, le=8)] = Field(description="of PCI Express")
    lanes: Annotated[int, Field(ge=1, le=32)] = Field(description="lanes")
    peer_access: bool | None = Field(default=None, description="the driver lets two GPUs copy to each other over it")


class SmLimits(NamedTuple):
    """What bounds the thread blocks that one SM holds: bytes, and counts."""

    shared_memory_bytes: float
    registers: int
    threads: int
    blocks: int


class Dispute(Record):
    """Other values of a figure that are about, and why the profile's stands."""

    others: tuple[float | str, ...] = Field(min_length=1, description="values that others print")
    reason: str = Field(description="why the profile's stands")


class GpuSpec(Record):
    """One GPU part.

    ``flops_per_clock_per_sm`` holds dense FLOPs (two per multiply-add) per clock of one SM (NVIDIA) or CU
    (AMD) for each dtype that the silicon has, tensor/matrix cores where they serve that dtype with fp32
    accumulation, vector units for ``fp32``. ``peak_tflops`` are the datasheet's dense peaks (TOPS for int8),
    and equal num_sms · flops_per_clock_per_sm · boost_clock_mhz within 3 % unless ``peak_notes[dtype]`` says
    why not. ``architecture`` is a name; ``generation`` has the facts.

    What a product makes of its silicon: ``fp32_accumulation`` is ``half`` where tensor products in fp16, bf16, tf32 and
    fp8 that accumulate in fp32 run at half rate, ``tensor_rate_cap`` the share of the silicon's tensor rates that is
    left. Clocks: ``boost_clock_mhz`` is the one that peaks are rated at, ``max_clock_mhz`` the highest that the part
    takes, ``sustained_clock_mhz`` what was measured under a long dense load. ``tdp_w`` is the rated power,
    ``power_limit_w`` the least and the most that can be set.

    How figures are known: ``inferred`` says of those without a source how they were arrived at, ``disputed`` which
    other values are about, ``inherited`` which architecture states them (set by the loader), ``unchecked`` the peaks
    that a program inferred and nobody confirmed: they are refused until somebody does.
    """

    id: Id = Field(description="lower case: vendor's name, form factor and memory where they differ; the file's name")
    name: Text = Field(description="the product's name")
    vendor: Vendor = Field(description="who makes it")
    architecture: Id = Field(description="its architecture by name, or a mapping that describes a new one")
    aliases: tuple[Text, ...] = Field(
        default=(),
        description="other names, what torch.cuda.get_device_name() says among them",
    )
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d$")] | None = Field(
        default=None,
        description="of NVIDIA's GPUs, as 9.0",
    )
    released: int = Field(ge=2010, le=2100, description="year")
    form_factor: str = Field(description="SXM5, PCIe ...")
    num_sms: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        description="SMs (NVIDIA) or CUs (AMD) that are switched on",
    )
    tensor_cores_per_sm: Annotated[int, Field(ge=0, le=64)] = Field(description="tensor (matrix) cores of one")
    flops_per_clock_per_sm: dict[DType, PositiveFloat] = Field(
        description="dense FLOPs of one per clock, by format; the architecture's unless said",
    )
    fp32_accumulation: Literal["full", "half"] = Field(
        default="full",
        description="rate of tensor products that accumulate in fp32",
    )
    tensor_rate_cap: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0,
        description="share of the silicon's tensor rates that the product leaves",
    )
    base_clock_mhz: Clock | None = Field(default=None, description="MHz")
    boost_clock_mhz: Clock = Field(description="MHz, the clock that peaks are rated at")
    max_clock_mhz: Clock | None = Field(default=None, description="MHz, the highest that the part takes")
    sustained_clock_mhz: Clock | None = Field(default=None, description="MHz, measured under a long dense load")
    peak_tflops: dict[DType, PositiveFloat] = Field(
        min_length=1,
        description="dense peaks of the datasheet by format, TFLOP/s (TOP/s of int8)",
    )
    peak_notes: dict[DType, Reason] = Field(
        default={},
        description="by format, why a peak is not SMs x rate x clock within 3 %",
    )
    memory: Memory = Field(description="device memory")
    l2_cache_mib: PositiveFloat | None = Field(default=None, description="MiB of the cache that all SMs share")
    shared_memory_per_sm_kib: PositiveFloat | None = Field(
        default=None,
        description="KiB; the architecture's unless said",
    )
    registers_per_sm: PositiveInt | None = Field(default=None, description="the architecture's unless said")
    max_threads_per_sm: PositiveInt | None = Field(default=None, description="the architecture's unless said")
    max_blocks_per_sm: PositiveInt | None = Field(default=None, description="the architecture's unless said")
    context_mib: Annotated[float, Field(ge=0)] = Field(default=0.0, description="MiB that a bare context takes")
    tdp_w: Annotated[float, Field(ge=2, le=10_000)] = Field(description="rated power, W")
    power_limit_w: tuple[PositiveFloat, PositiveFloat] | None = Field(
        default=None,
        description="[least, most] power that can be set, W",
    )
    interconnect: Interconnect | None = Field(default=None, description="link between GPUs")
    pcie: Pcie | None = Field(default=None, description="link to the host")
    sources: tuple[Source, ...] = Field(description="documents, with the figures that each prints")
    inferred: dict[str, Reason] = Field(default={}, description="figures without a source, and how each was arrived at")
    disputed: dict[str, Dispute] = Field(default={}, description="figures of which other values are about")
    inherited: dict[str, str] = Field(default={}, description="set by the loader; not to be written")
    unchecked: tuple[DType, ...] = Field(
        default=(),
        description="formats whose peak a program inferred and nobody confirmed",
    )
    notes: str = Field(default="", description="anything else")
    _generation: Architecture | None = PrivateAttr(default=None)

    def __hash__(self) -> int:
        return hash((self.id, self.boost_clock_mhz, self.num_sms))

    def _repr_html_(self) -> str:
        """What a notebook shows: what it is, and its peaks."""
        facts = (
            ("architecture", self.architecture),
            ("SMs", self.num_sms),
            ("memory", f"{self.available_gib:.4g} GiB usable, {self.memory.bandwidth_gb_s:,g} GB/s"),
            ("boost clock", f"{self.boost_clock_mhz:g} MHz"),
            ("power", f"{self.tdp_w:g} W"),
        )
        peaks = [(dtype.value, f"{peak:,g}") for dtype, peak in self.peak_tflops.items()]
        return facts_html(f"{self.name} ({self.id})", facts) + table_html(("format", "peak TFLOPS"), peaks)

    def figure_paths(self) -> list[str]:
        """Dotted paths of every figure that needs a source (identity, aliases and notes aside)."""
        exempt = {*_IDENTITY, *_PROVENANCE}
        paths: list[str] = []
        for key, value in self.model_dump(exclude=exempt, exclude_none=True, exclude_defaults=True).items():
            if isinstance(value, dict):
                paths += [f"{key}.{getattr(sub, 'value', sub)}" for sub in value]
            else:
                paths.append(key)
        return paths

    def sources_of(self, path: str) -> list[Source]:
        """The sources of a figure by its dotted path: those whose ``fields`` name it (a parent's name covers its
        children, but for ``memory.usable_gib``, which no datasheet tells), or the architecture's where it is inherited.
        """
        if path in self.inferred:
            return []
        head = path.split(".")[0]
        if path in self.inherited:
            citation = self.generation.citations.get(head)
            return [] if citation is None else list(citation.sources)
        names = {path} if path in _NAMED_ALONE else {path, head}
        return [source for source in self.sources if names & set(source.fields)]

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
    def why_roofline(self) -> str | None:
        """What is to be said of every time on this device where no kernels of it are known; None elsewhere."""
        if self.generation.tiles_known:
            return None
        return f"no kernels of {self.id} are known: a roofline at the shares that measured GPUs reach, with their band"

    @property
    def sm_limits(self) -> SmLimits:
        """What one SM holds.

        Raises:
            UnsupportedError: a device of unknown kernels, whose units have no such limits.
        """
        shared, registers = self.shared_memory_per_sm_kib, self.registers_per_sm
        threads, blocks = self.max_threads_per_sm, self.max_blocks_per_sm
        if shared is None or registers is None or threads is None or blocks is None:
            raise UnsupportedError(f"{self.id}: no thread blocks are known of {self.generation.name}")
        return SmLimits(shared * 1024, registers, threads, blocks)

    @property
    def available_bytes(self) -> float:
        """Device memory that a program's tensors can take: what it sees, less its context."""
        return self.memory.usable_gib * 2**30 - self.context_mib * 2**20

    @property
    def available_gib(self) -> float:
        """``available_bytes`` in GiB."""
        return self.available_bytes / 2**30

    @property
    def bandwidth_bytes_s(self) -> float:
        return self.memory.bandwidth_gb_s * 1e9

    @property
    def l2_bytes(self) -> float:
        """Bytes of the cache that all units share.

        Raises:
            UnsupportedError: a device of unknown kernels of which none is known.
        """
        if self.l2_cache_mib is None:
            raise UnsupportedError(f"{self.id}: no cache is known of {self.generation.name}")
        return self.l2_cache_mib * 2**20

    def tensor_rate_share(self, dtype: DType) -> float:
        """What the product leaves of its silicon's dense rate in a format: 1, a cap, a half for fp32 accumulation."""
        return rate_share(dtype.multiplied, self.tensor_rate_cap, self.fp32_accumulation)

    def supports(self, dtype: DType) -> bool:
        """Whether the silicon multiplies this format natively (a weight-only one: what its weights are turned into)."""
        return dtype.multiplied in self.peak_tflops

    def peak_flops(self, dtype: DType) -> float:
        """Dense datasheet peak in FLOP/s.

        Raises:
            UnsupportedError: the silicon has no such format, or its peak was inferred by a program and is unchecked.
        """
        if not self.supports(dtype):
            raise UnsupportedError(self.why_unsupported(dtype))
        dtype = dtype.multiplied
        if dtype in self.unchecked:
            how = self.inferred.get(f"peak_tflops.{dtype.value}", "by a program")
            raise UnsupportedError(
                f"{self.id}: its peak in {dtype.value} is inferred and unchecked ({how}): confirm it on the device or "
                f"accept it with `archsearch bench calibrate --gpu {self.id} --accept-inferred`, or edit its profile",
            )
        return self.peak_tflops[dtype] * 1e12

    def why_unsupported(self, dtype: DType) -> str:
        """The reason a format is refused, with the formats that are legal here."""
        if dtype.weight_only:
            return f"{dtype.value} multiplies in {dtype.multiplied.value}: {self.why_unsupported(dtype.multiplied)}"
        have = ", ".join(sorted(d.value for d in self.peak_tflops))
        needs = _NEEDS.get(dtype, "") if self.generation.tiles_known else ""
        where = f" (compute capability {self.compute_capability})" if self.compute_capability else ""
        return f"{self.id}{where} has no native {dtype.value} matrix units{needs}; it has: {have}"


_NEEDS = {
    DType.FP8: ": FP8 needs NVIDIA compute capability 8.9 or later, or AMD CDNA3 or later",
    DType.FP4: ": FP4 needs NVIDIA compute capability 10.0 or later, or AMD CDNA4 or later",
    DType.BF16: ": bf16 needs NVIDIA compute capability 8.0 or later, or AMD CDNA or later",
    DType.TF32: ": TF32 needs NVIDIA compute capability 8.0 or later",
    DType.FP16: ": fp16 tensor cores need NVIDIA compute capability 7.0 or later",
}
HALF_WITH_FP32 = frozenset({DType.FP16, DType.BF16, DType.TF32, DType.FP8})
"""Formats whose tensor products run at half rate where a product halves fp32 accumulation (NVIDIA's Ada and Blackwell
GeForce whitepapers list both rates; int8 accumulates in int32, fp4 keeps its rate)."""


def rate_share(dtype: DType, cap: float, accumulation: str) -> float:
    """What a product leaves of its silicon's rate in a format: vector units (fp32) keep all of theirs."""
    if dtype is DType.FP32:
        return 1.0
    return cap * (0.5 if accumulation == "half" and dtype in HALF_WITH_FP32 else 1.0)


_IDENTITY = frozenset({"id", "name", "vendor", "aliases", "form_factor", "notes"})
_PROVENANCE = frozenset({"sources", "inferred", "disputed", "inherited", "unchecked", "peak_notes"})
_NAMED_ALONE = frozenset({"memory.usable_gib", "memory.unified", "pcie.peer_access", "interconnect.domain_gpus"})
"""Figures that a source must name by their own path: a document on memory or on a link is not yet one on these."""
