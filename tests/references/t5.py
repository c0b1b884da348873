"""T5 and UMT5 encoders of transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

from archsearch.models.language.t5 import T5Config
from archsearch.models.registry.families import load_preset
from archsearch.workload import Workload
from references.tools import Reference, tokens


def inputs(w: Workload) -> dict[str, Any]:
    return tokens(w.batch_size, w.seq_len)


def _module(family: str, **sizes: Any) -> Callable[[], torch.nn.Module]:
    config = getattr(hf, f"{family}Config")(d_kv=64, feed_forward_proj="gated-gelu", **sizes)
    return lambda: getattr(hf, f"{family}EncoderModel")(config)


def _preset(
    name: str, layers: int, width: int, heads: int, ffn: int, vocab: int = 32128, family: str = "T5"
) -> Reference:
    return Reference(
        config=load_preset(name),
        build=_module(family, num_layers=layers, d_model=width, num_heads=heads, d_ff=ffn, vocab_size=vocab),
        inputs=inputs,
        workload=Workload(batch_size=2, seq_len=384),
    )


PRESETS = {
    "t5-small-encoder": _preset("t5-small-encoder", 8, 512, 6, 1024),
    "t5-base-encoder": _preset("t5-base-encoder", 12, 768, 12, 2048),
    "t5-large-encoder": _preset("t5-large-encoder", 24, 1024, 16, 2816),
    "t5-xl-encoder": _preset("t5-xl-encoder", 24, 2048, 32, 5120),
    "t5-xxl-encoder": _preset("t5-xxl-encoder", 24, 4096, 64, 10240),
    "umt5-xxl-encoder": _preset("umt5-xxl-encoder", 24, 4096, 64, 10240, 256384, "UMT5"),
}


def _small(family: str) -> Callable[[int], Reference]:
    return lambda layers: Reference(
        config=T5Config(
            num_layers=layers,
            hidden_size=512,
            num_attention_heads=6,
            intermediate_size=1280,
            vocab_size=1000,
            shared_bias=family == "T5",
        ),
        build=_module(family, num_layers=layers, d_model=512, num_heads=6, d_ff=1280, vocab_size=1000),
        inputs=inputs,
        workload=Workload(batch_size=2, seq_len=256),
    )


SMALL = {"t5": _small("T5"), "umt5": _small("UMT5")}
"""Layers → a reference of that depth."""
