"""Whatever is given to a job of ``pipeline`` or ``serve`` changes its numbers, or is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer.main

from archsearch.cli.main import app, run

ECHOED = {"execution", "run", "request", "assumed", "service_level", "levers", "pipeline", "hardware", "teacher"}
"""Fields that repeat what was asked."""
EVERYWHERE = {"--json", "--profiles", "--report", "--help"}

BASES = {
    "pipeline estimate": "flux-schnell -g h100-sxm",
    "pipeline optimize": "dit-xl-2 -g h100-sxm",
    "pipeline fits": "flux-schnell -g h100-sxm",
    "pipeline student": "sana-0.6b -g h100-sxm --share 0.7 --launch-us 0",
    "pipeline compare": "sana-0.6b flux-schnell -g h100-sxm",
    "serve fleet": "flux-schnell -g h100-sxm --rate 2 --p95-s 12 --max-batch 1",
    "serve simulate": "flux-schnell -g h100-sxm --rate 2 --p95-s 12 --max-batch 1",
    "serve trace": "flux-schnell TRACE -g h100-sxm --p95-s 12 --max-batch 1",
}
"""A call of each job that answers."""

RUN = {
    "--height": "512",
    "--width": "512",
    "--frames": "17",
    "--steps": "2",
    "--guidance": "cfg",
    "--dtype": "fp8",
    "--lever": "compile",
    "--placement": "model-offload",
    "--text-encoder-dtype": "int8",
    "--decoder-dtype": "fp32",
    "--vae-tiling": "",
    "--vae-slicing": "",
    "--pcie-gb-s": "4",
    "--caption-model": "qwen2.5-1.5b",
    "--caption-tokens": "20",
    "--prompt-tokens": "30000",
    "--execution": "torch-compiled",
    "--torch": "2.4",
    "--attention": "eager",
    "--compiled": "",
    "--cuda-graphs": "",
    "--fused-qkv": "",
    "--quantization": "eager",
    "--scaling": "static",
    "--granularity": "row",
    "--launch-us": "500",
    "--clock": "burst",
    "--power-limit-w": "300",
    "--no-correction": "",
    "--tensor-parallel": "2",
    "--sequence-parallel": "2",
    "--pipeline-parallel": "2",
    "--data-parallel": "2",
    "--zero": "1",
}
"""A value of each option of a generation that is not the default."""
OWN = {
    "--batch-size": "4",
    "--price": "h100-sxm=1",
    "--objective": "energy --lever batch-4",
    "--max-latency-ms": "1",
    "--max-memory-gib": "0.01",
    "--max-gpus": "2",
    "--training": "distill",
    "--min-retained": "0.999",
    "--retained": "fp8-row=0.5",
    "--output": "OUT",
    "--verifier": "vlm-7b",
    "--samples": "3",
    "--score": "sana-0.6b=0.5",
    "--spread": "0.1",
    "--fidelity": "0.2",
    "--p50-s": "0.001",
    "--p95-s": "0.001",
    "--p99-s": "0.001",
    "--max-batch": "0",
    "--mix": "1024x1024=1",
    "--tier": "sana-0.6b=0.5",
    "--draft": "sana-0.6b",
    "--escalate": "0.4",
    "--seed": "3",
}
BESIDE = {
    "--quantization": "--dtype fp8 --compiled",
    "--scaling": "--dtype fp8 --compiled",
    "--granularity": "--dtype fp8 --compiled",
    "--vae-slicing": "--batch-size 4",
    "--vae-tiling": "--height 2048",
    "--cuda-graphs": "--height 256",
    "--text-encoder-dtype": "--placement model-offload",
    "--pcie-gb-s": "--placement model-offload",
    "--caption-tokens": "--caption-model qwen2.5-1.5b",
    "--prompt-tokens": "--caption-model qwen2.5-1.5b",
    "--escalate": "--draft sana-0.6b",
}
"""What an option needs beside it to mean anything."""
LONG = {"pipeline optimize", "pipeline student", "serve fleet", "serve simulate", "serve trace"}
"""Jobs that take a second a call: their own options and a few of the shared ones are tried."""
FEW = {"--steps", "--dtype", "--compiled", "--no-correction", "--torch", "--placement"}


def options(job: str) -> list[str]:
    """A job's options by the name that is not the default's."""
    command: Any = typer.main.get_command(app)
    for word in job.split():
        command = command.commands[word]
    found = []
    for parameter in command.params:
        if parameter.param_type_name == "option" and not set(parameter.opts) & (EVERYWHERE | {"--hardware", "--rate"}):
            names = [n for n in (*parameter.opts, *parameter.secondary_opts) if n.startswith("--")]
            found.append("--no-correction" if "--no-correction" in names else names[0])
    return [name for name in found if name != "--share"]


CASES = [
    (job, option) for job in BASES for option in options(job) if job not in LONG or option in FEW or option not in RUN
]


@pytest.fixture(scope="module")
def trace(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "arrivals.csv"
    path.write_text("arrival_s\n" + "\n".join(str(0.4 * i) for i in range(60)))
    return path


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """Answers of calls made before."""
    return {}


@pytest.mark.parametrize(("job", "option"), CASES, ids=str)
def test_an_option_has_its_effect_or_is_refused(job, option, trace, known, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("archsearch.serving.report.SIMULATED_REQUESTS", 2000)
    base = f"{job} {BASES[job]}".replace("TRACE", str(trace))
    if option in BESIDE and BESIDE[option].split()[0] in options(job):
        base = f"{base} {BESIDE[option]}"
    value = {**RUN, **OWN}[option].replace("OUT", str(tmp_path / "out.yaml"))
    if base not in known:
        assert run([*base.split(), "--json"]) == 0, base
        known[base] = _numbers(json.loads(capsys.readouterr().out))
    status = run([*base.split(), option, *value.split(), "--json"])
    out, err = capsys.readouterr()
    if status == 2:
        assert "archsearch: " in err
        assert "Traceback" not in err
        assert "No such option" not in err
    else:
        assert status == 0
        written = (tmp_path / "out.yaml").exists()
        assert written or _numbers(json.loads(out)) != known[base], f"{option} {value} is ignored"


def _numbers(document: Any) -> Any:
    if isinstance(document, dict):
        return {k: _numbers(v) for k, v in document.items() if k not in ECHOED}
    if isinstance(document, list):
        return [_numbers(v) for v in document]
    return document
