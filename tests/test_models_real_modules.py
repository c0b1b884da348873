"""Every family against the real transformers and diffusers modules, on the meta device.

Parameters are equal to the last one. FLOPs are those of ``torch.utils.flop_counter``, which sees matrix products,
convolutions and attention (over the full score matrix, masked or not); it does not see embeddings, norms, activations,
rotary products, softmax or the optimizer, which count no FLOPs here either. It misses grouped products of experts too,
which do count here: those modules run them as a batch of products.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from references import PRESETS, SMALL
from references.tools import Reference, count_parameters, dispatch, fused_sdpa, launches, moved_bytes, saved_bytes
from torch.utils.flop_counter import FlopCounterMode

from archsearch.dtypes import DType
from archsearch.models.registry.families import load_preset, preset_names
from archsearch.workload import Phase

DTYPES = [DType.BF16, DType.FP32]


def small(name: str, layers: int, dtype: DType) -> Reference:
    reference = SMALL[name](layers)
    if dtype not in reference.dtypes:
        pytest.skip(f"the meta device has no {dtype.value} kernel for this module")
    return replace(reference, workload=replace(reference.workload, dtype=dtype))


def per_layer(values: Any) -> Any:
    """From two to three layers."""
    return values[1] - values[0]


def test_every_preset_has_a_reference() -> None:
    assert sorted(PRESETS) == sorted(preset_names())


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_and_flops(name: str) -> None:
    reference = PRESETS[name]
    assert type(reference.config) is type(load_preset(name))
    module = reference.module()
    assert reference.config.parameters() == count_parameters(module)
    with torch.no_grad(), fused_sdpa(), FlopCounterMode(display=False) as counter:
        reference.run(module)
    flops = float(reference.config.lower(reference.workload).flops())
    assert flops == pytest.approx(counter.get_total_flops(), rel=1e-3)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_launches_and_bytes_of_a_layer(name: str, dtype: DType) -> None:
    """The third layer's launches exactly, its bytes within 1 % (biases, norm weights and statistics are left out)."""
    references = [small(name, layers, dtype) for layers in (2, 3)]
    seen = [dispatch(reference) for reference in references]
    ops = [r.config.lower(r.workload) for r in references]
    assert per_layer([launches(o) for o in ops]) == per_layer([len(s.kernels) for s in seen])
    moved = per_layer([moved_bytes(s) for s in seen])
    assert float(per_layer([o.memory_bytes() for o in ops])) == pytest.approx(moved, rel=0.01)


@pytest.mark.parametrize("name", SMALL)
def test_launches_and_bytes_of_the_ends(name: str) -> None:
    """Embeddings, masks and heads: a few small launches and 2 % of the bytes may differ (integer masks, ids)."""
    reference = SMALL[name](2)
    seen = dispatch(reference)
    ops = reference.config.lower(reference.workload)
    assert abs(launches(ops) - len(seen.kernels)) <= 10
    assert float(ops.memory_bytes()) == pytest.approx(moved_bytes(seen), rel=0.02)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_inference_peak(name: str, dtype: DType) -> None:
    reference = small(name, 4, dtype)
    ours = float(reference.config.memory(reference.workload).activations)
    assert ours == pytest.approx(dispatch(reference).peak_bytes, rel=0.04)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_training_saves_per_layer(name: str, dtype: DType) -> None:
    """The third layer's saved tensors (without attention's statistics, a number per head and token)."""
    references = [small(name, layers, dtype) for layers in (2, 3)]
    theirs = np.diff([saved_bytes(reference) for reference in references])[0]
    ours = [float(r.config.memory(replace(r.workload, phase=Phase.TRAIN)).activations) for r in references]
    assert per_layer(ours) == pytest.approx(theirs, rel=0.01)
