"""Pictures and tables of a results file of `archsearch bench run`: measured and predicted on one axis.

python benchmarks/bench_figures.py [RESULTS.csv] [--output docs/figures | --table errors|layers|sentence]

Draws the steps of waves of tiles (a library's product, and Triton's at a tile we chose), head sizes, hidden sizes and
vocabularies; ``--table`` prints errors by kind and split, or of transformer layers, and draws nothing. Rows marked
`fit` took part in the calibration, those marked `test` did not; blocks and Triton's kernels never do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RESULTS = Path("hardware_profiles/measurements/h200-sxm-2026-11-26.csv")
MEASURED, PREDICTED = "#1f77b4", "#d62728"


def predicted(file: Path) -> pd.DataFrame:
    """The rows with ``predicted_us``."""
    from archsearch.bench.measurements import read_measurements
    from archsearch.bench.validate import predict_frame

    return predict_frame(read_measurements(file))


def waves(frame: pd.DataFrame, axes: Any) -> None:
    """Time over the tiles of 128 × 256 of a product with k = 4096, and of Triton's kernel at that very tile."""
    rows = frame[(frame["purpose"] == "wave") & (frame["k"] == 4096)].sort_values("m")
    tiles = rows["m"] / 128 * rows["n"] / 256
    axes.plot(tiles, rows["latency_us"], "o-", ms=3, color=MEASURED, label="torch linear, measured")
    axes.plot(tiles, rows["predicted_us"], "-", color=PREDICTED, label="torch linear, predicted")
    own = frame[(frame["op"] == "triton_matmul")].copy()
    own = own[[json.loads(c)["tile_n"] == 256 for c in own["config"]]].sort_values("m")
    axes.plot(own["m"] / 128 * own["n"] / 256, own["latency_us"], "s--", ms=3, color="gray", label="Triton 128×256")
    for wave in range(1, 5):
        axes.axvline(132 * wave, color="lightgray", lw=0.8, zorder=0)
    axes.set(xlabel="tiles of 128 × 256 (lines: full waves of 132 SMs)", ylabel="µs", title="Waves, bf16, k = 4096")
    axes.legend(fontsize=7)


def heads(frame: pd.DataFrame, axes: Any) -> None:
    """TFLOP/s of attention of one width by head_dim, 4,096 tokens."""
    rows = frame[(frame["op"] == "attention") & (frame["seq_q"] == 4096) & (frame["seq_kv"] == 4096)]
    rows = rows[(rows["causal"] == 0) & (rows["batch"] == 1) & (rows["heads_q"] == rows["heads_kv"])]
    flops = 4 * rows["batch"] * rows["heads_q"] * rows["seq_q"] * rows["seq_kv"] * rows["head_dim"]
    rows = rows.assign(measured=flops / rows["latency_us"] / 1e6, predicted=flops / rows["predicted_us"] / 1e6)
    for kernel, style in (("torch_cudnn", "-"), ("torch_fa2", "--")):
        part = rows[rows["kernel"] == kernel].sort_values("head_dim")
        axes.plot(part["head_dim"], part["measured"], f"o{style}", color=MEASURED, label=f"{kernel}, measured")
        axes.plot(part["head_dim"], part["predicted"], style, color=PREDICTED, label=f"{kernel}, predicted")
    axes.set(xlabel="head_dim (heads × head_dim ≈ 3072)", ylabel="TFLOP/s", title="Attention, 4,096 tokens", ylim=0)
    axes.legend(fontsize=7)


def hidden(frame: pd.DataFrame, axes: Any) -> None:
    """TFLOP/s of the feed-forward's first product by hidden size, on and off multiples of 64."""
    rows = frame[(frame["purpose"] == "hidden") & (frame["k"] < 2200)].sort_values("k")
    flops = 2 * rows["m"] * rows["n"] * rows["k"]
    axes.plot(rows["k"], flops / rows["latency_us"] / 1e6, "o-", ms=3, color=MEASURED, label="measured")
    axes.plot(rows["k"], flops / rows["predicted_us"] / 1e6, "-", color=PREDICTED, label="predicted")
    axes.set(xlabel="hidden_size (steps of 8)", ylabel="TFLOP/s", title="8,192 tokens, n = 4 · hidden_size", ylim=0)
    axes.legend(fontsize=7)


