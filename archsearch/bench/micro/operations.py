"""From a case to something that runs: tensors of random data and a call of torch, one per set of buffers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from archsearch.bench.micro.cases import Case
from archsearch.bench.micro.timing import Action

if TYPE_CHECKING:
    import torch

Builder = Callable[[Case, "torch.device"], Action]
"""Makes one set of buffers for a case, and the call to time on it."""
DTYPES = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp8_e4m3": "float8_e4m3fn"}


class Skipped(Exception):
    """This device or this torch cannot run a case; the text says why."""


def build(case: Case, device: torch.device) -> Action:
    """One set of buffers for a case, and the call to time on it.

    Raises:
        Skipped: torch or the device has no such kernel.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = case.dtype == "tf32"
    make = _BUILDERS.get(case.op)
    if make is None:
        raise Skipped(f"no builder for op {case.op!r}")
    try:
        with torch.no_grad():
            return make(case, device)
    except (NotImplementedError, ImportError) as error:
        raise Skipped(f"{case.op}: {error}") from None


def _random(case: Case, device: torch.device, *shape: int) -> torch.Tensor:
    import torch

    return torch.randn(shape, device=device, dtype=torch.float32).mul_(0.5).to(getattr(torch, DTYPES[case.dtype]))


def _linear(case: Case, device: torch.device) -> Action:
    import torch

    d = case.dims
    x, weight = _random(case, device, d["m"], d["k"]), _random(case, device, d["n"], d["k"])
    return lambda: torch.nn.functional.linear(x, weight)


def _bmm(case: Case, device: torch.device) -> Action:
    import torch

    d = case.dims
    a, b = _random(case, device, d["batch"], d["m"], d["k"]), _random(case, device, d["batch"], d["k"], d["n"])
    return lambda: torch.bmm(a, b)


def _scaled_mm(case: Case, device: torch.device) -> Action:
    """fp8 with one scale per tensor, bf16 out; the activations come quantized."""
    import torch

    if not hasattr(torch, "_scaled_mm") or (device.type == "cuda" and torch.cuda.get_device_capability() < (8, 9)):
        raise Skipped("fp8 products need torch._scaled_mm and compute capability 8.9")
    d = case.dims
    a, b = _random(case, device, d["m"], d["k"]), _random(case, device, d["n"], d["k"])
    one = torch.ones((), device=device, dtype=torch.float32)
    return lambda: torch._scaled_mm(a, b.t(), one, one, out_dtype=torch.bfloat16)


BACKENDS = {"torch_fa2": "FLASH_ATTENTION", "torch_cudnn": "CUDNN_ATTENTION", "torch_efficient": "EFFICIENT_ATTENTION"}


