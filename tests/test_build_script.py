"""Scripts of ``archsearch build``: they build the real class and call it on the planned sizes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from references.tools import fused_sdpa
from torch.utils.flop_counter import FlopCounterMode

from archsearch.cli.main import run as cli
from archsearch.errors import printable
from archsearch.estimate_result import workload_of
from archsearch.models.huggingface.script import build_script
from archsearch.models.registry.families import load_preset
from archsearch.workload import Phase

CALLS = [
    *((name, Phase.FORWARD) for name in ("gpt2", "llama-3.2-1b", "gemma-2-2b", "qwen1.5-moe-a2.7b", "bert-base")),
    *((name, Phase.FORWARD) for name in ("modernbert-base", "t5-small-encoder", "umt5-xxl-encoder", "clip-l-text")),
    *((name, Phase.FORWARD) for name in ("dit-s-4", "pixart-alpha", "pixart-sigma", "sana-0.6b", "sd3.5-medium")),
    *((name, Phase.FORWARD) for name in ("flux1-schnell", "flux1-kontext-dev", "wan2.1-1.3b", "wan2.1-i2v-14b")),
    *((name, Phase.FORWARD) for name in ("ltx-video-2b", "hunyuan-video", "cogvideox-2b", "cogvideox-5b")),
    *(
        (name, phase)
        for name in ("flux-vae", "dc-ae-f32c32", "wan-vae", "cogvideox-vae", "hunyuan-video-vae")
        for phase in (Phase.ENCODE, Phase.DECODE)
    ),
    *((name, phase) for name in ("ltx-video-vae", "ltx-video-vae-0.9.1") for phase in (Phase.ENCODE, Phase.DECODE)),
]
HOSTILE = (
    '"""\nraise SystemExit("ran")\n"""',
    "C:\\new\\table\\u12.yaml",
    "ends in a backslash\\",
    'ends in a quote"',
    'quotes \'\'\' and """ and \\"""',
    "{title} %s {0} \x1b[31m\r\nimport os",
    "\u202egnp.exe",
)
SIZES = {"height": 512, "width": 512, "frames": 17, "seq_len": 64}


def script_of(name: str, phase: Phase) -> tuple[dict[str, Any], Any, Any]:
    config = load_preset(name)
    sizes = {k: v for k, v in SIZES.items() if k in config.default_sizes}
    workload = workload_of(config, {"dtype": "bf16", "phase": phase.value, **sizes})[0]
    found: dict[str, Any] = {"__name__": "script"}
    exec(compile(build_script(config, workload, name), name, "exec"), found)
    return found, config, workload


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_a_text(name: str) -> None:
    config = load_preset("gpt2")
    workload = workload_of(config, {"seq_len": 8})[0]
    plain, hostile = (ast.parse(build_script(config, workload, title)) for title in ("plain", name))
    told = ast.get_docstring(hostile, clean=False)
    assert told is not None
    assert told.startswith(printable(name.replace("\r", "\n")) + "\n\npython FILE.py ")
    assert [ast.dump(part) for part in hostile.body[1:]] == [ast.dump(part) for part in plain.body[1:]]


@pytest.mark.parametrize(("name", "phase"), CALLS)
def test_the_call_of_a_script_is_the_workload(name: str, phase: Phase) -> None:
    """Parameters, and FLOPs by torch's counter."""
    script, config, workload = script_of(name, phase)
    module, arguments = script["build"](), script["inputs"]("meta")
    assert sum(p.numel() for p in module.parameters()) == script["PARAMETERS"]
    arguments.pop("attention_mask", None)  # of ones, which the meta device cannot see
    if hasattr(module, "set_attn_implementation"):
        module.set_attn_implementation("one_op")
    if hasattr(getattr(module, "config", None), "num_experts"):
        module.set_experts_implementation("batched_mm")  # the counter misses grouped products
    method = getattr(module, phase.value) if phase is not Phase.FORWARD else module
    with torch.no_grad(), fused_sdpa(), FlopCounterMode(display=False) as counter:
        method(**arguments)
    expected = float(config.lower(workload).flops())
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-3)


def test_phases_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["build", "flux-vae", "--phase", "decode", "--height", "64", "--width", "64"]) == 0
    text = capsys.readouterr().out
    assert "model.decode(**arguments)" in text
    assert "INPUTS = {'z': ('noise', (1, 16, 8, 8))}" in text
    assert cli(["build", "gpt2", "--phase", "encode"]) == 2


def test_a_script_runs_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    assert cli(["build", "gpt2", "-o", str(path), "--seq-len", "16"]) == 0
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "GPT2LMHeadModel: 124,439,808 parameters" in done.stdout
