"""Errors of the cost model on measurements that no fit saw, as the page docs/accuracy.md.

python benchmarks/accuracy.py ../shared/measurements > docs/accuracy.md
"""

from __future__ import annotations

import sys
from pathlib import Path

import memory_gpu  # of this folder, as the next
import pandas as pd
import published

from archsearch.bench.calibrate import is_test
from archsearch.bench.measurements import read_measurements
from archsearch.bench.validate import GROUP, predict_frame, score
from archsearch.data import data_path

MEASURED_MEMORY = Path(__file__).parent / "results" / "memory_gpu.csv"
TABLES = {
    "Matrix products on tensor cores": "gemm_tensor_core.csv",
    "Matrix products in fp32": "gemm_fp32.csv",
    "Fused attention": "attention.csv",
    "Bandwidth-bound kernels": "memory_bound_fp32.csv",
}
INTRODUCTION = """# Accuracy

Written by `python benchmarks/accuracy.py MEASUREMENTS > docs/accuracy.md`; `archsearch validate FILE.csv` scores any
table of your own, `--report FILE.html` draws it.

All is fitted by `archsearch bench calibrate --from MEASUREMENTS` on the rows marked `split=fit` alone. The errors
below are on the other rows: `split=test` (whole weight shapes or head layouts that no fit saw), and in the table of
bandwidth-bound kernels, which has no split, a quarter of the row lengths. MAPE is the mean absolute percentage error;
*mechanism* is the MAPE without the learned correction of matrix products (`--no-correction`); *roofline* is the MAPE of
datasheet peaks on the same rows; *in band* is the share of rows within the 80 % band that every estimate carries.

The size and regularisation of the correction's networks were chosen with the errors of these test rows in sight; the
calibration files hold the errors of each network on the fit rows that it left out (`residuals`).

The measurements are published ones: aiconfigurator's kernel tables (vLLM 0.14 and 0.24) for 16 bits and fp8, NeuSight's
dataset (ASPLOS'25, torch 2.1) for fp32. Two published measurements of the same bf16 product differ by 2 to 8 %, on L40S
by 9 to 16 %. In NeuSight's `bmm` rows n is the summed dimension; times of causal attention include vLLM's cache write;
fp8 includes the quantization of the activations.
"""
WHOLE = """
## Whole forward passes

NeuSight's labels: eager, fp32, attention not fused. Nothing is fitted on them.
"""
PUBLISHED = """
## Published timings

Whole models and pipelines as others timed them, from `benchmarks/published_timings.yaml`, which holds every row's
settings, source, place in it and what had to be assumed (`python benchmarks/published.py` prints this section alone).
Nothing is fitted on them. *pipeline* is the text encoders once, the transformer at every step and the decoder once, on
the GPU alone: neither the host's time nor loading, scheduling, saving or offloading. A star marks rows whose settings
are a guess or whose figure is rounded, so that their error says little.
"""
PUBLISHED_NOTES = """
What the larger errors come from, as far as can be told:

* HunyuanVideo on A100 and L20 (predicted too slow): long unmasked FlashAttention-2 was measured on the L40S alone,
  whose coefficients give an A100 186 TFLOP/s; up to 73 % of its peak, 228, are published
  ([FlashAttention-2](https://arxiv.org/abs/2307.08691), abstract).
* FLUX.1 eager on H100 and A100 (too fast): not established. diffusers of the time wrote RMSNorm out in several kernels
  where today's class runs one, and clocks may fall over seconds of dense work; compiled, the error is a third of it.
* PixArt and SD3 in the table of SANA (too fast): something besides the GPU's work is in these times, for PixArt at
  1024 pixels has 5 times the work of 512 and took 2.3 times as long; two digits are printed at most.
* T4 (too fast): power, see below. Small decoders at batch 1 (too fast): the serving engine's own time per token.
* RTX 3080, 3090 (too slow): products on their tensor cores take coefficients of all measured GPUs together.
* TensorRT's decoder and encoder of SD3 (too fast), SD's decoder at 512 pixels on an RTX 4090 (too slow), and Wan at
  480p in the official code on H200 (too fast): cause not established.
"""
MEMORY = """
## Memory

`torch.cuda.max_memory_allocated` on an H200 (torch 2.11, transformers 5.17, diffusers 0.42) against `memory_bytes`, by
`benchmarks/memory_gpu.py`; `--compare FILE.csv` prints this table. Modules have few layers where one layer's moment is
the peak. Activations are above weights, gradients and optimizer state; a prefill's include its keys and values. Nothing
is fitted on them but the rule that a 16-bit convolution takes a workspace as large as its input and output, and which
tensors of a loss live at once. Why T5 differs stands in [models](models.md#what-is-counted).
"""
OTHER_STACK = """
## The same GPUs under another library

fp16 linear layers of LLMs as Vidur (MLSys'24) profiled them: another torch and cuBLAS, timed by the host, and so only
rows above 60 µs. No coefficient is fitted on them. A40 has no fit of its own; that its products take coefficients of
all GPUs together, not of the L40S or the A100, was decided on these rows.
"""
CARRIED = """
## GPUs left out

MAPE on every measured GPU under coefficients fitted on all the *other* GPUs, without its own rows and without any
learned correction: what a generation that nobody measured can expect. No two GPUs of one generation are in the
measurements with the same kernels, so the error of a sibling (an H200 by the H100's fit, say) is not measured here; its
band is that of the measured GPU's unseen shapes, widened by 5 %. FlashAttention 3 and 4 and TensorRT-LLM's attention
were measured on one GPU each, which cannot be left out.

A board with far more power for its matrix rate than the measured one of its architecture takes neither its power limit
nor its learned correction (`archsearch/cost/power.py`). Published square products in bf16, 2048 to 8192, which no fit
saw, come out within 10 % on L20 and RTX 4090; an L4, which shares the L40S's limit, within 10 % but for one size, 25 %
too fast.
"""
WEAK = """
## Where it is weak

* The learned correction learns which tile *the measured library version* picks: on the shapes left out it removes a
  quarter to three quarters of the error, under another library (above) it does not help. `--no-correction` leaves it
  out.
* P4 and T4 run below their boost clock by an amount that depends on what ran before: on T4 products of equal size run
  at 1.5 to 6.6 TFLOP/s. No model of single kernels removes that; whole passes on P4 take up to half as long again.
* fp32 `linear` on P100 with more than 8,000 columns runs two to three times slower in the kernel table than its
  language-model heads do in whole passes.
* fp8 on B200: the table itself holds products five times slower than their neighbours, at random row counts.
* bf16 on L40S: products of few rows or few columns, and of 16,384 rows and more.
* Misaligned sizes, collectives, AMD GPUs, and tensor cores before Ampere are not measured: mechanism alone.
"""
VIDUR_LAYERS = ("linear_qkv", "linear_out", "linear_up", "linear_down")
VIDUR_SHORTEST_US = 60.0


