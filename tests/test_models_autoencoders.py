"""Autoencoders: decoding and encoding apart, against the real modules on the meta device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from references import PRESETS
from references.hunyuan_video_vae import variant
from references.tools import Reference, dispatch, fused_sdpa, launches
from torch.utils.flop_counter import FlopCounterMode

import archsearch
from archsearch.dtypes import DType
from archsearch.errors import UnsupportedError
from archsearch.models.base import Modality
from archsearch.models.registry.families import load_preset, preset_names
from archsearch.pipeline.make_plan import make_plan
from archsearch.pipeline.request import Deployment
from archsearch.workload import Phase, Workload

IMAGES = ["sdxl-vae", "flux-vae", "dc-ae-f32c32", "dc-ae-f64c128"]
VIDEOS = ["wan-vae", "cogvideox-vae", "hunyuan-video-vae", "ltx-video-vae", "ltx-video-vae-0.9.1"]
PHASES = [Phase.DECODE, Phase.ENCODE]


def _decode(module: Any, inputs: dict[str, Any]) -> Any:
    return module.decode(*inputs.values())


def _encode(module: Any, inputs: dict[str, Any]) -> Any:
    return module.encode(inputs["sample"])


def of_phase(name: str, phase: Phase, **workload: Any) -> Reference:
    """A preset's reference that decodes, or encodes, alone."""
    reference = PRESETS[name]
    call = _decode if phase is Phase.DECODE else _encode
    return replace(reference, workload=replace(reference.workload, phase=phase, **workload), call=call)


@pytest.mark.parametrize("name", IMAGES + VIDEOS)
@pytest.mark.parametrize("phase", PHASES)
def test_flops_of_a_phase(name: str, phase: Phase) -> None:
    reference = of_phase(name, phase)
    module = reference.module()
    with torch.no_grad(), fused_sdpa(), FlopCounterMode(display=False) as counter:
        reference.run(module)
    assert float(reference.config.lower(reference.workload).flops()) == counter.get_total_flops()


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("side", [512, 1024])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("dtype", [DType.BF16, DType.FP32])
def test_peak_of_images(name: str, side: int, phase: Phase, dtype: DType) -> None:
    reference = of_phase(name, phase, batch_size=1, height=side, width=side, dtype=dtype)
    ours = float(reference.config.memory(reference.workload).activations)
    assert ours == pytest.approx(dispatch(reference).peak_bytes, rel=0.04)


@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("dtype", [DType.BF16, DType.FP32])
def test_peak_of_videos(name: str, phase: Phase, dtype: DType) -> None:
    """480p and 81 frames, and one frame alone."""
    for frames in (81, 1):
        reference = of_phase(name, phase, height=480, width=832, frames=frames, dtype=dtype)
        ours = float(reference.config.memory(reference.workload).activations)
        assert ours == pytest.approx(dispatch(reference).peak_bytes, rel=0.04)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("options", [{}, {"mid_block_add_attention": False}, {"spatial_compression_ratio": 2}])
def test_pieces_of_hunyuan_video_vae(phase: Phase, options: dict[str, Any]) -> None:
    """Two videos of every number of pieces that overlap, and of every length of the last: FLOPs, launches and peak."""
    call = _decode if phase is Phase.DECODE else _encode
    for frames in (1, 5, 13, *range(17, 42, 4)):
        reference = variant(phase=phase, frames=frames, **options)
        reference = replace(reference, call=call)
        with fused_sdpa(), torch.no_grad(), FlopCounterMode(display=False) as counter:
            reference.run(reference.module())
        seen, ops = dispatch(reference), reference.config.lower(reference.workload)
        assert float(ops.flops()) == counter.get_total_flops()
        assert launches(ops) == len(seen.kernels)
        ours = float(reference.config.memory(reference.workload).activations)
        assert ours == pytest.approx(seen.peak_bytes, rel=0.01)


@pytest.mark.parametrize("name", IMAGES)
def test_forward_is_encode_then_decode(name: str) -> None:
    config, w = load_preset(name), Workload(height=256, width=256)
    parts = [config.lower(replace(w, phase=phase)).flops() for phase in (Phase.ENCODE, Phase.DECODE)]
    assert float(config.lower(w).flops()) == sum(map(float, parts))


def test_widths_may_be_arrays() -> None:
    """A grid over the base width is costed in one go, as each of its members alone."""
    base = load_preset("sd-vae")
    widths = np.array([64, 128])
    grid = replace(base, block_out_channels=(widths, 2 * widths, 4 * widths, 4 * widths))
    grid.check()
    w = Workload(height=256, width=256, phase=Phase.DECODE)
    for i, width in enumerate(widths):
        one = replace(base, block_out_channels=tuple(int(width) * k for k in (1, 2, 4, 4)))
        assert grid.parameters()[i] == one.parameters()
        assert grid.lower(w).flops()[i] == one.lower(w).flops()
        assert grid.memory(w).activations[i] == one.memory(w).activations


@pytest.mark.parametrize("dtype", ["fp8", "int8", "int8_weight_only", "int4_weight_only"])
def test_formats_that_no_layer_runs_in_are_refused(dtype: str) -> None:
    """By every family of autoencoders, and by a pipeline's decoder: one rule."""
    configs = {name: load_preset(name) for name in preset_names()}
    found = {c.family: name for name, c in configs.items() if c.modality is Modality.AUTOENCODER}
    assert len(found) >= 6
    for family, name in found.items():
        with pytest.raises(UnsupportedError, match=f"{dtype} is of linear layers in blocks, and {family} has none"):
            archsearch.estimate(name, "h100-sxm", dtype=dtype)
    with pytest.raises(UnsupportedError, match=f"{dtype}: autoencoders run in 16 or 32 bits"):
        make_plan("flux-dev", archsearch.load_gpu("h100-sxm"), decoder_dtype=dtype)


def test_what_stands_beside_a_transformer_of_4_bit_weights_keeps_its_16_bits() -> None:
    assert Deployment(dtype=DType.INT4_WEIGHT_ONLY).base_dtype is DType.BF16
    assert Deployment(dtype=DType.FP8).base_dtype is DType.BF16
    assert Deployment(dtype=DType.FP16).base_dtype is DType.FP16
