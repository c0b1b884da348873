"""What a compiler fuses, and the operations that a trace comes to.

Rules, in the spirit of torch inductor's: elementwise kernels, norms and reductions join the kernel that made one of
their inputs, as long as sizes are within a factor of two and rows are as long, or parts of each other (heads of a
token); tensors of a thirtieth of the size (a row per image) join anything. Concatenations join elementwise kernels (a
rotary embedding's halves) but no norms. Products, attention, convolutions, look-ups and sorts stay kernels of their
own; an elementwise kernel does not become a matrix product's epilogue. A group ends where a kernel that stays alone
reads one of its results. A group reads each tensor that it did not make once, and writes those that others read.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from archsearch.models.tracing.record import Kernel
from archsearch.ops import FusedGroup, MemoryOp, Op, OpList

SMALL = 32
"""How many times smaller a tensor is that joins any group."""


@dataclass(slots=True)
class Group:
    """Kernels that run as one, and the ids of what they made."""

    kernels: list[Kernel] = field(default_factory=list)
    made: set[int] = field(default_factory=set)
    open: bool = True

    @property
    def largest(self) -> MemoryOp:
        """The member that sets the group's rows."""
        ops = [k.op for k in self.kernels if isinstance(k.op, MemoryOp)]
        return max(ops, key=_size)


def _size(op: MemoryOp) -> int:
    return int(op.rows) * int(op.cols)


def fuse(kernels: list[Kernel]) -> list[Group]:
    """Groups in the order of their last kernels' results; kernels that stay alone are groups of one."""
    groups: list[Group] = []
    maker: dict[int, Group] = {}
    for kernel in kernels:
        group = _home(kernel, maker)
        if group is None:
            group = Group()
            groups.append(group)
            for key, _ in kernel.reads:  # whoever made its inputs has to run before it
                if key in maker and not kernel.fuses:
                    maker[key].open = False
        elif groups[-1] is not group:  # runs once all its inputs are there
            groups.remove(group)
            groups.append(group)
        group.kernels.append(kernel)
        group.open = group.open and bool(kernel.fuses)
        for key, _ in kernel.writes:
            group.made.add(key)
            maker[key] = group
    return groups


def _home(kernel: Kernel, maker: dict[int, Group]) -> Group | None:
    """The open group that a kernel joins."""
    op = kernel.op
    if not kernel.fuses or not isinstance(op, MemoryOp):
        return None
    candidates = [maker[key] for key, _ in kernel.reads if key in maker and maker[key].open]
    if kernel.fuses == "join":
        candidates = [g for g in candidates if all(k.fuses in ("pointwise", "join") for k in g.kernels)]
    fitting = [group for group in candidates if _fits(op, group)]
    return max(fitting, key=lambda group: _size(group.largest), default=None)


def _fits(op: MemoryOp, group: Group) -> bool:
    """Whether a kernel's rows are the group's."""
    largest = group.largest
    small, large = sorted((_size(op), _size(largest)))
    if small * SMALL <= large:
        return True
    short, long = sorted((int(op.cols), int(largest.cols)))
    return long % short == 0 and large <= 2 * small


def to_ops(kernels: list[Kernel]) -> OpList:
    """The operations of a trace: groups as ``FusedGroup`` (compiled execution runs one kernel, eager the members),
    repeated layers counted."""
    readers: dict[int, list[int]] = {}
    groups = fuse(kernels)
    for index, group in enumerate(groups):
        for kernel in group.kernels:
            for key, _ in kernel.reads:
                readers.setdefault(key, []).append(index)
    alike: dict[Hashable, list[Op]] = {}
    for index, group in enumerate(groups):
        op = _op(group, index, readers)
        alike.setdefault(_signature(op), []).append(op)
    return OpList(tuple(_unique([replace(ops[0], count=len(ops)) for ops in alike.values()])))


def _op(group: Group, index: int, readers: dict[int, list[int]]) -> Op:
    """A group's operation: ``index`` is its place, ``readers`` the places of the groups that read each tensor."""
    if len(group.kernels) == 1:
        return group.kernels[0].op
    members = tuple(k.op for k in group.kernels if isinstance(k.op, MemoryOp))
    largest = group.largest
    unit = _size(largest) * largest.dtype.itemsize
    reads = {key: size for k in group.kernels for key, size in k.reads if key not in group.made}
    results = {key: size for k in group.kernels for key, size in k.writes}
    kept = {k: s for k, s in results.items() if any(r != index for r in readers.get(k, [])) or k not in readers}
    rows = [k.op.kind for k in group.kernels if k.fuses == "row" and isinstance(k.op, MemoryOp)]
    reduced = any(k.fuses == "reduction" for k in group.kernels)
    kind = rows[-1] if rows else "rmsnorm" if reduced else members[-1].kind
    last = max((m for m in members if _size(m) == _size(largest)), key=members.index)
    return FusedGroup(
        name=members[-1].name,
        kind=kind,
        members=members,
        rows=last.rows,
        cols=last.cols,
        dtype=largest.dtype,
        reads=sum(reads.values()) / unit,
        writes=sum(kept.values()) / unit,
    )


def _signature(op: Op) -> Hashable:
    """What makes two operations one with a higher count."""
    if isinstance(op, FusedGroup):
        return (op.name, op.kind, tuple(map(_signature, op.members)), op.rows, op.cols, op.reads, op.writes)
    return repr(op)


def _unique(ops: list[Op]) -> list[Op]:
    """Names made different by a number."""
    seen: dict[str, int] = {}
    result: list[Op] = []
    for op in ops:
        number = seen[op.name] = seen.get(op.name, 0) + 1
        result.append(op if number == 1 else replace(op, name=f"{op.name}#{number}"))
    return result
