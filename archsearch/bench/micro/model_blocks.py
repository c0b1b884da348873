"""One layer of each kind of transformer in plain torch, as the libraries' modules run it.

Shapes of tensors: [batch, seq, hidden_size]. What a layer launches is what the families' ``lower`` describes: separate
query, key and value projections, fused attention, norms by torch's own kernels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention, silu


class Attention(nn.Module):
    """Multi-head attention by torch's fused kernels, with rotary embedding where cosines and sines are given."""

    def __init__(self, hidden: int, heads: int, *, causal: bool, bias: bool) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(hidden, hidden, bias=bias) for _ in range(4))
        self.heads, self.causal = heads, causal

    def forward(self, x: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor:
        b, s, hidden = x.shape
        q, k, v = (p(x).view(b, s, self.heads, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
        if rotary is not None:
            cos, sin = rotary
            q, k = (t * cos + _turned(t) * sin for t in (q, k))
        mixed = scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        out: torch.Tensor = self.o(mixed.transpose(1, 2).reshape(b, s, hidden))
        return out


def _turned(t: torch.Tensor) -> torch.Tensor:
    first, second = t.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


class Decoder(nn.Module):
    """Llama's layer: RMSNorm, rotary causal attention, SwiGLU."""

    def __init__(self, hidden: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(hidden), nn.RMSNorm(hidden)
        self.attention = Attention(hidden, heads, causal=True, bias=False)
        self.gate, self.up = (nn.Linear(hidden, inner, bias=False) for _ in range(2))
        self.down = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x), (cos, sin))
        y = self.norm2(x)
        out: torch.Tensor = x + self.down(silu(self.gate(y)) * self.up(y))
        return out


class Encoder(nn.Module):
    """BERT's layer: attention and GELU, LayerNorm after each sum, biases."""

    def __init__(self, hidden: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attention = Attention(hidden, heads, causal=False, bias=True)
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.up, self.down = nn.Linear(hidden, inner), nn.Linear(inner, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.attention(x))
        out: torch.Tensor = self.norm2(x + self.down(gelu(self.up(x))))
        return out


class Dit(nn.Module):
    """DiT's layer: adaLN-zero modulation from a conditioning vector, GELU (tanh)."""

    def __init__(self, hidden: int, heads: int, inner: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(hidden, 6 * hidden)
        self.norm1, self.norm2 = (nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6) for _ in range(2))
        self.attention = Attention(hidden, heads, causal=False, bias=True)
        self.up, self.down = nn.Linear(hidden, inner), nn.Linear(inner, hidden)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        parts = self.modulation(silu(condition))[:, None].chunk(6, dim=-1)
        x = x + parts[2] * self.attention(self.norm1(x) * (1 + parts[1]) + parts[0])
        y = self.norm2(x) * (1 + parts[4]) + parts[3]
        out: torch.Tensor = x + parts[5] * self.down(gelu(self.up(y), approximate="tanh"))
        return out


KINDS: dict[str, type[nn.Module]] = {"decoder": Decoder, "encoder": Encoder, "dit": Dit}


def make_block(kind: str, dims: Mapping[str, int]) -> nn.Module:
    """A layer of random weights: ``hidden_size``, ``num_attention_heads`` and ``intermediate_size`` of ``dims``.

    Raises:
        ValueError: no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown block {kind!r}; known: {', '.join(KINDS)}")
    return KINDS[kind](*(dims[n] for n in ("hidden_size", "num_attention_heads", "intermediate_size")))


def block_inputs(kind: str, dims: Mapping[str, int]) -> list[torch.Tensor]:
    """Random inputs of a layer: hidden states, and what the kind adds (cosines and sines, a conditioning vector)."""
    batch, seq, hidden = dims["batch"], dims["seq"], dims["hidden_size"]
    states = torch.randn(batch, seq, hidden)
    if kind == "decoder":
        width = hidden // dims["num_attention_heads"]
        return [states, torch.randn(1, 1, seq, width), torch.randn(1, 1, seq, width)]
    if kind == "dit":
        return [states, torch.randn(batch, hidden)]
    return [states]
