"""Predicted against published end-to-end timings: the rows of published_timings.yaml, none of which any fit saw.

python benchmarks/published.py [--table sentence|summary|timings]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import archsearch
from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu
from archsearch.pipeline import Deployment, estimate_pipeline, list_pipelines, load_pipeline, make_request
from archsearch.pipeline.component_calls import Pricer
from archsearch.pipeline.generation_cost import PipelineEstimate

TIMINGS = Path(__file__).parent / "published_timings.yaml"
_WORKLOAD = (
    "batch_size",
    "height",
    "width",
    "frames",
    "seq_len",
    "phase",
    "dtype",
)
_SIZES = ("batch_size", "height", "width", "frames")
PHASES = {"vae-decode": "decode", "vae-encode": "encode"}
PIPELINES = {"flux1-dev": "flux-dev", "flux1-schnell": "flux-schnell", "ltx-video-2b": "ltx-video"}
"""Pipelines that have another name than their transformer."""


@cache
def load() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The timings, and per model the ``parts`` of its pipeline beside the transformer."""
    document = yaml.safe_load(TIMINGS.read_text(encoding="utf-8"))
    return document["timings"], document.get("parts", {})


@cache
def _pricer(gpu: str) -> Pricer:
    return Pricer(load_gpu(gpu))


def shipped(row: dict[str, Any]) -> str | None:
    """The shipped pipeline that a row times, whole or its transformer alone."""
    name = PIPELINES.get(row["model"], row["model"])
    return name if row["scope"] in ("pipeline", "transformer") and name in list_pipelines() else None


def generation(row: dict[str, Any], name: str) -> PipelineEstimate:
    """A shipped pipeline, run as a row says."""
    found = load_pipeline(name)
    guidance = "cfg" if row.get("evaluations_per_step") == 2 else None
    sizes = {k: row[k] for k in _SIZES if k in row}
    request, _ = make_request(found, steps=row.get("steps", 1), guidance=guidance, **sizes)
    execution = Execution(**run_of(row), fused_qkv="fuse_qkv True" in row["located"])
    run = Deployment(dtype=DType.parse(row["dtype"]), execution=execution)
    return estimate_pipeline(found, load_gpu(row["gpu"]), request, run, pricer=_pricer(row["gpu"]))


def predict(row: dict[str, Any]) -> tuple[float, float, float]:
    """Seconds that a row's settings should take, and the 80 % band.

    A pipeline that ships is asked as a whole, as ``pipeline estimate`` does; of another every step of the transformer,
    its text encoders (once per evaluation) and its decoder are.

    What surrounds the models (scheduler, saving files) is left out, as are parts of a pipeline that no family describes
    (see the file).
    """
    name = shipped(row)
    if name is None:
        return _parts(row)
    answer = generation(row, name)
    if row["scope"] == "pipeline":
        return float(answer.latency_s), float(answer.total("low_s")), float(answer.total("high_s"))
    stage = next(s for s in answer.stages if s.name == "denoise")
    return float(stage.latency_s), float(stage.low_s), float(stage.high_s)


def _parts(row: dict[str, Any]) -> tuple[float, float, float]:
    phase = PHASES.get(row["scope"], row.get("phase", "forward"))
    work = {k: row[k] for k in _WORKLOAD if k in row} | {"phase": phase, **run_of(row)}
    passes = int(row.get("steps", 1)) * int(row.get("evaluations_per_step", 1))
    calls = [(row["model"], work, passes)]
    if row["scope"] == "pipeline":
        calls += list(_surroundings(row))
    total = low = high = 0.0
    for model, settings, times in calls:
        answer = archsearch.estimate(model, row["gpu"], **settings)
        total += times * answer.latency_s
        low += times * answer.latency_low_s
        high += times * answer.latency_high_s
    return total, low, high


def run_of(row: dict[str, Any]) -> dict[str, Any]:
    """Fields of the execution that a row's settings say; torch before 2.8 where the row names no release."""
    return {"torch": row.get("torch", "2.4"), "attention": row.get("attention", "auto"), "compiled": row["compiled"]}


