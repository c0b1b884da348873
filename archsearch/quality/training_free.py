"""Training-free (zero-cost) scores of small real modules at initialisation. Needs torch (extra ``torch``).

Each score is larger for architectures that the method holds for better. Whether one is worth its price is measured in
docs/quality.md: the baseline to beat is the plain count of layer weights, which ranks decoders well
(LiteTransformerSearch, arXiv 2203.02094).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.errors import InvalidInputError
from archsearch.files import write_text

if TYPE_CHECKING:
    import torch

    from archsearch.quality.modules import SmallModel
    from archsearch.quality.tiny_decoders import Shape

VERSION = 1
"""Of the scores' definitions: a change makes cached values stale."""
LARGEST = 5e7
"""Layer weights above which a module is not built."""
SCORES: dict[str, str] = {
    "weights": "count of layer weights; LiteTransformerSearch (arXiv 2203.02094)",
    "grad_norm": "norm of the loss's gradient; Abdelfattah et al. 2021 (arXiv 2101.08134)",
    "synflow": "ln of sum |w dR/dw| of the linear network of |w| on ones; Tanaka et al. 2020 (arXiv 2006.05467)",
    "naswot": "ln det of the kernel of activation codes; Mellor et al. 2021 (arXiv 2006.04647)",
    "jacob_cov": "spread of the input gradients' correlations; Mellor et al. 2020 (arXiv 2006.04647v1)",
    "dss": "nuclear norms of attention weights times their gradients', saliency of the feed-forward; arXiv 2203.12217",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Inputs: ``batch_size`` sequences of ``seq_len`` bytes of the built-in corpus, weights and text by ``seed``."""

    batch_size: int = 16
    seq_len: int = 64
    seed: int = 0
    causal: bool = True


def scores(
    shape: Shape,
    names: Iterable[str] | None = None,
    settings: Settings | None = None,
    *,
    device: str = "cpu",
    cache_dir: Path | None = None,
) -> dict[str, float]:
    """Scores of one shape by name (all where ``names`` is None), from the cache where they are known.

    Raises:
        InvalidInputError: unknown score, or a shape beyond ``LARGEST`` weights (scale it down first).
    """
    settings = settings or Settings()
    wanted = list(SCORES if names is None else names)
    unknown = [name for name in wanted if name not in SCORES]
    if unknown:
        raise InvalidInputError(f"no training-free score {unknown[0]!r}; scores: {', '.join(SCORES)}")
    if shape.non_embedding_parameters > LARGEST:
        raise InvalidInputError(
            f"{shape.non_embedding_parameters:.3g} layer weights are too many to build for a score (at most "
            f"{LARGEST:.3g}); use scaled_down, or a law as quality proxy"
        )
    file = (cache_dir or default_cache()) / f"{architecture_hash(shape, settings)}.json"
    known: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
    missing = [name for name in wanted if name not in known]
    if missing:
        known |= _compute(shape, missing, settings, device)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(known, sort_keys=True))
    return {name: known[name] for name in wanted}


def architecture_hash(shape: Shape, settings: Settings) -> str:
    """Key of an architecture, its inputs and the definitions."""
    text = json.dumps({"version": VERSION, **asdict(shape), **asdict(settings)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/archsearch/training-free``, by default below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archsearch" / "training-free"


def _compute(shape: Shape, names: list[str], settings: Settings, device: str) -> dict[str, float]:
    import torch

    from archsearch.quality.modules import SmallModel

    def fresh() -> SmallModel:
        model = SmallModel(shape, causal=settings.causal, seq_len=settings.seq_len, seed=settings.seed)
        return model.to(device)

    found: dict[str, float] = {}
    if "weights" in names:
        found["weights"] = float(shape.non_embedding_parameters)
    text = _text(settings, torch.device(device))
    for name in names:
        if name != "weights":
            found[name] = _SCORERS[name](fresh(), text)
    return found


def _text(settings: Settings, device: torch.device) -> torch.Tensor:
    """Windows [B, T + 1] of the built-in corpus, drawn by the seed."""
    import numpy as np
    import torch

    from archsearch.quality.tiny_decoders import python_corpus

    data = python_corpus(limit_bytes=2_000_000).train
    starts = np.random.default_rng(settings.seed).integers(0, len(data) - settings.seq_len - 1, settings.batch_size)
    windows = data[starts[:, None] + np.arange(settings.seq_len + 1)].astype(np.int64)
    return torch.from_numpy(windows).to(device)


def _backward(model: SmallModel, text: torch.Tensor, inputs: torch.Tensor | None = None) -> None:
    """Gradients of the mean loss of the next byte."""
    import torch.nn.functional as F

    logits = model(model.embed(text[:, :-1]) if inputs is None else inputs)
    loss: Any = F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
    loss.backward()


def _grad_norm(model: SmallModel, text: torch.Tensor) -> float:
    _backward(model, text)
    total = sum(float(p.grad.double().square().sum()) for p in model.blocks.parameters() if p.grad is not None)
    return math.sqrt(total)


def _synflow(model: SmallModel, text: torch.Tensor) -> float:
    """ln of sum |w dR/dw| = ln R + ln sum |w d ln R/dw|: R itself would overflow."""
    import torch

    model = model.double()
    with torch.no_grad():
        for p in model.parameters():
            p.abs_()
    ones = torch.ones(1, text.shape[1] - 1, model.head.in_features, dtype=torch.float64, device=text.device)
    log_flow: Any = model.log_flow(ones)
    log_flow.backward()
    pairs = [(p.detach(), p.grad) for p in model.blocks.parameters()]
    saliency = math.fsum(float((p * grad).abs().sum()) for p, grad in pairs if grad is not None)
    return math.log(saliency) + float(log_flow.detach())


def _naswot(model: SmallModel, text: torch.Tensor) -> float:
    """The kernel counts units on which two sequences agree; as a share, so that the determinant stays finite."""
    import torch

    with torch.no_grad():
        model(model.embed(text[:, :-1]))
        codes = model.codes().double()
    agree = codes @ codes.T + (1 - codes) @ (1 - codes.T)
    sign, log = torch.linalg.slogdet(agree / codes.shape[1])
    return float(log) + len(codes) * math.log(codes.shape[1]) if float(sign) > 0 else -math.inf


def _jacob_cov(model: SmallModel, text: torch.Tensor) -> float:
    import torch

    inputs = model.embed(text[:, :-1]).detach().requires_grad_()
    _backward(model, text, inputs)
    assert inputs.grad is not None
    flat = inputs.grad.flatten(1).double()
    flat = flat - flat.mean(dim=1, keepdim=True)
    flat = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-30)
    values = torch.linalg.eigvalsh(flat @ flat.T).clamp_min(0)
    return float(-(torch.log(values + 1e-5) + 1 / (values + 1e-5)).sum())


def _dss(model: SmallModel, text: torch.Tensor) -> float:
    import torch

    _backward(model, text)
    total = 0.0
    layers: list[tuple[str, Any]] = [pair for block in model.blocks for pair in block.named_children()]
    for name, linear in layers:
        weight = linear.weight.detach().double()
        grad = linear.weight.grad.double()
        if name in ("q", "k", "v", "o"):
            total += float(torch.linalg.matrix_norm(grad, "nuc") * torch.linalg.matrix_norm(weight, "nuc"))
        else:
            total += float((grad * weight).abs().sum())
    return total


_SCORERS: Mapping[str, Callable[[SmallModel, torch.Tensor], float]] = {
    "grad_norm": _grad_norm,
    "synflow": _synflow,
    "naswot": _naswot,
    "jacob_cov": _jacob_cov,
    "dss": _dss,
}
