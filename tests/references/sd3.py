"""Stable Diffusion 3 and 3.5 of diffusers: SD3Transformer2DModel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from archsearch.models.diffusion.sd3 import SD3Config
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import TORCH_DTYPES, Reference


def inputs(text_width: int, pooled_width: int) -> Callable[[Workload], dict[str, Any]]:
    """Latents of an eighth of the pixels, and text."""

    def make(w: Workload) -> dict[str, Any]:
        like = {"dtype": TORCH_DTYPES[w.dtype], "device": "meta"}
        words = 333 if w.seq_len is None else w.seq_len
        return {
            "hidden_states": torch.zeros((w.batch_size, 16, w.height // 8, w.width // 8), **like),
            "encoder_hidden_states": torch.zeros((w.batch_size, words, text_width), **like),
            "pooled_projections": torch.zeros((w.batch_size, pooled_width), **like),
            "timestep": torch.zeros((w.batch_size,), dtype=torch.long, device="meta"),
        }

    return make


def _preset(
    name: str, *, layers: int, width: int, positions: int, dual: int = 0, norm: str | None = None, batch: int = 1
) -> Reference:
    return Reference(
        config=load_preset(name),
        build=lambda: diffusers.SD3Transformer2DModel(
            sample_size=128,
            patch_size=2,
            in_channels=16,
            num_layers=layers,
            attention_head_dim=64,
            num_attention_heads=layers,
            joint_attention_dim=4096,
            caption_projection_dim=width,
            pooled_projection_dim=2048,
            out_channels=16,
            pos_embed_max_size=positions,
            dual_attention_layers=tuple(range(dual)),
            qk_norm=norm,
        ),
        inputs=inputs(4096, 2048),
        workload=Workload(batch_size=batch, height=1024, width=768),
    )


PRESETS = {
    "sd3-medium": _preset("sd3-medium", layers=24, width=1536, positions=192, batch=2),
    "sd3.5-medium": _preset("sd3.5-medium", layers=24, width=1536, positions=384, dual=13, norm="rms_norm"),
    "sd3.5-large": _preset("sd3.5-large", layers=38, width=2432, positions=192, norm="rms_norm", batch=2),
    "sd3.5-large-turbo": _preset("sd3.5-large-turbo", layers=38, width=2432, positions=192, norm="rms_norm"),
}


def _small(layers: int, *, dual: int = 0, qk_norm: bool = False, **sizes: int) -> Reference:
    return Reference(
        config=SD3Config(
            num_layers=layers,
            hidden_size=768,
            num_attention_heads=12,
            num_dual_attention_layers=dual,
            qk_norm=qk_norm,
            joint_attention_dim=320,
            pooled_projection_dim=96,
            pos_embed_max_size=64,
        ),
        build=lambda: diffusers.SD3Transformer2DModel(
            num_layers=layers,
            num_attention_heads=12,
            caption_projection_dim=768,
            dual_attention_layers=tuple(range(dual)),
            qk_norm="rms_norm" if qk_norm else None,
            joint_attention_dim=320,
            pooled_projection_dim=96,
            pos_embed_max_size=64,
        ),
        inputs=inputs(320, 96),
        workload=Workload(**{"batch_size": 2, "height": 512, "width": 384, "seq_len": 128, **sizes}),
    )


SMALL: dict[str, Callable[[int], Reference]] = {
    "sd3": _small,
    "sd3-one-image": lambda layers: _small(layers, batch_size=1, height=1024),
    "sd3-long-text": lambda layers: _small(layers, height=256, width=256, seq_len=400),
    "sd3.5-large": lambda layers: _small(layers, qk_norm=True),
    "sd3.5-medium": lambda layers: _small(layers, dual=layers - 1, qk_norm=True),
}
"""Layers → a reference of that depth; of SD3.5-medium's, all but the last attend twice."""
