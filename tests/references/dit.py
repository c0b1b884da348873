"""Class-conditional diffusion transformers of diffusers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import diffusers
import torch

from archsearch.models.diffusion.dit import DiTConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import TORCH_DTYPES, Reference


def latents(w: Workload) -> dict[str, Any]:
    """Inputs for latents of an eighth of the pixels."""
    size = (w.batch_size, 4, w.height // 8, w.width // 8)
    return {
        "hidden_states": torch.zeros(size, dtype=TORCH_DTYPES[w.dtype], device="meta"),
        "timestep": torch.zeros((w.batch_size,), dtype=torch.long, device="meta"),
        "class_labels": torch.zeros((w.batch_size,), dtype=torch.long, device="meta"),
    }


def _dit(layers: int, heads: int, head_dim: int, patch: int) -> Callable[[], torch.nn.Module]:
    return lambda: diffusers.DiTTransformer2DModel(
        num_layers=layers,
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        in_channels=4,
        out_channels=8,
        patch_size=patch,
        sample_size=32,
    )


MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    **{f"dit-s-{p}": _dit(12, 6, 64, p) for p in (2, 4, 8)},
    **{f"dit-b-{p}": _dit(12, 12, 64, p) for p in (2, 4, 8)},
    **{f"dit-l-{p}": _dit(24, 16, 64, p) for p in (2, 4, 8)},
    **{f"dit-xl-{p}": _dit(28, 16, 72, p) for p in (2, 4, 8)},
}

PRESETS = {
    name: Reference(
        config=replace(load_preset(name), layout="diffusers"),
        build=build,
        inputs=latents,
        workload=Workload(batch_size=3, height=256, width=256),
    )
    for name, build in MODULES.items()
}


def _small(layers: int) -> Reference:
    return Reference(
        config=DiTConfig(
            num_layers=layers, hidden_size=512, num_attention_heads=8, intermediate_size=2048, layout="diffusers"
        ),
        build=lambda: diffusers.DiTTransformer2DModel(
            num_layers=layers, num_attention_heads=8, attention_head_dim=64, out_channels=8
        ),
        inputs=latents,
        workload=Workload(batch_size=4, height=256, width=256),
    )


SMALL = {"dit": _small}
"""Layers → a reference of that depth."""
