"""Pipelines as a searched family: whole generations against the pipeline's own estimate; the shipped spaces."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from archsearch.cost.execution import Execution
from archsearch.cost.memory import memory
from archsearch.cost.model import CostModel
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.models.registry.families import load_preset
from archsearch.models.registry.load import load_model
from archsearch.pipeline import Deployment, estimate_pipeline, load_pipeline, make_request
from archsearch.pipeline.codesign import pipeline_family
from archsearch.pipeline.make_plan import make_plan
from archsearch.quality import default_proxy, get_proxy, proxy
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.pool_models import resolve_pool
from archsearch.search.explore.students import find_student
from archsearch.search.space.space import list_spaces, load_space
from archsearch.search.studies.study import run_study
from archsearch.workload import Phase, Workload

SPACES = [name for name in list_spaces() if load_space(name).record.pipeline is not None]
SIZES = {
    "flux-dev": ("flux", "flux1-dev", {"height": 512, "width": 512}),
    "sd3-medium": ("sd3", "sd3-medium", {"height": 512, "width": 512}),
    "sana-1.6b": ("sana", "sana-1.6b", {"height": 1024, "width": 1024}),
    "ltx-video": ("ltx", "ltx-video-2b", {"height": 512, "width": 512, "frames": 25}),
    "wan2.1-1.3b": ("wan", "wan2.1-1.3b", {"height": 480, "width": 480, "frames": 17}),
}


@pytest.fixture(autouse=True)
def every_family_has_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """DiT's law stands in where no law of the family's own ships."""
    law = get_proxy("dit-fid")
    names = ("metric", "unit", "direction", "features", "valid", "source", "url", "assumed", "predict")
    for family in ("flux", "sana", "wan", "ltx", "sd3", "hunyuan-video"):
        try:
            default_proxy(family)
        except InvalidInputError:
            stand_in = SimpleNamespace(
                name=f"stand-in-{family}", families=(family,), **{n: getattr(law, n) for n in names}
            )
            monkeypatch.setitem(proxy._REGISTERED, stand_in.name, stand_in)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("passes", [1, 2])
def test_a_generation_is_what_the_pipeline_estimates(name, passes):
    family, preset, sizes = SIZES[name]
    gpu = load_gpu("a100-sxm-80gb")
    found = load_pipeline(name)
    request, _ = make_request(found, steps=6, guidance="cfg" if passes == 2 else "none", **sizes)
    execution = Execution(compiled=True, launch_us=3.0)
    answer = estimate_pipeline(found, gpu, request, Deployment(dtype=DType.BF16, execution=execution))
    config = pipeline_family(name, family)(
        **load_preset(preset).to_dict(), num_inference_steps=6, guidance_passes=passes
    )
    w = Workload(dtype=DType.BF16, **sizes)
    ours = CostModel(gpu).price(config, w, execution)
    assert float(ours.latency_s) == pytest.approx(float(answer.latency_s), rel=1e-9)
    assert float(ours.low_s) == pytest.approx(float(answer.total("low_s")), rel=1e-9)
    use = memory(config, w, execution, gpu)
    assert float(use.weights) == pytest.approx(sum(float(v) for v in answer.weights_bytes.values()), rel=1e-9)
    assert float(use.total) == pytest.approx(float(answer.peak_memory_bytes), rel=1e-9)
    assert config.parameters() == load_preset(preset).parameters()


def test_arrays_say_what_scalars_say():
    family = pipeline_family("flux-dev", "flux")
    base = load_preset("flux1-dev").to_dict()
    steps, scale, passes = np.array([4, 28, 50]), np.array([8, 32, 8]), np.array([1, 2, 2])
    patch = np.where(scale == 8, 2, 1)
    channels = np.where(scale == 8, 64, 32)
    changes = {"vae_scale_factor": scale, "patch_size": patch, "in_channels": channels, "out_channels": channels}
    many = family(**{**base, **changes}, num_inference_steps=steps, guidance_passes=passes)
    w = Workload(height=512, width=512)
    model = CostModel(load_gpu("h100-sxm"))
    seconds = model.price(many, w).latency_s
    held = many.memory(w).total
    for i in range(3):
        one = family(
            **{**base, **{k: int(v[i]) for k, v in changes.items()}},
            num_inference_steps=int(steps[i]),
            guidance_passes=int(passes[i]),
        )
        assert float(seconds[i]) == pytest.approx(float(model.price(one, w).latency_s))
        assert float(held[i]) == pytest.approx(float(one.memory(w).total))


def test_what_no_pipeline_can_be_is_refused():
    family = pipeline_family("flux-dev", "flux")
    base = load_preset("flux1-dev").to_dict()
    for wrong, told in (
        ({"num_inference_steps": 0}, "num_inference_steps must be at least 1"),
        ({"guidance_passes": 3}, "guidance_passes must be 1 or 2"),
        ({"vae_scale_factor": 16}, "vae_scale_factor must be one of 8, 32, 64"),
        ({"num_steps": 4}, "no field 'num_steps'"),
    ):
        with pytest.raises(InvalidInputError, match=told):
            family.from_dict({**base, **wrong})
    with pytest.raises(InvalidInputError, match="has a transformer of family flux, not sana"):
        pipeline_family("flux-dev", "sana")
    with pytest.raises(UnsupportedError, match="no train phase"):
        family(**base).lower(Workload(phase=Phase.TRAIN, height=512, width=512))


def test_steps_cost_what_was_measured():
    """FLUX.1 [dev] in ChebBooster's table 2 (CLIP score) and [schnell] in SANA-Sprint's (GenEval)."""
    space = load_space("flux-class-12b")
    evaluator = Evaluator(space, resolve_pool(None, space))
    middle = {name: values[len(values) // 2] for name, values in space.dimensions.items()}
    rows = {name: np.full(5, value) for name, value in middle.items()}
    rows |= {"vae_scale_factor": np.full(5, 8), "patch_size": np.full(5, 2), "distilled": np.array([0, 0, 0, 1, 1])}
    rows["num_inference_steps"] = np.array([16, 50, 4, 4, 16])
    evaluation = evaluator.evaluate(rows)
    answer = evaluation.take(np.arange(5))
    quality = answer["quality"]  # an FID
    assert quality[0] / quality[1] == pytest.approx(31.63 / 31.13)
    assert quality[3] / quality[1] == pytest.approx(0.67 / 0.71)
    assert np.isnan(quality[[2, 4]]).all()  # neither [dev] at 4 nor [schnell] at 16 steps is measured
    assert evaluation.rejected()["sampling quality unknown"] == 2
    assert not evaluation.feasible[[2, 4]].any()
    assert answer["latency_s:h100-sxm"][0] < answer["latency_s:h100-sxm"][1]


@pytest.mark.parametrize("name", SPACES)
def test_shipped_spaces_run_as_studies(name):
    space = load_space(name)
    study = run_study(name, name=f"test-{name}")
    trials = [t for t in study.trials if t.state.is_finished()]
    assert trials
    evaluator = Evaluator(space, resolve_pool(None, space))
    baseline = evaluator.baseline_columns
    assert baseline is not None
    assert evaluator.evaluate_config(evaluator.baseline_config()).legal.all()
    limit = space.record.budget.latency_ms
    if limit is not None:
        for gpu in evaluator.pool.ids:
            assert float(baseline[f"latency_s:{gpu}"][0]) <= limit / 1e3
    assert any("https://" in reference for reference in space.record.references)


def test_the_spaces_of_the_products_ship():
    assert set(SPACES) >= {"flux-class-12b", "sana-class", "wan-class-video", "realtime-avatar", "marketing-4k"}


@pytest.mark.parametrize("name", ["flux-dev", "sana-1.6b", "hunyuan-video"])
def test_a_student_is_faster_and_fits_the_teachers_pipeline(name, tmp_path):
    gpu = load_gpu("h100-sxm")
    plan, _ = make_plan(name, gpu, compiled=True)
    found = find_student(plan, gpu, 0.5)
    assert found.latency_s <= 0.5 * found.teacher_latency_s
    assert found.parameters < found.teacher_parameters
    assert (found.quality > found.teacher_quality) == (found.direction == "minimize")
    path = tmp_path / "student.yaml"
    path.write_text(yaml.safe_dump(found.config))
    student = load_model(str(path))
    teacher = plan.pipeline.transformer
    for interface in ("in_channels", "out_channels", "patch_size", "vae_scale_factor", "head_dim", "text_seq_len"):
        if hasattr(teacher, interface):
            assert getattr(student, interface) == getattr(teacher, interface)
    assert float(student.parameters()) == found.parameters
    answer = estimate_pipeline(plan.pipeline.with_transformer(student), gpu, plan.request, plan.deployment)
    assert float(answer.latency_s) < float(
        estimate_pipeline(plan.pipeline, gpu, plan.request, plan.deployment).latency_s
    )


def test_a_faster_student_is_a_worse_one_and_none_is_instant():
    gpu = load_gpu("h100-sxm")
    plan, _ = make_plan("flux-dev", gpu, compiled=True)
    half, third = find_student(plan, gpu, 0.5), find_student(plan, gpu, 0.3)
    assert third.latency_s < half.latency_s
    assert third.quality > half.quality  # an FID
    with pytest.raises(ArchSearchError, match=r"no student takes 0\.001 of the teacher's time"):
        find_student(plan, gpu, 0.001)
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        find_student(plan, gpu, 1.5)
