"""Traced modules against torch's FLOP counter, hand-derived bytes and our own lowerings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from references import PRESETS
from references.tools import TORCH_DTYPES
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import archsearch
from archsearch.cli.main import run as cli
from archsearch.cost import CostModel
from archsearch.cost.execution import BURST
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.models.tracing import is_builder, load_traced
from archsearch.models.tracing.traced import Trace, TracedModel, run
from archsearch.ops import Attention, Convolution, FusedGroup, MatMul, MemoryOp
from archsearch.workload import Phase, Workload


def traced(module: nn.Module, *inputs: Any, dtype: torch.dtype = torch.bfloat16) -> Trace:
    return run(module.to("meta").to(dtype), inputs, "test")


def meta(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device="meta")


@pytest.mark.parametrize("name", ["flux1-dev", "llama-3-8b", "dit-xl-2"])
@pytest.mark.parametrize("compiled", [False, True])
def test_same_latency_as_our_own_lowering(name: str, compiled: bool) -> None:
    """Within 5 %, and FLOPs and parameters exactly."""
    reference = PRESETS[name]
    trace = run(_plain(reference), reference.arguments(), name)
    ours = reference.config.lower(reference.workload)
    assert trace.parameters == reference.config.parameters()
    assert float(trace.ops.flops()) == float(ours.flops())
    assert trace.unknown == ()
    model = CostModel(load_gpu("h100-sxm"))
    latency = [float(model.estimate(ops, replace(BURST, compiled=compiled)).latency_s) for ops in (trace.ops, ours)]
    assert latency[0] == pytest.approx(latency[1], rel=0.05)


def _plain(reference: Any) -> nn.Module:
    """The module as users build it, with its own attention calls."""
    with torch.device("meta"):
        module = reference.build()
    if hasattr(module, "set_attn_implementation"):  # another test may have changed it in the config they share
        module.set_attn_implementation("sdpa")
    return module.to(TORCH_DTYPES[reference.workload.dtype]).eval()


class Fused(nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, is_causal=True)[0]


def test_fused_attention_called_by_itself() -> None:
    (op,) = traced(Fused(), meta(2, 4, 128, 64), meta(2, 4, 128, 64), meta(2, 4, 128, 64)).ops
    assert isinstance(op, Attention)
    assert (op.batch, op.heads_q, op.seq_q, op.seq_kv, op.head_dim, op.causal) == (2, 4, 128, 128, 64, True)


class Block(nn.Module):
    """Products of all kinds, attention, convolutions, norms."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 64)
        self.qkv = nn.Linear(64, 192)
        self.norm = nn.RMSNorm(64)
        self.group = nn.GroupNorm(8, 64)
        self.conv = nn.Conv1d(64, 64, 3, padding=1)
        self.depthwise = nn.Conv1d(64, 64, 3, padding=1, groups=64)
        self.up = nn.ConvTranspose1d(64, 32, 2, stride=2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.embed(ids))
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 16)).permute(2, 0, 3, 1, 4)
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + torch.softmax(x @ x.transpose(1, 2), -1) @ x
        x = self.conv(self.group(x.transpose(1, 2)))
        return self.up(F.silu(self.depthwise(x)))


