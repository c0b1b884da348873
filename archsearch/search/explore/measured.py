"""Trying an architecture for real with torch: one timed forward pass, or a short training run on text at hand.

Both build the Hugging Face class that ``archsearch build`` writes. Training reads the Python standard library's own
source, which lies on every machine, byte by byte: vocabulary 256, so that what differs between architectures is their
shape. Its loss ranks shapes after a few hundred steps; it says nothing absolute.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.models.base import Modality, ModelConfig
from archsearch.search.explore.tried import Report, Timer, Trainer
from archsearch.workload import Workload

if TYPE_CHECKING:
    import torch

BYTES = 256
TEXT_BYTES = 4_000_000
BATCH, SEQ_LEN = 8, 128
LEARNING_RATE = 1e-3
HELD_OUT_BATCHES = 4
REPORTS = 27
"""Reports of one run: three rungs of Hyperband at its reduction factor of 3."""


def torch_timer(device: str) -> Timer:
    """Median seconds of a forward pass of the architecture's Hugging Face class on a device.

    Raises:
        UnsupportedError: torch is missing, or there is no such device here; and, when called, what ``build_module``
            refuses.
    """
    from archsearch.bench.built import build_module, time_model

    place = _torch(device).device(device)

    def seconds(config: ModelConfig, workload: Workload) -> float:
        return time_model(build_module(config, workload, place), place).median_s

    return seconds


def short_training(device: str, steps: int, family: str, seed: int = 0) -> Trainer:
    """A trainer of ``steps`` AdamW steps of decoders on bytes of text; its loss is in nats per byte, held out.

    Raises:
        UnsupportedError: torch or transformers is missing, there is no such device, or the family is no decoder.
    """
    torch = _torch(device)
    if find_spec("transformers") is None:
        raise UnsupportedError("the built-in short training needs transformers: pip install 'archsearch[models]'")

    def train(config: Mapping[str, object], report: Report) -> float:
        model = _byte_model(family, config, device, seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1)
        random = np.random.default_rng(seed)
        learned, held_out = _text()
        every = max(1, steps // REPORTS)
        for step in range(1, steps + 1):
            loss = _loss(model, _batch(learned, random), device)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % every == 0 or step == steps:
                reached = _held_out_loss(model, held_out, device)
                report(step, reached)
        return reached

    return train


def device_name(device: str) -> str:
    """What a torch device is called, with torch's version: what measurements say they were taken on."""
    from archsearch.bench.micro.device import identify

    torch = _torch(device)
    return f"{identify(torch.device(device)).device}, torch {torch.__version__}"


def _torch(device: str) -> ModuleType:
    """torch, where it is there and has this device."""
    if find_spec("torch") is None:
        raise UnsupportedError("measuring and training need torch: pip install 'archsearch[torch]'")
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnsupportedError(f"device {device!r} cannot be used: {reason}") from None
    return torch


def _byte_model(family: str, config: Mapping[str, object], device: str, seed: int) -> torch.nn.Module:
    """The decoder's class with the architecture's shape, 256 tokens and fp32 weights."""
    import torch
    import transformers

    from archsearch.models.huggingface import to_hf
    from archsearch.models.registry.families import family_names, get_family

    if family not in family_names() or get_family(family).modality is not Modality.CAUSAL_LANGUAGE:
        raise UnsupportedError(
            "the built-in short training knows decoders only; name a function of yours ({function})", field="function"
        )
    shape = {**config, "vocab_size": BYTES, "max_position_embeddings": SEQ_LEN}
    document = to_hf(get_family(family).from_dict(shape))
    torch.manual_seed(seed)
    hf = transformers.AutoConfig.for_model(**document)
    module: torch.nn.Module = getattr(transformers, document["architectures"][0])(hf)
    return module.to(device=device, dtype=torch.float32).train()


@lru_cache(maxsize=1)
def _text() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Bytes to learn from and bytes held out: the standard library's modules in order of their names."""
    modules = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    data = b"".join(path.read_bytes() for path in modules)[:TEXT_BYTES]
    if len(data) < 100 * SEQ_LEN:
        raise InvalidInputError(
            "the standard library's source is not on this machine; name a function ({function})", field="function"
        )
    whole = np.frombuffer(data, dtype=np.uint8)
    return whole[: -len(whole) // 10], whole[-len(whole) // 10 :]


def _batch(text: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.int64]:
    starts = random.integers(0, len(text) - SEQ_LEN - 1, BATCH)
    return np.stack([text[s : s + SEQ_LEN + 1] for s in starts]).astype(np.int64)


def _loss(model: torch.nn.Module, batch: NDArray[np.int64], device: str) -> torch.Tensor:
    """Mean cross-entropy of the next byte, in nats, of a batch [B, S + 1]."""
    import torch

    tokens = torch.from_numpy(batch).to(device)
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    loss: torch.Tensor = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
    return loss


def _held_out_loss(model: torch.nn.Module, text: NDArray[np.uint8], device: str) -> float:
    import torch

    random = np.random.default_rng(1)
    model.eval()
    with torch.inference_mode():
        losses = [float(_loss(model, _batch(text, random), device)) for _ in range(HELD_OUT_BATCHES)]
    model.train()
    return float(np.mean(losses))
