"""Kernels of a training step: against torch's own autocast and autograd, and counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from archsearch.cost.execution import AttentionChoice, Execution
from archsearch.cost.launches import kernels_of
from archsearch.cost.model import CostModel
from archsearch.cost.training_kernels import training_constants
from archsearch.dtypes import DType
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import load_preset
from archsearch.ops import Attention, FusedGroup, MatMul, MemoryOp, OpList
from archsearch.segments import segments_of
from archsearch.workload import Phase, Workload

ROWS, WIDTH = 2 * 128, 768
A100 = load_gpu("a100-sxm-80gb")


def step(dtype: DType = DType.BF16, *, checkpointing: bool = False) -> dict[str, Any]:
    work = Workload(phase=Phase.TRAIN, batch_size=2, seq_len=128, dtype=dtype, checkpointing=checkpointing)
    return {op.name: op for op in load_preset("gpt2").lower(work)}


def test_forward_moves_what_autocast_moves() -> None:
    """A residual sum and LayerNorm under ``torch.autocast``: bytes in and out of every kernel that torch dispatches, on
    tensors without data. The products' own, and the casts of weights, are counted elsewhere."""
    torch = pytest.importorskip("torch")
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    moved = []

    class Bytes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            first = out[0] if isinstance(out, tuple) else out
            tensors = [t for t in (*args, first) if isinstance(t, torch.Tensor) and tuple(t.shape) == (ROWS, WIDTH)]
            if str(func).split(".")[1] in ("add", "native_layer_norm", "_to_copy"):
                moved.append(sum(t.numel() * t.element_size() for t in tensors))
            return out

    with FakeTensorMode():
        stream, branch = (torch.empty(ROWS, WIDTH, device="cuda", dtype=d) for d in (torch.float32, torch.bfloat16))
        scale, shift = (torch.empty(WIDTH, device="cuda") for _ in range(2))
        weight = torch.empty(3 * WIDTH, WIDTH, device="cuda")
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        try:
            with Bytes():
                total = stream + branch
                normed = torch.nn.functional.layer_norm(total, (WIDTH,), scale, shift)
                out = torch.nn.functional.linear(normed, weight)
        finally:
            torch.set_autocast_enabled("cuda", False)
    assert (total.dtype, normed.dtype, out.dtype) == (torch.float32, torch.float32, torch.bfloat16)
    group = step()["attention.residual_norm"]
    assert isinstance(group, FusedGroup)
    assert [float(m.memory_bytes()) for m in group.members] == [m for m in moved if m]
    assert float(group.fused().memory_bytes()) == ROWS * WIDTH * 4 * 2  # compiled: two tensors in, two out


def test_backward_of_a_norm_by_hand() -> None:
    """Bytes per element. 16 bits: the product's gradient cast up (2 + 4), LayerNorm's of its input (4 + 4 + 4) and of
    its weights (4 + 4), two gradients of the sum added (4 + 4 + 4), and cast for the branch (4 + 2). In 32 bits the
    same without the casts."""
    for dtype, each in ((DType.BF16, [6, 12, 8, 12, 6]), (DType.FP32, [12, 8, 12])):
        group = step(dtype)["attention.residual_norm.backward"]
        assert [float(m.memory_bytes()) / (ROWS * WIDTH) for m in group.members] == each


def test_weights_are_cast_in_every_forward_pass() -> None:
    parameters = float(load_preset("gpt2").parameters())
    for again in (False, True):
        ops = step(checkpointing=again)
        weights, gradients = ops["autocast.weights"], ops["autocast.gradients"]
        assert int(np.asarray(weights.count)) == 1 + again
        assert float(weights.memory_bytes()) == pytest.approx(6 * parameters, rel=1e-4)
        assert float(gradients.memory_bytes()) == pytest.approx(6 * parameters, rel=1e-4)
    assert "autocast.weights" not in step(DType.FP32)


def attention(**changes: Any) -> Attention:
    sizes = {"batch": 2, "heads_q": 4, "heads_kv": 4, "seq_q": 96, "seq_kv": 96, "head_dim": 32}
    return Attention(name="a", dtype=DType.BF16, **(sizes | changes))


