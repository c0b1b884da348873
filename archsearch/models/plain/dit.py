"""A class-conditional diffusion transformer in plain torch, as its authors' code runs it.

Peebles and Xie 2022, https://arxiv.org/abs/2212.09748, https://github.com/facebookresearch/DiT (models.py): one product
for queries, keys and values, one embedder of timestep and label for all layers, fixed sines as positions. Tensors:
latents [batch, in_channels, height, width], tokens [batch, seq, hidden_size], one vector an image [batch, hidden_size].
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention, silu


class DiT(nn.Module):
    """``num_classes`` leaves out the row for "no class"; ``grid`` is patches along height and width."""

    def __init__(
        self,
        *,
        num_layers: int,
        hidden_size: int,
        num_attention_heads: int,
        intermediate_size: int,
        patch_size: int,
        in_channels: int,
        out_channels: int,
        num_classes: int,
        grid: tuple[int, int],
    ) -> None:
        super().__init__()
        self.grid, self.patch_size = grid, patch_size
        self.patchify = nn.Conv2d(in_channels, hidden_size, patch_size, patch_size)
        self.register_buffer("positions", positions_of(grid, hidden_size), persistent=False)
        self.condition = Condition(hidden_size, num_classes)
        self.layers = nn.ModuleList(
            Layer(hidden_size, num_attention_heads, intermediate_size) for _ in range(num_layers)
        )
        self.final_modulation = nn.Linear(hidden_size, 2 * hidden_size)
        self.final = nn.Linear(hidden_size, patch_size * patch_size * out_channels)

    def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        """One denoising step: [batch, out_channels, height, width]."""
        x = self.patchify(hidden_states).flatten(2).transpose(1, 2) + self.positions
        condition = self.condition(timestep, class_labels)
        for layer in self.layers:
            x = layer(x, condition)
        shift, scale = self.final_modulation(silu(condition)).chunk(2, dim=1)
        x = self.final(modulated_norm(x, shift, scale))
        (high, wide), p = self.grid, self.patch_size
        x = x.reshape(-1, high, wide, p, p, x.shape[-1] // (p * p))
        return torch.einsum("nhwpqc->nchpwq", x).reshape(x.shape[0], -1, high * p, wide * p)


class Layer(nn.Module):
    """Attention and feed-forward, each shifted, scaled and gated by the conditioning (adaLN-zero)."""

    def __init__(self, hidden_size: int, num_attention_heads: int, intermediate_size: int) -> None:
        super().__init__()
        self.num_attention_heads = num_attention_heads
        self.modulation = nn.Linear(hidden_size, 6 * hidden_size)
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)
        self.up = nn.Linear(hidden_size, intermediate_size)
        self.down = nn.Linear(intermediate_size, hidden_size)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        parts = self.modulation(silu(condition)).chunk(6, dim=1)
        x = x + parts[2].unsqueeze(1) * self.attention(modulated_norm(x, parts[0], parts[1]))
        inner = gelu(self.up(modulated_norm(x, parts[3], parts[4])), approximate="tanh")
        out: torch.Tensor = x + parts[5].unsqueeze(1) * self.down(inner)
        return out

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        batch, seq, hidden = x.shape
        qkv = self.qkv(x).reshape(batch, seq, 3, self.num_attention_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(*qkv.unbind(0))
        out: torch.Tensor = self.out(mixed.transpose(1, 2).reshape(batch, seq, hidden))
        return out


class Condition(nn.Module):
    """Timestep and label as one vector an image."""

    def __init__(self, hidden_size: int, num_classes: int, channels: int = 256) -> None:
        super().__init__()
        self.channels = channels
        self.first, self.second = nn.Linear(channels, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.label = nn.Embedding(num_classes + 1, hidden_size)

    def forward(self, timestep: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        half = self.channels // 2
        steps = torch.arange(half, dtype=torch.float32, device=timestep.device)
        angles = timestep[:, None].float() * torch.exp(steps * (-math.log(10000) / half))
        sines = torch.cat((angles.cos(), angles.sin()), dim=1).to(self.first.weight.dtype)
        out: torch.Tensor = self.second(silu(self.first(sines))) + self.label(class_labels)
        return out


def modulated_norm(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """LayerNorm without weights, scaled and shifted per image."""
    return layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


def positions_of(grid: tuple[int, int], hidden_size: int) -> torch.Tensor:
    """Sines and cosines of both axes [1, seq, hidden_size]; the width's come first, as in the authors' code."""
    quarter = hidden_size // 4
    rates = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    high, wide = (torch.arange(side, dtype=torch.float64)[:, None] * rates for side in grid)
    across = torch.cat((wide.sin(), wide.cos()), dim=1).expand(grid[0], -1, -1)
    down = torch.cat((high.sin(), high.cos()), dim=1)[:, None].expand(-1, grid[1], -1)
    return torch.cat((across, down), dim=2).reshape(1, -1, hidden_size).float()
