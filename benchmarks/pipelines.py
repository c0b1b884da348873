"""Predicted against published: end-to-end timings and memory of whole pipelines, none of which any fit saw.

python benchmarks/pipelines.py
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import published

from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError
from archsearch.hardware import load_gpu
from archsearch.pipeline import Run, estimate_pipeline, list_pipelines, load_pipeline, make_request
from archsearch.pipeline.estimate import PipelineEstimate
from archsearch.pipeline.levers import Plan, apply
from archsearch.pipeline.pricing import Pricer

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
    run = Run(dtype=DType.parse(row["dtype"]), execution=execution)
    return estimate_pipeline(found, gpu, request, run, pricer=pricers.setdefault(gpu.id, Pricer(gpu)))


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


def flux_memory() -> pd.DataFrame:
    """FLUX.1-dev in bf16 at 1024 x 1024, all resident."""
    gpu, found = load_gpu("h100-sxm"), load_pipeline("flux-dev")
    request, _ = make_request(found)
    answer = estimate_pipeline(found, gpu, request, Run(dtype=DType.BF16))
    told = {"t5-xxl": 8.87, "clip-l": 0.229, "transformer": 22.168, "decoder": 0.156}
    rows = [(name, gib, float(answer.weights_bytes[name]) / GIB) for name, gib in told.items()]
    rows.append(("peak", 33.8, float(answer.peak_memory_bytes) / GIB))
    frame = pd.DataFrame(rows, columns=["what", "published_gib", "predicted_gib"])
    return frame.assign(error_percent=100 * (frame["predicted_gib"] / frame["published_gib"] - 1))


def flux_levers() -> pd.DataFrame:
    """FLUX.1-dev with the levers of flux-fast one after the other, beside what was measured.

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
    rows, base = [], {}
    for gpu_id, levers in wanted:
        gpu = load_gpu(gpu_id)
        pulled = apply(Plan(found, request, Run(dtype=DType.BF16)), levers, gpu)
        seconds = float(estimate_pipeline(pulled.pipeline, gpu, pulled.request, pulled.run).latency_s)
        base.setdefault(gpu_id, (seconds, measured[gpu_id, ()]))
        told = measured.get((gpu_id, levers))
        rows.append(
            {
                "GPU": gpu_id,
                "levers": ", ".join(levers) or "none",
                "predicted_s": seconds,
                "speedup": base[gpu_id][0] / seconds,
                "published_s": told or "",
                "published_speedup": base[gpu_id][1] / told if told else "",
            }
        )
    return pd.DataFrame(rows)


def markdown(frame: pd.DataFrame) -> str:
    """A table for the documentation."""
    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "| " + " | ".join("---" for _ in frame.columns) + " |"]
    for row in frame.itertuples(index=False):
        cells = [
            f"{v:+.0f}" if c == "error_percent" else f"{v:.4g}" if isinstance(v, float) else str(v)
            for c, v in zip(frame.columns, row, strict=True)
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    try:
        found = timings()
    except ArchSearchError as error:
        raise SystemExit(str(error)) from None
    print(markdown(found.drop(columns="doubtful")))
    error = found["error_percent"].abs()
    sure = found[~found["doubtful"]]["error_percent"].abs()
    print(f"\n{len(found)} timings: median {error.median():.0f} %, {(error <= 15).mean():.0%} within 15 %")
    print(f"without the {found['doubtful'].sum()} doubtful ones: {(sure <= 15).mean():.0%} within 15 %\n")
    print(markdown(flux_memory()), "\n")
    print(markdown(flux_levers()))


if __name__ == "__main__":
    main()