def test_flops_and_kinds() -> None:
    module, ids = Block().to("meta"), meta(2, 32, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        module(ids)
    trace = run(module, (ids,), "test")
    assert float(trace.ops.flops()) == counter.get_total_flops()
    assert trace.parameters == sum(p.numel() for p in module.parameters())
    assert trace.unknown == ()
    by_type = {t: [op for op in trace.ops if isinstance(op, t)] for t in (MatMul, Attention, Convolution)}
    assert [op.causal for op in by_type[Attention]] == [True]
    assert [(op.m, op.n, op.k, op.weights) for op in by_type[MatMul]] == [
        (64, 192, 64, True),
        (32, 32, 64, False),
        (32, 64, 32, False),
    ]
    assert [op.is_depthwise for op in by_type[Convolution]] == [False, True, False]


class Pointwise(nn.Module):
    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return F.gelu(x * (1 + scale)) + x


def test_bytes_by_hand() -> None:
    """x, gelu's and the product are 4 · 256 · 64 elements of 2 bytes; scale has a row per sample."""
    trace = traced(Pointwise(), meta(4, 256, 64), meta(4, 1, 64))
    (group,) = trace.ops
    assert isinstance(group, FusedGroup)
    big, small = 4 * 256 * 64 * 2, 4 * 64 * 2
    # 1 + scale; product; gelu; sum
    assert group.memory_bytes() == (2 * small) + (2 * big + small) + 2 * big + 3 * big
    fused = group.fused()
    assert fused.memory_bytes() == 2 * big + small
    assert trace.peak_bytes == 2 * big


class TwoNorms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64, bias=False) for _ in range(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + layer(F.layer_norm(x, (64,)))
        return x


def test_layers_are_counted_and_norms_fuse_with_sums() -> None:
    ops = list(traced(TwoNorms(), meta(8, 128, 64)).ops)
    products = [op for op in ops if isinstance(op, MatMul)]
    assert [(op.name, int(op.count)) for op in products] == [("layers.*.mm", 5)]
    groups = [op for op in ops if isinstance(op, FusedGroup)]
    assert [(op.kind, int(op.count), op.reads, op.writes) for op in groups] == [
        ("layernorm", 4, 2.0, pytest.approx(2.0, rel=0.05))
    ]
    alone = [op.kind for op in ops if isinstance(op, MemoryOp)]
    assert alone == ["layernorm", "add"]


class Strange(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft(x.float()).abs() + torch.erfinv(x.float())[..., :33]


def test_unknown_ops_are_listed_with_their_share() -> None:
    trace = traced(Strange(), meta(4, 64))
    assert {u.op for u in trace.unknown} == {"_fft_r2c", "erfinv"}
    assert all(0 < u.share < 1 and u.calls == 1 for u in trace.unknown)


class Choosy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x > 0]


def test_work_that_depends_on_values_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="depends on the values"):
        traced(Choosy(), meta(4, 64))


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.abs().max() > 10:
            return x
        return x @ x.T


def test_a_branch_on_values_is_refused_with_its_line() -> None:
    with pytest.raises(
        UnsupportedError, match=r"test_tracing\.py:\d+: if x\.abs\(\)\.max\(\) > 10:.*depends on the values"
    ):
        traced(Branching(), meta(64, 64))


class Masked(nn.Module):
    """Does no product where all of what it is given is 1."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        asked = torch.ones(len(x), dtype=torch.bool, device=x.device) if mask is None else mask == 1
        return x + 1 if asked.all() else x @ x.T


@pytest.mark.parametrize(
    "inputs",
    [
        (meta(64, 64),),
        (meta(64, 64), meta(64, dtype=torch.int64)),
        (meta(64, 64), meta(64, dtype=torch.bool)),
        (meta(64, 64), meta(64)),
    ],
    ids=["made", "numbers", "truths", "additive"],
)
def test_a_mask_is_taken_as_whole(inputs: Any) -> None:
    assert traced(Masked(), *inputs).ops.flops() == 0


class Saturated(nn.Module):
    """Asks for the values of a tensor in the words that one asks for a mask."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if (x > 0).all() else x @ x.T


class Counted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if (x > 0).sum() == x.numel() else x @ x.T


@pytest.mark.parametrize("module", [Saturated(), Counted()])
def test_whether_something_holds_for_all_values_is_no_mask(module: nn.Module) -> None:
    with pytest.raises(UnsupportedError, match=r"test_tracing\.py:\d+: return x \+ 1 if .*depends on the values"):
        traced(module, meta(64, 64))


