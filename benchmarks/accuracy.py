"""Errors of the cost model on measurements that the fit did not see, as the page docs/accuracy.md.

python benchmarks/accuracy.py ../shared/measurements > docs/accuracy.md
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from archsearch.bench.calibrate import is_test
from archsearch.bench.measurements import read_measurements
from archsearch.bench.validate import GROUP, predict_frame, score
from archsearch.data import data_path

TABLES = {
    "Matrix products on tensor cores": "gemm_tensor_core.csv",
    "Matrix products in fp32": "gemm_fp32.csv",
    "Fused attention": "attention.csv",
    "Bandwidth-bound kernels": "memory_bound_fp32.csv",
}
INTRODUCTION = """# Accuracy

Written by `python benchmarks/accuracy.py MEASUREMENTS > docs/accuracy.md`; `archsearch validate FILE.csv` scores any
table of your own.

Coefficients are fitted by `archsearch bench calibrate --from MEASUREMENTS` on the rows marked `split=fit` alone; the
errors below are on the other rows (`split=test`: whole weight shapes the fit never saw; in the table of bandwidth-bound
kernels, which has no split, a quarter of the row lengths). MAPE is the mean absolute percentage error, the band is the
80 % band that every estimate carries.

The measurements are published ones: aiconfigurator's kernel tables (vLLM 0.14 and 0.24) for 16 bits and fp8, NeuSight's
dataset (ASPLOS'25, torch 2.1) for fp32. Two published measurements of the same bf16 product differ by 2 to 8 %, on L40S
by 9 to 16 %. In NeuSight's `bmm` rows n is the summed dimension; times of causal attention include vLLM's cache write;
fp8 includes the quantization of the activations.
"""
CARRIED = """
## GPUs without measurements

The error of a GPU that no row was fitted on, as recorded in the calibration files: coefficients of its architecture
where another GPU of it was measured, of all other GPUs where not.
"""
MISSES = """
## Where it is weak

* fp32 `linear` on P100 and both fp32 products on P4 and T4: the small boards run below their boost clock by an amount
  that depends on what ran before; on P100 products with more than 8,000 columns run two to three times slower than any
  term of the model explains.
* bf16 on L40S: products of 2 to 16 rows with few columns, where cuBLAS does not split a long sum; and products of
  16,384 rows and more.
* fp8: shapes at the edges of vLLM's tile dispatch.
* Misaligned sizes, collectives, AMD GPUs, and pre-Ampere tensor cores are not measured: mechanism alone.
"""


def table(frame: pd.DataFrame) -> str:
    """One Markdown table of scores by group."""
    lines = ["| GPU | op | format | rows | MAPE % | median % | bias % | Spearman | in band % |"]
    lines.append("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for key, part in predict_frame(frame).groupby(list(GROUP)):
        s = score(part)
        lines.append(
            f"| {' | '.join(map(str, key))} | {s['rows']} | {s['mape']:.1f} | {s['median_ape']:.1f} | {s['bias']:+.1f} "
            f"| {s['spearman']:.4f} | {100 * s['within_band']:.0f} |"
        )
    return "\n".join(lines)


def held_back(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that were not fitted on."""
    if "split" in frame:
        return frame[frame["split"] == "test"]
    keep = [is_test(o, r, c) for o, r, c in zip(frame["op"], frame["rows"], frame["cols"], strict=True)]
    return frame[keep]


def carried() -> str:
    """Errors over whole GPUs held back, from the calibration files."""
    from archsearch.cost.calibration import read_calibration

    lines = ["| kernel family | coefficients of | fitted on | MAPE % on GPUs held back |", "| --- | --- | --- | ---: |"]
    for path in sorted((data_path("hardware_profiles") / "calibration").glob("*.yaml")):
        file = read_calibration(path)
        if file.level == "gpu":
            continue
        for kernel, fit in file.kernels.items():
            if file.level == "default" or len(fit.fitted_on) > 1:
                whose = "all GPUs" if file.level == "default" else file.serves[0]
                several = len(fit.fitted_on) > 1
                error = f"{fit.residuals.mape:.1f}" if several else "one GPU only"
                lines.append(f"| {kernel} | {whose} | {', '.join(fit.fitted_on)} | {error} |")
    return "\n".join(lines)


def main() -> None:
    """Print the page."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/measurements")
    parts = [INTRODUCTION]
    for title, name in TABLES.items():
        parts.append(f"## {title}\n\n{table(held_back(read_measurements(folder / name)))}\n")
    print("\n".join(parts) + CARRIED + "\n" + carried() + "\n" + MISSES, end="")


if __name__ == "__main__":
    main()
