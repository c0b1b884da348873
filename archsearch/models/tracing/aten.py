"""Which operation an aten call is.

Matrix products, convolutions and attention become operations of their own; norms and softmax row reductions; the rest
moves memory: every tensor that a call reads and writes, a broadcast operand at its own size. Kinds are those of the
bandwidth-bound kernels that the cost model knows; calls that no list below names are *unknown* and cost as pointwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from archsearch.dtypes import DType
from archsearch.ops import Attention, Convolution, MatMul, MemoryOp

if TYPE_CHECKING:
    import torch

Arguments = Sequence[Any]
"""What torch calls an operation with: tensors, numbers, lists of numbers and None, by the operation's schema."""

POINTWISE = {
    **dict.fromkeys(("add", "add_", "rsub", "sub", "sub_", "addcmul", "addcdiv", "lerp"), "add"),
    **dict.fromkeys(("mul", "mul_", "neg", "abs", "square", "sign", "logical_not", "bitwise_not"), "mul"),
    **dict.fromkeys(("div", "div_", "reciprocal", "remainder", "fmod", "floor_divide"), "div"),
    **dict.fromkeys(("exp", "exp2", "log", "log2", "log1p", "expm1", "erf"), "exp"),
    **dict.fromkeys(("sqrt", "rsqrt"), "rsqrt"),
    **dict.fromkeys(("sin", "cos", "tan", "atan2", "floor", "ceil", "round", "trunc"), "mul"),
    **dict.fromkeys(("relu", "relu_", "clamp", "clamp_", "clamp_min", "clamp_max", "threshold", "hardtanh"), "relu"),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "isinf", "isnan", "maximum", "minimum"), "add"),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_or"), "add"),
    **dict.fromkeys(("where", "masked_fill", "masked_fill_", "tril", "triu"), "mask"),
    **dict.fromkeys(("gelu", "leaky_relu", "hardswish", "softplus"), "gelu"),
    **dict.fromkeys(("silu", "silu_", "glu"), "silu"),
    **dict.fromkeys(("sigmoid", "sigmoid_", "log_sigmoid_forward"), "sigmoid"),
    **dict.fromkeys(("tanh", "tanh_"), "tanh"),
    **dict.fromkeys(("elu", "celu", "selu"), "elu"),
    "mish": "mish",
    "pow": "mul",
    **dict.fromkeys(("_to_copy", "clone", "copy_", "copy", "contiguous", "_efficientzerotensor"), "copy"),
    **dict.fromkeys(("fill_", "zero_", "ones_like", "zeros_like", "full_like", "zeros", "ones", "full"), "fill"),
    **dict.fromkeys(("arange", "linspace", "scalar_tensor", "eye", "new_zeros", "new_ones", "new_full"), "fill"),
    **dict.fromkeys(("native_dropout", "bernoulli", "bernoulli_", "rand_like", "randn_like", "normal_"), "dropout"),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "replication_pad3d"), "pad"),
    **dict.fromkeys(("upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d"), "upsample"),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d", "pixel_shuffle", "pixel_unshuffle"), "interpolate"),
}
"""Elementwise calls, which a compiler fuses with their neighbours."""
REDUCTIONS = dict.fromkeys(
    (
        "mean",
        "sum",
        "amax",
        "amin",
        "max",
        "min",
        "var",
        "var_mean",
        "std",
        "norm",
        "linalg_vector_norm",
        "prod",
        "all",
    ),
    "pool",
)
"""Reductions, which a compiler fuses with what comes before, and with what comes after where rows are whole."""
JOINS = {"cat": "cat", "stack": "cat"}
"""Concatenations, which a compiler fuses with elementwise calls."""
OPAQUE = {
    **dict.fromkeys(("index", "index_select", "gather", "index_put_", "scatter", "scatter_", "scatter_add_"), "gather"),
    **dict.fromkeys(
        ("index_add_", "index_copy_", "slice_scatter", "select_scatter", "roll", "flip", "unfold"), "gather"
    ),
    **dict.fromkeys(("repeat", "repeat_interleave", "tile"), "copy"),
    **dict.fromkeys(
        ("topk", "sort", "argmax", "argmin", "argsort", "cumsum", "cumprod", "histc", "bincount"), "gather"
    ),
    **dict.fromkeys(("max_pool2d_with_indices", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d"), "pool"),
    "embedding": "embedding",
}
"""Calls that stay kernels of their own."""
NORMS = {
    "native_layer_norm": "layernorm",
    "native_group_norm": "groupnorm",
    "_fused_rms_norm": "rmsnorm",
    "rms_norm": "rmsnorm",
    "native_batch_norm": "layernorm",
    "_native_batch_norm_legit_no_training": "layernorm",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "log_softmax",
}
"""Row reductions with a kernel of their own."""


class Rule(NamedTuple):
    """What a call that moves memory is: the cost model's kind of kernel, and how that may fuse (``record.Kernel``)."""

    kind: str
    fuses: str


_FUSES = ((POINTWISE, "pointwise"), (REDUCTIONS, "reduction"), (NORMS, "row"), (JOINS, "join"), (OPAQUE, ""))
RULES = {name: Rule(kind, fuses) for table, fuses in _FUSES for name, kind in table.items()}
"""Every call that moves memory and is known."""
UNKNOWN = Rule("pointwise", "")
"""What any other is taken for."""
ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
)
"""Fused attention that a module calls by itself; ``scaled_dot_product_attention`` is caught above dispatch."""
NOTHING = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh", "detach")
"""Allocations and bookkeeping, which run no kernel."""


def dtype_of(torch_dtype: torch.dtype) -> tuple[DType, float]:
    """The format whose elements weigh as much, and how many of them one element takes (64-bit integers: two)."""
    size = torch_dtype.itemsize
    name = str(torch_dtype).removeprefix("torch.")
    if name == "float16":
        return DType.FP16, 1.0
    if name.startswith("float8"):
        return DType.FP8, 1.0
    by_size = {1: DType.INT8, 2: DType.BF16, 4: DType.FP32}
    return (by_size[size], 1.0) if size in by_size else (DType.FP32, size / 4)


def matmul(name: str, kind: str, args: Arguments, parameter: bool) -> MatMul | None:
    """A product of two or three dimensions (mm, addmm, bmm, baddbmm), or None for another call.

    ``parameter`` tells that the second factor is a weight.
    """
    if kind in ("mm", "addmm"):
        left, right = args[-2:] if kind == "mm" else args[1:3]
        m, k = left.shape
        weights = {"weights": parameter, "bias": kind == "addmm" and parameter}
        return MatMul(name=name, m=m, n=right.shape[1], k=k, dtype=dtype_of(left.dtype)[0], **weights)
    if kind in ("bmm", "baddbmm"):
        left, right = args[:2] if kind == "bmm" else args[1:3]
        batch, m, k = left.shape
        return MatMul(name=name, m=m, n=right.shape[2], k=k, batch=batch, dtype=dtype_of(left.dtype)[0], weights=False)
    return None


def convolution(name: str, args: Arguments, out: torch.Tensor) -> Convolution:
    """aten.convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups).

    A transposed one does the work of its mirror image: every input position times the kernel's window.
    """
    source, weight, bias, stride, _, _, transposed, _, groups = args[:9]
    into, to = source.shape[1], out.shape[1]
    at, steps = (source, (1,) * len(stride)) if transposed else (out, tuple(stride))
    return Convolution(
        name=name,
        batch=source.shape[0],
        in_channels=into,
        out_channels=to,
        kernel_size=tuple(weight.shape[2:]),
        out_size=tuple(at.shape[2:]),
        stride=steps,
        groups=groups,
        bias=bias is not None,
        dtype=dtype_of(source.dtype)[0],
    )


def attention(
    name: str,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
) -> Attention:
    """Scaled dot product attention over [..., heads, tokens, head_dim] tensors."""
    batch = 1
    for size in query.shape[:-3]:
        batch *= size
    heads = query.shape[-3] if query.dim() > 2 else 1
    return Attention(
        name=name,
        batch=batch,
        heads_q=heads,
        heads_kv=key.shape[-3] if key.dim() > 2 else 1,
        seq_q=query.shape[-2],
        seq_kv=key.shape[-2],
        head_dim=max(query.shape[-1], value.shape[-1]),
        dtype=dtype_of(query.dtype)[0],
        causal=bool(causal),
        mask=mask is not None,
    )


def memory_op(name: str, kind: str, shape: tuple[int, int], like: torch.Tensor, read: int, written: int) -> MemoryOp:
    """A kernel that reads and writes so many bytes, counted in [rows, cols] tensors of ``like``'s format."""
    dtype, _ = dtype_of(like.dtype)
    rows, cols = shape
    unit = max(rows * cols * dtype.itemsize, 1.0)
    return MemoryOp(name=name, kind=kind, rows=rows, cols=cols, dtype=dtype, reads=read / unit, writes=written / unit)
