"""CogVideoX of diffusers: CogVideoXTransformer3DModel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from archsearch.models.diffusion.cogvideox import CogVideoXConfig
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import TORCH_DTYPES, Reference


def inputs(text_width: int, head_dim: int, rotary: bool, patch_t: int = 1, text: int = 226) -> Any:
    def make(w: Workload) -> dict[str, Any]:
        like = {"dtype": TORCH_DTYPES[w.dtype], "device": "meta"}
        frames, high, wide = 1 + (w.frames - 1) // 4, w.height // 8, w.width // 8
        frames = -(-frames // patch_t) * patch_t  # pipelines fill up the last patch
        tokens = frames // patch_t * (high // 2) * (wide // 2)
        tables = tuple(torch.zeros((tokens, head_dim), device="meta") for _ in range(2))
        return {
            "hidden_states": torch.zeros((w.batch_size, frames, 16, high, wide), **like),
            "encoder_hidden_states": torch.zeros((w.batch_size, text, text_width), **like),
            "timestep": torch.zeros((w.batch_size,), device="meta"),
            "image_rotary_emb": tables if rotary else None,
        }

    return make


def _preset(
    name: str, layers: int, heads: int, rotary: bool, patch_t: int | None = None, frames: int = 49
) -> Reference:
    return Reference(
        config=load_preset(name),
        build=lambda: diffusers.CogVideoXTransformer3DModel(
            num_layers=layers,
            num_attention_heads=heads,
            attention_head_dim=64,
            use_rotary_positional_embeddings=rotary,
            patch_size_t=patch_t,
        ),
        inputs=inputs(4096, 64, rotary, patch_t or 1),
        workload=Workload(height=480, width=720, frames=frames),
    )


PRESETS = {
    "cogvideox-2b": _preset("cogvideox-2b", 30, 30, False),
    "cogvideox-5b": _preset("cogvideox-5b", 42, 48, True),
    "cogvideox-1.5-5b": _preset("cogvideox-1.5-5b", 42, 48, True, 2, 81),
}


def _small(rotary: bool) -> Callable[[int], Reference]:
    return lambda layers: Reference(
        config=CogVideoXConfig(
            num_layers=layers,
            hidden_size=1024,
            num_attention_heads=16,
            text_embed_dim=320,
            time_embed_dim=128,
            rotary=rotary,
            text_seq_len=32,
        ),
        build=lambda: diffusers.CogVideoXTransformer3DModel(
            num_layers=layers,
            num_attention_heads=16,
            attention_head_dim=64,
            text_embed_dim=320,
            time_embed_dim=128,
            max_text_seq_length=32,
            sample_width=32,
            sample_height=24,
            sample_frames=9,
            use_rotary_positional_embeddings=rotary,
        ),
        inputs=inputs(320, 64, rotary, text=32),
        workload=Workload(batch_size=2, height=192, width=256, frames=9),
    )


SMALL = {"cogvideox-rotary": _small(True), "cogvideox-sines": _small(False)}
"""Layers → a reference of that depth."""
