"""Eager launches and bytes per layer equal what PyTorch dispatches for the real modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
import transformers as hf
from models_reference import NO_TOKENS, Dispatched, dispatch, latents, on_meta, tokens

from archsearch.dtypes import DType
from archsearch.models import Workload
from archsearch.models.decoder import DecoderConfig
from archsearch.models.dit import DiTConfig
from archsearch.models.encoder import EncoderConfig
from archsearch.ops import FusedGroup, MemoryOp, OpList

SIZES = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 1536, "vocab_size": 1000}
LLAMA = {**SIZES, "num_key_value_heads": 4}
GPT2 = {"n_embd": 512, "n_head": 8, "n_inner": 1536, "vocab_size": 1000, **NO_TOKENS}
MODERNBERT = {**SIZES, **NO_TOKENS, "cls_token_id": None, "sep_token_id": None}
OPT = {**SIZES, "ffn_dim": 1536, "word_embed_proj_dim": 512}
MLP = {"gated_mlp": False, "norm": "layernorm", "positions": "learned", "attention_bias": True, "mlp_bias": True}
BERT = {
    "post_norm": True,
    "positions": "learned",
    "type_vocab_size": 2,
    "gated_mlp": False,
    "bias": True,
    "local_attention": 0,
    "fused_qkv": False,
}
BATCH, SEQ = 4, 256

Pair = tuple[Callable[[int], torch.nn.Module], Any]
FAMILIES: dict[str, Pair] = {
    "llama": (
        lambda n: hf.LlamaForCausalLM(hf.LlamaConfig(num_hidden_layers=n, **LLAMA, **NO_TOKENS)),
        DecoderConfig(num_layers=2, **LLAMA),
    ),
    "qwen3": (
        lambda n: hf.Qwen3ForCausalLM(hf.Qwen3Config(num_hidden_layers=n, head_dim=128, **LLAMA)),
        DecoderConfig(num_layers=2, head_dim=128, qk_norm=True, **LLAMA),
    ),
    "gpt2": (
        lambda n: hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=n, **GPT2)),
        DecoderConfig(num_layers=2, num_key_value_heads=8, activation="gelu_new", fused_qkv=True, **SIZES, **MLP),
    ),
    "opt": (
        lambda n: hf.OPTForCausalLM(hf.OPTConfig(num_hidden_layers=n, **OPT)),
        DecoderConfig(num_layers=2, num_key_value_heads=8, activation="relu", scaled_queries=True, **SIZES, **MLP),
    ),
    "bert": (
        lambda n: hf.BertModel(hf.BertConfig(num_hidden_layers=n, **SIZES)),
        EncoderConfig(num_layers=2, pooler=True, **SIZES, **BERT),
    ),
    "modernbert": (
        lambda n: hf.ModernBertModel(hf.ModernBertConfig(num_hidden_layers=n, **MODERNBERT)),
        EncoderConfig(num_layers=2, **SIZES),
    ),
    "dit": (
        lambda n: diffusers.DiTTransformer2DModel(
            num_layers=n, num_attention_heads=8, attention_head_dim=64, out_channels=8
        ),
        DiTConfig(num_layers=2, hidden_size=512, num_attention_heads=8, intermediate_size=2048, layout="diffusers"),
    ),
}


def launches(ops: OpList) -> int:
    """Kernels of eager execution with attention as one."""

    def of(op: Any) -> int:
        if isinstance(op, FusedGroup):
            return sum(m.kernels for m in op.members)
        return op.kernels if isinstance(op, MemoryOp) else 1

    return sum(of(op) * int(op.count) for op in ops)


def moved_bytes(seen: Dispatched) -> int:
    """Bytes read and written; a look-up reads the rows that it writes, not its whole table."""
    return sum(w + (w if kind == "embedding" else r) for kind, r, w in seen.kernels)


def run(name: str, layers: int, dtype: torch.dtype) -> Dispatched:
    module = on_meta(lambda: FAMILIES[name][0](layers), dtype)
    inputs = latents(BATCH, 256, dtype) if name == "dit" else tokens(BATCH, SEQ)
    options = {} if name in ("dit", "bert", "modernbert") else {"use_cache": False}
    return dispatch(module, inputs, **options)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("dtype", "torch_dtype"), [(DType.BF16, torch.bfloat16), (DType.FP32, torch.float32)])
def test_per_layer(name: str, dtype: DType, torch_dtype: torch.dtype) -> None:
    """The third layer's launches exactly, its bytes within 1 % (biases, norm weights and statistics are left out)."""
    two, three = run(name, 2, torch_dtype), run(name, 3, torch_dtype)
    workload = Workload(batch_size=BATCH, seq_len=SEQ, height=256, width=256, dtype=dtype)
    config = FAMILIES[name][1]
    ops = [replace(config, num_layers=n).lower(workload) for n in (2, 3)]
    assert launches(ops[1]) - launches(ops[0]) == len(three.kernels) - len(two.kernels)
    ours = float(ops[1].memory_bytes() - ops[0].memory_bytes())
    assert ours == pytest.approx(moved_bytes(three) - moved_bytes(two), rel=0.01)


@pytest.mark.parametrize("name", FAMILIES)
def test_ends(name: str) -> None:
    """Embeddings, masks and heads: a few small launches and 2 % of the bytes may differ (integer masks, ids)."""
    seen = run(name, 2, torch.bfloat16)
    ops = FAMILIES[name][1].lower(Workload(batch_size=BATCH, seq_len=SEQ, height=256, width=256))
    assert abs(launches(ops) - len(seen.kernels)) <= 10
    assert float(ops.memory_bytes()) == pytest.approx(moved_bytes(seen), rel=0.02)
