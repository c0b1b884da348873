"""What a suite measures: shapes designed for one device, in the order in which a budget is spent.

Matrix products C[m, n] = A[m, k] · B[k, n] lie on and off what GPUs quantize: tiles, waves of tiles over the SMs,
alignment of rows in memory. ``purpose`` says what a case is for; it becomes a column of the results.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product, zip_longest

SUITES = ("quick", "full")
HELD_BACK = 4
"""One weight shape, head layout or row length in this many is marked ``split=test``: no fit may see it."""

Dims = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Device:
    """What shapes depend on: multiprocessors (cores of a CPU), free memory, number formats, and the kind of device."""

    num_sms: int
    memory_bytes: int
    dtypes: tuple[str, ...]
    kind: str = "cuda"
    compilers: bool = True
    flash_attn: bool = False
    """Whether the package flash-attn is installed."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time. ``kernel`` names an implementation where there are several; ``dims`` are its sizes."""

    op: str
    dtype: str
    dims: Dims
    purpose: str
    kernel: str = ""
    config: str = ""
    """JSON of settings that are no sizes (a Triton kernel's tile, a block's family)."""

    @property
    def key(self) -> str:
        """What tells this case from every other, for resuming."""
        sizes = ",".join(f"{name}={int(value)}" for name, value in sorted(self.dims.items()))
        return "|".join((self.op, self.dtype, self.kernel, sizes, self.config))

    @property
    def split(self) -> str:
        """``test`` for one weight matrix, head layout or row length in four, else ``fit``; the same on every device."""
        names = {
            "attention": ("heads_q", "heads_kv", "head_dim"),
            "convolution": ("in_channels", "out_channels", "kernel_size"),
            "block": ("hidden_size",),
        }
        default = ("n", "k") if "k" in self.dims else ("cols",)
        shape = ",".join(str(self.dims.get(name, 0)) for name in names.get(self.op, default))
        return "test" if zlib.crc32(f"{self.op},{shape}".encode()) % HELD_BACK == 0 else "fit"


@dataclass
class Plan:
    """Cases by purpose, interleaved so that a budget that runs out has measured some of everything."""

    groups: dict[str, list[Case]] = field(default_factory=dict)

    def add(self, purpose: str, cases: Iterator[Case]) -> None:
        self.groups.setdefault(purpose, []).extend(cases)

    def cases(self) -> list[Case]:
        """Every case once, in proportion to the sizes of the groups."""
        seen: dict[str, Case] = {}
        longest = max(map(len, self.groups.values()), default=0)
        paced = [_stretched(cases, longest) for cases in self.groups.values()]
        for case in chain.from_iterable(zip_longest(*paced)):
            if case is not None:
                seen.setdefault(case.key, case)
        return list(seen.values())


