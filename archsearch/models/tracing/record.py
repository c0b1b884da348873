"""Recording what a module runs: a dispatch mode that turns every kernel into an operation with its reads and writes.

Attention and torch's RMSNorm are intercepted above dispatch, where the meta device would take them apart although they
are one kernel on a GPU. Views cost nothing. Storages are followed from birth to death, which gives the peak of live
bytes and tells which kernel's result another one reads. Where a module asks whether something holds for all of a
mask (transformers: is the whole mask 1?), the answer is yes, and the place is noted; other values are not to be had. A
mask is an input that is called so, and what follows from truths and whole numbers alone.
"""

from __future__ import annotations

import math
import re
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from archsearch.errors import UnsupportedError
from archsearch.models.tracing import aten
from archsearch.ops import Attention, Convolution, MatMul, MemoryOp

if TYPE_CHECKING:
    import torch
    from torch._ops import OpOverload

    from archsearch.progress import Advance

KernelOp = MatMul | Attention | Convolution | MemoryOp
Tensors = Sequence["torch.Tensor"]
_INDEX = re.compile(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.|$)")
_REFUSED = (
    "the module's work depends on the values of its tensors, which a trace without data does not have; compute it in "
    "Python, or give a mask of fixed shape"
)


class Access(NamedTuple):
    """A tensor that a kernel reads or writes: the id of its storage, and its bytes."""

    tensor: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """One launch: its operation, the tensors that it reads and writes, and how it may fuse.

    ``fuses`` is "pointwise", "reduction", "row" (norms and softmax), "join" (concatenations) or "" for kernels that
    stay alone.
    """

    op: KernelOp
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    fuses: str
    aten: str
    known: bool = True

    @property
    def bytes_moved(self) -> int:
        return sum(access.bytes for access in (*self.reads, *self.writes))