def _surroundings(row: dict[str, Any]) -> Any:
    """(model, settings, times) of the text encoders and the decoder of a row's pipeline."""
    parts = load()[1].get(row["model"], {})
    beside = {"torch": run_of(row)["torch"]}  # pipelines compile their transformer alone
    run = {"dtype": row["dtype"], **beside}
    for encoder, tokens in parts.get("text_encoders", {}).items():
        batch = int(row.get("batch_size", 1)) * int(row.get("evaluations_per_step", 1))
        yield encoder, {**run, "batch_size": batch, "seq_len": tokens}, 1
    if "decoder" in parts:
        sizes = {k: row[k] for k in _SIZES if k in row}
        dtype = parts.get("decoder_dtype", row["dtype"])
        yield parts["decoder"], {**sizes, "dtype": dtype, "phase": "decode", **beside}, 1


@cache
def table() -> pd.DataFrame:
    """One row a timing: settings, published and predicted seconds and the error in percent."""
    rows = []
    for row in load()[0]:
        predicted, low, high = predict(row)
        rows.append(
            {
                "id": row["id"],
                "model": row["model"],
                "pipeline": shipped(row),
                "gpu": row["gpu"],
                "settings": settings(row),
                "scope": row["scope"],
                "published_s": row["published_s"],
                "predicted_s": predicted,
                "low_s": low,
                "high_s": high,
                "error_percent": 100 * (predicted / row["published_s"] - 1),
                "doubtful": "Doubtful" in row.get("notes", ""),
                "source": row["source"],
            }
        )
    return pd.DataFrame(rows)


def settings(row: dict[str, Any]) -> str:
    """What ran, in a few words."""
    size = [
        f"{row['height']}×{row['width']}" if "height" in row else "",
        f"{row['frames']} frames" if row.get("frames") else "",
    ]
    size.append(f"{row['seq_len']} tokens" if "seq_len" in row else "")
    passes = f"{row['steps']} steps" if row.get("steps", 1) > 1 else ""
    guidance = "with guidance" if row.get("evaluations_per_step", 1) == 2 else ""
    phase = row["phase"] if row.get("phase", "forward") not in ("forward", "") else ""
    how = "compiled" if row.get("compiled") else "eager"
    words = [phase, *size, f"batch {row.get('batch_size', 1)}", passes, guidance, row["dtype"], how]
    return ", ".join(word for word in words if word)


def markdown(frame: pd.DataFrame) -> str:
    """The table of the accuracy page; rows whose settings are doubtful have a star."""
    lines = [
        "| model | GPU | settings | covers | published s | predicted s | error % | source |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for row in frame.itertuples():
        star = " *" if row.doubtful else ""
        lines.append(
            f"| {row.model} | {row.gpu} | {row.settings} | {row.scope} | {row.published_s:.4g} | {row.predicted_s:.4g} "
            f"| {row.error_percent:+.0f}{star} | [{row.id}]({row.source}) |"
        )
    return "\n".join(lines)


def summary(frame: pd.DataFrame) -> str:
    """Errors by GPU, doubtful rows left out, and of all rows."""
    lines = [
        "| GPU | timings | median % | mean % | bias % | worst % | in band % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    sound = frame[~frame["doubtful"]]
    parts = [(str(gpu), part) for gpu, part in sound.groupby("gpu")]
    for name, part in (*parts, ("all", sound), ("all, doubtful ones too", frame)):
        error = part["error_percent"]
        worst = error.loc[error.abs().idxmax()]
        inside = part["published_s"].between(part["low_s"], part["high_s"]).mean()
        lines.append(
            f"| {name} | {len(part)} | {error.abs().median():.0f} | {error.abs().mean():.0f} | {error.mean():+.0f} "
            f"| {worst:+.0f} | {100 * inside:.0f} |"
        )
    return "\n".join(lines)


def sentence(frame: pd.DataFrame) -> str:
    """The errors in a few words, all rows counted."""
    error = frame["error_percent"].abs()
    h100 = error[frame["gpu"] == "h100-sxm"]
    told = f"{len(frame)} timings: median error {error.median():.0f} %, {100 * (error <= 15).mean():.0f} % within 15 %"
    return f"{told}; median error on H100 {h100.median():.0f} % ({len(h100)} timings)."


TABLES = {"sentence": sentence, "summary": summary, "timings": markdown}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=TABLES, action="append")
    print("\n\n".join(TABLES[name](table()) for name in parser.parse_args(arguments).table or TABLES))


if __name__ == "__main__":
    main()
