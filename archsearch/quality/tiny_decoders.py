"""Training of tiny byte-level decoders, several copies of one shape at once. Imports torch and NumPy, nothing of ours.

A ``Shape`` is a pre-norm decoder without biases: parameter-free LayerNorm, causal attention whose width is
num_attention_heads · head_dim, a feed-forward with or without a gate, learned positions, 256 bytes as vocabulary and an
output matrix of its own. ``train`` runs E copies (one per seed and learning rate) as a leading dimension of every
tensor, on a CPU or, with one CUDA graph per step, on a GPU: small kernels of copies run together, and copies never
touch each other.

Learning rates follow the width as in muP (Yang et al. 2022, arXiv 2203.03466, table 8: Adam's rate of a hidden matrix
goes with 1/fan_in), residual branches start at 1/sqrt(2 · num_layers) of their size (GPT-2, section 2.3), so that one
base rate serves every shape.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

VOCABULARY = 256
REFERENCE_WIDTH = 128
"""Fan-in at which a hidden matrix has the base learning rate."""
_HELD_OUT = 10
"""One file in so many is kept for validation."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of one decoder, named as in transformers."""

    num_layers: int
    hidden_size: int
    num_attention_heads: int
    head_dim: int
    intermediate_size: int
    num_key_value_heads: int = 0
    gated_mlp: bool = False

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def non_embedding_parameters(self) -> int:
        """Weights of all layers: attention by its own width, and the feed-forward."""
        h, a = self.hidden_size, self.head_dim * self.num_attention_heads
        attention = 2 * h * a + 2 * h * self.head_dim * self.kv_heads
        return self.num_layers * (attention + (2 + self.gated_mlp) * h * self.intermediate_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How long and how each copy is trained. ``tokens`` = steps · batch_size · seq_len are bytes of text.

    ``graphs`` records a GPU's step as one CUDA graph, which small kernels need to be quick.
    """

    steps: int = 1000
    batch_size: int = 16
    seq_len: int = 256
    learning_rates: tuple[float, ...] = (4e-3,)
    seeds: tuple[int, ...] = (0, 1)
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    warmup: float = 0.05
    final_rate: float = 0.1
    evaluation_windows: int = 256
    graphs: bool = True

    @property
    def copies(self) -> list[tuple[int, float]]:
        """(seed, learning rate) of each copy [E]."""
        return [(seed, rate) for seed in self.seeds for rate in self.learning_rates]

    @property
    def tokens(self) -> int:
        return self.steps * self.batch_size * self.seq_len


@dataclass(frozen=True, slots=True)
class Corpus:
    """Training and validation bytes, and a fingerprint of both."""

    train: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    fingerprint: str


def python_corpus(root: Path | None = None, limit_bytes: int = 24_000_000) -> Corpus:
    """Text that every Python installation carries: the standard library's sources, without tests and packages.

    ``root`` takes the text files (``.py .txt .md .rst .json .html .csv``) of a directory of one's own instead, or one
    file, whose last tenth is held out. Files go by name; one in ten, by the hash of its name, is held out.

    Raises:
        FileNotFoundError: the directory holds less than 100 kB of text.
    """
    base = Path(os.__file__).parent if root is None else root
    suffixes = (".py",) if root is None else (".py", ".txt", ".md", ".rst", ".json", ".html", ".csv")
    skipped = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "lib2to3"}
    parts: dict[bool, list[bytes]] = {True: [], False: []}
    if base.is_file():
        whole = base.read_bytes()[:limit_bytes]
        cut = len(whole) - len(whole) // _HELD_OUT
        parts = {False: [whole[:cut]], True: [whole[cut:]]}
    else:
        total = 0
        for path in sorted(p for p in base.rglob("*") if p.suffix in suffixes and p.is_file()):
            name = path.relative_to(base)
            if root is None and skipped & set(name.parts):
                continue
            text = path.read_bytes()
            held = int(hashlib.sha256(name.as_posix().encode()).hexdigest(), 16) % _HELD_OUT == 0
            parts[held].append(text)
            total += len(text)
            if total >= limit_bytes:
                break
    train, validation = (b"\n".join(parts[held]) for held in (False, True))
    if len(train) < 90_000 or len(validation) < 5_000:
        raise FileNotFoundError(f"{base}: {len(train) + len(validation)} bytes of text; a training run needs 100 kB")
    fingerprint = hashlib.sha256(train + validation).hexdigest()[:12]
    return Corpus(np.frombuffer(train, np.uint8), np.frombuffer(validation, np.uint8), fingerprint)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One matrix: [fan_in, fan_out], standard deviation at the start, learning-rate factor, whether it decays."""

    shape: tuple[int, int]
    std: float
    rate: float
    decays: bool


def _pieces(shape: Shape, seq_len: int) -> list[_Piece]:
    h, f = shape.hidden_size, shape.intermediate_size
    attention, keys = shape.num_attention_heads * shape.head_dim, shape.kv_heads * shape.head_dim
    branch = 1 / math.sqrt(2 * shape.num_layers)

    def hidden(fan_in: int, fan_out: int, scale: float = 1.0) -> _Piece:
        return _Piece((fan_in, fan_out), scale / math.sqrt(fan_in), REFERENCE_WIDTH / fan_in, True)

    layer = [
        hidden(h, attention + 2 * keys),
        hidden(attention, h, branch),
        hidden(h, f * (2 if shape.gated_mlp else 1)),
        hidden(f, h, branch),
    ]
    ends = [_Piece((VOCABULARY, h), 0.5, 1.0, False), _Piece((seq_len, h), 0.1, 1.0, False)]
    return [*ends, *layer * shape.num_layers, _Piece((h, VOCABULARY), 0.0, REFERENCE_WIDTH / h, False)]


def _initial(pieces: Sequence[_Piece], seeds: Sequence[int]) -> torch.Tensor:
    """Weights [E, P]; copies of one seed start alike."""
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.cat([torch.randn(math.prod(p.shape), generator=generator) * p.std for p in pieces]))
    return torch.stack(rows)


