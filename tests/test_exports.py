"""What a recommendation exports is what was recommended, for every shipped space: files, scripts, real modules."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers

from archsearch.cli import exports
from archsearch.cli.main import run as cli
from archsearch.cost.execution import Execution
from archsearch.cost.model import CostModel
from archsearch.errors import UnsupportedError
from archsearch.hardware import load_gpu
from archsearch.models.huggingface import from_hf_dict, to_hf
from archsearch.models.huggingface.script import build_script
from archsearch.models.plain.dit import DiT
from archsearch.models.registry.families import load_preset
from archsearch.models.registry.load import load_model
from archsearch.pipeline.catalog import load_pipeline
from archsearch.search.answers.export import export_of
from archsearch.search.answers.recommend import recommend
from archsearch.search.space.space import list_spaces, load_space
from archsearch.workload import Workload

GPU = "h100-sxm"
SPACES = tuple(list_spaces())
PIPELINES = tuple(name for name in SPACES if load_space(name).record.pipeline is not None)
PLAIN = ("dit-xl-budget", "dit-xl-2-shape")
PUBLISHED = tuple(name for name in SPACES if name not in PLAIN)
"""Spaces whose best architecture is a published class; see ``test_what_no_class_is_is_said_and_refused``."""


@cache
def recommended(space: str) -> Any:
    """The best architecture of a shipped space on one GPU."""
    return recommend(space, GPU, top=1, progress=False)


def parameters(space: str) -> int:
    return int(recommended(space)["parameters"].iloc[0])


@pytest.mark.parametrize("space", SPACES)
def test_yaml_is_the_recommended_model(space: str, tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(exports.yaml_text(recommended(space)))
    assert load_model(str(path)).parameters() == parameters(space)


@pytest.mark.parametrize("space", PIPELINES)
def test_yaml_has_the_latency_of_a_step(space: str, tmp_path: Path) -> None:
    """One more step of the pipeline that was searched costs what the exported transformer takes for its workload."""
    frame = recommended(space)
    path = tmp_path / "model.yaml"
    path.write_text(exports.yaml_text(frame))
    export = export_of(frame)
    model, execution = CostModel(load_gpu(GPU)), Execution(**frame.attrs["execution"])
    step = model.price(load_model(str(path)), export.workload, execution).latency_s
    workload = Workload(**{k: v for k, v in frame.attrs["workload"].items() if k in ("height", "width", "frames")})
    steps = export.sampling["num_inference_steps"]
    fewer, more = (
        model.price(replace(export.whole, num_inference_steps=n), workload, execution).latency_s  # type: ignore[type-var]
        for n in (steps, steps + 2)
    )
    passes = export.calls / steps if export.calls > steps else 1
    assert float(more - fewer) == pytest.approx(2 * float(step) * passes, rel=1e-9)
    assert f"sampled with num_inference_steps {steps}, guidance_passes" in path.read_text()


@pytest.mark.parametrize("space", PIPELINES)
def test_pipeline_file_is_the_recommended_pipeline(space: str, tmp_path: Path) -> None:
    """Its transformer, steps and guidance; and its estimate is the latency and the weights that were searched."""
    from archsearch.pipeline.generation_cost import estimate_pipeline
    from archsearch.pipeline.make_plan import make_plan

    frame = recommended(space)
    path = tmp_path / "pipeline.yaml"
    path.write_text(exports.pipeline_text(frame))
    pipeline, export = load_pipeline(path), export_of(frame)
    assert pipeline.transformer.parameters() == parameters(space)
    assert pipeline.record.defaults.steps == export.sampling["num_inference_steps"]
    assert pipeline.record.guidance.default.passes == export.sampling["guidance_passes"]
    gpu = load_gpu(GPU)
    plan, _ = make_plan(str(path), gpu, execution=Execution(**frame.attrs["execution"]))
    answer = estimate_pipeline(plan.pipeline, gpu, plan.request, plan.deployment)
    assert float(answer.latency_s) == pytest.approx(float(frame[f"latency_s:{GPU}"].iloc[0]), rel=1e-9)


@pytest.mark.parametrize("space", PUBLISHED)
def test_hf_config_is_the_recommended_model(space: str) -> None:
    """Read back it is the same in every field, and the real class has its parameters on the meta device."""
    document = json.loads(json.dumps(exports.hf_documents(recommended(space))))
    back, export = from_hf_dict(document), export_of(recommended(space))
    assert back.parameters() == parameters(space)
    assert float(back.lower(export.workload).flops()) == float(export.config.lower(export.workload).flops())
    with torch.device("meta"):
        if "_class_name" in document:
            module = getattr(diffusers, document["_class_name"]).from_config(document)
        else:
            config = transformers.AutoConfig.for_model(**document)
            module = getattr(transformers, document["architectures"][0])(config)
    assert sum(p.numel() for p in module.parameters()) == parameters(space)


@pytest.mark.parametrize("space", SPACES)
def test_a_script_builds_the_recommended_model(space: str) -> None:
    export = export_of(recommended(space))
    script: dict[str, Any] = {"__name__": "script"}
    exec(compile(build_script(export.config, export.workload, space), space, "exec"), script)
    module = script["build"]()
    assert sum(p.numel() for p in module.parameters()) == script["PARAMETERS"] == parameters(space)


@pytest.mark.parametrize("space", ["flux-class-12b", "dit-xl-budget"])
def test_build_takes_a_rank_of_a_space(space: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["build", f"{space}:1", "-g", GPU, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] == parameters(space)
    assert (told["hf_class"] is None) == (space == "dit-xl-budget")
    if space == "dit-xl-budget":
        assert "DiTTransformer2DModel would need" in " ".join(told["script"].split())
        assert "import diffusers" not in told["script"]
    else:
        assert "sampled\nwith num_inference_steps" in told["script"]


def test_what_no_class_is_is_said_and_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    frame = recommended("dit-xl-budget")
    with pytest.raises(UnsupportedError, match=r"not 7\d\d\.\d M.*`archsearch build dit-xl-budget:1`"):
        exports.hf_documents(frame)
    told = exports.class_fields(frame, 1)
    assert told["hf_class"] is None
    assert "DiTTransformer2DModel would need" in str(told["hf_difference"])
    assert exports.class_fields(recommended("decoder-1b"), 1) == {"hf_class": "LlamaForCausalLM", "hf_difference": None}
    assert "# no published class is this architecture: DiTTransformer2DModel" in exports.yaml_text(frame)
    assert cli(["recommend", "dit-xl-budget", "-g", GPU, "--format", "json", "--top", "1"]) == 0
    (record,) = json.loads(capsys.readouterr().out)["recommendations"]
    assert (record["hf_class"], record["hf_difference"]) == (None, told["hf_difference"])


def test_a_model_is_no_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["recommend", "decoder-1b", "-g", GPU, "--format", "pipeline"]) == 2
    assert "the space searches models alone" in capsys.readouterr().err


def test_keys_of_ours_are_passed_over_by_diffusers() -> None:
    """What the class's keys do not tell, latents of 32 pixels here, comes back; diffusers builds the same module."""
    config = replace(load_preset("sana-0.6b"), vae_scale_factor=64, num_layers=1)
    document = to_hf(config)
    assert from_hf_dict(document) == config
    with torch.device("meta"):
        module = diffusers.SanaTransformer2DModel.from_config(document)
    assert sum(p.numel() for p in module.parameters()) == config.parameters()


