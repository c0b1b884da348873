"""Gated delta nets as operations: the causal convolution over packed queries, keys and values, and the rule itself.

A layer keeps one state S of [head_k_dim, head_v_dim] for each value head of a sequence. A token decays it by its gate α
and replaces what the key k recalls by the value v, as strongly as β says (Yang et al., Gated Delta Networks,
https://arxiv.org/abs/2412.06464, equation 10):

    S ← α · (S - β · k (kᵀ S)) + β · k vᵀ,    out = Sᵀ q

Projections and norms around it are operations of their own; none of a layer's ``hidden_size`` is left in these two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from archsearch.arrays import Count, Dim, FloatArray, Floats, as_float
from archsearch.dtypes import DType

CHUNK_SIZE = 64
"""Tokens that the chunked rule takes at once (``FLA_CHUNK_SIZE`` of vllm/model_executor/layers/fla/ops/utils.py and
``chunk_size`` of transformers' ``torch_chunk_gated_delta_rule``)."""
STATE_BYTES = 4
"""Bytes of a state's element: serving engines keep it in 32 bits."""
GATE_BYTES = 4
"""Bytes of a gate and of a write strength."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedDeltaNet:
    """One of the two kernels of a gated delta net between its projections, for ``batch`` sequences of ``seq`` tokens.

    ``kernel`` is ``convolution`` (depthwise and causal, ``conv_kernel`` tokens wide, with its activation) or ``rule``.
    ``generation`` continues from a state by one token (``seq`` 1); without it the tokens are a prompt, which the rule
    takes in chunks. num_v_heads is a multiple of num_k_heads.
    """

    name: str
    kernel: Literal["convolution", "rule"]
    batch: Dim
    num_k_heads: Dim
    head_k_dim: Dim
    num_v_heads: Dim
    head_v_dim: Dim
    dtype: DType
    seq: Dim = 1
    conv_kernel: Dim = 4
    generation: bool = False
    state_itemsize: FloatArray = float(STATE_BYTES)
    count: Count = 1

    @property
    def kind(self) -> str:
        return "gated_delta_net"

    @property
    def tokens(self) -> Floats:
        return as_float(self.batch) * as_float(self.seq)

    @property
    def channels(self) -> Floats:
        """Channels of the convolution: queries and keys of the key heads, values of the value heads."""
        keys = as_float(self.num_k_heads) * as_float(self.head_k_dim)
        return 2.0 * keys + as_float(self.num_v_heads) * as_float(self.head_v_dim)

    @property
    def chunks(self) -> Floats:
        """Chunks of one sequence."""
        return np.ceil(as_float(self.seq) / CHUNK_SIZE)

    def flops(self) -> Floats:
        """Of the convolution 2 · tokens · channels · conv_kernel; of the rule its products.

        With K and V of a head, a token of a generation recalls (kᵀ S), writes (k vᵀ) and reads (Sᵀ q): 3 products of
        K · V, so 6 K V. A chunk of L tokens, the last of a sequence padded to L, takes

            k kᵀ, T (β α k) and q kᵀ     3 products of [L, K] with L    6 L² K
            T (β v) and (q kᵀ) v'        2 products of [L, L] with V    4 L² V
            w S, q S and kᵀ v'           3 products of [L, K] with V    6 L K V

        where T, the inverse of the unit triangle I + tril(β α k kᵀ), comes row by row and is no product.
        """
        if self.kernel == "convolution":
            return 2.0 * self.tokens * self.channels * as_float(self.conv_kernel)
        k, v = as_float(self.head_k_dim), as_float(self.head_v_dim)
        heads = as_float(self.batch) * as_float(self.num_v_heads)
        if self.generation:
            return 6.0 * heads * as_float(self.seq) * k * v
        each = CHUNK_SIZE * (6.0 * k * v + CHUNK_SIZE * (6.0 * k + 4.0 * v))
        return heads * self.chunks * each

    def memory_bytes(self) -> Floats:
        """Compulsory traffic: inputs, weights and a former state read once, outputs and the new state written once.

        The convolution's state is the last conv_kernel - 1 tokens; a prompt begins without one. The rule reads one gate
        and one write strength of a token and value head, in 32 bits.
        """
        size, batch, channels = self.dtype.itemsize, as_float(self.batch), self.channels
        if self.kernel == "convolution":
            width = as_float(self.conv_kernel)
            states = (2.0 if self.generation else 1.0) * batch * (width - 1.0)
            return size * channels * (2.0 * self.tokens + states + width)
        values = as_float(self.num_v_heads) * as_float(self.head_v_dim)
        gates = 2.0 * GATE_BYTES * as_float(self.num_v_heads)
        return self.tokens * (size * (channels + values) + gates) + 2.0 * self.state_bytes()

    def state_bytes(self) -> Floats:
        """Bytes of the rule's states."""
        one = as_float(self.num_v_heads) * as_float(self.head_k_dim) * as_float(self.head_v_dim)
        return as_float(self.batch) * one * as_float(self.state_itemsize)