def _attention(case: Case, device: torch.device) -> Action:
    """torch's scaled_dot_product_attention by one named backend; grouped queries by ``enable_gqa``."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    d = case.dims
    q = _random(case, device, d["batch"], d["heads_q"], d["seq_q"], d["head_dim"])
    k, v = (_random(case, device, d["batch"], d["heads_kv"], d["seq_kv"], d["head_dim"]) for _ in range(2))
    options: dict[str, Any] = {"is_causal": bool(d["causal"]), "enable_gqa": d["heads_q"] != d["heads_kv"]}
    call = torch.nn.functional.scaled_dot_product_attention
    if not case.kernel:
        return lambda: call(q, k, v, **options)
    if case.kernel == "flash_attn_fa2":
        from flash_attn import flash_attn_func

        q, k, v = (t.transpose(1, 2).contiguous() for t in (q, k, v))
        return lambda: flash_attn_func(q, k, v, causal=options["is_causal"])
    backend = getattr(SDPBackend, BACKENDS[case.kernel])

    def run() -> torch.Tensor:
        with sdpa_kernel(backend):
            return call(q, k, v, **options)

    try:
        run()
    except RuntimeError as error:
        raise Skipped(f"{case.kernel}: {str(error).splitlines()[0]}") from None
    return run


def _unary(function: Callable[[torch.Tensor], torch.Tensor]) -> Builder:
    def make(case: Case, device: torch.device) -> Action:
        x = _random(case, device, case.dims["rows"], case.dims["cols"])
        return lambda: function(x)

    return make


def _binary(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Builder:
    def make(case: Case, device: torch.device) -> Action:
        x, y = (_random(case, device, case.dims["rows"], case.dims["cols"]) for _ in range(2))
        return lambda: function(x, y)

    return make


def _norm(name: str) -> Builder:
    def make(case: Case, device: torch.device) -> Action:
        import torch

        x, weight = (
            _random(case, device, case.dims["rows"], case.dims["cols"]),
            _random(case, device, case.dims["cols"]),
        )
        call = getattr(torch.nn.functional, name, None)
        if call is None:
            raise Skipped(f"this torch has no {name}")
        return lambda: call(x, (case.dims["cols"],), weight)

    return make


def _groupnorm(case: Case, device: torch.device) -> Action:
    """Groups of 32 to an image; a row is one group of one image."""
    import torch

    rows, cols, groups = case.dims["rows"], case.dims["cols"], 32
    per_group = max(c for c in (1, 2, 4, 8, 16) if cols % c == 0)
    x = _random(case, device, rows // groups, groups * per_group, cols // per_group)
    weight, bias = (_random(case, device, groups * per_group) for _ in range(2))
    return lambda: torch.nn.functional.group_norm(x, groups, weight, bias)


def _convolution(case: Case, device: torch.device) -> Action:
    """``channels_last`` tensors lie as tensor cores want them; ``contiguous`` ones are turned around by cuDNN."""
    import torch

    d = case.dims
    size = ((d["frames"],) if "frames" in d else ()) + (d["height"], d["width"])
    axes, kernel = len(size), d["kernel_size"]
    x = _random(case, device, d["batch"], d["in_channels"], *size)
    weight = _random(case, device, d["out_channels"], d["in_channels"], *(kernel,) * axes)
    if case.kernel == "channels_last":
        layout = torch.channels_last if axes == 2 else torch.channels_last_3d
        x, weight = x.to(memory_format=layout), weight.to(memory_format=layout)
    call: Any = torch.nn.functional.conv2d if axes == 2 else torch.nn.functional.conv3d
    return lambda: call(x, weight, padding=kernel // 2)


def _rope(case: Case, device: torch.device) -> Action:
    """Rotary embedding as transformers applies it eagerly: rotate halves, two products, a sum (rows of 64)."""
    import torch

    rows, cols = case.dims["rows"], case.dims["cols"]
    width = 64 if cols % 64 == 0 else 8
    x = _random(case, device, rows, cols // width, width)
    cos, sin = _random(case, device, rows, 1, width), _random(case, device, rows, 1, width)

    def run() -> torch.Tensor:
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-second, first), dim=-1) * sin

    return run


def _copy(case: Case, device: torch.device) -> Action:
    import torch

    x = _random(case, device, case.dims["rows"], case.dims["cols"])
    y = torch.empty_like(x)
    return lambda: y.copy_(x)


def _triton_matmul(case: Case, device: torch.device) -> Action:
    from archsearch.bench.micro import kernels

    d = case.dims
    a, b = _random(case, device, d["m"], d["k"]), _random(case, device, d["n"], d["k"])
    return lambda: kernels.matmul(a, b, **json.loads(case.config))


def _triton_copy(case: Case, device: torch.device) -> Action:
    import torch

    from archsearch.bench.micro import kernels

    x = _random(case, device, case.dims["rows"], case.dims["cols"])
    y = torch.empty_like(x)
    return lambda: kernels.copy(x, y)


def _triton_norm_modulate(case: Case, device: torch.device) -> Action:
    from archsearch.bench.micro import kernels

    x = _random(case, device, case.dims["rows"], case.dims["cols"])
    scale, shift = _random(case, device, case.dims["cols"]), _random(case, device, case.dims["cols"])
    return lambda: kernels.norm_modulate(x, scale, shift)


def _block(case: Case, device: torch.device) -> Action:
    import torch

    from archsearch.bench.micro.model_blocks import block_inputs, make_block

    family = json.loads(case.config)["family"]
    dtype = getattr(torch, DTYPES[case.dtype])
    module = make_block(family, case.dims).to(device=device, dtype=dtype).eval()
    inputs = [t.to(device=device, dtype=dtype) for t in block_inputs(family, case.dims)]
    call: Any = torch.compile(module, dynamic=False) if case.kernel == "compiled" else module

    def run() -> torch.Tensor:
        with torch.no_grad():
            out: torch.Tensor = call(*inputs)
        return out

    run()
    return run


def _functions() -> dict[str, Builder]:
    def torch_function(name: str) -> Callable[..., torch.Tensor]:
        def call(*tensors: torch.Tensor) -> torch.Tensor:
            import torch

            result: torch.Tensor = getattr(torch, name)(*tensors)
            return result

        return call

    def functional(name: str, **options: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def call(x: torch.Tensor) -> torch.Tensor:
            import torch

            result: torch.Tensor = getattr(torch.nn.functional, name)(x, **options)
            return result

        return call

    return {
        "add": _binary(torch_function("add")),
        "mul": _binary(torch_function("mul")),
        "mulu": _unary(lambda x: x * 1.5),
        "gelu": _unary(functional("gelu")),
        "silu": _unary(functional("silu")),
        "relu": _unary(functional("relu")),
        "tanh": _unary(torch_function("tanh")),
        "softmax": _unary(functional("softmax", dim=-1)),
        "layernorm": _norm("layer_norm"),
        "rmsnorm": _norm("rms_norm"),
    }


_BUILDERS: dict[str, Builder] = {
    "linear": _linear,
    "bmm": _bmm,
    "scaled_mm": _scaled_mm,
    "attention": _attention,
    "rope": _rope,
    "groupnorm": _groupnorm,
    "convolution": _convolution,
    "copy": _copy,
    "triton_matmul": _triton_matmul,
    "triton_copy": _triton_copy,
    "triton_norm_modulate": _triton_norm_modulate,
    "block": _block,
    **_functions(),
}
