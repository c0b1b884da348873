"""A diffusion family that archsearch does not have: attention and feed-forward over patches, no conditioning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from archsearch.arrays import Dim, as_float
from archsearch.models import blocks
from archsearch.models.assembly import Assembly
from archsearch.models.base import Requirement, at_least_one
from archsearch.models.modality import ImageModel

PRESETS = """
toy-diffusion-s:
  source: https://example.org/toy-diffusion
  num_layers: 4
  hidden_size: 256
  num_attention_heads: 4
"""
SPACE = """
name: toy-space
description: Toy diffusion models.
family: toy-diffusion
dimensions:
  hidden_size: {choices: [128, 256, 512]}
  num_layers: {range: [2, 6]}
derived:
  num_attention_heads: hidden_size // 64
workload: {height: 256, width: 256, dtype: fp16}
objectives: [{metric: quality}, {metric: throughput}]
hardware: [t4]
baseline: {hidden_size: 256, num_layers: 4, num_attention_heads: 4}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyDiffusionConfig(ImageModel):
    """Dimensions of a toy: ``num_layers`` of attention and a feed-forward of 4 · hidden_size, without norms."""

    family: ClassVar[str] = "toy-diffusion"

    num_layers: Dim
    hidden_size: Dim
    num_attention_heads: Dim
    in_channels: Dim = 4
    patch_size: Dim = 2
    vae_scale_factor: Dim = 8

    def requirements(self) -> tuple[Requirement, ...]:
        sizes = ("num_layers", "hidden_size", "num_attention_heads", "in_channels", "patch_size", "vae_scale_factor")
        divides = np.asarray(self.hidden_size) % np.maximum(self.num_attention_heads, 1) == 0
        return (
            *at_least_one(self, sizes),
            Requirement(reason="num_attention_heads must divide hidden_size", holds=divides),
        )

    def assemble(self, a: Assembly) -> None:
        tokens, h = blocks.product(*self.grid(a.w)), self.hidden_size
        rows, patch = blocks.product(a.w.batch_size, tokens), blocks.product(self.patch_size, self.patch_size)
        width = blocks.product(patch, self.in_channels)
        a.linear("patchify", rows, width, h, bias=True)
        with a.layers(self.num_layers, carries=as_float(rows) * as_float(h)):
            a.linear("attention.qkv_proj", rows, h, blocks.product(3, h), bias=True)
            head_dim = np.asarray(h) // np.asarray(self.num_attention_heads)
            a.attention("attention.core", heads=self.num_attention_heads, head_dim=head_dim, seq_q=tokens)
            a.linear("attention.o_proj", rows, h, h, bias=True)
            a.linear("mlp.up_proj", rows, h, blocks.product(4, h), bias=True)
            a.pointwise("mlp.activation", "gelu", rows, blocks.product(4, h), saves=1.0)
            a.linear("mlp.down_proj", rows, blocks.product(4, h), h, bias=True)
        a.linear("final", rows, h, width, bias=True)
        a.alive(6 * as_float(rows) * as_float(h))


class ToyDiffusion(nn.Module):
    """The module."""

    def __init__(self, *, num_layers: int, hidden_size: int, width: int) -> None:
        super().__init__()
        h = hidden_size
        self.patchify, self.final = nn.Linear(width, h), nn.Linear(h, width)
        sizes = ((h, 3 * h), (h, h), (h, 4 * h), (4 * h, h))
        self.layers = nn.ModuleList(nn.ModuleList(nn.Linear(*size) for size in sizes) for _ in range(num_layers))


def toy_module() -> torch.nn.Module:
    """The preset's module."""
    return ToyDiffusion(num_layers=4, hidden_size=256, width=16)


def write_presets(folder: Path) -> Path:
    """The preset's file."""
    path = folder / "toy-diffusion.yaml"
    path.write_text(PRESETS)
    return path
