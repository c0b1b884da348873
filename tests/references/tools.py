"""Real modules on the meta device, and what PyTorch dispatches for them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
import transformers as hf
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from archsearch.dtypes import DType
from archsearch.models.base import ModelConfig
from archsearch.ops import FusedGroup, MemoryOp, OpList
from archsearch.workload import Workload

hf.logging.set_verbosity_error()
TORCH_DTYPES = {DType.BF16: torch.bfloat16, DType.FP32: torch.float32}
NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def flash_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> torch.Tensor:
    """The fused kernel as one op; the meta device would otherwise take the unfused path of scaled_dot_product."""
    return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]


def _attention_interface(_module: Any, query: Any, key: Any, value: Any, _mask: Any, **_: Any) -> tuple[Any, None]:
    return flash_attention(query, key, value).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register("one_op", _attention_interface)
ALL_MASK_ATTENTION_FUNCTIONS.register("one_op", lambda *_args, **_kwargs: None)


def on_meta(build: Callable[[], torch.nn.Module], dtype: torch.dtype = torch.bfloat16) -> torch.nn.Module:
    """A module in evaluation mode on the meta device, its attention one fused op."""
    with torch.device("meta"):
        module = build()
    module = module.to(dtype).eval()
    if hasattr(module, "register_to_config"):  # diffusers loads these parts in 32 bits whatever is asked for
        kept = module._keep_in_fp32_modules or ()
        for name, part in module.named_modules():
            if any(word in name.split(".") for word in kept):
                part.float()
    if hasattr(module, "set_attn_implementation"):
        module.set_attn_implementation("one_op")
    return module


def count_parameters(module: torch.nn.Module) -> int:
    """Elements of all parameters, tied ones once."""
    return sum(p.numel() for p in module.parameters())


def tokens(batch: int, seq: int) -> dict[str, torch.Tensor]:
    """Inputs of a language model. The mask keeps transformers from looking for packed sequences, which meta cannot."""
    shape = (batch, seq)
    return {
        "input_ids": torch.zeros(shape, dtype=torch.long, device="meta"),
        "attention_mask": torch.ones(shape, dtype=torch.long, device="meta"),
    }


def fused_rms_norm(x: torch.Tensor, shape: Any, weight: Any = None, eps: float | None = None) -> torch.Tensor:
    """torch's RMSNorm as the one kernel that it is on CUDA; the meta device would take it apart. LayerNorm stands for
    it: it reads, writes and saves the same."""
    return torch.ops.aten.native_layer_norm(x, list(shape), weight, None, eps or 1e-6)[0]


_CONV2D, _CONV3D = F.conv2d, F.conv3d


def _layout_kept(convolution: Any, layout: torch.memory_format) -> Any:
    """A convolution whose result lies as its input does, channels last where that does, as on CUDA
    (``cudnn_conv_suggest_memory_format``, aten/src/ATen/native/ConvUtils.h); on the meta device it would lie channels
    first whatever its input."""

    def call(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        out = convolution(x, *args, **kwargs)
        if x.is_contiguous(memory_format=layout) and not x.is_contiguous():
            order = [0, *range(2, out.ndim), 1]  # from the outermost axis to the innermost
            strides = [0] * out.ndim
            step = 1
            for axis in reversed(order):
                strides[axis], step = step, step * out.shape[axis]
            out = out.as_strided(out.shape, strides)
        return out

    return call


@contextmanager
def fused_sdpa() -> Iterator[None]:
    """Attention and torch's RMSNorm as the one fused op that they are on CUDA, and convolutions with its layouts."""
    originals = F.scaled_dot_product_attention, F.rms_norm
    F.scaled_dot_product_attention, F.rms_norm = flash_attention, fused_rms_norm
    F.conv2d = _layout_kept(_CONV2D, torch.channels_last)
    F.conv3d = _layout_kept(_CONV3D, torch.channels_last_3d)
    try:
        yield
    finally:
        F.scaled_dot_product_attention, F.rms_norm = originals
        F.conv2d, F.conv3d = _CONV2D, _CONV3D


def _call(module: torch.nn.Module, inputs: dict[str, Any]) -> Any:
    return module(**inputs)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A config of ours and the real module that it describes.

    ``inputs(workload)`` are the module's keyword arguments on the meta device; ``call`` runs it (its forward pass
    unless told: ``decode`` of an autoencoder); ``options`` are further arguments. ``dtypes`` are the formats that the
    module's kernels have on the meta device.
    """

    config: ModelConfig
    build: Callable[[], torch.nn.Module]
    inputs: Callable[[Workload], dict[str, Any]]
    workload: Workload
    call: Callable[[torch.nn.Module, dict[str, Any]], Any] = _call
    options: Mapping[str, Any] = field(default_factory=dict)
    dtypes: tuple[DType, ...] = tuple(TORCH_DTYPES)

    def module(self) -> torch.nn.Module:
        return on_meta(self.build, TORCH_DTYPES[self.workload.dtype])

    def arguments(self) -> dict[str, Any]:
        return {**self.inputs(self.workload), **self.options}

    def run(self, module: torch.nn.Module) -> Any:
        return self.call(module, self.arguments())


def convolution_workspace(args: Any, out: torch.Tensor) -> int:
    """Bytes that cuDNN takes beside a convolution's tensors: 16-bit ones are laid out anew, input and output, unless
    every channel is its own group, or the window one position. As measured on an H200
    (``benchmarks/results/memory_gpu.csv``)."""
    source, weight, groups = args[0], args[1], args[8]
    if source.element_size() != 2 or groups != 1 or all(side == 1 for side in weight.shape[2:]):
        return 0
    return (source.numel() + out.numel()) * out.element_size()


class Dispatched(TorchDispatchMode):
    """Kernels that PyTorch dispatches: (name, bytes read, bytes written); and bytes of live results, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[tuple[str, int, int]] = []
        self.live_bytes = 0
        self.peak_bytes = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, torch.Tensor)]
        inputs = {t.untyped_storage()._cdata for t in read}
        fresh = [
            t for t in tree_leaves(out) if isinstance(t, torch.Tensor) and t.untyped_storage()._cdata not in inputs
        ]
        name = func.overloadpacket.__name__
        changed = [a for a in args[:1] if not fresh and func._schema.is_mutable and isinstance(a, torch.Tensor)]
        if name == "copy_":  # overwrites
            read = read[1:]
        written = fresh or changed
        if written and not name.startswith(("empty", "new_empty")):  # everything else is a view, or nothing yet
            sizes = [sum(t.numel() * t.element_size() for t in group) for group in (read, written)]
            self.kernels.append((name, *sizes))
        for tensor in fresh:
            self._track(tensor.untyped_storage())
        if name == "convolution":
            self.peak_bytes = max(self.peak_bytes, self.live_bytes + convolution_workspace(args, out))
        return out

    def _track(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live_bytes -= size


def dispatch(reference: Reference) -> Dispatched:
    """One run without gradients; inputs do not count."""
    module, arguments = reference.module(), reference.arguments()
    with torch.no_grad(), fused_sdpa(), Dispatched() as seen:
        output = reference.call(module, arguments)
    del output
    return seen


def saved_bytes(reference: Reference) -> int:
    """Distinct storages that autograd keeps for the backward pass, parameters aside."""
    module = reference.module()
    own = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    held: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        key = tensor.untyped_storage()._cdata
        if key not in own:
            held[key] = tensor
        return tensor

    with fused_sdpa(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = reference.run(module)
    del output
    return sum(t.untyped_storage().nbytes() for t in held.values())


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
