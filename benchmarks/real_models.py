"""Whole models on the GPU at hand: measured latency and peak memory beside what archsearch predicts.

python benchmarks/real_models.py measure --output FILE.csv [--device cuda] [--budget-seconds N]
python benchmarks/real_models.py compare FILE.csv [--hardware GPU]

``measure`` needs torch, transformers and diffusers; weights are random. Nothing is ever fitted on these rows.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CASES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("dit-xl-2", {"batch_size": 32, "height": 256, "width": 256}, "eager"),
    ("dit-xl-2", {"batch_size": 32, "height": 256, "width": 256}, "compiled"),
    ("pixart-sigma", {"batch_size": 2, "height": 1024, "width": 1024, "seq_len": 300}, "eager"),
    ("sd3-medium", {"batch_size": 2, "height": 1024, "width": 1024}, "eager"),
    ("sana-1.6b", {"batch_size": 2, "height": 1024, "width": 1024, "seq_len": 300}, "eager"),
    ("flux1-dev", {"batch_size": 1, "height": 1024, "width": 1024, "seq_len": 512}, "eager"),
    ("flux1-dev", {"batch_size": 1, "height": 1024, "width": 1024, "seq_len": 512}, "compiled"),
    ("wan2.1-1.3b", {"batch_size": 1, "height": 480, "width": 832, "frames": 81, "seq_len": 512}, "eager"),
    ("ltx-video-2b", {"batch_size": 1, "height": 512, "width": 768, "frames": 121, "seq_len": 128}, "eager"),
    ("cogvideox-2b", {"batch_size": 1, "height": 480, "width": 720, "frames": 49, "seq_len": 226}, "eager"),
    ("llama-3-8b", {"batch_size": 1, "seq_len": 2048}, "eager"),
    ("qwen2.5-0.5b", {"batch_size": 8, "seq_len": 1024}, "eager"),
    ("gpt2-large", {"batch_size": 8, "seq_len": 1024}, "eager"),
    ("bert-large", {"batch_size": 32, "seq_len": 512}, "eager"),
    ("modernbert-base", {"batch_size": 32, "seq_len": 512}, "eager"),
    ("modernbert-base", {"batch_size": 32, "seq_len": 512}, "compiled"),
    ("t5-xxl-encoder", {"batch_size": 1, "seq_len": 512}, "eager"),
    ("flux-vae", {"batch_size": 1, "height": 1024, "width": 1024}, "eager"),
    ("wan-vae", {"batch_size": 1, "height": 480, "width": 832, "frames": 17}, "eager"),
)
"""Preset, sizes, execution; bf16, one forward pass."""
COLUMNS = (
    *("model", "sizes", "dtype", "execution", "latency_us", "low_us", "high_us", "peak_bytes", "method", "note"),
    *("gpu", "device", "driver", "torch", "transformers", "diffusers", "date"),
)


def measure(output: Path, device_name: str, budget_s: float) -> None:
    """Time every case that the file does not hold yet, each at most once, until the budget is spent."""
    import torch

    from archsearch.bench.built import build_module, compile_layers, time_model
    from archsearch.bench.micro.device import identify

    device = torch.device(device_name)
    who = identify(device).columns()
    facts = {name: who[name] for name in ("gpu", "device", "driver", "torch")}
    facts |= {name: _version(name) for name in ("transformers", "diffusers")} | {"date": str(datetime.date.today())}
    fresh = not output.exists()
    done = set() if fresh else {(r["model"], r["sizes"], r["execution"]) for r in csv.DictReader(output.open())}
    started = time.monotonic()
    with output.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        for model, sizes, execution in CASES:
            key = (model, json.dumps(sizes), execution)
            if key in done or time.monotonic() - started > budget_s:
                continue
            row: dict[str, Any] = {**facts, "model": model, "sizes": key[1], "dtype": "bf16", "execution": execution}
            before = _clean(device)
            try:
                config, workload = described(model, sizes)
                built = build_module(config, workload, device)
                if execution == "compiled":
                    compile_layers(built)
                row |= _timed(built, device, time_model, before)
            except Exception as error:  # one model's failure is a row; the others go on
                row["note"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            writer.writerow(row)
            lines.flush()
            built = None
            told = row.get("latency_us") or row["note"]
            print(f"{time.monotonic() - started:5.0f} s  {model} {execution}: {told}", file=sys.stderr, flush=True)


def _clean(device: Any) -> int:
    """Free what earlier models left; returns the bytes that stay allocated."""
    import torch

    from archsearch.bench.micro.device import release

    torch.compiler.reset()
    release(device)
    return int(torch.cuda.memory_allocated(device)) if device.type == "cuda" else 0


def _timed(built: Any, device: Any, time_model: Any, before: int) -> dict[str, Any]:
    import torch

    peak = None
    if device.type == "cuda":
        with torch.no_grad():
            built.module(**built.arguments)
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats(device)
            built.module(**built.arguments)
        peak = torch.cuda.max_memory_allocated(device) - before
    timing = time_model(built, device)
    times = {"latency_us": timing.median_s, "low_us": timing.low_s, "high_us": timing.high_s}
    return {n: f"{1e6 * s:.5g}" for n, s in times.items()} | {"peak_bytes": peak, "method": timing.method}


def described(model: str, sizes: dict[str, Any]) -> tuple[Any, Any]:
    """A preset's config and the workload of a row."""
    from archsearch.estimate_result import workload_of
    from archsearch.models.registry.families import load_preset

    config = load_preset(model)
    names = ("batch_size", "seq_len", "height", "width", "frames")
    return config, workload_of(config, {name: sizes.get(name) for name in names})[0]