def loss_of(weights: torch.Tensor, shape: Shape, windows: torch.Tensor) -> torch.Tensor:
    """Mean loss [E] in nats per byte. ``weights`` [E, P] flat, ``windows`` [E, B, T + 1] bytes."""
    copies, batch, length = windows.shape
    seq = length - 1
    pieces = _pieces(shape, seq)
    flat = weights.split_with_sizes([math.prod(p.shape) for p in pieces], dim=1)
    matrices = [w.view(copies, *p.shape) for w, p in zip(flat, pieces, strict=True)]
    # a product with unit vectors, not an index: its gradient is a product as well, the same on every run
    letters = torch.arange(VOCABULARY, device=windows.device)
    inputs = (windows[:, :, :-1].reshape(copies, -1, 1) == letters).to(weights.dtype)
    x = torch.bmm(inputs, matrices[0]).view(copies, batch, seq, -1) + matrices[1][:, None]
    x = x.view(copies, batch * seq, -1)
    for index in range(shape.num_layers):
        qkv, out, up, down = matrices[2 + 4 * index : 6 + 4 * index]
        x = x + torch.bmm(_attention(torch.bmm(_norm(x), qkv), shape, copies * batch, seq), out)
        middle = torch.bmm(_norm(x), up)
        if shape.gated_mlp:
            gate, value = middle.chunk(2, dim=-1)
            middle = F.silu(gate) * value
        else:
            middle = F.gelu(middle, approximate="tanh")
        x = x + torch.bmm(middle, down)
    logits = torch.bmm(_norm(x), matrices[-1]).float()
    targets = windows[:, :, 1:].reshape(-1)
    losses = F.cross_entropy(logits.view(-1, VOCABULARY), targets, reduction="none")
    return losses.view(copies, -1).mean(dim=1)


def _norm(x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:])


