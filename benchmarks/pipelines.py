"""Predicted against published: end-to-end timings and memory of whole pipelines, none of which any fit saw.

python benchmarks/pipelines.py [--table sentence|memory|placement|levers]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache

import pandas as pd
import published

from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError
from archsearch.hardware import load_gpu
from archsearch.pipeline import Deployment, estimate_pipeline, load_pipeline, make_request
from archsearch.pipeline.levers import apply
from archsearch.pipeline.plan import Plan
from archsearch.pipeline.request import Placement

FLUX_FAST = ("compile", "cuda-graphs", "fused-qkv", "fa3", "fp8")
GIB = 2**30


@cache
def timings() -> pd.DataFrame:
    """One row a published timing of a pipeline that ships, or of its transformer alone."""
    found = published.table()
    return found[found["pipeline"].notna()]


def sentence() -> str:
    """The errors of all timings in a few words."""
    found = timings()
    error, sure = found["error_percent"].abs(), found[~found["doubtful"]]["error_percent"].abs()
    near, near_sure = (100 * (part <= 15).mean() for part in (error, sure))
    told = f"{len(found)} published timings: median error {error.median():.0f} %, {near:.0f} % within 15 %"
    return f"{told}; without the {found['doubtful'].sum()} doubtful ones {near_sure:.0f} % within 15 %."


def flux_memory() -> str:
    """FLUX.1-dev in bf16 at 1024 x 1024, all resident."""
    gpu, found = load_gpu("h100-sxm"), load_pipeline("flux-dev")
    request, _ = make_request(found)
    answer = estimate_pipeline(found, gpu, request, Deployment(dtype=DType.BF16))
    told = {"t5-xxl": 8.87, "clip-l": 0.229, "transformer": 22.168, "decoder": 0.156}
    lines = ["| | published GiB | predicted GiB |", "| --- | ---: | ---: |"]
    for name, gib in told.items():
        lines.append(f"| {name} | {gib} | {float(answer.weights_bytes[name]) / GIB:.3f} |")
    lines.append(f"| peak, all resident | 33.8 | {float(answer.peak_memory_bytes) / GIB:.2f} |")
    return "\n".join(lines)


def placement() -> str:
    """FLUX.1-dev on an RTX 4090 (24 GiB), its weights in three places."""
    gpu, found = load_gpu("rtx-4090"), load_pipeline("flux-dev")
    request, _ = make_request(found)
    lines = ["| `--placement` | peak GiB | fits | s | PCIe s |", "| --- | ---: | --- | ---: | ---: |"]
    for place in Placement:
        answer = estimate_pipeline(found, gpu, request, Deployment(dtype=DType.BF16, placement=place))
        moved = sum(float(stage.transfer_s) for stage in answer.stages)
        peak, fits = float(answer.peak_memory_bytes) / GIB, "yes" if bool(answer.fits) else "no"
        lines.append(f"| {place.value} | {peak:.1f} | {fits} | {float(answer.latency_s):.1f} | {moved:.1f} |")
    return "\n".join(lines)


def flux_levers() -> str:
    """FLUX.1-dev with the levers of flux-fast one after the other, beside what was measured under torch before 2.8.

    H100: https://github.com/huggingface/flux-fast (about 2.5 times in all, with fp8 attention too) and xDiT's page for
    the first two rows; L20: https://github.com/xlite-dev/flux-faster, README; A100: ParaAttention's README.
    """
    measured = {
        ("h100-sxm", ()): 6.71,
        ("h100-sxm", FLUX_FAST[:1]): 4.30,
        ("l20", ()): 24.94,
        ("l20", FLUX_FAST[:1]): 20.24,
        ("l20", ("compile", "fused-qkv", "fp8")): 13.26,
        ("l20", ("compile", "fused-qkv", "fp8", "feature-cache")): 7.42,
        ("a100-sxm-80gb", ()): 13.843,
        ("a100-sxm-80gb", FLUX_FAST[:1]): 9.997,
    }
    wanted = [("h100-sxm", FLUX_FAST[:n]) for n in range(len(FLUX_FAST) + 1)]
    wanted += [key for key in measured if key not in wanted]
    found = load_pipeline("flux-dev")
    request, _ = make_request(found)
    lines = [
        "| GPU | levers | predicted s | speed-up | published s | speed-up |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    base: dict[str, tuple[float, float]] = {}
    for gpu_id, levers in wanted:
        gpu = load_gpu(gpu_id)
        run = Deployment(dtype=DType.BF16, execution=Execution(torch="2.4"))
        pulled = apply(Plan(found, request, run), levers, gpu)
        seconds = float(estimate_pipeline(pulled.pipeline, gpu, pulled.request, pulled.deployment).latency_s)
        base.setdefault(gpu_id, (seconds, measured[gpu_id, ()]))
        told = measured.get((gpu_id, levers))
        there = f"{told:.4g} | {base[gpu_id][1] / told:.2f}" if told else "| "
        lines.append(
            f"| {gpu_id} | {', '.join(levers) or 'none'} | {seconds:.4g} | {base[gpu_id][0] / seconds:.2f} | {there} |"
        )
    return "\n".join(lines)


TABLES = {
    "sentence": sentence,
    "memory": flux_memory,
    "placement": placement,
    "levers": flux_levers,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=TABLES, action="append")
    try:
        print("\n\n".join(TABLES[name]() for name in parser.parse_args(arguments).table or TABLES))
    except ArchSearchError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
