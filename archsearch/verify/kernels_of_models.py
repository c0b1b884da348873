"""The library kernels behind architectures, as cases to measure: what a calibration on exactly these shapes needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from archsearch.bench.micro.cases import Case
from archsearch.cost.execution import AttentionChoice
from archsearch.cost.launches import Kernel, kernels_of
from archsearch.hardware.spec import GpuSpec
from archsearch.models.base import ModelConfig
from archsearch.ops import Attention, MatMul, MemoryOp
from archsearch.workload import Workload

TIMED = ("add", "mul", "mulu", "gelu", "silu", "relu", "tanh", "softmax", "layernorm", "rmsnorm", "copy")
"""Bandwidth-bound kinds that ``micro.operations`` runs as one kernel."""
PURPOSE = "model"


def kernel_cases(models: Iterable[ModelConfig], workload: Workload, gpu: GpuSpec) -> list[Case]:
    """Each different product, attention and bandwidth-bound kernel of the models' eager execution, once."""
    attention = AttentionChoice.EAGER if gpu.vendor == "cpu" else AttentionChoice.SDPA
    cases: dict[str, Case] = {}
    for config in models:
        for op in config.lower(workload):
            for kernel in kernels_of(op, gpu, compiled=False, attention=attention):
                for case in _case(kernel, gpu):
                    cases.setdefault(case.key, case)
    return list(cases.values())


def _case(kernel: Kernel, gpu: GpuSpec) -> Iterator[Case]:
    from archsearch.cost.routes import torch_attention

    dtype = getattr(kernel, "dtype", None)
    if dtype is None or dtype.value not in ("fp32", "tf32", "fp16", "bf16"):
        return
    if isinstance(kernel, MatMul):
        dims = _whole(kernel, ("m", "n", "k") if kernel.weights else ("batch", "m", "n", "k"))
        if kernel.weights:
            dims["m"] *= int(np.asarray(kernel.batch).item())
        yield Case("linear" if kernel.weights else "bmm", dtype.value, dims, PURPOSE)
    elif isinstance(kernel, Attention):
        dims = _whole(kernel, ("batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim"))
        if kernel.window is None:
            backend = torch_attention(gpu)
            yield Case("attention", dtype.value, dims | {"causal": int(kernel.causal)}, PURPOSE, backend)
    elif isinstance(kernel, MemoryOp) and kernel.kind in TIMED and kernel.kernels == 1:
        yield Case(kernel.kind, dtype.value, _whole(kernel, ("rows", "cols")), PURPOSE)


def _whole(kernel: Kernel, names: tuple[str, ...]) -> dict[str, int]:
    return {name: int(np.asarray(getattr(kernel, name)).item()) for name in names}
