"""Every lever changes something that is priced, alone and in the optimiser; a new one is one entry of a file."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import pytest

from archsearch.cost.execution import Execution
from archsearch.dtypes import DType
from archsearch.errors import InvalidInputError
from archsearch.hardware import load_gpu
from archsearch.pipeline import Deployment, Placement, estimate_pipeline, load_pipeline, make_request
from archsearch.pipeline.component_calls import Pricer
from archsearch.pipeline.generation_cost import StageCost
from archsearch.pipeline.lever_file import LEVERS_FILE, load_levers
from archsearch.pipeline.lever_group import Role
from archsearch.pipeline.lever_groups import GROUPS
from archsearch.pipeline.levers import apply, get_lever, levers, refusals
from archsearch.pipeline.optimize import NOT_OF_A_CALL, Goal, call_key, optimize
from archsearch.pipeline.plan import Plan

PLANS = ("dit-xl-2", "sana-0.6b", "wan2.1-1.3b", "flux-dev", "sd3-medium")
EXECUTIONS = (Execution(), Execution(torch="2.4"), Execution(attention="eager"), Execution(compiled=True))
SCENARIOS = list(product(PLANS, ("h100-sxm", "b200-sxm"), EXECUTIONS))


@cache
def pricer_of(gpu_id: str) -> Pricer:
    return Pricer(load_gpu(gpu_id))


@cache
def plan_of(name: str, execution: Execution = EXECUTIONS[0]) -> Plan:
    found = load_pipeline(name)
    request, _ = make_request(found)
    return Plan(found, request, Deployment(dtype=found.record.defaults.dtype, execution=execution))


def priced(plan: Plan, gpu_id: str) -> tuple[float, float]:
    """Seconds and bytes."""
    pricer = pricer_of(gpu_id)
    answer = estimate_pipeline(plan.pipeline, pricer.gpu, plan.request, plan.deployment, pricer=pricer)
    return float(answer.latency_s), float(answer.peak_memory_bytes)


def found_by_the_optimiser(plan: Plan, gpu_id: str, name: str, known) -> bool:
    """Whether the optimiser takes a lever where it is the only one that can help."""
    lever = known[name]
    goal = Goal(training="retrain", max_gpus=8, objective="cost" if lever.group.role is Role.REQUEST else "latency")
    if lever.group.role is Role.PLACEMENT:
        limit = 1.0001 * priced(apply(plan, [name], load_gpu(gpu_id), known), gpu_id)[1]
        if priced(plan, gpu_id)[1] <= limit:
            return False
        goal = replace(goal, max_memory_bytes=limit)
    pricer = pricer_of(gpu_id)
    return name in optimize(plan, pricer.gpu, goal, pricer=pricer, known={name: lever}).best.ids


@pytest.mark.parametrize("name", levers())
def test_every_lever_changes_what_is_priced_and_is_found(name: str) -> None:
    changed = chosen = False
    for pipeline, gpu_id, execution in SCENARIOS:
        plan, gpu = plan_of(pipeline, execution), load_gpu(gpu_id)
        if refusals(plan, (get_lever(name),), gpu):
            continue
        pulled = apply(plan, [name], gpu)
        changed = changed or (pulled != plan and priced(pulled, gpu_id) != priced(plan, gpu_id))
        chosen = chosen or found_by_the_optimiser(plan, gpu_id, name, levers())
        if changed and chosen:
            break
    assert (changed, chosen) == (True, True), f"{name}: changes time or memory, and is found where it helps"


@pytest.mark.parametrize(
    ("entry", "pipeline"),
    [  # a group of its own, of each way in which the optimiser goes through levers; and one of a group that is there
        ("{group: half, role: model, set: {deployment.cached_share: 0.5}}", "flux-dev"),
        ("{group: clock, role: execution, quality: exact, set: {execution.clock: burst}}", "flux-dev"),
        ("{group: outputs, role: request, quality: exact, value: 16, set: {request.batch_size: $value}}", "dit-xl-2"),
        ("{group: slices, role: placement, set: {deployment.text_encoder_dtype: fp4}}", "flux-dev"),
        ("{group: cache, value: 0.6}", "flux-dev"),
        ("{group: steps, value: 3, quality: sampling}", "dit-xl-2"),
    ],
)
def test_a_new_lever_is_one_entry(entry: str, pipeline: str, tmp_path) -> None:
    path = tmp_path / "levers.yaml"
    more = f"new: {entry[:-1]}, title: new, training: none, source: a test}}\n"
    path.write_text(LEVERS_FILE.read_text(encoding="utf-8") + more, encoding="utf-8")
    known = load_levers(path)
    assert list(known) == [*levers(), "new"]
    plan = plan_of(pipeline)
    pulled = apply(plan, ["new"], load_gpu("h100-sxm"), known)
    assert priced(pulled, "h100-sxm") != priced(plan, "h100-sxm")
    assert found_by_the_optimiser(plan, "h100-sxm", "new", known)


def test_a_new_lever_is_found_beside_all_others(tmp_path) -> None:
    path = tmp_path / "levers.yaml"
    more = (
        "new: {title: new, group: new, role: model, training: none, set: {deployment.cached_share: 0.9}, source: x}\n"
    )
    path.write_text(LEVERS_FILE.read_text(encoding="utf-8") + more, encoding="utf-8")
    plan, pricer = plan_of("dit-xl-2"), pricer_of("h100-sxm")
    with_it = optimize(plan, pricer.gpu, Goal(), pricer=pricer, known=load_levers(path))
    without = optimize(plan, pricer.gpu, Goal(), pricer=pricer)
    assert "new" in with_it.best.ids
    assert with_it.judged == 2 * without.judged
    assert float(with_it.best.estimate.latency_s) < float(without.best.estimate.latency_s)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{group: compile}", r"levers.yaml:3: new: .*name the fields that it sets"),
        ("{group: compile, set: {execution.compild: true}}", "did you mean execution.compiled"),
        ("{group: compile, set: {deployment.execution: 1}}", "unknown field of a plan"),
        ("{group: compile, set: {execution.compiled: fast}}", "execution.compiled does not take 'fast'"),
        ("{group: dtype, set: {deployment.dtype: fp5}}", "deployment.dtype does not take 'fp5'"),
        ("{group: placement, set: {deployment.cfg_parallel: 3}}", "must be a whole number from 1 to 2"),
        ("{group: batch, set: {request.batch_size: $value}}", "value: levers of group batch need a whole number"),
        ("{group: cache, value: 2}", "need a share between 0 and 1"),
        ("{group: compil, set: {execution.compiled: true}}", "did you mean compile"),
        ("{group: compile, role: model, set: {execution.compiled: true}}", "group compile has one"),
        ("{group: steps, value: 2, set: {request.steps: 2}}", "what levers of group steps change"),
        ("{group: compile, sets: {execution.compiled: true}}", "new.sets: unknown field; did you mean set"),
    ],
)
def test_an_entry_that_changes_nothing_or_nothing_legal_is_refused(entry: str, told: str, tmp_path) -> None:
    path = tmp_path / "levers.yaml"
    path.write_text(f"# levers\n\nnew: {entry[:-1]}, title: new, training: none, source: a test}}\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=told):
        load_levers(path)


def test_levers_of_a_new_group_agree(tmp_path) -> None:
    path = tmp_path / "levers.yaml"
    form = "{}: {{title: x, group: own, role: {}, training: none, set: {{execution.compiled: true}}, source: x}}\n"
    path.write_text(form.format("one", "model") + form.format("other", "formats"), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="other: one of the same group has another role"):
        load_levers(path)


def test_every_group_has_levers() -> None:
    """A group need not have a record: what its levers set is then all there is."""
    assert {group.name for group in GROUPS} <= {lever.group.name for lever in levers().values()}


OTHER_VALUES = {
    "text_encoder_dtype": DType.INT8,
    "decoder_dtype": DType.FP32,
    "tiling": True,
    "slicing": True,
    "pcie_gb_s": 5.0,
    "pinned": True,
}


def denoising(plan: Plan) -> StageCost:
    """The transformer's stage on an H100."""
    pricer = pricer_of("h100-sxm")
    answer = estimate_pipeline(plan.pipeline, pricer.gpu, plan.request, plan.deployment, pricer=pricer)
    return next(stage for stage in answer.stages if stage.name == "denoise")


@pytest.mark.parametrize("name", sorted(NOT_OF_A_CALL))
def test_what_the_optimiser_takes_for_the_same_call_is(name: str) -> None:
    plan = plan_of("flux-dev")
    for placement in (Placement.RESIDENT, Placement.MODEL_OFFLOAD):
        base = replace(plan, deployment=replace(plan.deployment, placement=placement))
        other = replace(base, deployment=replace(base.deployment, **{name: OTHER_VALUES[name]}))
        assert call_key(base) == call_key(other)
        one, same = denoising(base), denoising(other)
        assert (float(one.gpu_s), float(one.host_s)) == (float(same.gpu_s), float(same.host_s))


def test_every_other_setting_makes_another_call() -> None:
    """Levers of the shipped file that change the time of a transformer's call change its key."""
    gpu = load_gpu("h100-sxm")
    for name, lever in levers().items():
        plan = plan_of("flux-dev")
        if refusals(plan, (lever,), gpu):
            continue
        pulled = apply(plan, [name], gpu)
        one, other = (float(stage.gpu_s) / float(stage.calls) for stage in map(denoising, (plan, pulled)))
        if one != pytest.approx(other, rel=1e-9):
            assert call_key(plan) != call_key(pulled), name
