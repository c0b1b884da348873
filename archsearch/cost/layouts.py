"""One GPU's part of a model that several share, and what they exchange.

* tensor parallel (Megatron-LM, https://arxiv.org/abs/1909.08053): heads, feed-forward width and vocabulary are divided
  by t; every layer all-reduces its [tokens, hidden_size] output twice in the forward and twice in the backward pass
  (section 3), and twice more where the forward pass is run again;
* pipeline parallel: ⌈layers / p⌉ layers a stage; one pass goes through the stages one after the other, each sending
  its output on. Keeping the stages busy with micro-batches is a training run's or a serving engine's to plan;
* data parallel: the batch is divided by d; what replicas divide and exchange in training is
  ``archsearch.cost.replicas``'s;
* sequence parallel (DeepSpeed-Ulysses, https://arxiv.org/abs/2309.14509): tokens are divided everywhere but inside
  self-attention, whose heads are; an all-to-all each turns queries, keys, values and the output around.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Protocol, TypeGuard, TypeVar

import numpy as np

from archsearch.arrays import Count, Dim, Floats, Ints, Mask, as_float
from archsearch.cost.execution import Execution, is_served
from archsearch.cost.replicas import with_replicas
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.ops import Attention, Collective, Convolution, FusedGroup, MatMul, MemoryOp, Op, OpList
from archsearch.routed_experts import Experts
from archsearch.segments import UPDATE, WEIGHT_CASTS, WEIGHT_GRADIENT, SegmentedOps, segments_of
from archsearch.workload import Phase, Workload

REDUCES_PER_LAYER = {Phase.TRAIN: 4}
"""All-reduces of a layer's output under tensor parallelism, 2 where the phase is not listed."""
RECOMPUTED_REDUCES = 2


Config = TypeVar("Config")


class Lowerable(Protocol):
    """What can be priced: a model's config."""

    def parameters(self) -> Count:
        """Number of parameters."""

    def lower(self, workload: Workload) -> OpList:
        """The operations of the workload's phase, in order."""


class LayeredConfig(Lowerable, Protocol):
    """What the layouts read of a language model's config."""

    @property
    def tensor_parallel_fields(self) -> tuple[str, ...]: ...

    @property
    def num_layers(self) -> Dim: ...

    @property
    def hidden_size(self) -> Dim: ...

    @property
    def head_width(self) -> Dim: ...

    @property
    def vocab_size(self) -> Dim: ...


def laid_out(config: Lowerable, workload: Workload, execution: Execution) -> OpList:
    """The ops of one GPU under an execution's layout, exchanges included; of the whole model where it runs alone.

    Of a grid, architectures that ``layout_rules`` exclude are priced as if the rest were rounded: leave them out.

    Raises:
        UnsupportedError: a layout that no architecture of the config has, or a format that none of its layers runs in,
            with the reason.
        InvalidInputError: a stage of ZeRO where nothing is trained.
    """
    ops = _laid_out(config, workload, execution)
    if workload.linear_dtype.weight_itemsize < 2 and not any(map(partial(_runs_in, workload.linear_dtype), _all(ops))):
        text = f"{{dtype}} {workload.dtype.value} is of linear layers in blocks, and {_name(config)} has none"
        raise UnsupportedError(f"{text}: all of it would run in bf16; use bf16, fp16 or fp32", field="dtype")
    return ops


def _runs_in(dtype: DType, op: Op) -> bool:
    return isinstance(op, MatMul | Experts) and op.dtype is dtype


def _all(ops: OpList) -> Iterator[Op]:
    """Operations of all segments."""
    return chain.from_iterable(segment.ops for segment in segments_of(ops))


def _laid_out(config: Lowerable, workload: Workload, execution: Execution) -> OpList:
    if execution.zero and workload.phase is not Phase.TRAIN:
        text = f"{{zero}} has no effect on phase {workload.phase.value}: add {{phase}} train"
        raise InvalidInputError(text, field=("zero", "phase"))
    if execution.gpus == 1:
        return config.lower(workload)
    work = own_batch(workload, execution)
    if execution.sequence_parallel > 1 and is_served(workload) and workload.phase is Phase.DECODE:
        fields = ("sequence_parallel", "tensor_parallel")
        text = "{sequence_parallel}: a decoded token is no sequence to share; use {tensor_parallel}"
        raise UnsupportedError(text, field=fields)
    whole, _ = shard(config, replace(execution, pipeline_parallel=1))  # one pass visits every stage
    broken = [reason for reason, holds in layout_rules(config, execution) if not np.any(holds)]
    if broken:
        raise UnsupportedError(f"{_name(config)}: {'; '.join(broken)}")
    ops = whole.lower(work)
    if execution.sequence_parallel > 1:
        ops = _by_segment(ops, lambda o: sequence_shared(o, work, execution.sequence_parallel))
    parts = list(segments_of(ops))
    main = next(i for i, part in enumerate(parts) if not part.beside)
    parts[main] = replace(parts[main], ops=OpList((*parts[main].ops, *exchanges(whole, work, execution))))
    if work.phase is Phase.TRAIN:
        parts = with_replicas(parts, whole, work, execution, stages=execution.pipeline_parallel)
    return SegmentedOps.of(parts)