def alignment(frame: pd.DataFrame, axes: Any) -> None:
    """Slow-down against the aligned product of 4096³ by how far n or k is off."""
    rows = frame[(frame["purpose"] == "misaligned") & (frame["m"] == 4096)]
    for name, marker in (("n", "o"), ("k", "s")):
        other = "k" if name == "n" else "n"
        part = rows[(rows[other] == 4096) & (rows[name].between(4032, 4160))].sort_values(name)
        axes.plot(part[name] - 4096, part["latency_us"], marker, ms=4, color=MEASURED, label=f"{name}, measured")
        axes.plot(part[name] - 4096, part["predicted_us"], marker, ms=4, mfc="none", color=PREDICTED, label="predicted")
    axes.set(xlabel="columns off 4096", ylabel="µs", title="Misaligned n or k, 4096³ bf16", xscale="symlog", ylim=0)
    axes.legend(fontsize=7)


def block_times(file: Path) -> pd.DataFrame:
    """Measured and predicted microseconds of one transformer layer each, which no fit has seen."""
    from archsearch.cost.execution import BURST
    from archsearch.dtypes import DType
    from archsearch.hardware import load_gpu
    from archsearch.models.registry.families import load_preset
    from archsearch.verify.compare import predicted as predict
    from archsearch.workload import Phase, Workload

    found = []
    for row in pd.read_csv(file).query("op == 'block'").to_dict("records"):
        family = json.loads(row["config"])["family"]
        sizes = {n: int(row[n]) for n in ("hidden_size", "num_attention_heads", "intermediate_size")}
        config = load_preset({"dit": "dit-xl-2", "decoder": "llama-2-7b", "encoder": "bert-base"}[family])
        if family == "decoder":
            sizes["num_key_value_heads"] = sizes["num_attention_heads"]
        batch, seq = int(row["batch"]), int(row["seq"])
        side = int(seq**0.5) * 16
        shape = {"height": side, "width": side} if family == "dit" else {"seq_len": seq}
        workload = Workload(phase=Phase.FORWARD, batch_size=batch, dtype=DType.parse(row["dtype"]), **shape)
        _, layer = predict(
            replace(config, **sizes),
            workload,
            load_gpu(row["gpu"]),
            replace(BURST, attention="sdpa", compiled=row["kernel"] == "compiled"),
        )
        about = f"{family} {sizes['hidden_size']}, {batch} × {seq} tokens, {row['kernel']}"
        found.append({"layer": about, "measured_us": row["latency_us"], "predicted_us": 1e6 * float(layer or np.nan)})
    return pd.DataFrame(found)


def errors(frame: pd.DataFrame) -> str:
    """A table of errors by op, kernel, format and split."""
    from archsearch.bench.validate import score

    known = frame[frame["predicted_us"].notna()].assign(kernel=frame["kernel"].fillna(""))
    lines = ["| op | kernel | format | split | rows | MAPE % | median % | bias % | in band % |"]
    lines.append("| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for key, part in known.groupby(["op", "kernel", "dtype", "split"]):
        s = score(part)
        cells = (s.rows, f"{s.mape:.1f}", f"{s.median_ape:.1f}", f"{s.bias:+.1f}")
        lines.append("| " + " | ".join(map(str, (*key, *cells, f"{100 * s.within_band:.0f}"))) + " |")
    return "\n".join(lines)


def layers(file: Path) -> str:
    """A table of transformer layers."""
    lines = ["| one layer | measured µs | predicted µs | error % |", "| --- | ---: | ---: | ---: |"]
    for row in block_times(file).to_dict("records"):
        error = 100 * (row["predicted_us"] / row["measured_us"] - 1)
        lines.append(f"| {row['layer']} | {row['measured_us']:.0f} | {row['predicted_us']:.0f} | {error:+.1f} |")
    return "\n".join(lines)


def sentence(file: Path) -> str:
    """The errors of transformer layers in a few words."""
    frame = block_times(file)
    error = 100 * (frame["predicted_us"] / frame["measured_us"] - 1).abs()
    told = f"{error.mean():.0f} % on average, {error.max():.0f} % at worst"
    return f"Errors of {len(frame)} transformer layers that no fit saw: {told}."


def draw_all(file: Path, output: Path) -> None:
    """One picture of four panels, named like the results file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    frame = predicted(file)
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for draw, place in zip((waves, heads, hidden, alignment), axes.flat, strict=True):
        draw(frame, place)
    device = frame.iloc[0]
    figure.suptitle(
        f"{device['device']}, driver {device['driver']}, torch {device['torch']}, {device['date']}", fontsize=9
    )
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / f"{file.stem}.png", dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, or print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=RESULTS)
    parser.add_argument("--output", type=Path, default=Path("docs/figures"))
    parser.add_argument("--table", choices=("errors", "layers", "sentence"))
    options = parser.parse_args(arguments)
    if options.table == "errors":
        print(errors(predicted(options.file)))
    elif options.table:
        print((layers if options.table == "layers" else sentence)(options.file))
    else:
        draw_all(options.file, options.output)


if __name__ == "__main__":
    main()
