"""Small real modules of language models, from a family's config: what training-free proxies look into. Needs torch.

Pre-norm blocks with RMSNorm or LayerNorm, causal (decoder) or not (encoder), any head_dim, grouped keys, a feed-forward
with or without a gate; learned positions stand in for rotary ones, and bytes for the vocabulary, which would outweigh
the layers of a small model. ``plain`` forward passes leave out norms and softmax (SynFlow's linear network).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from archsearch.errors import InvalidInputError
from archsearch.models.base import Modality
from archsearch.quality.tiny_decoders import VOCABULARY, Shape

if TYPE_CHECKING:
    from archsearch.models.base import ModelConfig


def shape_of(config: ModelConfig) -> Shape:
    """The trainable shape of one decoder or encoder config (scalars).

    Raises:
        InvalidInputError: another family, a mixture of experts, or a config of arrays.
    """
    if config.modality not in (Modality.CAUSAL_LANGUAGE, Modality.MASKED_LANGUAGE):
        raise InvalidInputError(f"family {config.family}: only decoders and encoders can be built and trained here")
    if getattr(config, "is_moe", False):
        raise InvalidInputError("mixtures of experts cannot be built here; choose a law as quality proxy")
    model: Any = config  # a language model, whose fields these are
    try:
        heads = int(model.num_attention_heads)
        return Shape(
            num_layers=int(model.num_layers),
            hidden_size=int(model.hidden_size),
            num_attention_heads=heads,
            head_dim=max(int(model.head_width), 1),
            intermediate_size=int(model.intermediate_size),
            num_key_value_heads=int(getattr(model, "num_key_value_heads", heads)),
            gated_mlp=bool(model.gated_mlp),
        )
    except TypeError:
        raise InvalidInputError("give one architecture, not arrays of them") from None


def scaled_down(shape: Shape, parameters: float) -> Shape:
    """The shape at about so many layer weights: widths scaled alike, depth and number of heads kept.

    Shapes that are small enough stay as they are. Head widths come in steps of 2, other widths in steps of 8.
    """
    factor = (parameters / shape.non_embedding_parameters) ** 0.5
    if factor >= 1:
        return shape

    def step(width: int, of: int) -> int:
        return int(max(round(width * factor / of), 1) * of)

    return Shape(
        num_layers=shape.num_layers,
        hidden_size=step(shape.hidden_size, 8),
        num_attention_heads=shape.num_attention_heads,
        head_dim=step(shape.head_dim, 2),
        intermediate_size=step(shape.intermediate_size, 8),
        num_key_value_heads=shape.num_key_value_heads,
        gated_mlp=shape.gated_mlp,
    )


class Block(nn.Module):
    """Attention and feed-forward with residual sums. ``codes`` keeps the sign of the feed-forward's inner units."""

    def __init__(self, shape: Shape, causal: bool) -> None:
        super().__init__()
        h, width = shape.hidden_size, shape.head_dim
        self.shape, self.causal = shape, causal
        self.q = nn.Linear(h, shape.num_attention_heads * width, bias=False)
        self.k = nn.Linear(h, shape.kv_heads * width, bias=False)
        self.v = nn.Linear(h, shape.kv_heads * width, bias=False)
        self.o = nn.Linear(shape.num_attention_heads * width, h, bias=False)
        self.up = nn.Linear(h, shape.intermediate_size, bias=False)
        self.gate = nn.Linear(h, shape.intermediate_size, bias=False) if shape.gated_mlp else None
        self.down = nn.Linear(shape.intermediate_size, h, bias=False)
        self.codes: torch.Tensor | None = None

    def forward(self, x: torch.Tensor, plain: bool = False) -> torch.Tensor:
        x = x + self._attend(x if plain else _norm(x), plain)
        inner = x if plain else _norm(x)
        up = self.up(inner)
        if plain:
            return torch.as_tensor(x + self.down(up if self.gate is None else up + self.gate(inner)))
        unit = up if self.gate is None else self.gate(inner)
        self.codes = unit.detach() > 0
        return torch.as_tensor(x + self.down(F.gelu(up) if self.gate is None else F.silu(unit) * up))

    def _attend(self, x: torch.Tensor, plain: bool) -> torch.Tensor:
        batch, seq, _ = x.shape
        heads, keys, width = self.shape.num_attention_heads, self.shape.kv_heads, self.shape.head_dim
        v = self.v(x).view(batch, seq, keys, width).transpose(1, 2).repeat_interleave(heads // keys, dim=1)
        if plain:  # every position sees the mean of all values; queries and keys weigh in with what ones make of them
            ones = torch.ones_like(x)
            weight = (self.q(ones).mean(dim=-1) + self.k(ones).mean(dim=-1)).unsqueeze(-1)
            mixed = v.mean(dim=2, keepdim=True).expand_as(v).transpose(1, 2).reshape(batch, seq, -1) * weight
            return torch.as_tensor(self.o(mixed))
        q = self.q(x).view(batch, seq, heads, width).transpose(1, 2)
        k = self.k(x).view(batch, seq, keys, width).transpose(1, 2).repeat_interleave(heads // keys, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return torch.as_tensor(self.o(mixed.transpose(1, 2).reshape(batch, seq, heads * width)))


class SmallModel(nn.Module):
    """Bytes to logits."""

    def __init__(self, shape: Shape, *, causal: bool = True, seq_len: int = 64, seed: int = 0) -> None:
        super().__init__()
        generator = torch.random.get_rng_state()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(VOCABULARY, shape.hidden_size)
        self.positions = nn.Embedding(seq_len, shape.hidden_size)
        self.blocks = nn.ModuleList(Block(shape, causal) for _ in range(shape.num_layers))
        self.head = nn.Linear(shape.hidden_size, VOCABULARY, bias=False)
        torch.random.set_rng_state(generator)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return torch.as_tensor(self.embedding(tokens) + self.positions(places))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [B, T, 256] of embedded inputs [B, T, hidden_size]."""
        for block in self.blocks:
            x = block(x)
        return torch.as_tensor(self.head(_norm(x)))

    def log_flow(self, x: torch.Tensor) -> torch.Tensor:
        """ln of the sum of outputs of the network without norms, softmax and activations, for positive weights.

        That network is linear in x, so it is scaled back after every block, and deep models do not overflow.
        """
        scale = torch.zeros((), dtype=x.dtype, device=x.device)
        for block in self.blocks:
            x = block(x, plain=True)
            size = x.detach().mean()
            x, scale = x / size, scale + size.log()
        return torch.as_tensor(self.head(x).sum().log() + scale)

    def codes(self) -> torch.Tensor:
        """Signs of all feed-forward units of the last pass, [B, units · T]."""
        found = [block.codes for block in self.blocks]
        return torch.cat([c.flatten(1) for c in found if isinstance(c, torch.Tensor)], dim=1)


def _norm(x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:])
