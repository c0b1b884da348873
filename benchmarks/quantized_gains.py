"""Gains of quantized runs over 16-bit ones of the same source, predicted and published.

python benchmarks/accuracy.py --table quantized-gains
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu
from archsearch.pipeline import Deployment, estimate_pipeline, load_pipeline, make_request
from archsearch.pipeline.component_calls import Pricer
from archsearch.yaml_records import read_mapping

FILE = Path(__file__).with_name("published_quantization.yaml")
DEFAULTS = {"fp8": "tensor", "int8": "row"}


@dataclass(frozen=True)
class Run:
    """A published run of a pipeline: seconds, and how it ran."""

    pipeline: str
    gpu: str
    steps: int
    torch: str
    dtype: str
    compiled: bool
    fused_qkv: bool
    batch_size: int
    published_s: float
    granularity: str = "auto"

    @property
    def scales(self) -> str:
        """What a scale of its activations covers."""
        return DEFAULTS.get(self.dtype, "") if self.granularity == "auto" else self.granularity


def runs() -> tuple[Run, ...]:
    """The published runs of the file, in its order."""
    entries = read_mapping(FILE)["runs"]
    names = ("pipeline", "gpu", "steps", "torch")
    return tuple(Run(*(entry[name] for name in names), *row) for entry in entries for row in entry["times"])  # type: ignore[attr-defined]


@cache
def _pricer(gpu: str) -> Pricer:
    return Pricer(load_gpu(gpu))


@cache
def predicted_s(run: Run) -> float:
    """Seconds of a run; compiled ones replay CUDA graphs, as ``max-autotune`` captures them."""
    found = load_pipeline(run.pipeline)
    request, _ = make_request(found, steps=run.steps, batch_size=run.batch_size)
    execution = Execution(
        torch=run.torch,
        compiled=run.compiled,
        cuda_graphs=run.compiled,
        fused_qkv=run.fused_qkv,
        granularity=run.granularity,
    )
    deployment = Deployment(dtype=DType.parse(run.dtype), execution=execution)
    pricer = _pricer(run.gpu)
    return float(estimate_pipeline(found, pricer.gpu, request, deployment, pricer=pricer).latency_s)


def pairs(found: tuple[Run, ...]) -> Iterator[tuple[Run, Run]]:
    """Every quantized run with the 16-bit one that it is compared with: of its source, size and compilation."""
    for run in found:
        if run.dtype == "bf16":
            continue
        same = [
            other
            for other in found
            if other.dtype == "bf16"
            and (other.pipeline, other.gpu, other.batch_size, other.compiled)
            == (run.pipeline, run.gpu, run.batch_size, run.compiled)
        ]
        yield run, same[0]


def table() -> str:
    """Markdown: seconds and gains over 16 bits."""
    lines = [
        "| pipeline | gpu | format | scales | run | batch | published, s | predicted, s | published gain | predicted |"
    ]
    lines.append("| --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for run, plain in pairs(runs()):
        seconds, base = predicted_s(run), predicted_s(plain)
        how = ("compiled" if run.compiled else "eager") + (", fused qkv" if run.fused_qkv else "")
        lines.append(
            f"| {run.pipeline} | {run.gpu} | {run.dtype} | {run.scales} | {how} | {run.batch_size} "
            f"| {run.published_s:.4g} | {seconds:.4g} | {plain.published_s / run.published_s:.2f} "
            f"| {base / seconds:.2f} |"
        )
    return "\n".join(lines)
