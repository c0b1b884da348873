"""One array-valued path: a grid equals its architectures one by one, and ops keep only the axes they depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arrays import as_float
from archsearch.dtypes import DType
from archsearch.models.diffusion.dit import DiTConfig
from archsearch.models.language.decoder.config import DecoderConfig
from archsearch.models.language.encoder import EncoderConfig
from archsearch.ops import MatMul
from archsearch.testing.family_contract import assert_grid_is_its_architectures
from archsearch.workload import Phase, Workload

small = st.integers(1, 6)


def column(draw: Any, factor: int, axis: int, axes: int) -> np.ndarray:
    """One to three values, multiples of ``factor``, along one axis of an open mesh."""
    values = draw(st.lists(small, min_size=1, max_size=3))
    shape = [1] * axes
    shape[axis] = len(values)
    return np.array(values, dtype=np.int64).reshape(shape) * factor


@st.composite
def decoders(draw: Any) -> DecoderConfig:
    kv = column(draw, 1, 1, 5)
    return DecoderConfig(
        num_layers=column(draw, 1, 0, 5),
        hidden_size=column(draw, 32, 2, 5),
        num_key_value_heads=kv,
        num_attention_heads=kv * draw(small),
        head_dim=column(draw, 8, 3, 5),
        intermediate_size=column(draw, 16, 4, 5),
        vocab_size=draw(st.integers(1, 1000)),
        gated_mlp=draw(st.booleans()),
        activation=draw(st.sampled_from(["gelu", "gelu_new", "relu", "silu"])),
        attention_bias=draw(st.booleans()),
        mlp_bias=draw(st.booleans()),
        norm=draw(st.sampled_from(["rmsnorm", "layernorm"])),
        qk_norm=draw(st.booleans()),
        positions=draw(st.sampled_from(["rope", "learned"])),
        tie_word_embeddings=draw(st.booleans()),
        fused_qkv=draw(st.booleans()),
        scaled_queries=draw(st.booleans()),
    )


@st.composite
def encoders(draw: Any) -> EncoderConfig:
    heads, head_dim = column(draw, 1, 1, 5), column(draw, 8, 2, 5)
    return EncoderConfig(
        num_layers=column(draw, 1, 0, 5),
        hidden_size=heads * head_dim,
        num_attention_heads=heads,
        intermediate_size=column(draw, 16, 3, 5),
        local_attention=draw(st.sampled_from([0, 16, 64, np.array([0, 16, 300]).reshape(1, 1, 1, 1, 3)])),
        global_attn_every_n_layers=draw(small),
        type_vocab_size=draw(st.sampled_from([0, 2])),
        gated_mlp=draw(st.booleans()),
        bias=draw(st.booleans()),
        post_norm=draw(st.booleans()),
        positions=draw(st.sampled_from(["rope", "learned"])),
        fused_qkv=draw(st.booleans()),
        pooler=draw(st.booleans()),
        mlm_head=draw(st.booleans()),
    )


@st.composite
def dits(draw: Any) -> DiTConfig:
    heads, head_dim = column(draw, 1, 1, 4), column(draw, 8, 2, 4)
    return DiTConfig(
        num_layers=column(draw, 1, 0, 4),
        hidden_size=heads * head_dim,
        num_attention_heads=heads,
        intermediate_size=column(draw, 16, 3, 4),
        patch_size=draw(st.sampled_from([1, 2, 4])),
        layout=draw(st.sampled_from(["original", "diffusers"])),
    )


@given(decoders(), st.sampled_from(list(Phase)[:4]), st.sampled_from([DType.BF16, DType.FP32, DType.FP8]))
@settings(max_examples=30)
def test_decoder(grid: DecoderConfig, phase: Phase, dtype: DType) -> None:
    assert_grid_is_its_architectures(grid, Workload(phase=phase, batch_size=2, seq_len=48, dtype=dtype))


@given(encoders(), st.sampled_from([Phase.FORWARD, Phase.TRAIN]))
@settings(max_examples=30)
def test_encoder(grid: EncoderConfig, phase: Phase) -> None:
    assert_grid_is_its_architectures(grid, Workload(phase=phase, batch_size=2, seq_len=48))


@given(dits(), st.sampled_from([Phase.FORWARD, Phase.TRAIN]))
@settings(max_examples=30)
def test_dit(grid: DiTConfig, phase: Phase) -> None:
    assert_grid_is_its_architectures(grid, Workload(phase=phase, batch_size=2, height=128, width=64))


def test_ops_keep_only_their_axes() -> None:
    """A mesh of 7 depths, 5 widths and 11 feed-forward widths is never spread out over 385 points."""
    depth = np.arange(1, 8).reshape(7, 1, 1)
    heads = np.arange(1, 6).reshape(1, 5, 1)
    ffn = 64 * np.arange(1, 12).reshape(1, 1, 11)
    grid = DecoderConfig(
        num_layers=depth,
        hidden_size=64 * heads,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=ffn,
        vocab_size=1000,
    )
    by_name = {op.name: op for op in grid.lower(Workload(batch_size=2, seq_len=64))}
    sizes = {name: np.size(op.flops() + op.memory_bytes()) for name, op in by_name.items()}
    assert sizes["attention.q_proj"] == sizes["attention.core"] == sizes["lm_head"] == 5
    assert sizes["mlp.gate_proj+up_proj"] == sizes["mlp.down_proj"] == 55
    assert sizes["mlp.activation"] == 11
    assert max(sizes.values()) == 55


def test_large_products_do_not_overflow() -> None:
    """2^20 tokens of 2^14 columns in 2^10 layers: 2^79 FLOPs are beyond 64-bit integers."""
    config = DecoderConfig(
        num_layers=1024,
        hidden_size=16384,
        num_attention_heads=128,
        num_key_value_heads=8,
        intermediate_size=65536,
        vocab_size=128256,
    )
    ops = config.lower(Workload(batch_size=1024, seq_len=1024 * 1024))
    down = next(op for op in ops if isinstance(op, MatMul) and op.name == "mlp.down_proj")
    assert float(down.flops() * as_float(down.count)) == 2.0 * 2.0**30 * 2.0**14 * 2.0**16 * 2.0**10
