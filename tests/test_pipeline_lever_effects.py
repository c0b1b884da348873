"""What levers leave of quality: published figures, students counted once, unknowns left out, samplings refused."""

from __future__ import annotations

import numpy as np
import pytest

from archsearch.errors import InvalidInputError
from archsearch.hardware import load_gpu
from archsearch.pipeline import Deployment, Guidance, load_pipeline, make_request
from archsearch.pipeline.catalog import list_pipelines
from archsearch.pipeline.lever_effects import lever_effect, retained
from archsearch.pipeline.levers import build, get_lever
from archsearch.pipeline.make_plan import make_plan
from archsearch.pipeline.optimize import Goal, optimize
from archsearch.pipeline.plan import Plan


def plan_of(name, **sizes):
    found = load_pipeline(name)
    request, _ = make_request(found, **sizes)
    return Plan(found, request, Deployment(dtype=found.record.defaults.dtype))


def test_what_levers_leave_is_what_sources_measured():
    flux, sana, video = plan_of("flux-dev", steps=50), plan_of("sana-1.6b"), plan_of("ltx-video")
    assert lever_effect(flux, get_lever("steps-4")).ratio == pytest.approx(0.71 / 0.67)  # GenEval, more is better
    assert lever_effect(sana, get_lever("steps-2")).ratio == pytest.approx(6.50 / 5.76)  # FID, less is better
    assert lever_effect(sana, get_lever("steps-2")).retained == pytest.approx(5.76 / 6.50)
    assert lever_effect(flux, get_lever("fp4")).retained == pytest.approx(20.3 / 21.0)
    assert lever_effect(flux, get_lever("compile")).retained == 1.0
    for plan, name in ((video, "steps-4"), (sana, "guidance-distillation"), (flux, "feature-cache"), (sana, "steps-8")):
        effect = lever_effect(plan, get_lever(name))
        assert effect.known == "unknown"
        assert np.isnan(effect.retained)
        assert effect.reason
    assert lever_effect(flux, get_lever("fp8"), {"fp8": 0.995}).retained == 0.995


def test_a_distilled_student_counts_once_and_brings_its_guidance():
    plan = plan_of("sana-1.6b")
    alone = build(plan, [get_lever("steps-2")])
    assert alone.pipeline.checkpoint.name == "sana-sprint-1.6b"
    assert (alone.request.guidance, alone.request.passes) == (Guidance.DISTILLED, 1)
    both = [get_lever("guidance-distillation"), get_lever("steps-2")]
    assert retained(plan, both) == pytest.approx(retained(plan, [get_lever("steps-2")]), rel=1e-12)
    assert build(plan, both).request == alone.request


def test_levers_of_unknown_quality_are_left_out_of_a_quality_goal_and_counted():
    gpu, plan = load_gpu("h100-sxm"), plan_of("flux-dev")
    found = optimize(plan, gpu, Goal(retained=0.9))
    assert found.unknown > 0
    assert not {"fp8", "feature-cache"} & set(found.best.ids)
    assert found.best.retained >= 0.9
    free = optimize(plan, gpu, Goal())
    assert free.unknown == 0
    assert float(free.best.estimate.latency_s) <= float(found.best.estimate.latency_s)
    stated = optimize(plan, gpu, Goal(retained=0.9), retained={"fp8": 0.99, "int8": 0.5, "feature-cache": 0.5})
    assert "fp8" in stated.best.ids
    assert "feature-cache" not in stated.best.ids


@pytest.mark.parametrize(
    ("name", "asked", "told"),
    [
        ("flux-schnell", {"guidance": "cfg"}, "runs with guidance none"),
        ("flux-schnell", {"steps": 500}, "made for 1 to 4 steps"),
        ("wan2.1-14b", {"guidance": "distilled"}, "runs with guidance cfg or none"),
        ("sana-1.6b", {"guidance": "distilled"}, "runs with guidance cfg or none"),
        ("flux-dev", {"steps": 28, "levers": ["steps-4"]}, "both set the steps"),
    ],
)
def test_samplings_that_a_checkpoint_does_not_run_are_refused(name, asked, told):
    with pytest.raises(InvalidInputError, match=told):
        make_plan(name, load_gpu("h100-sxm"), **asked)


@pytest.mark.parametrize("name", list_pipelines())
def test_every_pipeline_says_what_samples(name):
    found = load_pipeline(name)
    assert found.checkpoint.name == name
    request, _ = make_request(found)
    assert request.guidance.value in found.checkpoint.guidance
