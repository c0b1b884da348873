"""One question has one number: the same model, workload, execution and sampling through every verb that answers it."""

from __future__ import annotations

from pathlib import Path

import pytest
from verbs import Ask, asker

import archsearch
from archsearch.cost.execution import Execution
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import load_preset
from archsearch.pipeline import load_pipeline
from archsearch.search.evaluate.training_cost import TrainingCost
from archsearch.search.space.sections import TrainingRecord
from archsearch.verify.compare import predicted
from archsearch.workload import Phase, Workload

SAME = 1e-9
RUNS = ([], ["--execution", "torch-compiled"], ["--torch", "2.4", "--attention", "fa2"], ["--clock", "1200"])
STEPS = {"flux-dev": "flux1-dev", "sd3-medium": "sd3-medium", "wan2.1-1.3b": "wan2.1-1.3b", "sana-1.6b": "sana-1.6b"}


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    return asker(capsys)


@pytest.mark.parametrize("how", RUNS, ids=lambda how: " ".join(how) or "default")
@pytest.mark.parametrize("pipeline", STEPS)
def test_a_step_costs_in_a_pipeline_what_it_costs_alone(pipeline: str, how: list[str], ask: Ask) -> None:
    whole = ask("pipeline", "estimate", pipeline, "-g", "h100-sxm", "--steps", "3", *how)
    step = next(s for s in whole["stages"] if s["name"] == "denoise")
    record = load_pipeline(pipeline).record
    batch = 2 if record.guidance.batched and record.guidance.default.passes == 2 else 1
    size = whole["request"]
    sizes = [f"--{n}={size[n]}" for n in ("height", "width", "frames") if size[n] is not None]
    dtype = whole["run"]["dtype"]
    model = STEPS[pipeline]
    alone = ask("estimate", model, "-g", "h100-sxm", "-b", str(batch), "--dtype", dtype, *sizes, *how)
    assert alone["latency_s"] == pytest.approx(step["latency_per_call_s"], rel=SAME)
    assert alone["flops"] * step["calls"] == pytest.approx(step["flops"], rel=SAME)
    told = ask("explain", model, "-g", "h100-sxm", "-b", str(batch), "--dtype", dtype, *sizes, *how)
    assert told["per_gpu"][0]["latency_s"] == pytest.approx(alone["latency_s"], rel=SAME)


def test_what_stands_beside_costs_what_it_costs_alone(ask: Ask) -> None:
    whole = ask("pipeline", "estimate", "flux-dev", "-g", "a100-sxm-80gb", "--execution", "diffusers-compiled")
    at = {s["name"]: s["latency_s"] for s in whole["stages"]}
    t5 = ask("estimate", "t5-xxl-encoder", "-g", "a100-sxm-80gb", "-s", "512")
    clip = ask("estimate", "clip-l-text", "-g", "a100-sxm-80gb", "-s", "77")
    vae = ask("estimate", "flux-vae", "-g", "a100-sxm-80gb", "--phase", "decode", "--height", "1024", "--width", "1024")
    assert at["text:t5-xxl"] == pytest.approx(t5["latency_s"], rel=SAME)
    assert at["text:clip-l"] == pytest.approx(clip["latency_s"], rel=SAME)
    assert at["decode"] == pytest.approx(vae["latency_s"], rel=SAME)


def test_a_students_teacher_is_the_pipeline(ask: Ask) -> None:
    how = ["--execution", "torch-compiled"]
    whole = ask("pipeline", "estimate", "wan2.1-14b", "-g", "h100-sxm", *how)
    student = ask("pipeline", "student", "wan2.1-14b", "-g", "h100-sxm", "--share", "0.5", *how)
    assert student["teacher_latency_s"] == pytest.approx(whole["latency_s"], rel=SAME)


def test_compared_pipelines_are_the_pipelines(ask: Ask) -> None:
    how = ["--execution", "torch-compiled"]
    both = ask("pipeline", "compare", "sana-0.6b", "flux-dev", "-g", "h100-sxm", *how)
    small, large = (ask("pipeline", "estimate", n, "-g", "h100-sxm", *how) for n in ("sana-0.6b", "flux-dev"))
    assert both["small"]["generate_s"] == pytest.approx(small["gpu_seconds_per_output"], rel=SAME)
    assert both["large"]["gpu_seconds"] == pytest.approx(large["gpu_seconds_per_output"], rel=SAME)


def test_a_fleet_serves_at_the_pipelines_speed(ask: Ask) -> None:
    whole = ask("pipeline", "estimate", "flux-schnell", "-g", "h100-sxm", "--execution", "torch-compiled")
    fleet = ask(
        "serve",
        "fleet",
        "flux-schnell",
        "-g",
        "h100-sxm",
        "--rate",
        "0.01",
        "--p95-s",
        "60",
        "--max-batch",
        "1",
        "--execution",
        "torch-compiled",
    )
    assert fleet["response_s"]["p50"] == pytest.approx(whole["latency_s"], rel=1e-3)  # hardly any queue


def test_training_costs_what_a_training_step_costs() -> None:
    record = TrainingRecord.model_validate(
        {"hardware": "h100-sxm", "gpus": 1, "tokens": 2048 * 4, "batch_size": 4, "micro_batch": 4, "seq_len": 2048}
        | {"tensor_parallel": [1], "pipeline_parallel": [1], "execution": "torch-compiled", "checkpointing": True}
    )
    cost = TrainingCost(record).columns(load_preset("llama-3.2-1b"))
    step = archsearch.estimate(
        "llama-3.2-1b",
        "h100-sxm",
        phase="train",
        batch_size=4,
        seq_len=2048,
        checkpointing=True,
        execution="torch-compiled",
    )
    assert float(cost["training_hours"]) * 3600 == pytest.approx(step.latency_s, rel=SAME)
    share = step.memory_bytes["total"] / load_gpu("h100-sxm").available_bytes
    assert float(cost["training_memory_share"]) == pytest.approx(share, rel=SAME)


def test_verification_predicts_what_estimate_says() -> None:
    config, run = load_preset("modernbert-base"), Execution(compiled=True, torch="2.8")
    work = Workload(phase=Phase.FORWARD, batch_size=4, seq_len=1024)
    answer, _ = predicted(config, work, load_gpu("a100-sxm-80gb"), run)
    said = archsearch.estimate("modernbert-base", "a100-sxm-80gb", batch_size=4, seq_len=1024, execution=run)
    assert float(answer.latency_s) == pytest.approx(said.latency_s, rel=SAME)


def test_an_answer_priced_again_from_its_own_words_is_the_same(ask: Ask, tmp_path: Path) -> None:
    first = tmp_path / "answer.json"
    text = ["estimate", "llama-3-8b", "-g", "h100-sxm", "--phase", "decode", "-s", "4096", "-b", "8"]
    answer = ask(*text, "--fused-qkv", "--clock", "1500", "--tensor-parallel", "2")
    import json

    first.write_text(json.dumps(answer))
    again = ask(*text, "--execution", str(first))
    assert again == answer