def _stretched(cases: list[Case], length: int) -> list[Case | None]:
    """A list of this length with the cases spread evenly over it, shuffled by a fixed seed."""
    order = random.Random(0).sample(cases, len(cases))
    out: list[Case | None] = [None] * length
    for i, case in enumerate(order):
        out[i * length // len(order)] = case
    return out


def suite_cases(suite: str, device: Device) -> list[Case]:
    """The cases of a suite on a device, most telling first.

    Raises:
        ValueError: no such suite.
    """
    if suite not in SUITES:
        raise ValueError(f"unknown suite {suite!r}; known: {', '.join(SUITES)}")
    full = suite == "full"
    plan = Plan()
    plan.add("ceiling", _ceilings(device))
    main = device.dtypes[0]
    for purpose, shapes in _gemm_shapes(device, full).items():
        dtypes = device.dtypes if purpose in ("grid", "big", "random") else (main,)
        plan.add(purpose, (c for d in dtypes for c in _products(shapes, d, purpose, device)))
    plan.add("bmm", _bmm(device, full))
    plan.add("attention", _attention(device, full))
    plan.add("memory", _memory(device, full))
    plan.add("convolution", _convolutions(device, full))
    if device.compilers:
        plan.add("triton", _triton(device, full))
    plan.add("block", _blocks(device, full))
    return [case for case in plan.cases() if case_bytes(case) < device.memory_bytes / 6]


ITEMSIZE = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8_e4m3": 1}


def case_bytes(case: Case) -> float:
    """Bytes of one set of a case's tensors."""
    d, size = case.dims, ITEMSIZE[case.dtype]
    if "m" in d:
        return d.get("batch", 1) * size * (d["m"] * d["k"] + d["k"] * d["n"] + d["m"] * d["n"])
    if "head_dim" in d:
        keys = d["heads_kv"] * d["seq_kv"]
        return 2 * d["batch"] * d["head_dim"] * size * (d["heads_q"] * d["seq_q"] + keys)
    if "in_channels" in d:
        places = d["batch"] * d.get("frames", 1) * d["height"] * d["width"]
        return size * places * (d["in_channels"] + d["out_channels"])
    if "rows" in d:
        return 3 * d["rows"] * d["cols"] * size
    return 16 * d["batch"] * d["seq"] * d["hidden_size"] * size + 16 * d["hidden_size"] ** 2 * size


WEIGHTS = (
    *((768, 768), (2304, 768), (3072, 768), (768, 3072), (1152, 1152), (4608, 1152), (1152, 4608)),
    *((2048, 2048), (5632, 2048), (2048, 5632), (2240, 2240), (3072, 3072), (9216, 3072), (12288, 3072)),
    *((3072, 12288), (21504, 3072), (3072, 15360), (4096, 4096), (1024, 4096), (14336, 4096), (4096, 14336)),
    *((5120, 5120), (13824, 5120), (5120, 13824), (8960, 1536), (1536, 8960), (6144, 2560), (1920, 480)),
)
"""(n, k) of weight matrices: ModernBERT and GPT widths, DiT-XL, SANA, SD3, FLUX, Llama, Wan."""
ROWS = (1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
SMALL_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
OFFSETS = (-64, -32, -16, -8, -4, -2, -1, 1, 2, 4, 8, 16, 32, 64)
TILE_M, TILE_N = 128, 256
"""The tile that libraries launch for large products on tensor cores; wave boundaries are laid out for it."""


def _gemm_shapes(device: Device, full: bool) -> dict[str, list[tuple[int, int, int]]]:
    """(m, n, k) of ``linear`` by purpose."""
    if device.kind == "cpu":
        return _cpu_shapes(full)
    weights = WEIGHTS if full else WEIGHTS[::3]
    rows = ROWS if full else ROWS[::2]
    bases = ((4096, 4096, 4096), (1024, 2048, 2048), (512, 3072, 12288))
    return {
        "grid": [(m, n, k) for (n, k), m in product(weights, rows)],
        "wave": _wave_shapes(device.num_sms, (1024, 4096) if full else (4096,)),
        "misaligned": [
            _moved(base, axis, by) for base in bases[: 3 if full else 1] for axis in range(3) for by in OFFSETS
        ],
        "small-m": [(m, n, k) for (n, k) in weights[:: 4 if full else 6] for m in SMALL_ROWS],
        "long-k": [(m, m, k) for m in (64, 128, 256, 512) for k in (8192, 16384, 32768, 65536, 131072)],
        "big": [(8192, 8192, 8192), (16384, 8192, 8192), (8192, 28672, 8192), (32768, 12288, 3072)],
        "vocabulary": [(4096, n, k) for n in (50257, 50264, 50272, 50304, 50432) for k in (768, 2048)],
        "hidden": [(8192, 4 * h, h) for h in _around(2048, 64, 8) + _around(2560, 64, 16)],
        "random": _random_shapes(160 if full else 40),
    }


def _cpu_shapes(full: bool) -> dict[str, list[tuple[int, int, int]]]:
    """Products that a CPU finishes in milliseconds."""
    widths = (64, 96, 128, 192, 256, 384, 512, 768) if full else (64, 96, 128, 192, 256)
    rows = (1, 8, 32, 64, 128, 256, 512) if full else (8, 64, 128, 256)
    return {
        "grid": [(m, f * n, n) for n in widths for m in rows for f in (1, 4)],
        "misaligned": [_moved((128, 256, 256), axis, by) for axis in range(3) for by in OFFSETS if abs(by) < 32],
    }


def _moved(base: tuple[int, int, int], axis: int, by: int) -> tuple[int, int, int]:
    m, n, k = (size + (by if i == axis else 0) for i, size in enumerate(base))
    return m, n, k


def _around(centre: int, reach: int, step: int) -> list[int]:
    return list(range(centre - reach, centre + reach + 1, step))


def _wave_shapes(num_sms: int, depths: Sequence[int]) -> list[tuple[int, int, int]]:
    """One column of tiles after another until four waves are full, closer around each boundary."""
    columns = _columns(num_sms)
    per_wave = num_sms / columns
    rows = set(range(1, int(4 * per_wave) + 3, 2))
    for wave in range(1, 5):
        edge = round(wave * per_wave)
        rows |= {edge - 1, edge, edge + 1}
    return [(TILE_M * r, TILE_N * columns, k) for k in depths for r in sorted(rows) if r > 0]


def _columns(num_sms: int) -> int:
    """Tiles side by side: a divisor of the SMs, so that whole rows of tiles fill a wave; eight where none is fit."""
    divisors = [c for c in range(4, 17) if num_sms % c == 0]
    return divisors[-1] if divisors else 8


def _random_shapes(count: int) -> list[tuple[int, int, int]]:
    """Log-uniform sizes, a third of them multiples of 64, a third of 8, a third of nothing."""
    rng = random.Random(1)

    def size(low: int, high: int, multiple: int) -> int:
        value = float(low * (high / low) ** rng.random())
        return max(multiple, round(value / multiple) * multiple)

    return [
        (size(16, 16384, (64, 8, 1)[i % 3]), size(64, 16384, (64, 8, 1)[i % 3]), size(64, 16384, (64, 8, 1)[i % 3]))
        for i in range(count)
    ]


def _products(shapes: list[tuple[int, int, int]], dtype: str, purpose: str, device: Device) -> Iterator[Case]:
    for i, (m, n, k) in enumerate(shapes):
        if dtype != device.dtypes[0] and purpose == "grid" and i % 3:
            continue  # other formats: a third of the grid
        if dtype == "fp8_e4m3":
            if n % 16 == 0 and k % 16 == 0:  # what torch._scaled_mm takes
                yield Case("scaled_mm", dtype, {"m": m, "n": n, "k": k}, purpose)
        else:
            yield Case("linear", dtype, {"m": m, "n": n, "k": k}, purpose)


def _ceilings(device: Device) -> Iterator[Case]:
    side = 1024 if device.kind == "cpu" else 8192
    for dtype in device.dtypes:
        op = "scaled_mm" if dtype == "fp8_e4m3" else "linear"
        yield Case(op, dtype, {"m": side, "n": side, "k": side}, "ceiling")
    rows = 1 << (12 if device.kind == "cpu" else 17)
    yield Case("copy", "fp32", {"rows": rows, "cols": 4096}, "ceiling")


def _bmm(device: Device, full: bool) -> Iterator[Case]:
    """Scores and values of unfused attention."""
    dtype = device.dtypes[0]
    if device.kind == "cpu":
        sizes = [(b, s, d) for b in (4, 12) for s in (64, 77, 128) for d in (32, 64)]
    else:
        sizes = [
            (b, s, d) for b in (8, 24, 96, 384) for s in (77, 256, 1024, 4096) for d in (64, 80, 128) if b * s < 200_000
        ]
    for b, s, d in sizes if full else sizes[::2]:
        yield Case("bmm", dtype, {"batch": b, "m": s, "n": s, "k": d}, "bmm")
        yield Case("bmm", dtype, {"batch": b, "m": s, "n": d, "k": s}, "bmm")


def _attention(device: Device, full: bool) -> Iterator[Case]:
    """Heads of one width at several head_dim, masks, grouped queries, and each backend of torch."""
    dtype = device.dtypes[0]
    if device.kind == "cpu":
        for d, s, causal in product((32, 64), (64, 128, 256), (0, 1)):
            yield _heads(dtype, 1, 8, 8, s, s, d, causal, "")
        return
    dims, lengths = (64, 72, 80, 96, 128, 256), (256, 1024, 2048, 4096, 8192)
    backends = ["torch_fa2", "torch_cudnn"]
    backends += ["torch_efficient"] if full else []
    backends += ["flash_attn_fa2"] if device.flash_attn else []
    for d, s, causal, kernel in product(dims, lengths if full else lengths[1::2], (0, 1), backends):
        heads = max(3072 // d, 1)
        if kernel == "torch_efficient" and s > 4096:
            continue
        yield _heads(dtype, 4 if s < 1024 else 1, heads, heads, s, s, d, causal, kernel)
        if kernel == "torch_fa2" and d in (64, 128):
            yield _heads(dtype, 2, 32, 8, s, s, d, causal, kernel)
            yield _heads(dtype, 8, 16, 16, s, s, d, causal, kernel)
    for s, q in product((1024, 4096, 16384), (1, 77, 512)):  # decode and cross-attention
        yield _heads(dtype, 8, 32, 8, q, s, 128, 0, "torch_fa2")
        yield _heads(dtype, 2, 16, 16, s, q, 72, 0, "torch_fa2")


def _heads(dtype: str, b: int, hq: int, hkv: int, sq: int, skv: int, d: int, causal: int, kernel: str) -> Case:
    dims = {"batch": b, "heads_q": hq, "heads_kv": hkv, "seq_q": sq, "seq_kv": skv, "head_dim": d, "causal": causal}
    return Case("attention", dtype, dims, "attention", kernel)


POINTWISE = ("add", "mul", "mulu", "gelu", "silu", "relu", "tanh", "copy")
REDUCTIONS = ("softmax", "layernorm", "rmsnorm")


def _memory(device: Device, full: bool) -> Iterator[Case]:
    if device.kind == "cpu":
        shapes = [(r, c) for r in (64, 512, 2048) for c in (64, 256, 768, 1024)]
    else:
        cols = (64, 128, 256, 768, 1024, 1152, 1536, 2048, 3000, 3072, 4096, 5120, 8192, 14336, 16384)
        shapes = [(r, c) for c in (cols if full else cols[::2]) for r in (256, 1024, 4096, 16384, 65536)]
    pointwise = POINTWISE if full else POINTWISE[::2]
    for op in (*pointwise, *REDUCTIONS, "rope"):
        for i, (rows, cols_) in enumerate(shapes):
            if op in REDUCTIONS or i % 3 == 0:
                yield Case(op, device.dtypes[0], {"rows": rows, "cols": cols_}, "memory")
                if op in ("softmax", "layernorm", "add") and full and i % 4 == 0:
                    yield Case(op, "fp32", {"rows": rows, "cols": cols_}, "memory")
    images = ((32, 8 * 64 * 64), (32, 16 * 128 * 128), (32, 4 * 512 * 512), (256, 4 * 128 * 128), (1024, 10 * 32 * 32))
    for rows, cols_ in () if device.kind == "cpu" else images:
        yield Case("groupnorm", device.dtypes[0], {"rows": rows, "cols": cols_}, "memory")


def _convolutions(device: Device, full: bool) -> Iterator[Case]:
    """Convolutions of image and video autoencoders and of U-Nets, channels last and as eager modules hold them."""
    dtype = device.dtypes[0]
    if device.kind == "cpu":
        yield _convolution(dtype, 16, 16, 32, 3, "channels_last")
        return
    images = [
        *((128, 128, 512), (128, 128, 1024), (256, 128, 512), (256, 256, 512), (512, 512, 128), (512, 512, 256)),
        *((512, 256, 256), (320, 320, 64), (640, 640, 32), (1280, 1280, 16), (16, 512, 128), (128, 3, 1024)),
    ]
    for (channels, out, side), kernel, layout in product(images, (3, 1), ("channels_last", "contiguous")):
        if kernel == 3 or channels == 512:
            yield _convolution(dtype, channels, out, side, kernel, layout)
    videos = [(96, 96, 4, 240, 416), (192, 192, 4, 120, 208), (384, 384, 2, 60, 104), (384, 192, 2, 60, 104)]
    for channels, out, frames, height, width in videos if full else videos[:1]:
        dims = {"in_channels": channels, "out_channels": out, "frames": frames, "height": height, "width": width}
        for layout in ("channels_last", "contiguous"):
            yield Case("convolution", dtype, {"batch": 1, **dims, "kernel_size": 3}, "convolution", layout)


def _convolution(dtype: str, channels: int, out: int, side: int, kernel: int, layout: str) -> Case:
    dims = {"in_channels": channels, "out_channels": out, "height": side, "width": side, "kernel_size": kernel}
    return Case("convolution", dtype, {"batch": 1, **dims}, "convolution", layout)


def _triton(device: Device, full: bool) -> Iterator[Case]:
    """Our own kernels: waves at known tiles, bandwidth, and one fused norm with modulation."""
    dtype = device.dtypes[0]
    tiles = (
        {"tile_m": 128, "tile_n": 256, "stages": 3, "warps": 8},
        {"tile_m": 128, "tile_n": 128, "stages": 4, "warps": 4},
    )
    columns = _columns(device.num_sms)
    edge = device.num_sms // columns
    around = {1, edge // 2, *(wave * edge + by for wave in (1, 2, 3) for by in (-1, 0, 1))}
    for tile, rows in product(tiles if full else tiles[:1], sorted(r for r in around if r > 0)):
        dims = {"m": rows * tile["tile_m"], "n": columns * tile["tile_n"], "k": 4096}
        yield Case("triton_matmul", dtype, dims, "triton", config=json.dumps({**tile, "tile_k": 64}))
    for rows, cols in ((4096, 3072), (16384, 3072), (65536, 1152), (16384, 4096)):
        yield Case("triton_copy", dtype, {"rows": rows, "cols": cols}, "triton")
        yield Case("triton_norm_modulate", dtype, {"rows": rows, "cols": cols}, "triton")


def _blocks(device: Device, full: bool) -> Iterator[Case]:
    """One transformer layer, eager and compiled."""
    dtype = device.dtypes[0]
    if device.kind == "cpu":
        sizes: list[tuple[str, int, int, int, int, int]] = [("decoder", 256, 4, 1024, 1, 128)]
    else:
        sizes = [
            ("decoder", 2048, 32, 5632, 1, 2048),
            ("decoder", 4096, 32, 14336, 1, 2048),
            ("encoder", 768, 12, 3072, 32, 512),
            ("dit", 1152, 16, 4608, 8, 1024),
            ("dit", 3072, 24, 12288, 1, 4096),
        ]
    for family, hidden, heads, inner, batch, seq in sizes:
        dims = {
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "intermediate_size": inner,
            "batch": batch,
            "seq": seq,
        }
        yield Case("block", dtype, dims, "block", "eager", json.dumps({"family": family}))
        if device.compilers and (full or family == "dit"):
            yield Case("block", dtype, dims, "block", "compiled", json.dumps({"family": family}))


def describe(case: Case) -> str:
    """A case in a line, for progress and errors."""
    sizes = " ".join(f"{name}={value}" for name, value in case.dims.items())
    return f"{case.op} {case.dtype} {sizes} {case.kernel}".strip()