def _by_segment(ops: OpList, change: Callable[[OpList], OpList]) -> OpList:
    if not isinstance(ops, SegmentedOps):
        return change(ops)
    kept = [s.beside or s.name == UPDATE for s in ops.segments]
    return SegmentedOps.of(
        [s if as_is else replace(s, ops=change(s.ops)) for s, as_is in zip(ops.segments, kept, strict=True)]
    )


def own_batch(w: Workload, execution: Execution) -> Workload:
    """The workload of one data-parallel replica.

    Raises:
        UnsupportedError: a batch that the replicas cannot share equally.
    """
    d = execution.data_parallel
    if d == 1:
        return w
    if np.any(np.asarray(w.batch_size) % d):
        text = f"{{data_parallel}} {d}: a batch of {w.batch_size} cannot be shared equally"
        raise UnsupportedError(text, field="data_parallel")
    batch = np.asarray(w.batch_size) // d
    return replace(w, batch_size=batch.item() if batch.ndim == 0 else batch)


def shard(config: Config, execution: Execution) -> tuple[Config, Mask]:
    """One GPU's part of a model as a config of its own, and where the layout divides it evenly (a bool or an array).

    Raises:
        UnsupportedError: tensor or pipeline parallelism of a family that has no such form here.
    """
    tensor, stages = execution.tensor_parallel, execution.pipeline_parallel
    if tensor == 1 and stages == 1:
        return config, np.asarray(True)
    if not is_layered(config):
        raise UnsupportedError(
            f"{_name(config)}: only language models have tensor and pipeline parallel layouts here; "
            "share its sequence ({sequence_parallel}) or its batch ({data_parallel})",
            field=("sequence_parallel", "data_parallel"),
        )
    legal = np.asarray(config.num_layers) >= stages
    changes: dict[str, Dim] = {}
    if stages > 1:
        changes["num_layers"] = -(-np.asarray(config.num_layers) // stages)
    if tensor > 1:
        changes["head_dim"] = config.head_width
        for name in config.tensor_parallel_fields:
            value = getattr(config, name, None)
            if value is not None:
                legal = legal & (np.asarray(value) % tensor == 0)
                changes[name] = np.maximum(np.asarray(value) // tensor, 1)
        changes["vocab_size"] = -(-np.asarray(config.vocab_size) // tensor)
    plain = {
        n: v.item() if isinstance(v, np.ndarray | np.generic) and np.ndim(v) == 0 else v for n, v in changes.items()
    }
    return replace(config, **plain), legal  # type: ignore[type-var,return-value]  # configs are dataclasses


def is_layered(config: object) -> TypeGuard[LayeredConfig]:
    """Whether a config can be shared along its widths and its layers."""
    return bool(getattr(config, "tensor_parallel_fields", ()))


def layout_rules(config: object, execution: Execution) -> list[tuple[str, Mask]]:
    """What a layout demands of a config: (reason, where it holds: a bool or an array), empty for one GPU.

    The reason names the value that breaks it, of a grid one of them.
    """
    tensor, stages, parts = execution.tensor_parallel, execution.pipeline_parallel, execution.sequence_parallel
    shared = [(name, tensor, "tensor") for name in getattr(config, "tensor_parallel_fields", ())] if tensor > 1 else []
    shared += [("num_attention_heads", parts, "sequence")] if parts > 1 else []
    rules: list[tuple[str, Mask]] = []
    for name, gpus, along in shared:
        value = getattr(config, name, None)
        if value is None:
            continue
        holds = np.asarray(value) % gpus == 0
        rules.append((f"{name} {_breaker(value, holds)} is no multiple of {gpus} (--{along}-parallel)", holds))
    if stages > 1:
        layers: Dim = getattr(config, "num_layers")  # noqa: B009 - a field of the configs that have stages
        holds = np.asarray(layers) >= stages
        rules.append((f"{_breaker(layers, holds)} layers are fewer than {stages} stages (--pipeline-parallel)", holds))
    return rules


def _breaker(value: Dim, holds: Mask) -> int:
    """The first value where a rule does not hold (the first of all where it does everywhere)."""
    array = np.asarray(value)
    wrong = array[~np.asarray(holds)]
    return int((wrong if wrong.size else array).flat[0])


def exchanges(stage: Lowerable, w: Workload, execution: Execution) -> Iterator[Collective]:
    """Collectives of one pass through all stages, what training's replicas exchange aside; ``stage`` is the part of the
    model that one group of tensor-parallel GPUs holds."""
    tensor, stages = execution.tensor_parallel, execution.pipeline_parallel
    if (tensor > 1 or stages > 1) and is_layered(stage):
        payload = output_bytes(stage, w)
        each = REDUCES_PER_LAYER.get(w.phase, 2) + (RECOMPUTED_REDUCES if w.checkpointing else 0)
        reduces = each * np.asarray(stage.num_layers)
        turns = (2 if w.phase is Phase.TRAIN else 1) * (stages - 1)
        for name, kind, gpus, count in (
            ("tensor_parallel.all_reduce", "all_reduce", tensor, reduces),
            ("pipeline_parallel.send", "send", min(stages, 2), turns),
        ):
            if gpus > 1:
                yield Collective(name=name, kind=kind, payload_bytes=payload, group_size=gpus, count=count)


def output_bytes(stage: LayeredConfig, w: Workload) -> Floats:
    """Bytes of one layer's output: [tokens, hidden_size] in the activation format."""
    tokens = as_float(w.batch_size) * (1.0 if w.phase is Phase.DECODE else as_float(w.seq_len or 1))
    return tokens * as_float(stage.hidden_size) * w.activation_dtype.itemsize


def sequence_shared(ops: OpList, w: Workload, gpus: int) -> OpList:
    """One GPU's share of an op list under Ulysses sequence parallelism.

    Raises:
        UnsupportedError: heads that the GPUs cannot share equally, or an op that mixes tokens of all GPUs.
    """
    return OpList(tuple(part for op in ops for part in _shared(op, w, gpus)))


def _shared(op: Op, w: Workload, gpus: int) -> Iterator[Op]:
    """Tokens are divided everywhere but inside self-attention; ops with a row per image (conditioning) run whole."""
    if isinstance(op, Attention):
        yield from _shared_attention(op, gpus)
    elif isinstance(op, MatMul) and op.weights:
        yield replace(op, m=_rows(op.m, w, gpus))
    elif isinstance(op, MatMul) and op.name.endswith(WEIGHT_GRADIENT):
        yield replace(op, k=_rows(op.k, w, gpus))
    elif isinstance(op, MemoryOp):
        yield op if op.name in WEIGHT_CASTS else replace(op, rows=_rows(op.rows, w, gpus))
    elif isinstance(op, FusedGroup):
        members = tuple(replace(m, rows=_rows(m.rows, w, gpus)) for m in op.members)
        yield replace(op, rows=_rows(op.rows, w, gpus), members=members)
    elif isinstance(op, Convolution) and np.all(as_float(op.input_share) == 1.0):
        yield replace(op, out_size=(*op.out_size[:-1], _part(op.out_size[-1], gpus)))  # patches lie side by side
    else:
        raise UnsupportedError(f"{op.name} mixes tokens of all GPUs and has no sequence-parallel form")


def _shared_attention(op: Attention, gpus: int) -> Iterator[Op]:
    if not np.array_equal(np.asarray(op.seq_q), np.asarray(op.seq_kv)):
        yield replace(op, seq_q=_part(op.seq_q, gpus))
        return
    if np.all(np.asarray(op.heads_q) % gpus):
        heads = int(np.asarray(op.heads_q).flat[0])
        raise UnsupportedError(f"{heads} attention heads cannot be shared by {gpus} GPUs: take a divisor")
    kv = np.maximum(np.asarray(op.heads_kv) // gpus, 1)
    yield replace(op, heads_q=np.maximum(np.asarray(op.heads_q) // gpus, 1), heads_kv=kv)
    tensor = as_float(op.batch) * as_float(op.seq_q) * as_float(op.heads_q) * as_float(op.head_dim)
    yield Collective(
        name=f"{op.name}.all_to_all",
        kind="all_to_all",
        payload_bytes=tensor * op.dtype.itemsize,
        group_size=gpus,
        count=4 * np.asarray(op.count),
    )


def _rows(rows: Dim, w: Workload, gpus: int) -> Ints:
    """A share of rows that are tokens; rows that are images stay."""
    tokens = np.asarray(rows) > np.asarray(w.batch_size)
    return np.where(tokens, _part(rows, gpus), np.asarray(rows))


def _part(size: Dim, gpus: int) -> Ints:
    share: Ints = -(-np.asarray(size) // gpus)
    return share


def _name(config: object) -> str:
    return str(getattr(config, "family", type(config).__name__))
