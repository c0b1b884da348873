"""Levers: legality over the whole lever x GPU matrix, their effects, and the optimiser against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.cost.execution import Execution
from archsearch.cost.layouts import laid_out
from archsearch.cost.rewrites import rewritten
from archsearch.dtypes import DType
from archsearch.errors import ArchSearchError, InvalidInputError, UnsupportedError
from archsearch.hardware import gpu_ids, load_gpu
from archsearch.models.registry.families import load_preset
from archsearch.ops import Attention, Collective, MatMul
from archsearch.pipeline import Deployment, Guidance, Placement, estimate_pipeline, load_pipeline, make_request
from archsearch.pipeline.component_calls import Pricer
from archsearch.pipeline.lever_effects import retained
from archsearch.pipeline.levers import apply, build, get_lever, levers, refusals
from archsearch.pipeline.optimize import Goal, optimize
from archsearch.pipeline.plan import Plan
from archsearch.pipeline.transforms import WithLinearAttention
from archsearch.workload import Workload

GPUS = gpu_ids()
PIPELINES = ("flux-dev", "sd3-medium", "sana-0.6b", "dit-xl-2", "wan2.1-1.3b", "ltx-video")


def plan_of(name, **sizes):
    found = load_pipeline(name)
    request, _ = make_request(found, **sizes)
    return Plan(found, request, Deployment(dtype=found.record.defaults.dtype))


def silicon_allows(gpu, name) -> bool:
    """What the vendors' tables say, apart from archsearch's own rules."""
    nvidia, cc = gpu.vendor == "nvidia", tuple(int(part) for part in (gpu.compute_capability or "0.0").split("."))
    if name == "fp8":
        others = ("cdna3", "cdna4", "rdna4", "gaudi2", "gaudi3", "neuroncore-v3")
        return cc >= (8, 9) if nvidia else gpu.architecture in others
    if name == "int8":
        return DType.INT8 in gpu.peak_tflops
    if name == "fp4":
        return cc >= (10, 0) if nvidia else gpu.architecture == "cdna4"
    if name == "fa3":
        return nvidia and cc[0] == 9
    if name == "fa2":  # AOTriton's on AMD
        return cc >= (8, 0) if nvidia else gpu.architecture in ("cdna2", "cdna3", "cdna4", "rdna3", "rdna4")
    if name == "compile":
        return cc >= (7, 0) or not nvidia  # Triton, C++ on a processor, a graph compiler
    if name == "cuda-graphs":
        return nvidia or gpu.vendor == "amd"  # HIP graphs
    return True


@pytest.mark.parametrize("gpu_id", GPUS)
def test_silicon_is_respected_over_the_matrix(gpu_id):
    gpu = load_gpu(gpu_id)
    plan = plan_of("flux-dev")
    for name in levers():
        legal = not refusals(plan, (get_lever(name),), gpu)
        if legal:
            assert silicon_allows(gpu, name), f"{name} on {gpu_id}"
    for name in ("fp8", "fa3", "fa2", "compile", "cuda-graphs", "int8"):
        assert (not refusals(plan, (get_lever(name),), gpu)) == silicon_allows(gpu, name), f"{name} on {gpu_id}"


def combination_allows(plan, names, gpu) -> bool:
    """A second opinion on combinations, in terms of what the levers mean."""
    chosen = set(names)
    final = build(plan, [get_lever(n) for n in names])
    run, request = final.deployment, final.request
    shares = run.execution.sequence_parallel
    offloaded = run.placement is not Placement.RESIDENT
    heads = {int(np.max(o.heads_q)) for o in _attentions(final)}
    rules = [
        all(silicon_allows(gpu, n) for n in chosen),
        not ("cuda-graphs" in chosen and (offloaded or "feature-cache" in chosen)),
        not ("compile" in chosen and run.placement is Placement.SEQUENTIAL_OFFLOAD),
        not ("guidance-distillation" in chosen and plan.request.guidance is not Guidance.CFG),
        not ("cfg-parallel" in chosen and (request.guidance is not Guidance.CFG or offloaded)),
        not ("feature-cache" in chosen and request.steps < 8),
        not (any(n.startswith("steps-") for n in chosen) and request.steps >= plan.request.steps),
        not (
            run.execution.sequence_parallel > 1
            and (offloaded or any(h % run.execution.sequence_parallel for h in heads))
        ),
        not (shares > 1 and run.linear_attention),
        not ("latent-f32" in chosen and plan.pipeline.video),
        not ("latent-ltx" in chosen and not plan.pipeline.video),
    ]
    return all(rules)


def _attentions(plan):
    r = plan.request
    w = Workload(height=r.height, width=r.width, frames=r.frames, dtype=plan.deployment.dtype)
    ops = plan.pipeline.transformer.lower(w)
    return [o for o in ops if isinstance(o, Attention) and np.array_equal(o.seq_q, o.seq_kv)]


@settings(max_examples=150)
@given(data=st.data())
def test_what_is_accepted_is_legal_and_runs(data):
    plan = plan_of(data.draw(st.sampled_from(PIPELINES)))
    gpu = load_gpu(data.draw(st.sampled_from(GPUS)))
    names = data.draw(st.lists(st.sampled_from(sorted(levers())), max_size=5, unique=True))
    groups = [get_lever(n).group.name for n in names]
    if len(set(groups)) < len(groups):
        with pytest.raises(InvalidInputError, match="exclude each other"):
            apply(plan, names, gpu)
        return
    try:
        final = apply(plan, names, gpu)
    except UnsupportedError:
        return
    assert combination_allows(plan, names, gpu), names
    # the second opinion need not know of formats that the pipeline's default has and the GPU has not
    if gpu.supports(final.deployment.dtype) and gpu.supports(final.deployment.base_dtype):
        found = estimate_pipeline(final.pipeline, gpu, final.request, final.deployment)
        assert 0 < float(found.latency_s) < float("inf")


@pytest.mark.parametrize("gpu_id", ["h100-sxm", "a100-sxm-80gb", "l4", "rtx-4090", "rtx-5090", "mi300x", "b200-sxm"])
@pytest.mark.parametrize("name", ["flux-dev", "wan2.1-1.3b"])
def test_the_optimiser_proposes_only_legal_combinations(gpu_id, name):
    gpu, plan = load_gpu(gpu_id), plan_of(name)
    found = optimize(plan, gpu, Goal(max_gpus=2))
    assert combination_allows(plan, found.best.ids, gpu)
    assert not refusals(plan, found.best.levers, gpu)
    assert bool(found.best.estimate.fits)
    assert found.best.estimate.gpus <= 2
    again = apply(plan, found.best.ids, gpu)
    assert float(estimate_pipeline(again.pipeline, gpu, again.request, again.deployment).latency_s) == pytest.approx(
        float(found.best.estimate.latency_s)
    )


def test_the_optimiser_finds_what_brute_force_finds():
    gpu, plan = load_gpu("h100-sxm"), plan_of("dit-xl-2")
    goal = Goal(training="distill", retained=0.95)
    pricer = Pricer(gpu)
    found = optimize(plan, gpu, goal, pricer=pricer)
    groups: dict[str, list] = {}
    for lever in levers().values():
        if lever.training != "retrain" and lever.group.name not in ("batch", "placement", "tiling", "text", "student"):
            groups.setdefault(lever.group.name, [None]).append(lever)
    for group in ("cfg-parallel", "sequence-parallel"):
        groups.pop(group)
    best = float("inf")
    for setting in product(*groups.values()):
        chosen = tuple(x for x in setting if x is not None)
        if refusals(plan, chosen, gpu) or not retained(plan, chosen) >= goal.retained:
            continue
        final = build(plan, chosen)
        answer = estimate_pipeline(final.pipeline, gpu, final.request, final.deployment, pricer=pricer)
        best = min(best, float(answer.latency_s))
    assert best <= float(found.best.estimate.latency_s) * (1 + 1e-9)
    assert float(found.best.estimate.latency_s) <= 1.02 * best  # options within 2 % count as equal


def test_an_unreachable_level_names_the_fastest():
    with pytest.raises(ArchSearchError, match=r"in 0\.01 s; the fastest takes"):
        optimize(plan_of("flux-dev"), load_gpu("h100-sxm"), Goal(max_latency_s=0.01))
    plan = plan_of("wan2.1-14b", height=720, width=1280)
    with pytest.raises(ArchSearchError, match=r"within 4 GiB"):
        optimize(plan, load_gpu("rtx-3060"), Goal(max_memory_bytes=4 * 2**30))


@pytest.mark.parametrize(
    "bad", [{"objective": "speed"}, {"training": "some"}, {"retained": 1.5}, {"max_latency_s": -1.0}, {"max_gpus": 0}]
)
def test_goals_that_mean_nothing_are_refused(bad):
    with pytest.raises(InvalidInputError):
        Goal(**bad)


def test_merged_projections_keep_their_flops():
    config = load_preset("flux1-dev")
    w = Workload(height=512, width=512)
    ops = config.lower(w)
    merged = rewritten(ops, Execution(fused_qkv=True))
    assert float(merged.flops()) == float(ops.flops())
    wide = [o for o in merged if isinstance(o, MatMul) and o.name.endswith("q_proj+k_proj+v_proj")]
    assert {int(o.n) for o in wide} == {3 * 3072}


def test_sequence_parallel_shares_the_work_and_pays_for_it():
    config = load_preset("flux1-dev")
    w = Workload(height=1024, width=1024)
    whole = config.lower(w)
    part = laid_out(config, w, Execution(sequence_parallel=4))
    assert float(part.flops()) == pytest.approx(float(whole.flops()) / 4, rel=0.01)
    swaps = [o for o in part if isinstance(o, Collective)]
    assert sum(int(o.count) for o in swaps) == 4 * (19 + 38)
    assert {float(o.payload_bytes) for o in swaps} == {2.0 * (4096 + 512) * 3072}


def test_linear_attention_grows_linearly_with_tokens():
    config = load_preset("flux1-dev")
    linear = WithLinearAttention(config)

    def flops(side):
        w = Workload(height=side, width=side, seq_len=0 + 256)
        products = [o for o in linear.lower(w) if o.name.endswith((".state", ".read"))]
        assert not any(isinstance(o, Attention) for o in linear.lower(w))
        return sum(float(o.flops()) * float(o.count) for o in products), (side // 16) ** 2 + 256

    (small, a), (large, b) = flops(512), flops(2048)
    assert large / small == pytest.approx(b / a)


def test_a_student_keeps_the_interfaces_and_loses_layers():
    plan = plan_of("flux-dev")
    half = build(plan, [get_lever("student-1-2")]).pipeline.transformer
    teacher = plan.pipeline.transformer
    assert (half.num_layers, half.num_single_layers) == (10, 19)
    for name in ("in_channels", "out_channels", "joint_attention_dim", "pooled_projection_dim", "hidden_size"):
        assert getattr(half, name) == getattr(teacher, name)


def test_more_compressed_latents_quarter_the_tokens_and_change_the_decoder():
    plan = plan_of("flux-dev")
    deep = build(plan, [get_lever("latent-f32")])
    assert deep.pipeline.decoder.family == "autoencoder-dc"
    w = Workload(height=1024, width=1024)
    rows = {int(o.m) for o in deep.pipeline.transformer.lower(w) if o.name == "embedder.image"}
    assert rows == {32 * 32}
    video = build(plan_of("wan2.1-1.3b"), [get_lever("latent-ltx")])
    found = estimate_pipeline(video.pipeline, load_gpu("h100-sxm"), video.request, video.deployment)
    denoise = next(s for s in found.stages if s.name == "denoise")
    assert int(denoise.calls) == 2 * 49  # the decoder takes the last of 50 steps


def test_a_cache_skips_blocks_and_not_the_first():
    gpu = load_gpu("h100-sxm")
    pricer = Pricer(gpu)
    plan = plan_of("flux-dev")
    whole = estimate_pipeline(plan.pipeline, gpu, plan.request, plan.deployment, pricer=pricer)
    cached = apply(plan, ["feature-cache"], gpu)
    part = estimate_pipeline(cached.pipeline, gpu, cached.request, cached.deployment, pricer=pricer)
    share = float(part.stages[-2].latency_s / whole.stages[-2].latency_s)
    assert share == pytest.approx(0.65 + 0.35 / 57)


def test_a_levers_number_may_be_set():
    gpu, plan = load_gpu("h100-sxm"), plan_of("flux-dev")
    final = apply(plan, ["feature-cache=0.5", "sequence-parallel-2=3"], gpu)
    assert final.deployment.cached_share == 0.5
    assert final.deployment.execution.sequence_parallel == 3
    assert apply(plan, ["steps-4=6"], gpu).request.steps == 6
    for bad in ("feature-cache=1.5", "feature-cache=x", "compile=2", "steps-4=0", "batch-2=1.5"):
        with pytest.raises(InvalidInputError):
            get_lever(bad)
    with pytest.raises(UnsupportedError, match="24 heads cannot be shared by 5 GPUs"):
        apply(plan, ["sequence-parallel-2=5"], gpu)
