"""The routed feed-forward of a mixture of experts as one operation with array-valued dimensions (see ``ops``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archsearch.arrays import Count, Dim, Floats, as_float
from archsearch.dtypes import DType


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """The routed feed-forward of a mixture of experts, on one of the GPUs that share the experts: both grouped
    products, the activation between them, and the sum of a token's copies. Router and shared experts are not in it.

    Each of ``tokens`` goes to ``num_experts_per_tok`` of ``num_experts`` experts, of which ``expert_parallel`` GPUs
    hold equal parts; ``moe_intermediate_size`` is the width here, after any tensor parallelism. ``gated`` experts have
    three matrices, others two. ``skew`` is the exponent of the power law that the experts' loads follow, 0 where they
    are equal (``cost/kernels/expert_loads.py``).
    """

    name: str
    tokens: Dim
    hidden_size: Dim
    moe_intermediate_size: Dim
    num_experts_per_tok: Dim
    num_experts: Dim
    dtype: DType
    expert_parallel: Dim = 1
    gated: bool = True
    skew: float = 0.0
    count: Count = 1

    @property
    def kind(self) -> str:
        return "experts"

    def copies(self) -> Floats:
        """Copies of tokens that a GPU gets, on average over those that share the experts."""
        return as_float(self.tokens) * as_float(self.num_experts_per_tok) / as_float(self.expert_parallel)

    def expert_elements(self) -> Floats:
        """Weights of one expert here."""
        matrices = 3.0 if self.gated else 2.0
        return matrices * as_float(self.hidden_size) * as_float(self.moe_intermediate_size)

    def flops(self) -> Floats:
        return 2.0 * self.copies() * self.expert_elements()

    def memory_bytes(self) -> Floats:
        """Compulsory traffic: the weights of an expert for every copy, of all that are here at most (under a skewed
        load of as many as a token needs, as one may get every token); copies' tokens once in, all tokens once out."""
        parallel, per_token = as_float(self.expert_parallel), as_float(self.num_experts_per_tok)
        active = per_token / parallel if self.skew else np.minimum(as_float(self.num_experts) / parallel, self.copies())
        tokens = as_float(self.tokens) + np.minimum(as_float(self.tokens), self.copies())
        return (active * self.expert_elements() + tokens * as_float(self.hidden_size)) * self.dtype.itemsize
