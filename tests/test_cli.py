"""The command line's contract: JSON alone on stdout, one line and status 2 for a user's mistake, a quick start."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from archsearch.cli.main import app, run

CHECKOUT = Path(__file__).resolve().parents[1]

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
    total = sum(r["latency_s"] for r in rows) + document["waits_s"]  # kernels, and gaps between them
    assert math.isclose(total, document["latency_s"], rel_tol=1e-9)
    assert document["waits_s"] < 0.05 * document["latency_s"]
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
        (["estimate", "llama-3-8b", "-g", "t4", "--dtype", "bf16"], ["bf16", "8.0"]),
        (["estimate", "lama-3-8b", "-g", GPU], ["llama-3-8b"]),
        (["estimate", "llama-3-8b", "-g", "a100-sxm-90gb"], ["a100-sxm-80gb"]),
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
        (["estimate", "dit-xl-2", "-g", GPU, "--height", "250", "--width", "256"], ["--height 250", "16"]),
        (["validate", "/nonexistent.csv"], ["no such file"]),
        (["validate", "/tmp"], ["directory"]),
        (["enumerate", "no-such-space", "-g", GPU], ["decoder-1b"]),
        (["study", "show", "no-such-study"], ["no-such-study"]),
        (["recommend", "no-such-study"], ["no-such-study"]),
        (["explain", "no-such-study:1"], ["no-such-study"]),
        (["hardware", "show", "h100-smx"], ["h100-sxm"]),
        (["--profiles", "/nope", "hardware", "list"], ["--profiles", "/nope"]),
        (["hardware", "list", "--profiles", "/nope"], ["--profiles", "/nope"]),
        (["hardware", "lst"], ["lst"]),
        (["estimate", "llama-3-8b", "-g", GPU, "--batch-size", "many"], ["--batch-size", "integer"]),
        (["estimate", "llama-3-8b", "-g", ""], ["GPU"]),
        (["estimate", "", "-g", GPU], ["model"]),
        (["estimate", "/nonexistent/config.json", "-g", GPU], ["no such file"]),
        (["estimate", "/", "-g", GPU], ["config.json"]),
        (["estimate", "gpt2-large", "-g", GPU, "--seq-len", "4096"], ["1024"]),
        (["estimate", "dit-xl-2", "-g", GPU, "--phase", "decode"], ["decode"]),
        (["enumerate", "decoder-1b", "-g", "h100-sxm,h100-sxm"], ["h100-sxm"]),
        (["enumerate", "decoder-1b", "-g", "h100-sxm,"], ["h100-sxm,"]),
        (["enumerate", "decoder-1b", "-g", "t4"], ["bf16"]),
        (["enumerate", "/tmp", "-g", "t4"], ["/tmp"]),
        (["study", "run", "decoder-1b", "--trials", "0", "--strategy", "random"], ["trials"]),
        (["study", "run", "decoder-1b", "--strategy", "guess"], ["nsga2"]),
        (["study", "run", "decoder-1b", "--storage", "nosuchdb://x"], ["nosuchdb"]),
        (["study", "export", "no-such-study", "-o", "x.csv"], ["no-such-study"]),
        (["recommend", "decoder-1b", "--top", "0"], ["top"]),
        (["recommend", "decoder-1b", "--rank", "0"], ["rank"]),
        (["recommend", "decoder-1b", "--max-latency-ms", "nan"], ["latency"]),
        (["recommend", "decoder-1b", "--max-latency-ms", "1e-9"], ["latency"]),
        (["recommend", "decoder-1b", "--format", "xml"], ["hf"]),
        (["quality", "nothing"], ["nothing"]),
        (["spaces", "show", "decoder-2b"], ["decoder-1b"]),
        (["models", "show", "lama-3-8b"], ["llama-3-8b"]),
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
        "text",
        [
            "gpu,op,dtype,kernel,phase,batch,seq,hidden_size,conv_kernel,num_k_heads,head_k_dim,num_v_heads,head_v_dim,"
            "latency_us,split\nh200-sxm,gated_delta_net,bf16,chunk_gated_delta_rule,context,1,4096,2048,4,16,128,32,128,"
            "500,test\nh200-sxm,gated_delta_net,bf16,causal_conv1d_update,generation,8,1,2048,4,16,128,32,128,3,test\n",
            "gpu,model,op,dtype,tokens,hidden_size,intermediate_size,num_heads,num_kv_heads,gated,latency_us,source\n"
            "a40,x,activation,fp16,736,8192,22016,64,8,True,102.0,y\na40,x,add,fp16,736,8192,22016,64,8,True,9.0,y\n",
        ],
    )
    def test_other_tables_as_they_are(self, capsys, tmp_path, text):
        file, output = tmp_path / "m.csv", tmp_path / "out.csv"
        file.write_text(text)
        document = answer(capsys, "validate", file, "--output", output)
        assert document["overall"]["rows"] == 2
        header, *rows = output.read_text().splitlines()
        assert header.startswith(text.split("\n")[0])
        low, high = (header.split(",").index(name) for name in ("low_us", "high_us"))
        assert all(0 < float(r.split(",")[low]) < float(r.split(",")[high]) for r in rows)

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
            ("gpu,op,dtype,m,n,k,latency_us\nh100-sxm,linear,bf16,1,2,3,fast\n", ["latency_us", "fast"]),
            ("gpu,op,dtype,m,n,k,latency_us\nh100-sxm,linear,bf16,1,2,3,0\n", ["latency_us"]),
            ("gpu,op,dtype,m,n,k,latency_us\nh100-sxm,linear,bf16,1,2,3,\n", ["latency_us"]),
            ("gpu,op,dtype,m,n,k,latency_us\nh100-sxm,linear,bf16,1,2,1e300,3\n", ["row 2", "k"]),
            ("gpu,op,dtype,m,n,k,latency_us\n,linear,bf16,1,2,3,3\n", ["gpu"]),
            ("\x00\xff\x00", ["m.csv"]),
        ],
    )
    def test_bad_tables(self, capsys, tmp_path, text, words):
        file = tmp_path / "m.csv"
        file.write_text(text)
        message = refused(capsys, "validate", file)
        assert all(word in message for word in words), message

    def test_a_file_that_is_no_table(self, capsys, tmp_path):
        for name, content in (("m.csv", b"\xff\xfe\x00\x81"), ("m.parquet", b"PAR1, or so it says")):
            file = tmp_path / name
            file.write_bytes(content)
            assert name in refused(capsys, "validate", file)

    def test_output_that_cannot_be_written(self, capsys, tmp_path):
        file = tmp_path / "m.csv"
        file.write_text(self.ROWS.format("1.0"))
        assert "out.xyz" in refused(capsys, "validate", file, "-o", tmp_path / "out.xyz")
        assert "nodir" in refused(capsys, "validate", file, "-o", tmp_path / "nodir" / "out.csv")


class TestSearchVerbs:
    """One study on two GPUs through every verb that reads it."""

    POOL = "t4,h100-sxm"

    @pytest.fixture(scope="class")
    @classmethod
    def study(cls, tmp_path_factory):
        """The verbs share one data directory and the study in it."""
        home = tmp_path_factory.mktemp("home")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ARCHSEARCH_HOME", str(home))
            assert run(["study", "run", "modernbert-base-budget", "-g", cls.POOL, "--name", "mine", "--json"]) == 0
        return home

    @pytest.fixture(autouse=True)
    def home(self, study, own_home, monkeypatch):
        monkeypatch.setenv("ARCHSEARCH_HOME", str(study))

    def test_enumerate_contract(self, capsys, tmp_path):
        output = tmp_path / "front.parquet"
        document = answer(capsys, "enumerate", "modernbert-base-budget", "-g", self.POOL, "--output", output)
        assert document["architectures"] >= document["legal"] >= document["valid"] >= len(document["front"]) > 0
        assert document["architectures_per_s"] == pytest.approx(document["architectures"] / document["evaluation_s"])
        written = pd.read_parquet(output)
        assert written["parameters"].tolist() == [row["parameters"] for row in document["front"]]
        assert written["latency_s:t4"].tolist() == [row["latency_s"]["t4"] for row in document["front"]]

    def test_recommend_contract(self, capsys):
        document = answer(capsys, "recommend", "mine", "--top", "3")
        rows = document["recommendations"]
        assert set(document["provenance"]) == set(document["hardware"])
        for row in rows:
            for gpu, latency in row["latency_s"].items():
                assert row["latency_low_s"][gpu] <= latency <= row["latency_high_s"][gpu]
        assert [row["rank"] for row in rows] == [1, 2, 3]
        for row in [*rows, document["baseline"]]:
            assert set(row["latency_s"]) == set(row["throughput"]) == {"t4", "h100-sxm"}
            assert row["quality_low"] <= row["quality"] <= row["quality_high"]
            assert row["memory_bytes"] > row["parameters"]
        assert all(row["why"] for row in rows)
        assert {item["gpu"] for item in document["pool"]} == {"t4", "h100-sxm"}
        assert document["baseline"]["throughput_worst"] == pytest.approx(1.0)

    def test_study_and_space_give_the_same_answer(self, capsys):
        of_study = answer(capsys, "recommend", "mine", "--top", "3")["recommendations"]
        of_space = answer(capsys, "recommend", "modernbert-base-budget", "-g", self.POOL, "--top", "3")
        assert [row["config"] for row in of_study] == [row["config"] for row in of_space["recommendations"]]

    def test_a_recommended_latency_is_the_estimate_of_its_config(self, capsys, tmp_path):
        """Table, YAML and estimate are three roads to one number."""
        row = answer(capsys, "recommend", "mine", "--rank", "2")["recommendations"][0]
        assert row["rank"] == 2
        status, out, _ = call(capsys, "recommend", "mine", "--rank", "2", "--format", "yaml")
        assert status == 0
        (tmp_path / "second.yaml").write_text(out)
        space = yaml.safe_load((CHECKOUT / "search_spaces" / "modernbert-base-budget.yaml").read_text())
        how = ["--execution", space["execution"]]
        arguments = ["--dtype", "fp16", "--batch-size", "32", "--seq-len", "512", *how]
        estimated = answer(capsys, "estimate", tmp_path / "second.yaml", "-g", "t4", *arguments)
        assert estimated["latency_s"] == pytest.approx(row["latency_s"]["t4"], rel=1e-9)
        assert estimated["parameters"] == row["parameters"]
        assert estimated["memory_bytes"]["total"] == pytest.approx(row["memory_bytes"], abs=1)

    def test_hf_config_is_one_document_that_estimate_reads(self, capsys, tmp_path):
        status, out, _ = call(capsys, "recommend", "mine", "--format", "hf")
        assert status == 0
        (tmp_path / "config.json").write_text(out)
        best = answer(capsys, "recommend", "mine", "--top", "1")["recommendations"][0]
        read = answer(capsys, "estimate", tmp_path / "config.json", "-g", "h100-sxm", "--dtype", "fp16")
        assert read["parameters"] == best["parameters"]
        listed = json.loads(call(capsys, "recommend", "mine", "--format", "hf", "--top", "2")[1])
        assert listed[0] == json.loads(out)
        assert len(listed) == 2

    def test_limits_hold(self, capsys):
        free = answer(capsys, "recommend", "mine", "--top", "1")["recommendations"][0]
        limit_ms = free["latency_s"]["t4"] * 1e3 * 0.97
        rows = answer(capsys, "recommend", "mine", "--max-latency-ms", str(limit_ms))["recommendations"]
        assert all(latency * 1e3 <= limit_ms for row in rows for latency in row["latency_s"].values())

    def test_table_names_the_three_metrics_memory_quality_and_each_gpu(self, capsys):
        status, out, _ = call(capsys, "recommend", "mine", "--top", "2")
        assert status == 0
        words = ("parameters", "TFLOPs", "tokens/s", "memory, GiB", "predicted loss", "t4, ms", "h100-sxm, ms")
        assert [word for word in words if word not in out] == [], out
        assert "modernbert-base" in out

    def test_explain_a_rank_and_a_model(self, capsys):
        ranked = answer(capsys, "explain", "mine:1")
        assert [view["gpu"] for view in ranked["per_gpu"]] == ["t4", "h100-sxm"]
        best = answer(capsys, "recommend", "mine", "--top", "1")["recommendations"][0]
        assert ranked["parameters"] == best["parameters"]
        assert ranked["per_gpu"][0]["latency_s"] == pytest.approx(best["latency_s"]["t4"], rel=1e-9)
        queued = ["--launch-us", "0"]  # kernels back to back: no share is the host's
        model = answer(capsys, "explain", "bert-large", "-g", "h100-sxm", *queued)["per_gpu"][0]
        assert sum(group["share"] for group in model["groups"]) == pytest.approx(1.0)
        assert "no rank 99" in refused(capsys, "explain", "mine:99")

    def test_study_verbs(self, capsys, tmp_path):
        assert [study["name"] for study in answer(capsys, "study", "list")] == ["mine"]
        shown = answer(capsys, "study", "show", "mine")
        assert shown["hardware"] == ["t4", "h100-sxm"]
        assert shown["front"] == len(answer(capsys, "enumerate", "modernbert-base-budget", "-g", self.POOL)["front"])
        output = tmp_path / "mine.csv"
        answer(capsys, "study", "export", "mine", "--front", "-o", output)
        assert len(pd.read_csv(output)) == shown["front"]
        assert "exists" in refused(capsys, "study", "run", "modernbert-base-budget", "-g", "t4", "--name", "mine")
        assert "nothing left" in refused(capsys, "study", "resume", "mine")
        assert "mine" in refused(capsys, "study", "show", "mime")

    def test_sampled_study_is_resumed_and_joined(self, capsys):
        arguments = ["--strategy", "random", "--trials", "40", "--name", "sampled"]
        first = answer(capsys, "study", "run", "decoder-1b", "-g", "h100-sxm", *arguments)
        assert first["trials"] == 40
        assert answer(capsys, "study", "resume", "sampled", "--trials", "20")["trials"] == 60
        assert answer(capsys, "study", "worker", "sampled", "--trials", "20", "--seed", "7")["trials"] == 80
        answer(capsys, "study", "delete", "sampled")
        assert [study["name"] for study in answer(capsys, "study", "list")] == ["mine"]


def test_profiles_option_holds_for_one_call(capsys, tmp_path):
    profile = yaml.safe_load((CHECKOUT / "hardware_profiles" / "t4.yaml").read_text())
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(profile | {"id": "lab", "aliases": []}))
    option = ["--profiles", tmp_path]
    for arguments in (["hardware", "show", "lab", *option], [*option, "hardware", "show", "lab"]):
        assert answer(capsys, *arguments)["num_sms"] == 40
    assert "lab" in refused(capsys, "hardware", "show", "lab")


def test_every_verb_has_json():
    """Found by walking the commands, so that a new verb cannot forget it."""
    import typer.main

    root = typer.main.get_command(app)
    stack, leaves = [("", root)], {}
    while stack:
        name, command = stack.pop()
        children = getattr(command, "commands", {})
        stack += [(f"{name} {child}".strip(), item) for child, item in children.items()]
        if not children:
            leaves[name] = {option for parameter in command.params for option in parameter.opts}
    assert {"estimate", "enumerate", "study run", "recommend", "explain", "validate", "hardware list"} <= set(leaves)
    assert [name for name, options in leaves.items() if "--json" not in options] == []


def test_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m archsearch hardware list | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("GPUs")
    assert done.stderr == ""


def test_terminal_without_unicode_is_no_error():
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "archsearch", "hardware", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "h100-sxm" in done.stdout


def test_version():
    done = subprocess.run(
        [sys.executable, "-m", "archsearch", "--version"], capture_output=True, text=True, check=False
    )
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    assert done.stdout == f"archsearch {declared}\n"
