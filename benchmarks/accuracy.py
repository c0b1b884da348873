"""Errors of the cost model on measurements that no fit saw: the tables of docs/accuracy.md and README.md.

python benchmarks/accuracy.py --table NAME [MEASUREMENTS]     # ../shared/measurements unless said
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pandas as pd
import quantized_gains

from archsearch.bench.calibrate import is_test
from archsearch.bench.layer_rows import LINEAR_OPS
from archsearch.bench.measurements import read_measurements
from archsearch.bench.validate import GROUP, predict_frame, score
from archsearch.data import data_path
from archsearch.dtypes import DType

VIDUR_SHORTEST_US = 60.0


def predicted(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that have a prediction, with it and with that of the mechanism alone."""
    found = predict_frame(frame)
    found["mechanism_us"] = predict_frame(frame, correction=False)["predicted_us"]
    return found[found["predicted_us"].notna()]


@cache
def kernels(file: Path) -> pd.DataFrame:
    """The rows of a table of kernels that no fit saw, predicted."""
    return predicted(held_back(read_measurements(file)))


def table(frame: pd.DataFrame, by: tuple[str, ...] = GROUP) -> str:
    """One Markdown table of scores by group."""
    heads = [*("format" if c == "dtype" else c for c in by), "rows", "MAPE %", "mechanism %", "roofline %", "median %"]
    heads += ["bias %", "Spearman", "in band %"]
    lines = [f"| {' | '.join(heads)} |", f"| {'--- | ' * len(by)}{'---: | ' * (len(heads) - len(by) - 1)}---: |"]
    parts = [*frame.groupby(list(by))]
    if len(parts) > 1:
        parts.append((("all", *[""] * (len(by) - 1)), frame))
    for key, part in parts:
        s = score(part)
        alone, roofline = (mape(part[c], part["latency_us"]) for c in ("mechanism_us", "roofline_us"))
        spearman = "" if s.spearman is None else f"{s.spearman:.4f}"
        lines.append(
            f"| {' | '.join(map(str, key))} | {s.rows} | {s.mape:.1f} | {alone:.1f} | {roofline:.1f} "
            f"| {s.median_ape:.1f} | {s.bias:+.1f} | {spearman} | {100 * s.within_band:.0f} |"
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
    """Vidur's linear layers that take long enough to be a product's time and not its launch's."""
    frame = read_measurements(path)
    return frame[frame["op"].isin(LINEAR_OPS) & (frame["latency_us"] >= VIDUR_SHORTEST_US)]


SMALL_MESSAGE = 64 * 1024


def collectives(file: Path) -> str:
    """Collectives by GPU and by what counts in them: latency up to 64 KiB, bandwidth beyond."""
    rows = kernels(file)
    message = rows["message_bytes"].gt(SMALL_MESSAGE).map({False: "to 64 KiB", True: "beyond"})
    return table(rows.assign(message=message), ("gpu", "message"))


LOW_PRECISION = ("nvfp4", "int8_weight_only", "int4_weight_only")


def low_precision(folder: Path) -> str:
    """Errors in formats of few bits, and those of a GPU under the coefficients of the others."""
    from archsearch.cost.calibration import read_calibration

    rows = kernels(folder / "gemm_more.csv")
    text = table(rows[rows["dtype"].isin(LOW_PRECISION)], ("gpu", "dtype"))
    file = read_calibration(data_path("hardware_profiles") / "calibration" / "default.yaml")
    lines = ["| format | MAPE % on the GPU left out |", "| --- | --- |"]
    for name in LOW_PRECISION:
        fit = file.kernels[f"gemm/{DType.parse(name).value}"]
        lines.append(f"| {name} | {', '.join(f'{gpu} {error:.1f}' for gpu, error in sorted(fit.carried.items()))} |")
    return f"{text}\n\n" + "\n".join(lines)


def libraries(folder: Path) -> str:
    """Errors of 16-bit and 8-bit products by the library that ran them; vLLM's of the first four GPUs are the rows of
    the table of tensor cores."""
    more, first = kernels(folder / "gemm_more.csv"), kernels(folder / "gemm_tensor_core.csv")
    rows = pd.concat([first.assign(kernel="vllm"), more[~more["dtype"].isin(LOW_PRECISION)]], ignore_index=True)
    return table(rows.rename(columns={"kernel": "library"}), ("dtype", "gpu", "library"))


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


def overview(folder: Path) -> str:
    """MAPE of the common products and of attention by GPU, beside the range of the plain roofline's."""
    gpus = {"a100-sxm-80gb": "A100", "h100-sxm": "H100", "b200-sxm": "B200", "l40s": "L40S"}
    lines = [f"| MAPE, % | {' | '.join(gpus.values())} | plain roofline |", f"| --- |{' ---: |' * (len(gpus) + 1)}"]
    for title, name, dtype in (
        ("linear layers, bf16", "gemm_tensor_core.csv", "bf16"),
        ("linear layers, fp8 with quantization", "gemm_tensor_core.csv", "fp8_e4m3"),
        ("fused attention, bf16", "attention.csv", "bf16"),
    ):
        rows = kernels(folder / name)
        parts = {gpu: part for gpu, part in rows[rows["dtype"] == dtype].groupby("gpu") if gpu in gpus}
        ours = [f"{mape(parts[g]['predicted_us'], parts[g]['latency_us']):.1f}" if g in parts else "" for g in gpus]
        plain = [mape(part["roofline_us"], part["latency_us"]) for part in parts.values()]
        lines.append(f"| {title} | {' | '.join(ours)} | {min(plain):.0f} to {max(plain):.0f} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[Path], str]] = {
    "overview": overview,
    "tensor-core": lambda folder: table(kernels(folder / "gemm_tensor_core.csv")),
    "low-precision": low_precision,
    "libraries": libraries,
    "fp32": lambda folder: table(kernels(folder / "gemm_fp32.csv")),
    "attention": lambda folder: table(kernels(folder / "attention.csv")),
    "decode": lambda folder: table(kernels(folder / "decode_attention.csv"), ("gpu", "kernel", "kv_dtype")),
    "experts": lambda folder: table(kernels(folder / "experts.csv"), ("gpu", "op", "dtype", "distribution")),
    "bandwidth": lambda folder: table(kernels(folder / "memory_bound_fp32.csv")),
    "collectives": lambda folder: collectives(folder / "collectives.csv"),
    "passes": lambda folder: table(predicted(read_measurements(folder / "end_to_end_fp32.csv")), ("gpu", "dtype")),
    "delta-nets": lambda folder: table(kernels(folder / "linear_attention.csv"), ("gpu", "kernel")),
    "other-library": lambda folder: table(predicted(other_stack(folder / "llm_layer_fp16.csv")).assign(op="linear")),
    "llm-layer": lambda folder: table(predicted(read_measurements(folder / "llm_layer_fp16.csv")), ("gpu", "op")),
    "left-out": lambda _: carried(),
    "quantized-gains": lambda _: quantized_gains.table(),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/measurements"))
    parser.add_argument("--table", choices=TABLES, required=True)
    options = parser.parse_args(arguments)
    print(TABLES[options.table](options.folder))


if __name__ == "__main__":
    main()