def test_unfused_attention_has_the_gradients_that_autograd_computes() -> None:
    """FLOPs of both products' gradients as torch counts them, and every kernel that touches a score matrix."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    q, k, v = (torch.randn(2, 4, 96, 32, requires_grad=True) for _ in range(3))
    out = torch.softmax((q @ k.transpose(-1, -2)) * 0.2, -1) @ v
    with FlopCounterMode(display=False) as counted:
        out.sum().backward()
    kernels = list(kernels_of(attention(backward=True), A100, compiled=False, attention=AttentionChoice.EAGER))
    assert sum(float(m.flops()) for m in kernels if isinstance(m, MatMul)) == counted.get_total_flops()
    scores = 2 * 4 * 96 * 96 * 2.0
    moved = {m.name: float(m.memory_bytes()) / scores for m in kernels if isinstance(m, MemoryOp)}
    assert moved == {"a.softmax_gradient": 3, "a.scale_gradient": 2}
    for backward, each in ((False, [3, 4, 3]), (True, [3, 6, 3])):  # autocast: up, in 32 bits (one or two in), down
        op = attention(backward=backward, autocast=True)
        wide = kernels_of(op, A100, compiled=False, attention=AttentionChoice.EAGER)
        own = [m for m in wide if isinstance(m, MemoryOp) and "softmax" in m.name]
        assert [float(m.memory_bytes()) / scores for m in own] == each
    fused = list(kernels_of(attention(backward=True), A100, compiled=True, attention=AttentionChoice.EAGER))
    assert [m.name for m in fused if isinstance(m, MemoryOp)] == ["a.softmax_gradient"]


def test_compiled_loss_saves_logits_alone() -> None:
    """What torch.compile's partitioner keeps of the loss: of tensors as large as the logits, the logits."""
    torch = pytest.importorskip("torch")
    compile_ = pytest.importorskip("functorch.compile")
    import torch._inductor.decomposition as inductor

    kept = []

    def forward(graph: Any, inputs: Any) -> Any:
        outputs = next(node for node in graph.graph.nodes if node.op == "output").args[0]
        kept.extend(o for o in outputs if tuple(o.meta["val"].shape) == (64, 500))
        return compile_.make_boxed_func(graph.forward)

    loss = compile_.aot_function(
        lambda x, t: torch.nn.functional.cross_entropy(x.float(), t),
        fw_compiler=forward,
        bw_compiler=compile_.nop,
        partition_fn=compile_.min_cut_rematerialization_partition,
        decompositions=inductor.decompositions,
    )
    logits = torch.randn(64, 500, dtype=torch.bfloat16, requires_grad=True)
    loss(logits, torch.randint(0, 500, (64,))).backward()
    assert [(node.op, node.meta["val"].dtype) for node in kept] == [("placeholder", torch.bfloat16)]
    vocab = load_preset("gpt2").vocab_size  # type: ignore[attr-defined]
    ops = step()
    assert float(ops["loss"].fused().memory_bytes()) == 2 * ROWS * vocab  # the logits read
    assert float(ops["loss.backward"].fused().memory_bytes()) == 2 * 2 * ROWS * vocab  # read, and their gradient


def test_fused_attention_backward_reaches_published_rates() -> None:
    """FlashAttention-3's figure 6 (arXiv 2407.08608): head_dim 128, all keys, 16 heads, 16k tokens a batch, H100."""
    model, published = CostModel(load_gpu("h100-sxm")), {512: 214, 1024: 260, 2048: 291, 4096: 310, 8192: 318}
    for tokens, rate in published.items():
        sizes = {"batch": 16384 // tokens, "heads_q": 16, "heads_kv": 16, "seq_q": tokens, "seq_kv": tokens}
        op = replace(attention(**sizes, head_dim=128, backward=True), dtype=DType.FP16)
        seconds = float(model.estimate(OpList((op,)), Execution(attention="fa2", launch_us=0, clock="burst")).latency_s)
        assert float(op.flops()) / seconds / 1e12 == pytest.approx(rate, rel=0.15)


def test_training_slows_what_computes_and_nothing_else() -> None:
    """The same ops as part of a training step and alone."""
    work = Workload(phase=Phase.TRAIN, batch_size=2, seq_len=128)
    part = segments_of(load_preset("gpt2").lower(work))[0]
    known = training_constants()
    for compiled, fused in ((True, known.compute), (False, known.compute * known.attention)):
        run = Execution(compiled=compiled).resolved(work)
        model = CostModel(A100)
        alone = {i.name: i for i in model.estimate(part.ops, run).breakdown}
        trained = {i.name: i for i in model.estimate(load_preset("gpt2").lower(work), run).segments[0].breakdown}
        for op in part.ops:
            ratio = float(trained[op.name].cost.latency_s / alone[op.name].cost.latency_s)
            expected = fused if isinstance(op, Attention) else known.compute if isinstance(op, MatMul) else 1.0
            assert ratio == pytest.approx(expected)


GPT3 = {"1.3B": (24, 2048, 16), "2.7B": (32, 2560, 20)}
"""Layers, width and heads of the two GPT-3 models (heads of 128 columns, as FlashAttention's authors train them)."""


@pytest.mark.parametrize(
    ("name", "tokens", "published"),
    [("1.3B", 2048, 196), ("1.3B", 8192, 220), ("2.7B", 2048, 205), ("2.7B", 8192, 225)],
)
def test_fused_training_runs_as_published(name: str, tokens: int, published: float) -> None:
    """TFLOP/s of each of 8 A100 with FlashAttention-2 and fused kernels (arXiv 2307.08691, table 1), FLOPs counted as
    there: 6 · tokens · parameters + 12 · layers · width · tokens². No constant was fitted on these."""
    layers, width, heads = GPT3[name]
    config = replace(
        load_preset("gpt2"),  # type: ignore[type-var]
        num_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=8192,
        vocab_size=50264,
    )
    batch = 32768 // tokens
    work = Workload(phase=Phase.TRAIN, batch_size=batch, seq_len=tokens)
    model, run = CostModel(A100), Execution(compiled=True, attention="fa2")
    seconds = float(model.estimate(config.lower(work), run).segments[0].latency_s)
    flops = batch * (6 * tokens * float(config.parameters()) + 12 * layers * width * tokens**2)
    assert flops / seconds / 1e12 == pytest.approx(published, rel=0.13)
