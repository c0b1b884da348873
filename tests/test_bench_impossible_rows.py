"""Rows that no machine can have run are refused with file row, column and reason; what can be is priced."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import archsearch
from archsearch.bench.measurements import route_rows
from archsearch.cli.main import run
from archsearch.errors import InvalidInputError, UnsupportedError
from archsearch.hardware import list_gpus
from archsearch.hardware.selection import selected
from archsearch.pipeline.make_plan import make_plan

ATTENTION = {"heads_q": 8, "heads_kv": 2, "seq_q": 64, "seq_kv": 64, "head_dim": 64, "causal": True}
COLLECTIVE = {"gpus": 2, "message_bytes": 4096, "kernel": "nccl"}
DELTA = {"seq": 1, "conv_kernel": 4, "num_k_heads": 4, "head_k_dim": 64, "num_v_heads": 8, "head_v_dim": 64}
LAYER = {"tokens": 7, "hidden_size": 64, "intermediate_size": 128, "num_heads": 8, "num_kv_heads": 2, "gated": True}
RULE = "fused_recurrent_gated_delta_rule"
CASES = [
    ("attention", ATTENTION, {"heads_q": 7, "heads_kv": 3}, "heads_kv is 3, which does not divide heads_q 7"),
    ("attention", ATTENTION, {"heads_kv": 16}, "heads_kv is 16, which does not divide heads_q 8"),
    ("decode_attention", {**ATTENTION, "seq_q": 1}, {"heads_q": 9}, "heads_kv is 2, which does not divide heads_q 9"),
    ("attention", ATTENTION, {"window": -3}, "window is -3"),
    ("all_reduce", COLLECTIVE, {"gpus": 1}, "gpus is 1: a collective joins 2 GPUs or more"),
    (
        "all_gather",
        COLLECTIVE,
        {"kernel": "custom"},
        "kernel is 'custom', and vLLM's own kernel is an all_reduce alone",
    ),
    ("gated_delta_net", {**DELTA, "kernel": RULE}, {"seq": 100}, f"seq is 100, and {RULE} generates one token"),
    ("gated_delta_net", {**DELTA, "kernel": RULE}, {"num_v_heads": 6}, "num_k_heads is 4, which does not divide"),
    ("rmsnorm", LAYER, {"num_heads": 7}, "num_heads is 7, which does not divide hidden_size 64"),
    ("linear_qkv", LAYER, {"num_kv_heads": 3}, "num_kv_heads is 3, which does not divide num_heads 8"),
]


def table(op: str, *rows: dict[str, object], gpu: str = "h100-sxm") -> pd.DataFrame:
    return pd.DataFrame([{"gpu": gpu, "op": op, "dtype": "bf16", "batch": 2, **row} for row in rows])


@pytest.mark.parametrize(("op", "legal", "change", "reason"), CASES)
def test_what_nothing_can_have_run_is_refused(
    op: str, legal: dict[str, object], change: dict[str, object], reason: str
) -> None:
    assert sum(len(routed.index) for routed in route_rows(table(op, legal, legal))) == 2
    with pytest.raises(InvalidInputError) as refused:
        list(route_rows(table(op, legal, {**legal, **change})))
    assert str(refused.value).startswith(f"row 3 (op {op!r}): {reason}")


def test_the_command_line_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.csv"
    rows = table("all_reduce", *[{**COLLECTIVE, "gpus": n, "latency_us": 5.0} for n in (2, 4, 1)])
    rows.assign(split=["fit", "fit", "test"]).to_csv(file, index=False)
    for more in ([], ["--split", "test"]):
        assert run(["validate", str(file), "--json", *more]) == 2
        said = capsys.readouterr()
        assert not said.out
        assert f"{file}: row 4 (op 'all_reduce'): gpus is 1" in said.err


def test_nvidias_block_format_is_refused_on_other_silicon_by_every_verb() -> None:
    """fp4 runs there; ``nvfp4`` is a name of NVIDIA's."""
    reason = "mi355x: nvfp4 is NVIDIA's block format"
    given = {"height": 256, "width": 256}
    for dtype, gpu in (("fp4", "mi355x"), ("nvfp4", "b200-sxm"), ("mxfp4", "mi355x")):
        assert archsearch.estimate("dit-xl-2", gpu, dtype=dtype, **given).latency_s > 0  # type: ignore[arg-type]
    for ask in (
        lambda: archsearch.estimate("dit-xl-2", "mi355x", dtype="nvfp4", **given),
        lambda: archsearch.explain("dit-xl-2", "b200-sxm,mi355x", dtype="NVFP4", **given),
        lambda: make_plan("flux-dev", archsearch.load_gpu("mi355x"), dtype="nvfp4"),
        lambda: list(route_rows(table("linear", {"m": 8, "n": 8, "k": 8}, gpu="mi355x").assign(dtype="nvfp4"))),
    ):
        with pytest.raises(UnsupportedError, match=reason):
            ask()


def test_a_space_file_may_not_ask_for_it_elsewhere_either(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        "name: small\ndescription: a vendor's format\nfamily: decoder\n"
        "fixed: {vocab_size: 1024, intermediate_size: 256, num_attention_heads: 2}\n"
        "dimensions: {hidden_size: {choices: [128, 256]}, num_layers: {choices: [2, 3]}}\n"
        "workload: {dtype: NVFP4, seq_len: 64}\n"
    )
    for pool in ("mi355x", "b200-sxm,mi355x"):
        with pytest.raises(UnsupportedError, match=r"space small asks for NVFP4 \(workload\.dtype\): mi355x: nvfp4 is"):
            archsearch.enumerate_space(path, pool)
    with pytest.raises(UnsupportedError, match="space small asks for nvfp4 "):
        archsearch.enumerate_space(path, "mi355x", set={"workload.dtype": "nvfp4"})
    assert len(archsearch.enumerate_space(path, "b200-sxm"))
    assert len(archsearch.enumerate_space(path, "mi355x", set={"workload.dtype": "fp4"}))


def test_a_list_of_gpus_that_multiply_a_vendors_format_holds_that_vendors() -> None:
    def makers(name: str) -> set[str]:
        found = selected(list_gpus(), supports=(name,), min_memory_gib=None, architecture=None, vendor=None)
        return {gpu.vendor for gpu in found.gpus}

    assert makers("nvfp4") == {"nvidia"}
    assert makers("mxfp4") >= {"nvidia", "amd"}
