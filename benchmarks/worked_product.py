"""A matrix product worked out by hand, and what archsearch says of it: the tables of docs/cost-model.md.

python benchmarks/worked_product.py --table steps|waves|alignment

``steps`` repeats the arithmetic of the page in plain Python from the GPU's datasheet and its fitted coefficients, and
exits with 1 where archsearch's answer is another.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence

import pandas as pd

GPU = "a100-sxm-80gb"
M, N, K = 2048, 4096, 14336
TILE = 128
STEP = 64
"""Elements of k that one step of the main loop covers: 128 bytes of bf16."""
CLOSE = 5e-3


def answer(n: int, k: int = K) -> pd.Series:
    """archsearch's row of a product [M, k] · [k, n], by mechanism alone, kernels back to back."""
    from archsearch.bench.validate import predict_frame

    row = {"gpu": GPU, "op": "linear", "dtype": "bf16", "m": M, "n": n, "k": k, "latency_us": 1.0}
    found: pd.Series = predict_frame(pd.DataFrame([row]), correction=False).iloc[0]
    return found


def steps() -> str:
    """Term by term."""
    from archsearch import DType, load_gpu
    from archsearch.cost.calibration import read_calibration
    from archsearch.data import data_path

    gpu = load_gpu(GPU)
    file = read_calibration(data_path("hardware_profiles") / "calibration" / f"{GPU}.yaml")
    c = file.kernels["gemm/16bit"].coefficients
    clock, sms = gpu.boost_clock_mhz * 1e6, gpu.num_sms
    per_clock = gpu.flops_per_clock_per_sm[DType.BF16]
    rate = per_clock * clock * c["rate_fraction"]
    tiles = math.ceil(M / TILE) * math.ceil(N / TILE)
    waves = math.ceil(tiles / sms)
    loop = math.ceil(K / STEP)
    multiply = 2 * TILE * TILE * STEP / rate
    copy = 2 * TILE * STEP * 2 * c["shared_factor"] / (128 * clock)
    step = longest(multiply, copy)
    floor = c["step_cycles"] / clock
    compute = loop * waves * longest(step, floor)
    l2 = tiles * loop * 2 * TILE * STEP * 2 / (c["l2_bytes_per_clock_per_sm"] * clock * sms)
    store = TILE * TILE * 2 / (c["epilogue_bytes_per_clock"] * clock)
    slow = 1 + c["throttle_fraction"] * compute / (compute + c["throttle_time_s"])
    operands = 2 * (M * K + N * K)
    panels = 2 * c["panel_factor"] * K * 2 * waves * math.sqrt(sms * TILE * TILE)
    dram = (max(operands, panels) + 2 * M * N) / (c["dram_fraction"] * gpu.bandwidth_bytes_s)
    body = longest(slow * longest(compute, l2, dram), waves * store)
    fixed = c["launch_s"] + waves * c["wave_cycles"] / clock + store
    ours = float(answer(N)["predicted_us"])
    if abs((body + fixed) * 1e6 / ours - 1) > CLOSE:
        sys.exit(f"by hand {(body + fixed) * 1e6:.1f} us, archsearch says {ours:.1f} us")
    rows = [
        ("tiles of 128 × 128", "⌈2048/128⌉ · ⌈4096/128⌉", f"{tiles}"),
        ("waves", f"⌈{tiles} tiles / {sms} SMs⌉", f"{waves}"),
        ("wave efficiency", f"{tiles} / ({waves} · {sms})", f"{100 * tiles / (waves * sms):.0f} %"),
        ("main-loop steps", "14336 / 64", f"{loop}"),
        (
            "multiplying, one step",
            f"2 · 128 · 128 · 64 FLOPs / ({gpu.flops_per_clock_per_sm['bf16']} a clock · {gpu.boost_clock_mhz:.0f} MHz "
            f"· {c['rate_fraction']:.3f})",
            f"{multiply * 1e9:.0f} ns",
        ),
        (
            "operands through shared memory, one step",
            f"2 · 128 · 64 · 2 B · {c['shared_factor']:.3f} / (128 B a clock)",
            f"{copy * 1e9:.0f} ns",
        ),
        ("least time of a step", f"{c['step_cycles']:.0f} clocks", f"{floor * 1e9:.0f} ns"),
        ("all waves", f"{loop} steps · {waves} waves · the longest of the three", f"{compute * 1e6:.0f} µs"),
        (
            "through L2",
            f"{tiles} tiles · {loop} steps · 32 KiB, at {c['l2_bytes_per_clock_per_sm']:.1f} B a clock and SM",
            f"{l2 * 1e6:.0f} µs",
        ),
        (
            "from and to DRAM",
            f"{(max(operands, panels) + 2 * M * N) / 1e6:.0f} MB at {c['dram_fraction']:.2f} of "
            f"{gpu.bandwidth_bytes_s / 1e9:.0f} GB/s",
            f"{dram * 1e6:.0f} µs",
        ),
        (
            "power limit",
            f"1 + {c['throttle_fraction']:.3f} · t / (t + {c['throttle_time_s'] * 1e3:.2f} ms)",
            f"× {slow:.3f}",
        ),
        (
            "launch, first loads, last store",
            f"{c['launch_s'] * 1e6:.1f} µs + {waves} · {c['wave_cycles']:.0f} clocks + {store * 1e6:.1f} µs",
            f"{fixed * 1e6:.0f} µs",
        ),
        ("**in all, by hand**", "", f"**{(body + fixed) * 1e6:.0f} µs**"),
        ("archsearch", "`archsearch validate`, without the correction", f"{ours:.0f} µs"),
        ("roofline", "FLOPs / peak", f"{float(answer(N)['roofline_us']):.0f} µs"),
    ]
    return table(("term", "count", "value"), rows, 2)


def longest(*seconds: float) -> float:
    """Times that overlap: a little above the longest where two are near each other."""
    return float(sum(s**4 for s in seconds) ** 0.25)


def waves() -> str:
    """Products of growing width: one wave more costs a whole one, however few tiles it has."""
    from archsearch import load_gpu

    sms, rows = load_gpu(GPU).num_sms, []
    for n in (3328, 3456, 3584, 3840, 4096, 4224):
        tiles = math.ceil(M / TILE) * math.ceil(n / TILE)
        us = float(answer(n)["predicted_us"])
        cells = (f"{tiles}", f"{tiles / sms:.2f}", f"{us:.0f}", f"{2 * M * n * K / us / 1e6:.0f}")
        rows.append((f"{n}", *cells))
    return table(("n", "tiles of 128 × 128", "of them over SMs", "µs", "TFLOP/s"), rows, 0)


def alignment() -> str:
    """Products whose rows start on fewer and fewer bytes."""
    rows = []
    for n in (4096, 4088, 4092, 4094, 4095):
        us = float(answer(n)["predicted_us"])
        start = math.gcd(2 * n, 16)
        rows.append((f"{n}", f"{start}", f"{us:.0f}", f"{us / float(answer(4096)['predicted_us']):.2f}"))
    return table(("n", "rows start on multiples of, bytes", "µs", "against 4096"), rows, 0)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """Markdown; all but the first ``words`` columns are numbers."""
    lines = [f"| {' | '.join(heads)} |", f"| {'--- | ' * words}{'---: | ' * (len(heads) - words)}".rstrip()]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


TABLES: dict[str, Callable[[], str]] = {"steps": steps, "waves": waves, "alignment": alignment}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=TABLES, required=True)
    print(TABLES[parser.parse_args(arguments).table]())


if __name__ == "__main__":
    main()