def rows_of(file: Path, hardware: str | None = None) -> list[dict[str, Any]]:
    """Measured rows with ``predicted_us``, ``low``, ``high`` and ``predicted_bytes``."""
    from archsearch.cost.execution import Execution
    from archsearch.cost.memory import memory
    from archsearch.cost.model import CostModel
    from archsearch.hardware import load_gpu

    found = []
    for row in csv.DictReader(file.open()):
        if not row["latency_us"]:
            continue
        config, workload = described(row["model"], json.loads(row["sizes"]))
        model = CostModel(load_gpu(hardware or row["gpu"]))
        graphs = "graph" in file.stem
        run = Execution(attention="sdpa", compiled=row["execution"] == "compiled", cuda_graphs=graphs)
        answer = model.price(config, workload, run)
        predicted = {"predicted_us": 1e6 * float(answer.latency_s), "provenance": answer.provenance.value}
        predicted |= {"predicted_low_us": 1e6 * float(answer.low_s), "predicted_high_us": 1e6 * float(answer.high_s)}
        predicted["predicted_bytes"] = float(memory(config, workload, run, model.gpu).total)
        found.append({**row, **predicted})
    return found


def compare(file: Path, hardware: str | None) -> None:
    """Print one line per row, and the mean errors."""
    rows = rows_of(file, hardware)
    print("| model | sizes | execution | measured ms | predicted ms | error % | in band | peak GiB | predicted GiB |")
    print("| --- | --- | --- | ---: | ---: | ---: | --- | ---: | ---: |")
    errors = []
    for r in rows:
        measured, predicted = float(r["latency_us"]), r["predicted_us"]
        errors.append(abs(predicted / measured - 1))
        inside = "yes" if r["predicted_low_us"] <= measured <= r["predicted_high_us"] else "no"
        sizes = " ".join(f"{k}={v}" for k, v in json.loads(r["sizes"]).items())
        peak = f"{float(r['peak_bytes']) / 2**30:.2f}" if r["peak_bytes"] else ""
        cells = (r["model"], sizes, r["execution"], f"{measured / 1e3:.2f}", f"{predicted / 1e3:.2f}")
        tail = (f"{100 * (predicted / measured - 1):+.1f}", inside, peak, f"{r['predicted_bytes'] / 2**30:.2f}")
        print("| " + " | ".join((*cells, *tail)) + " |")
    print(f"\n{len(rows)} rows, MAPE {100 * sum(errors) / max(len(errors), 1):.1f} %")


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("--output", type=Path, required=True)
    measuring.add_argument("--device", default="cuda")
    measuring.add_argument("--budget-seconds", type=float, default=1e9)
    comparing = verbs.add_parser("compare")
    comparing.add_argument("file", type=Path)
    comparing.add_argument("--hardware")
    options = parser.parse_args(arguments)
    if options.verb == "measure":
        measure(options.output, options.device, options.budget_seconds)
    else:
        compare(options.file, options.hardware)


if __name__ == "__main__":
    main()