def test_the_plain_dit_computes_what_diffusers_does() -> None:
    """Same weights, at timestep 0, where the spacing of the sines (the authors' and diffusers') does not matter."""
    torch.manual_seed(0)
    theirs = diffusers.DiTTransformer2DModel(
        num_layers=2,
        num_attention_heads=4,
        attention_head_dim=16,
        out_channels=8,
        sample_size=8,
        num_embeds_ada_norm=10,
    ).eval()
    ours = DiT(
        num_layers=2,
        hidden_size=64,
        num_attention_heads=4,
        intermediate_size=256,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_classes=10,
        grid=(4, 4),
    )
    state = theirs.state_dict()
    first = {
        k.removeprefix("transformer_blocks.0.norm1.emb."): v for k, v in state.items() if "blocks.0.norm1.emb" in k
    }
    for layer in range(2):
        for key, value in first.items():
            state[f"transformer_blocks.{layer}.norm1.emb.{key}"] = value
    theirs.load_state_dict(state)
    ours.load_state_dict(_renamed(state, first))
    latents, labels = torch.randn(3, 4, 8, 8), torch.tensor([1, 9, 10])
    steps = torch.zeros(3, dtype=torch.long)
    with torch.no_grad():
        expected = theirs(latents, timestep=steps, class_labels=labels).sample
        assert torch.allclose(ours(latents, steps, labels), expected, atol=1e-5)


def _renamed(state: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """Weights of diffusers' DiT under our names."""
    names = {
        "pos_embed.proj": "patchify",
        "proj_out_1": "final_modulation",
        "proj_out_2": "final",
    }
    found = {f"{ours}.{p}": state[f"{theirs}.{p}"] for theirs, ours in names.items() for p in ("weight", "bias")}
    for theirs, ours in (("linear_1", "first"), ("linear_2", "second")):
        for p in ("weight", "bias"):
            found[f"condition.{ours}.{p}"] = first[f"timestep_embedder.{theirs}.{p}"]
    found["condition.label.weight"] = first["class_embedder.embedding_table.weight"]
    for layer in range(2):
        block, own = f"transformer_blocks.{layer}", f"layers.{layer}"
        parts = {"norm1.linear": "modulation", "attn1.to_out.0": "out", "ff.net.0.proj": "up", "ff.net.2": "down"}
        for p in ("weight", "bias"):
            found |= {f"{own}.{ours}.{p}": state[f"{block}.{theirs}.{p}"] for theirs, ours in parts.items()}
            found[f"{own}.qkv.{p}"] = torch.cat([state[f"{block}.attn1.to_{x}.{p}"] for x in "qkv"])
    return found