class Heads(nn.Module):
    def __init__(self, need_weights: bool) -> None:
        super().__init__()
        self.need_weights = need_weights
        self.heads = nn.MultiheadAttention(512, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.heads(x, x, x, need_weights=self.need_weights)[0]
        return out


def test_torchs_attention_module_is_fused_where_no_weights_are_asked_for() -> None:
    fused, unfused = (traced(Heads(weights), meta(4, 1024, 512)) for weights in (False, True))
    (kernel,) = [op for op in fused.ops if isinstance(op, Attention)]
    assert (kernel.batch, kernel.heads_q, kernel.seq_q, kernel.seq_kv, kernel.head_dim) == (4, 8, 1024, 1024, 64)
    assert not any(isinstance(op, Attention) for op in unfused.ops)
    assert float(fused.ops.flops()) == float(unfused.ops.flops()) == 2 * 4 * 1024 * (4 * 512 * 512 + 2 * 1024 * 512)
    assert F.scaled_dot_product_attention.__name__ == "scaled_dot_product_attention"


@pytest.mark.parametrize(("layer", "told"), [(nn.GRU, "nn.GRU"), (nn.LSTM, "nn.LSTM"), (nn.Linear, "")])
def test_recurrent_layers_are_remarked_upon(layer: Any, told: str) -> None:
    remarks = traced(nn.Sequential(layer(64, 64)), meta(2, 16, 64)).remarks
    assert [remark.partition(" (0)")[0] for remark in remarks] == ([told] if told else [])


CODE = """
import torch
from torch import nn

def mlp(batch_size, dtype, width=256, depth=2):
    layers = [nn.Linear(width, width, dtype=dtype) for _ in range(depth)]
    return nn.Sequential(*layers), (torch.zeros(batch_size, width, dtype=dtype),)

def broken(batch_size):
    raise ValueError("no such luck")

def alone():
    return nn.Linear(2, 2)

def needs(colour):
    return None

def steps(batch_size=2):
    return nn.GRU(64, 64), (torch.zeros(8, batch_size, 64),)
"""


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return str(path)


def test_estimate_runs_code_only_when_allowed(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["estimate", f"{code}:mlp", "-g", "H100", "--json"]) == 2
    assert "--allow-code" in capsys.readouterr().err
    result = archsearch.estimate(f"{code}:mlp", "H100", batch_size=8, allow_code=True)
    assert result.parameters == 2 * (256 * 256 + 256)
    assert result.flops == 2 * 2 * 8 * 256 * 256
    assert result.unknown_ops == []
    assert cli(["estimate", f"{code}:mlp", "-g", "H100", "--allow-code", "--json"]) == 0


def test_a_remark_is_told_beside_the_answer_and_in_it(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "upper bound" in archsearch.estimate(f"{code}:steps", "H100", allow_code=True).remarks[0]
    assert cli(["estimate", f"{code}:steps", "-g", "H100", "--allow-code"]) == 0
    assert "nn.GRU (the module) is priced step by step" in capsys.readouterr().err


def test_an_answer_is_headed_by_the_formats_of_the_module(
    code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module in torch's own fp32, which takes no format from the workload, whose is bf16; and one that does."""
    (tmp_path / "plain.py").write_text(
        "import torch\ndef mlp(batch_size=8):\n    return torch.nn.Linear(256, 256), (torch.empty(batch_size, 256),)\n"
    )
    plain = f"{tmp_path / 'plain.py'}:mlp"
    result = archsearch.estimate(plain, "H100", allow_code=True)
    assert (result.formats, result.workload["dtype"]) == (("fp32",), "bf16")
    assert cli(["estimate", plain, "-g", "H100", "--allow-code"]) == 0
    assert ":mlp on h100-sxm: forward, fp32, batch_size 1" in capsys.readouterr().out.splitlines()[0]
    assert archsearch.estimate(f"{code}:mlp", "H100", allow_code=True).formats == ("bf16",)
    assert archsearch.estimate("bert-base", "H100", dtype="fp8").formats == ("fp8",)


def test_training_is_three_times_the_products(code: str) -> None:
    model = load_traced(f"{code}:mlp")
    forward, train = (model.lower(Workload(phase=p, batch_size=8)).flops() for p in (Phase.FORWARD, Phase.TRAIN))
    assert train == 3 * forward


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("broken", r"ValueError: no such luck \(.*mine.py:10\)"),
        ("alone", "must return a pair"),
        ("absent", "no function 'absent'"),
        ("needs", "needs colour"),
    ],
)
def test_mistakes_in_code_are_told(code: str, function: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as told:
        load_traced(f"{code}:{function}").lower(Workload())
    assert "\n" not in str(told.value)


def test_dimensions_of_the_users_own(code: str) -> None:
    wide = load_traced(f"{code}:mlp", {"width": 512, "depth": 3})
    assert isinstance(wide, TracedModel)
    wide.lower(Workload())
    assert wide.parameters() == 3 * (512 * 512 + 512)
    with pytest.raises(InvalidInputError, match="does not take height"):
        load_traced(f"{code}:mlp", {"height": 3})


@pytest.mark.parametrize(
    ("text", "code"),
    [("a.b:f", True), ("x/y.py:f", True), ("llama-3-8b", False), ("study:1", False), ("C:/x.json", False)],
)
def test_what_names_code(text: str, code: bool) -> None:
    assert is_builder(text) is code
