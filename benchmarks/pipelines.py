"""Predicted against published: end-to-end timings and memory of whole pipelines, none of which any fit saw.

python benchmarks/pipelines.py [--table sentence|timings|memory|placement|levers]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from typing import Any

import pandas as pd
import published

from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError
from archsearch.hardware import load_gpu
from archsearch.pipeline import Deployment, estimate_pipeline, list_pipelines, load_pipeline, make_request
from archsearch.pipeline.component_calls import Pricer
from archsearch.pipeline.generation_cost import PipelineEstimate
from archsearch.pipeline.levers import apply
from archsearch.pipeline.plan import Plan
from archsearch.pipeline.request import Placement

PIPELINES = {"flux1-dev": "flux-dev", "flux1-schnell": "flux-schnell", "ltx-video-2b": "ltx-video"}
FLUX_FAST = ("compile", "cuda-graphs", "fused-qkv", "fa3", "fp8")
GIB = 2**30


def estimate(row: dict[str, Any], pricers: dict[str, Pricer]) -> PipelineEstimate:
    """The pipeline of a published row, run as the row says."""
    found = load_pipeline(PIPELINES.get(row["model"], row["model"]))
    guidance = "cfg" if row["evaluations_per_step"] == 2 else None
    sizes = {k: row[k] for k in ("height", "width", "frames", "batch_size") if k in row}
    request, _ = make_request(found, steps=row["steps"], guidance=guidance, **sizes)
    gpu = load_gpu(row["gpu"])
    execution = Execution(**published.run_of(row), fused_qkv="fuse_qkv True" in row["located"])
    run = Deployment(dtype=DType.parse(row["dtype"]), execution=execution)
    return estimate_pipeline(found, gpu, request, run, pricer=pricers.setdefault(gpu.id, Pricer(gpu)))


@cache
def timings() -> pd.DataFrame:
    """One row a published timing of a pipeline that ships, or of its transformer alone."""
    known, pricers, rows = set(list_pipelines()), {}, []
    for row in published.load()[0]:
        name = PIPELINES.get(row["model"], row["model"])
        if name not in known or row["scope"] not in ("pipeline", "transformer"):
            continue
        answer = estimate(row, pricers)
        whole = row["scope"] == "pipeline"
        stage = next(s for s in answer.stages if s.name == "denoise")
        seconds = float(answer.latency_s if whole else stage.latency_s)
        rows.append(
            {
                "pipeline": name,
                "GPU": row["gpu"],
                "settings": published.settings(row),
                "covers": row["scope"],
                "published_s": row["published_s"],
                "predicted_s": seconds,
                "error_percent": 100 * (seconds / row["published_s"] - 1),
                "doubtful": "Doubtful" in row["notes"],
                "source": f"[{row['id']}]({row['source']})",
            }
        )
    return pd.DataFrame(rows)


def sentence() -> str:
    """The errors of all timings in a few words."""
    found = timings()
    error, sure = found["error_percent"].abs(), found[~found["doubtful"]]["error_percent"].abs()
    near, near_sure = (100 * (part <= 15).mean() for part in (error, sure))
    told = f"{len(found)} published timings: median error {error.median():.0f} %, {near:.0f} % within 15 %"
    return f"{told}; without the {found['doubtful'].sum()} doubtful ones {near_sure:.0f} % within 15 %."


def timings_table() -> str:
    """One line a timing; a star marks rows whose settings are a guess or whose figure is rounded."""
    lines = [
        "| pipeline | GPU | settings | covers | published s | predicted s | error % | source |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for r in timings().itertuples():
        error = f"{r.error_percent:+.0f}{' *' if r.doubtful else ''}"
        cells = (
            r.pipeline,
            r.GPU,
            r.settings,
            r.covers,
            f"{r.published_s:.4g}",
            f"{r.predicted_s:.4g}",
            error,
            r.source,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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
    "timings": timings_table,
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