def _attention(qkv: torch.Tensor, shape: Shape, sequences: int, seq: int) -> torch.Tensor:
    """[E, B·T, heads · head_dim] from [E, B·T, (heads + 2 kv) · head_dim]."""
    heads, keys, width = shape.num_attention_heads, shape.kv_heads, shape.head_dim
    heads_first = qkv.reshape(sequences, seq, heads + 2 * keys, width).transpose(1, 2)
    q, k, v = heads_first.split_with_sizes([heads, keys, keys], dim=1)
    if keys != heads:
        k, v = (t.repeat_interleave(heads // keys, dim=1) for t in (k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return mixed.transpose(1, 2).reshape(qkv.shape[0], qkv.shape[1], heads * width)


class Trainer:
    """State of E copies of one shape; ``run(steps)`` trains on, ``evaluate`` measures held-out loss.

    The whole schedule is laid out at the start, so that a step needs nothing from the host: on a GPU it is one graph.
    """

    def __init__(self, shape: Shape, recipe: Recipe, corpus: Corpus, device: str = "cpu") -> None:
        self.shape, self.recipe, self.device = shape, recipe, torch.device(device)
        self.compute = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        pieces = _pieces(shape, recipe.seq_len)
        copies = recipe.copies
        self.weights = _initial(pieces, [seed for seed, _ in copies]).to(self.device)
        self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        sizes = torch.tensor([math.prod(p.shape) for p in pieces])
        factor = torch.repeat_interleave(torch.tensor([p.rate for p in pieces]), sizes)
        rates = torch.tensor([rate for _, rate in copies])
        self.rates = (rates[:, None] * factor).to(self.device)
        decays = torch.repeat_interleave(torch.tensor([float(p.decays) for p in pieces]), sizes)
        # decoupled decay at one rate for all widths: the base learning rate's, not the matrix's own
        self.decay = (rates[:, None] * decays * recipe.weight_decay).to(self.device)
        self.schedule = torch.tensor(_schedule(recipe), device=self.device)
        self.data = torch.from_numpy(corpus.train.astype(np.int64)).to(self.device)
        self.held_out = corpus.validation
        self.offsets = torch.from_numpy(_offsets(recipe, len(corpus.train))).to(self.device)
        self.window = torch.arange(recipe.seq_len + 1, device=self.device)
        self.step = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def run(self, steps: int) -> None:
        """Train for so many further steps."""
        if self.device.type != "cuda" or not self.recipe.graphs:
            for _ in range(steps):
                self._one_step()
            return
        graph = self.graph = self.graph or self._capture()
        for _ in range(steps):
            graph.replay()

    def evaluate(self, windows_at_once: int = 16) -> NDArray[np.float64]:
        """Held-out loss [E] in nats per byte, on the same evenly spaced windows for every shape and copy."""
        recipe = self.recipe
        count = min(recipe.evaluation_windows, len(self.held_out) // (recipe.seq_len + 1))
        starts = np.linspace(0, len(self.held_out) - recipe.seq_len - 1, count).astype(np.int64)
        text = torch.from_numpy(self.held_out[starts[:, None] + np.arange(recipe.seq_len + 1)].astype(np.int64))
        text = text.to(self.device)
        losses = []
        with torch.no_grad():
            weights = self.weights.to(self.compute)
            for start in range(0, len(text), windows_at_once):
                part = text[start : start + windows_at_once]
                batch = part[None].expand(len(weights), -1, -1)
                losses.append(loss_of(weights, self.shape, batch).double() * len(part))
        return np.asarray((torch.stack(losses).sum(dim=0) / count).cpu().numpy())

    def _one_step(self) -> None:
        beta1, beta2 = self.recipe.betas
        starts = self.offsets.index_select(0, self.step)[0]
        leaf = self.weights.to(self.compute, copy=True).requires_grad_()
        loss = loss_of(leaf, self.shape, self.data[starts[..., None] + self.window]).sum()
        grad = torch.autograd.grad(loss, leaf)[0].float()
        with torch.no_grad():
            count = (self.step + 1).double()
            rate = self.schedule.index_select(0, self.step)
            self.first.lerp_(grad, 1 - beta1)
            self.second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            seen1, seen2 = (-torch.expm1(count * math.log(beta)).float() for beta in (beta1, beta2))  # 1 - beta^count
            update = self.first / seen1 / (self.second / seen2).sqrt_().add_(1e-8)
            self.weights.sub_(rate * (self.rates * update + self.decay * self.weights))
            self.step.add_(1)

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Record one step as a CUDA graph; the state is put back as it was before the trial runs."""
        state = [self.weights, self.first, self.second, self.step]
        saved = [t.clone() for t in state]
        side: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._one_step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._one_step()
        for tensor, value in zip(state, saved, strict=True):
            tensor.copy_(value)
        return graph


def _schedule(recipe: Recipe) -> list[float]:
    """Share of the learning rate at each step: linear warm-up, then a cosine down to ``final_rate``."""
    rise = max(int(recipe.warmup * recipe.steps), 1)
    fall = max(recipe.steps - rise, 1)
    shares = []
    for step in range(recipe.steps):
        cosine = 0.5 + 0.5 * math.cos(math.pi * min(max(step - rise, 0) / fall, 1.0))
        shares.append(min((step + 1) / rise, recipe.final_rate + (1 - recipe.final_rate) * cosine))
    return shares


def _offsets(recipe: Recipe, length: int) -> NDArray[np.int64]:
    """Where each window starts [steps, E, B]: a seed sees the same text whatever the shape and the rate."""
    draws = {
        seed: np.random.default_rng(seed).integers(
            0, length - recipe.seq_len - 1, size=(recipe.steps, recipe.batch_size)
        )
        for seed in recipe.seeds
    }
    return np.stack([draws[seed] for seed, _ in recipe.copies], axis=1)


@dataclass(frozen=True, slots=True)
class Trained:
    """Held-out loss of each copy [E] (see ``Recipe.copies``), and seconds of training."""

    shape: Shape
    losses: NDArray[np.float64]
    train_s: float


def train(
    shape: Shape, recipe: Recipe, corpus: Corpus, device: str = "cpu", stop: Callable[[], bool] | None = None
) -> Trained | None:
    """Train all copies of one shape and measure them. None where ``stop`` said so in between."""
    trainer = Trainer(shape, recipe, corpus, device)
    start = time.perf_counter()
    done = 0
    while done < recipe.steps:
        if stop is not None and stop():
            return None
        part = min(100, recipe.steps - done)
        trainer.run(part)
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        done += part
    return Trained(shape, trainer.evaluate(), time.perf_counter() - start)
