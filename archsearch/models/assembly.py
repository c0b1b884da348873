"""One description of a model, from which its parameters, operations and memory follow.

A family walks through its modules once, in ``assemble(a)``, and says what each computes:

    a.linear("mlp.up_proj", rows, hidden, ffn, bias=True)     # an op, its weights, and its saved input
    with a.layers(num_layers, carries=rows * hidden): ...     # everything inside runs, and weighs, num_layers times
    a.alive(3 * rows * hidden)                                # a moment of inference: elements that live at once

``Assembled`` turns the description into ``parameters()``, ``lower()`` and ``memory()``, so that none of them can
forget a module that another one has. Sizes are numbers or arrays that broadcast; elements are of the activation
format.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from archsearch.arrays import Dim, FloatArray, Floats, as_float
from archsearch.dtypes import DType
from archsearch.models import blocks, footprint
from archsearch.models.base import ConfigMixin, MemoryUse, UnfusedAttention
from archsearch.models.tally import Elements, Tally
from archsearch.models.training import training_step
from archsearch.ops import Attention, Convolution, MatMul, MemoryOp, Op, OpList
from archsearch.workload import Phase, Workload


class Assembly:
    """Collects what a family says of its modules under one workload.

    ``parameters`` and ``linear_parameters`` (weights of the layers' linear products, which 8-bit formats apply to)
    count elements; ``peak``, ``loss`` and ``cache`` count elements of the activation format.
    """

    def __init__(self, workload: Workload) -> None:
        self.w = workload
        self._trains = workload.phase is Phase.TRAIN
        self.ops: list[Op] = []
        self.recomputed: list[Op] = []
        self.unfused: list[UnfusedAttention] = []
        self.peak: Floats = as_float(0.0)
        self.cache: Floats = as_float(0.0)
        self.loss: Floats = as_float(0.0)
        self._widest: Floats = as_float(0.0)
        self._weights, self._linear_weights, self._saved, self._carried = (Tally() for _ in range(4))
        self._repeats: Dim = 1
        self._inside = False

    @property
    def parameters(self) -> Floats:
        return self._weights.total()

    @property
    def linear_parameters(self) -> Floats:
        return self._linear_weights.total()

    @property
    def training_live(self) -> Floats:
        """Elements that live at the fullest moment of a forward and backward pass, gradients of weights aside.

        Saved elements are kept for the backward pass; checkpointed layers keep what they carry alone, and one layer's
        saved elements at a time (several kinds of layers are taken as one). The pass is fullest at the loss, before
        any is freed, or in the first layer's backward: two gradients of the widest tensor that a product takes (its
        own, and what the activation makes of it).
        """
        gradients = 2 * self._widest
        if self.w.checkpointing:
            layer = self._saved.largest_layer() + gradients
            return self._carried.total() + np.maximum(self._saved.outside() + self.loss, layer)
        return self._saved.total() + np.maximum(self.loss, gradients)

    @contextmanager
    def layers(self, count: Dim, *, carries: Elements = 0.0) -> Iterator[None]:
        """Modules inside exist, and run, ``count`` times. ``carries`` is elements of one layer's inputs that activation
        checkpointing keeps. Layers do not nest."""
        if self._inside:
            raise RuntimeError("layers() do not nest: multiply the counts")
        tallies = (self._weights, self._linear_weights, self._saved, self._carried)
        for tally in tallies:
            tally.enter(count)
        self._carried.add(carries)
        self._repeats, self._inside = np.asarray(count), True
        try:
            yield
        finally:
            for tally in tallies:
                tally.leave()
            self._repeats, self._inside = 1, False

    @contextmanager
    def again(self) -> Iterator[None]:
        """Modules inside run once more: their weights do not count a second time."""
        counted = [(tally, tally.mark()) for tally in (self._weights, self._linear_weights)]
        try:
            yield
        finally:
            for tally, mark in counted:
                tally.forget_since(mark)

    def linear(
        self,
        name: str,
        rows: Dim,
        in_features: Dim,
        out_features: Dim,
        *,
        bias: bool,
        calls: Dim = 1,
        copies: Dim | None = None,
        saves: float = 1.0,
        quantized: bool | None = None,
    ) -> None:
        """A linear layer run ``calls`` times a layer, by ``copies`` modules (as many as calls; 0 where the weights are
        another module's). ``saves`` is how many [rows, in_features] inputs autograd keeps (0 where another op keeps the
        same tensor already). ``quantized`` layers run in the linear format: those inside ``layers`` by default.
        """
        inside = self._inside if quantized is None else quantized
        modules = as_float(calls if copies is None else copies)
        dtype = self.w.linear_dtype if inside else self.w.activation_dtype
        self.op(blocks.linear(name, rows, in_features, out_features, dtype, count=calls, bias=bias))
        self.weigh(modules * as_float(in_features) * as_float(out_features), quantized=inside)
        if bias:
            self.weigh(modules * as_float(out_features))
        if self._trains:
            self._widest = np.maximum(self._widest, as_float(rows) * as_float(in_features))
        if saves:
            self.save(saves * as_float(rows) * as_float(in_features))

    def convolution(
        self,
        name: str,
        in_channels: Dim,
        out_channels: Dim,
        kernel_size: tuple[Dim, ...],
        out_size: tuple[Dim, ...],
        *,
        batch: Dim | None = None,
        stride: tuple[Dim, ...] | None = None,
        input_size: tuple[Dim, ...] | None = None,
        groups: Dim = 1,
        bias: bool = True,
        calls: Dim = 1,
        saves: float = 1.0,
        input_is_data: bool = False,
        channels_last: bool = False,
    ) -> None:
        """A convolution over one to three axes; ``saves`` is how many inputs autograd keeps."""
        conv = Convolution(
            name=name,
            batch=self.w.batch_size if batch is None else batch,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            input_size=input_size,
            out_size=out_size,
            groups=groups,
            bias=bias,
            input_is_data=input_is_data,
            channels_last=channels_last,
            dtype=self.w.activation_dtype,
            count=calls,
        )
        self.op(conv)
        out = as_float(out_channels)
        weights = out * as_float(in_channels) / as_float(groups) * as_float(conv.volume) + (out if bias else 0.0)
        self.weigh(as_float(calls) * weights)
        if saves:
            self.save(saves * as_float(conv.input_positions) * as_float(in_channels))

    def attention(
        self,
        name: str,
        *,
        heads: Dim,
        head_dim: Dim,
        seq_q: Dim,
        seq_kv: Dim | None = None,
        kv_heads: Dim | None = None,
        batch: Dim | None = None,
        causal: bool = False,
        window: Dim | None = None,
        mask: bool = False,
        calls: Dim = 1,
        total: Dim | None = None,
    ) -> None:
        """Softmax attention, q, k and v and its output not saved: ``save`` them where no other op does. ``total`` is
        how many of all the layers have this one (local and global attention of one model)."""
        op = Attention(
            name=name,
            batch=self.w.batch_size if batch is None else batch,
            heads_q=heads,
            heads_kv=heads if kv_heads is None else kv_heads,
            seq_q=seq_q,
            seq_kv=seq_q if seq_kv is None else seq_kv,
            head_dim=head_dim,
            dtype=self.w.activation_dtype,
            causal=causal,
            window=window,
            mask=mask,
            count=calls,
        )
        self.op(op, total=total)
        layers = as_float(self._repeats if total is None else total) * as_float(calls)
        if np.any(layers):
            self.unfused.append(footprint.unfused_attention(op, 1.0 if self.w.checkpointing else layers))

    def matmul(
        self, name: str, m: Dim, n: Dim, k: Dim, *, batch: Dim, calls: Dim = 1, dtype: DType | None = None
    ) -> None:
        """``batch`` products of two activations."""
        dtype = dtype or self.w.activation_dtype
        self.op(MatMul(name=name, m=m, n=n, k=k, batch=batch, dtype=dtype, count=calls, weights=False))

    def pointwise(
        self,
        name: str,
        kind: str,
        rows: Dim,
        cols: Dim,
        *,
        reads: FloatArray = 1.0,
        writes: FloatArray = 1.0,
        kernels: int = 1,
        calls: Dim = 1,
        dtype: DType | None = None,
        saves: float = 0.0,
    ) -> None:
        """Bandwidth-bound kernels on their own, in the activation format unless told; each call saves ``saves``
        [rows, cols] tensors."""
        self.op(
            MemoryOp(
                name=name,
                kind=kind,
                rows=rows,
                cols=cols,
                dtype=dtype or self.w.activation_dtype,
                reads=reads,
                writes=writes,
                kernels=kernels,
                count=calls,
            )
        )
        if saves:
            self.save(saves * as_float(calls) * as_float(rows) * as_float(cols))

    def op(self, op: Op, *, saves: Elements = 0.0, total: Dim | None = None) -> None:
        """An operation of ``blocks`` or ``ops`` as it is, its count multiplied by the layers' (or ``total`` over all
        layers); ``saves`` elements."""
        repeats = np.asarray(self._repeats) if total is None else np.asarray(total)
        counted = replace(op, count=repeats * np.asarray(op.count)) if self._inside else op
        self.save(saves)
        if not np.any(counted.count):  # runs in no architecture: layers or copies that this model has none of
            return
        self.ops.append(counted)
        if self._inside:
            self.recomputed.append(counted)

    def weigh(self, elements: Elements, *, quantized: bool = False) -> None:
        """Parameters of a module (or table) that no other call has counted; ``quantized`` ones take the linear
        format."""
        self._weights.add(elements)
        if quantized:
            self._linear_weights.add(elements)

    def save(self, elements: Elements) -> None:
        """Elements that autograd keeps for the backward pass; inference keeps none."""
        if self._trains:
            self._saved.add(elements)

    def at_the_loss(self, elements: Elements) -> None:
        """Elements that live in the loss's backward besides what is saved, and are gone when the layers' begins."""
        self.loss = np.maximum(self.loss, elements)

    def alive(self, elements: Elements) -> None:
        """A moment of inference at which this many elements live besides weights and inputs; the largest counts."""
        self.peak = np.maximum(self.peak, elements)

    def workspace(self, into: Elements, out: Elements) -> Floats:
        """Elements that cuDNN takes to lay out a convolution's input and output for 16-bit tensor cores: as many as
        they have (none where the window is one position, or each channel its own group). Measured on an H200
        (``benchmarks/results/memory_gpu.csv``): with this, decoders of SD, Flux, DC-AE, Wan and LTX peak within 1 %."""
        return (as_float(into) + out) if self.w.activation_dtype.itemsize < 4 else as_float(0.0)

    def convolving(self, held: Elements, into: Elements, out: Elements) -> None:
        """The moment of a convolution, its input and output and what else is ``held`` in elements (see ``alive``)."""
        self.alive(held + into + out + self.workspace(into, out))

    def keep_cache(self, elements: Elements, *, total: Dim | None = None) -> None:
        """Elements of keys and values that each layer here (or ``total`` of them) keeps from step to step."""
        self.cache = self.cache + as_float(self._repeats if total is None else total) * elements


class Assembled(ConfigMixin):
    """Parameters, operations and memory of a config that describes itself in ``assemble``."""

    def assemble(self, a: Assembly) -> None:
        """Say what every module computes under ``a.w``.

        Raises:
            InvalidInputError: the workload lacks a size that this model needs, or has one that it cannot take.
            UnsupportedError: a phase that the model does not have.
        """
        raise NotImplementedError(f"{type(self).__name__} must describe itself")

    def smallest_workload(self) -> Workload:
        """The least input that every module sees; parameters are counted on it."""
        raise NotImplementedError(f"{type(self).__name__} must name its smallest workload")

    def parameters(self) -> Floats:
        return self._assembly(self.smallest_workload()).parameters

    def lower(self, workload: Workload) -> OpList:
        """The ops of the workload's phase, in order; layers that repeat count how often. See ``assemble``."""
        assembly = self._assembly(workload)
        forward = OpList(tuple(assembly.ops))
        if workload.phase is not Phase.TRAIN:
            return forward
        recomputed = tuple(assembly.recomputed) if workload.checkpointing else ()
        return training_step(forward, assembly.parameters, workload, recomputed=recomputed)

    def memory(self, workload: Workload) -> MemoryUse:
        """Weights, live (inference) or saved (training) activations, keys and values, gradients and AdamW's state."""
        assembly = self._assembly(workload)
        parameters = self.parameters()
        size = workload.activation_dtype.itemsize
        optimizer, gradients = as_float(0.0), as_float(0.0)
        live = assembly.peak
        if workload.phase is Phase.TRAIN:
            live = assembly.training_live
            optimizer = footprint.training_state_bytes(parameters, workload)
            gradients = footprint.gradient_bytes(parameters, workload)
        return MemoryUse(
            weights=footprint.weight_bytes(parameters, assembly.linear_parameters, workload),
            activations=live * size,
            kv_cache=assembly.cache * size,
            optimizer=optimizer,
            gradients=gradients,
            unfused=tuple(assembly.unfused),
        )

    def _assembly(self, workload: Workload) -> Assembly:
        assembly = Assembly(workload)
        self.assemble(assembly)
        return assembly
