"""The command line's contract: JSON alone on stdout, one line and status 2 for a user's mistake, a quick start."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from archsearch.cli.main import run

GPU = "a100-sxm-80gb"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = run([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON document of a successful call."""
    status, out, err = call(capsys, *arguments, "--json")
    assert status == 0, err
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a refused call prints."""
    status, out, err = call(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def test_start_imports_nothing_heavy():
    """`--help` and `hardware list` stay quick by not importing what only other verbs need."""
    code = (
        "import sys; from archsearch.cli.main import run; s = run(sys.argv[1:]); "
        "heavy = {'pandas', 'optuna', 'scipy', 'plotly', 'torch', 'pyarrow', 'transformers'} & set(sys.modules); "
        "print(sorted(heavy), file=sys.stderr); sys.exit(s)"
    )
    for arguments in (["--help"], ["hardware", "list", "--json"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.strip().endswith("[]"), done.stderr


def test_module_runs_as_a_command(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "archsearch", "hardware", "show", "H100", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["num_sms"] == 132


def test_hardware_show_names_a_source_for_every_figure(capsys):
    document = answer(capsys, "hardware", "show", "h100-sxm")
    figures = {f["field"]: f for f in document["figures"]}
    assert {"num_sms", "peak_tflops.bf16", "memory.bandwidth_gb_s", "l2_cache_mib"} <= set(figures)
    assert all(f["sources"] and f["sources"][0]["url"].startswith("http") for f in figures.values())


def test_estimate_contract(capsys):
    document = answer(capsys, "estimate", "llama-3-8b", "--hardware", GPU, "--seq-len", "2048")
    assert document["parameters"] == 8_030_261_248
    assert document["latency_low_s"] <= document["latency_s"] <= document["latency_high_s"]
    assert set(document["memory_bytes"]) == {"weights", "activations", "kv_cache", "optimizer", "total"}
    assert document["memory_bytes"]["weights"] == pytest.approx(2 * 8_030_261_248)
    assert document["fits"] is True
    assert 0 < document["mfu"] <= 1
    assert document["throughput"] == pytest.approx(2048 / document["latency_s"])
    rows = document["breakdown"]
    keys = {"name", "op", "count", "flops", "bytes", "latency_s", "bound", "tile", "waves", "wave_efficiency"}
    assert all(keys <= set(row) for row in rows)
    assert math.isclose(sum(r["latency_s"] for r in rows), document["latency_s"], rel_tol=1e-9)
    assert math.isclose(sum(r["flops"] for r in rows), document["flops"], rel_tol=1e-9)


def test_estimate_that_does_not_fit_says_so(capsys):
    assert (
        answer(capsys, "estimate", "llama-3-70b", "--hardware", "t4", "--dtype", "fp16", "-s", "128")["fits"] is False
    )
    status, out, _ = call(capsys, "estimate", "llama-3-70b", "--hardware", "t4", "--dtype", "fp16", "-s", "128")
    assert status == 0
    assert "DOES NOT FIT" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["estimate", "llama-3-8b", "-g", GPU, "--dtype", "fp8"], ["fp8", "8.9", "a100-sxm-80gb"]),
        (["estimate", "llama-3-8b", "-g", "t4"], ["bf16", "8.0"]),
        (["estimate", "lama-3-8b", "-g", GPU], ["llama-3-8b"]),
        (["estimate", "llama-3-8b", "-g", "a100"], ["a100-sxm-80gb"]),
        (["estimate", "llama-3-8b", "-g", GPU, "--dtype", "fp7"], ["fp8"]),
        (["estimate", "llama-3-8b", "-g", GPU, "--batch-size", "0"], ["--batch-size", "0"]),
        (["estimate", "llama-3-8b", "-g", GPU, "--seq-len", "-5"], ["--seq-len"]),
        (["estimate", "llama-3-8b", "-g", GPU, "--seq-len", "9" * 12], ["--seq-len"]),
        (["estimate", "llama-3-8b", "-g", GPU, "--phase", "sleep"], ["forward"]),
        (["estimate", "llama-3-8b", "-g", GPU, "--attention", "slow"], ["eager"]),
        (["estimate", "llama-3-8b", "-g", "v100-pcie-32gb", "--dtype", "fp16", "--attention", "flash"], ["flash"]),
        (["estimate", "os:system", "-g", GPU], ["--allow-code"]),
        (["estimate", "llama-3-8b"], ["hardware"]),
        (["estimate", "llama-3-8b", "-g", GPU, "--nonsense"], ["--nonsense"]),
        (["estimate", "dit-xl-2", "-g", GPU, "--height", "250", "--width", "256"], ["height", "256"]),
        (["validate", "/nonexistent.csv"], ["no such file"]),
        (["validate", "/tmp"], ["directory"]),
        (["enumerate", "no-such-space", "-g", GPU], ["decoder-1b"]),
        (["study", "show", "no-such-study"], ["no-such-study"]),
        (["recommend", "no-such-study"], ["no-such-study"]),
        (["explain", "no-such-study:1"], ["no-such-study"]),
        (["hardware", "show", "h100\u200b"], ["h100-sxm"]),
        (["--profiles", "/nope", "hardware", "list"], ["--profiles"]),
        (["hardware", "list", "--profiles", "/nope"], ["/nope"]),
    ],
)
def test_mistakes_are_refused_in_one_line(capsys, arguments, words):
    message = refused(capsys, *arguments)
    assert all(word.lower() in message.lower() for word in words), message


def test_users_profile_is_validated_with_file_field_and_line(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("ARCHSEARCH_PROFILES", raising=False)
    source = Path(__file__).parents[1] / "hardware_profiles" / "t4.yaml"
    lines = source.read_text().replace("num_sms: 40", "num_sms: forty")
    (tmp_path / "t4.yaml").write_text(lines)
    line = next(i for i, text in enumerate(lines.splitlines(), 1) if "forty" in text)
    message = refused(capsys, "hardware", "show", "t4", "--profiles", tmp_path)
    assert f"t4.yaml:{line}: num_sms" in message


class TestValidate:
    """Rows are written by hand; the measured latency must not matter to the prediction."""

    ROWS = (
        "gpu,op,dtype,batch,m,n,k,latency_us\n"
        "h100-sxm,linear,bf16,1,4096,4096,4096,{0}\n"
        "h100-sxm,linear,bf16,1,128,8192,1024,{0}\n"
        "a100-sxm-80gb,linear,bf16,1,2048,4096,4096,{0}\n"
    )

    def test_groups_and_output(self, capsys, tmp_path):
        file, output = tmp_path / "m.csv", tmp_path / "out.csv"
        predictions = []
        for latency in ("100.0", "1.0"):
            file.write_text(self.ROWS.format(latency))
            document = answer(capsys, "validate", file, "--output", output)
            header, *rows = output.read_text().splitlines()
            assert header.startswith("gpu,op,dtype,batch,m,n,k,latency_us")
            assert {"predicted_us", "low_us", "high_us", "provenance"} <= set(header.split(","))
            place = header.split(",").index("predicted_us")
            predictions.append([float(r.split(",")[place]) for r in rows])
            assert [(g["gpu"], g["rows"]) for g in document["groups"]] == [("a100-sxm-80gb", 1), ("h100-sxm", 2)]
            errors = [abs(p / float(latency) - 1) * 100 for p in predictions[-1]]
            assert document["overall"]["mape"] == pytest.approx(sum(errors) / 3)
        assert predictions[0] == predictions[1]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", ["m.csv"]),
            ("gpu,op,dtype,batch,m,n,k,latency_us\n", ["no rows"]),
            ("a,b\n1,2\n", ["gpu"]),
            ("gpu,op,dtype,m,n,latency_us\nh100-sxm,linear,bf16,1,2,3\n", ["'k'"]),
            ("gpu,op,dtype,m,n,k,latency_us\nh100-sxm,linear,bf16,1,2,x,3\n", ["row 2", "k"]),
            ("gpu,op,dtype,m,n,k,latency_us\nh100-sxm,linear,bf16,1,2,-4,3\n", ["row 2", "-4"]),
            ("gpu,op,dtype,m,n,k,latency_us\nh100-sxm,linear,fp99,1,2,3,3\n", ["fp99"]),
            ("gpu,op,dtype,m,n,k,latency_us\nh100-sxn,linear,bf16,1,2,3,3\n", ["h100-sxm"]),
            ("gpu,op,dtype,m,n,k,latency_us\na100-sxm-80gb,linear,fp8,1,2,3,3\n", ["fp8", "8.9"]),
            ("gpu,op,dtype,m,n,k\nh100-sxm,linear,bf16,1,2,3\n", ["latency_us"]),
            ("gpu,op,dtype,rows,cols,latency_us\nh100-sxm,frobnicate,fp32,8,8,3\n", ["frobnicate"]),
        ],
    )
    def test_bad_tables(self, capsys, tmp_path, text, words):
        file = tmp_path / "m.csv"
        file.write_text(text)
        message = refused(capsys, "validate", file)
        assert all(word in message for word in words), message