def table(frame: pd.DataFrame, by: tuple[str, ...] = GROUP) -> str:
    """One Markdown table of scores by group."""
    heads = [*("format" if c == "dtype" else c for c in by), "rows", "MAPE %", "mechanism %", "roofline %", "median %"]
    heads += ["bias %", "Spearman", "in band %"]
    lines = [f"| {' | '.join(heads)} |", f"| {'--- | ' * len(by)}{'---: | ' * (len(heads) - len(by) - 1)}---: |"]
    predicted = predict_frame(frame)
    predicted["mechanism_us"] = predict_frame(frame, correction=False)["predicted_us"]
    predicted = predicted[predicted["predicted_us"].notna()]
    parts = [*predicted.groupby(list(by))]
    if len(parts) > 1:
        parts.append((("all", *[""] * (len(by) - 1)), predicted))
    for key, part in parts:
        s = score(part)
        alone, roofline = (mape(part[c], part["latency_us"]) for c in ("mechanism_us", "roofline_us"))
        spearman = "" if s["spearman"] is None else f"{s['spearman']:.4f}"
        lines.append(
            f"| {' | '.join(map(str, key))} | {s['rows']} | {s['mape']:.1f} | {alone:.1f} | {roofline:.1f} "
            f"| {s['median_ape']:.1f} | {s['bias']:+.1f} | {spearman} | {100 * s['within_band']:.0f} |"
        )
    return "\n".join(lines)


def mape(predicted: pd.Series, measured: pd.Series) -> float:
    """Mean absolute percentage error."""
    return float((predicted / measured - 1).abs().mean() * 100)


def held_back(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that were not fitted on."""
    if "split" in frame:
        return frame[frame["split"] == "test"]
    keep = [is_test(o, r, c) for o, r, c in zip(frame["op"], frame["rows"], frame["cols"], strict=True)]
    return frame[keep]


def other_stack(path: Path) -> pd.DataFrame:
    """Vidur's linear layers as products: qkv is fused, gate and up projection too."""
    frame = read_measurements(path)
    frame = frame[frame["op"].isin(VIDUR_LAYERS) & (frame["latency_us"] >= VIDUR_SHORTEST_US)]
    h, f = frame["hidden_size"], frame["intermediate_size"]
    qkv = (frame["num_heads"] + 2 * frame["num_kv_heads"]) * (h // frame["num_heads"])
    up = f * (1 + frame["gated"].astype(int))
    columns = {"linear_qkv": qkv, "linear_out": h, "linear_up": up, "linear_down": h}
    n = pd.concat([values[frame["op"] == name] for name, values in columns.items()]).reindex(frame.index)
    k = f.where(frame["op"] == "linear_down", h)
    return frame.assign(layer=frame["op"], op="linear", m=frame["tokens"], n=n, k=k)


def carried() -> str:
    """Errors on GPUs left out, from the calibration files."""
    from archsearch.cost.calibration import read_calibration

    file = read_calibration(data_path("hardware_profiles") / "calibration" / "default.yaml")
    lines = ["| kernel family | MAPE % on the GPU left out |", "| --- | --- |"]
    for kernel, fit in file.kernels.items():
        if len(fit.carried) > 1:
            errors = ", ".join(f"{gpu} {error:.1f}" for gpu, error in sorted(fit.carried.items()))
            lines.append(f"| {kernel} | {errors} |")
    return "\n".join(lines)


def main() -> None:
    """Print the page."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/measurements")
    parts = [INTRODUCTION]
    for title, name in TABLES.items():
        parts.append(f"## {title}\n\n{table(held_back(read_measurements(folder / name)))}\n")
    page = "\n".join(parts)
    page += f"{WHOLE}\n{table(read_measurements(folder / 'end_to_end_fp32.csv'), ('gpu', 'dtype'))}\n"
    timings = published.table()
    page += f"{PUBLISHED}\n{published.summary(timings)}\n\n{published.markdown(timings)}\n{PUBLISHED_NOTES}"
    page += f"{MEMORY}\n{memory_gpu.compare(MEASURED_MEMORY)}\n"
    page += f"{OTHER_STACK}\n{table(other_stack(folder / 'llm_layer_fp16.csv'))}\n"
    print(page + CARRIED + "\n" + carried() + "\n" + WEAK, end="")


if __name__ == "__main__":
    main()