class Recorder:
    """Kernels of everything that runs inside, and the peak of live bytes besides what existed before. Becomes one of
    torch's dispatch modes in ``recording``, so that this module can be imported without torch."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.kernels: list[Kernel] = []
        self.live_bytes = self.peak_bytes = 0
        self.path: list[str] = []
        self.assumed: list[str] = []
        self.parameters = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
        self._ids: dict[int, int] = {}
        self._next = 0
        self._wholes: set[int] = set()
        self._masks: set[int] = set()
        self._counts: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: aten.Arguments = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        import torch

        if _name(func) == "_local_scalar_dense" and args[0].dtype == torch.bool:
            if self._id(args[0]) not in self._wholes:
                raise UnsupportedError(f"{self.where() or 'the module'}{_asking()}: {_REFUSED}")
            self.assumed.append(self.where())
            return True
        try:
            out = func(*args, **(kwargs or {}))
        except (RuntimeError, NotImplementedError) as error:
            if (
                "meta" in str(error)
                or "data-dependent" in str(error).lower()
                or "DataDependent" in type(error).__name__
            ):
                raise UnsupportedError(f"aten::{_name(func)} in {self.where() or 'the module'}: {_REFUSED}") from None
            raise
        if _name(func) in ("_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive"):
            raise UnsupportedError(f"aten::{_name(func)} in {self.where() or 'the module'}: {_REFUSED}")
        self._record(func, args, kwargs or {}, out)
        self._note_mask(args, kwargs or {}, out)
        self._note_wholes(_name(func), args, out)
        return out

    def take_inputs(self, inputs: Mapping[str, object]) -> None:
        """Note which inputs are masks: by their names, or since they are truths or whole numbers."""
        import torch

        for name, value in inputs.items():
            if isinstance(value, torch.Tensor) and ("mask" in name or not value.is_floating_point()):
                self._masks.add(self._id(value))

    def _note_mask(self, args: aten.Arguments, kwargs: Mapping[str, object], out: object) -> None:
        """Keep whether a result follows from masks alone, or is made of truths or whole numbers without any tensor."""
        import torch
        from torch.utils._pytree import tree_leaves

        sources = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        for made in tree_leaves(out):
            if isinstance(made, torch.Tensor):
                whole = all(self._id(t) in self._masks for t in sources) if sources else not made.is_floating_point()
                (self._masks.add if whole else self._masks.discard)(self._id(made))

    def _note_wholes(self, kind: str, args: aten.Arguments, out: object) -> None:
        """Keep which results say that something holds for all of a mask: ``all``, or a count that is its size."""
        import torch

        if not isinstance(out, torch.Tensor):
            return
        if kind == "sum" and args[0].dtype == torch.bool and self._id(args[0]) in self._masks:
            self._counts[self._id(out)] = args[0].numel()
        elif (kind == "all" and self._id(args[0]) in self._masks) or (
            kind == "eq" and isinstance(args[1], int) and self._counts.get(self._id(args[0])) == args[1]
        ):
            self._wholes.add(self._id(out))

    def where(self) -> str:
        """The module that runs, layers' indices left out."""
        return _INDEX.sub("*", self.path[-1]) if self.path else ""

    def named(self, kind: str) -> str:
        """Name of a call here."""
        return f"{self.where()}.{kind}".lstrip(".")

    def add(self, op: KernelOp, read: Tensors, written: Tensors, fuses: str, kind: str, known: bool = True) -> None:
        """Keep a kernel that reads and writes these tensors."""
        if read and sum(t.numel() for t in written) == 0:
            return
        reads = tuple(Access(self._id(t), _bytes(t)) for t in read)
        writes = tuple(Access(self._id(t), _bytes(t)) for t in written)
        self.kernels.append(Kernel(op, reads, writes, fuses, kind, known))

    def is_parameter(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is a weight, or a view of one."""
        return tensor.untyped_storage()._cdata in self.parameters

    def _record(self, func: OpOverload, args: aten.Arguments, kwargs: Mapping[str, object], out: object) -> None:
        import torch
        from torch.utils._pytree import tree_leaves

        kind = _name(func)
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        old = {t.untyped_storage()._cdata for t in tensors}
        results = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        fresh = [t for t in results if t.untyped_storage()._cdata not in old]
        for tensor in fresh:
            self._track(tensor.untyped_storage())
        changed = [t for t in tensors[:1] if not fresh and func._schema.is_mutable]
        written = fresh or changed
        if not written or kind in aten.NOTHING:
            return
        read = tensors[1:] if kind == "copy_" else tensors
        if kind == "embedding":  # rows of the table, not all of it
            self._memory(kind, [written[0], *tensors[1:]], written)
        elif kind in aten.ATTENTION:
            named = _arguments(func, args, kwargs)
            mask = named.get("attn_bias", named.get("attn_mask"))
            query, key, value = args[:3]
            op = aten.attention(self.named("attention"), query, key, value, mask, named.get("is_causal", False))
            self.add(op, [query, key, value, *([] if mask is None else [mask])], written[:1], "", kind)
        elif kind == "convolution":
            self.add(aten.convolution(self.named(kind), args, results[0]), read, written, "", kind)
        elif product := aten.matmul(self.named(kind), kind, args, self._has_weight(kind, args)):
            self.add(product, read, written, "", kind)
        else:
            self._memory(kind, read, written)

    def _has_weight(self, kind: str, args: aten.Arguments) -> bool:
        return kind in ("mm", "addmm") and self.is_parameter(args[-1] if kind == "mm" else args[2])

    def _memory(self, kind: str, read: Tensors, written: Tensors) -> None:
        rule = aten.RULES.get(kind, aten.UNKNOWN)
        largest = max((*written, *(read if rule.fuses == "reduction" else ())), key=lambda t: t.numel())
        cols = _columns(kind, largest, read)
        shape = (max(largest.numel() // max(cols, 1), 1), max(cols, 1))
        sizes = [sum(map(_bytes, group)) for group in (read, written)]
        op = aten.memory_op(self.named(kind), rule.kind, shape, largest, *sizes)
        self.add(op, read, written, rule.fuses, kind, known=kind in aten.RULES)

    def _id(self, tensor: torch.Tensor) -> int:
        key = tensor.untyped_storage()._cdata
        if key not in self._ids:
            self._ids[key] = self._next
            self._next += 1
        return self._ids[key]

    def _track(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._ids[key] = self._next
        self._next += 1
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.live_bytes -= size


class _WholeKernels:
    """Attention and RMSNorm as the one kernel that they are on a GPU."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: aten.Arguments = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        import torch
        import torch.nn.functional as F

        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func in (F.rms_norm, torch.rms_norm):
            return self._rms_norm(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            with self._attention_inside():
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    @contextmanager
    def _attention_inside(self) -> Iterator[None]:
        """Attention as one kernel inside a function of torch, which the mode does not see into: nn.MultiheadAttention
        calls it there where no weights are asked for."""
        import torch.nn.functional as F

        whole = F.scaled_dot_product_attention
        F.scaled_dot_product_attention = self._attention  # type: ignore[assignment]  # the same call, typed by what it reads
        try:
            yield
        finally:
            F.scaled_dot_product_attention = whole

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **_: object,
    ) -> torch.Tensor:
        import torch

        shape = (*query.shape[:-3], query.shape[-2], query.shape[-3] if query.dim() > 2 else 1, value.shape[-1])
        out = torch.empty(shape, dtype=query.dtype, device=query.device)
        if query.requires_grad:
            out.requires_grad_()
        out = out.transpose(-2, -3) if query.dim() > 2 else out.squeeze(-2)
        op = aten.attention(self.recorder.named("attention"), query, key, value, attn_mask, is_causal)
        read = [query, key, value, *([] if attn_mask is None else [attn_mask])]
        self.recorder.add(op, read, [out], "", "scaled_dot_product_attention")
        return out

    def _rms_norm(
        self,
        source: torch.Tensor,
        normalized_shape: Sequence[int],
        weight: torch.Tensor | None = None,
        eps: float | None = None,
    ) -> torch.Tensor:
        import torch

        out = torch.empty_like(source)
        cols = math.prod(normalized_shape)
        read = [source, *([] if weight is None else [weight])]
        sizes = [sum(map(_bytes, group)) for group in (read, [out])]
        shape = (max(source.numel() // cols, 1), cols)
        op = aten.memory_op(self.recorder.named("rms_norm"), "rmsnorm", shape, source, *sizes)
        self.recorder.add(op, read, [out], "row", "rms_norm")
        return out


@contextmanager
def recording(module: torch.nn.Module, advance: Advance) -> Iterator[Recorder]:
    """Record what runs inside; the path follows the module's children, each of which ``advance`` is told of."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    recorder: Any = type("RecorderMode", (Recorder, TorchDispatchMode), {})(module)
    whole_kernels: Any = type("WholeKernelsMode", (_WholeKernels, TorchFunctionMode), {})(recorder)

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: recorder.path.append(name)

    def leave(*_: object) -> None:
        recorder.path.pop()
        advance(1)

    hooks = []
    for name, child in module.named_modules():
        hooks += [child.register_forward_pre_hook(enter(name)), child.register_forward_hook(leave)]
    try:
        with torch.no_grad(), whole_kernels, recorder:
            yield recorder
    finally:
        for hook in hooks:
            hook.remove()


def _asking() -> str:
    """The line that asks: the last of a file that is neither torch's nor this package's."""
    ours = str(Path(__file__).parent)
    for frame in reversed(traceback.extract_stack()):
        if "/torch/" not in frame.filename and not frame.filename.startswith(ours):
            return f" ({frame.filename}:{frame.lineno}: {frame.line})"
    return ""


def _name(func: OpOverload) -> str:
    name: str = func.overloadpacket.__name__
    return name


def _arguments(func: OpOverload, args: aten.Arguments, kwargs: Mapping[str, object]) -> dict[str, Any]:
    """A call's arguments by name."""
    names = [argument.name for argument in func._schema.arguments]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _columns(kind: str, largest: torch.Tensor, read: Tensors) -> int:
    """Length of the rows that a kernel works on: what a norm normalises over, else the last dimension."""
    if kind == "native_group_norm":
        channels = read[0].shape[1]
        return int(read[0][0, :1].numel() * channels // max(_groups(channels), 1))
    return int(largest.shape[-1]) if largest.dim() else 1


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _groups(channels: int) -> int:
    """Groups of a group norm: 32 in the models of the field, all channels where they are fewer."""
    return math.gcd(channels, 32)
