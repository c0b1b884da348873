"""The designed shapes of `bench run`, and that measuring needs nothing but torch and numpy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from archsearch.bench.micro.cases import SUITES, TILE_M, TILE_N, Case, Device, case_bytes, suite_cases

H100 = Device(132, 80 << 30, ("bf16", "fp8_e4m3", "fp16"))
REPOSITORY = Path(__file__).parents[1]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("device", [H100, Device(46, 8 << 30, ("fp16",)), Device(2, 4 << 30, ("fp32",), "cpu", False)])
def test_cases_are_distinct_and_fit_the_device(suite, device):
    cases = suite_cases(suite, device)
    assert len({case.key for case in cases}) == len(cases) > 50
    assert max(case_bytes(case) for case in cases) < device.memory_bytes / 6
    assert {case.dtype for case in cases} <= {*device.dtypes, "fp32"}
    assert {case.split for case in cases} == {"fit", "test"}


def test_waves_are_approached_from_both_sides():
    tiles = sorted(
        -(-c.dims["m"] // TILE_M) * -(-c.dims["n"] // TILE_N)
        for c in suite_cases("full", H100)
        if c.purpose == "wave" and c.dims["k"] == 4096
    )
    columns = 12  # the largest divisor of 132 up to 16: a row of tiles is a twelfth part of eleven rows
    for wave in (1, 2, 3, 4):
        assert {132 * wave - columns, 132 * wave, 132 * wave + columns} <= set(tiles)


def test_alignment_is_left_by_one_eight_sixteen_and_thirty_two_in_every_dimension():
    shapes = {(c.dims["m"], c.dims["n"], c.dims["k"]) for c in suite_cases("quick", H100) if c.purpose == "misaligned"}
    for by in (1, 8, 16, 32):
        assert {(4096 + by, 4096, 4096), (4096, 4096 + by, 4096), (4096, 4096, 4096 + by)} <= shapes
        assert {(4096 - by, 4096, 4096), (4096, 4096 - by, 4096), (4096, 4096, 4096 - by)} <= shapes


def test_attention_covers_head_sizes_masks_and_grouped_queries():
    heads = [c.dims for c in suite_cases("full", H100) if c.op == "attention"]
    assert {64, 72, 80, 96, 128, 256} <= {d["head_dim"] for d in heads}
    assert {0, 1} == {d["causal"] for d in heads}
    assert any(d["heads_q"] > d["heads_kv"] for d in heads)


def test_a_weight_matrix_is_held_back_with_all_its_rows():
    def split(m: int) -> str:
        return Case("linear", "bf16", {"m": m, "n": 3072, "k": 768}, "grid").split

    assert len({split(m) for m in (1, 17, 4096)}) == 1


def test_an_early_end_has_measured_some_of_every_purpose():
    cases = suite_cases("full", H100)
    tenth = {case.purpose for case in cases[: len(cases) // 8]}
    assert {"grid", "wave", "misaligned", "attention", "memory", "random", "small-m", "bmm", "convolution"} <= tenth


def test_unknown_suite_is_refused():
    with pytest.raises(ValueError, match="unknown suite 'huge'; known: quick, full"):
        suite_cases("huge", H100)


def test_measuring_imports_only_the_standard_library_numpy_torch_and_triton(tmp_path):
    blocked = ("pandas", "pydantic", "optuna", "scipy", "yaml", "typer", "rich", "plotly", "pyarrow", "threadpoolctl")
    script = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(name + " is not installed here")

sys.meta_path.insert(0, Blocked())
sys.argv = ["bench", "--device", "cpu", "--only", "convolution", "--output", {str(tmp_path / "r.csv")!r}]
import runpy
runpy.run_module("archsearch.bench.micro", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.csv").read_text().count("\n") == 2  # the header and the one convolution
