"""Sampling: the table's arithmetic, its sources, and one number from every verb that is asked the same question."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import yaml

from archsearch.cli.main import run as cli
from archsearch.errors import ArchSearchError, InvalidInputError
from archsearch.pipeline import Deployment, load_pipeline, make_request
from archsearch.pipeline.lever_effects import lever_effect, plan_sampling
from archsearch.pipeline.levers import get_lever
from archsearch.pipeline.plan import Plan
from archsearch.quality import default_proxy, training_features
from archsearch.quality.sampling import asked_sampling, sampled_quality, sampling_ratio
from archsearch.quality.sampling_table import SAMPLING_FILE, DefaultSampling, SamplingRecord, build_table, shipped_table
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.pool_models import resolve_pool
from archsearch.search.space.space import load_space, space_from_text
from archsearch.workload import Workload

CHECKPOINTS = shipped_table().checkpoints


def test_measured_points_are_the_printed_ratios() -> None:
    """DiT, table 2: 9.62 without guidance, 2.27 with; SANA-Sprint, table 2: 7.59 at one step, SANA 5.76 at twenty."""
    dit = sampling_ratio(CHECKPOINTS["dit-xl-2"], 250, np.array(["none", "cfg"]))
    np.testing.assert_allclose(dit.ratio, [1.0, 2.27 / 9.62], rtol=1e-12)
    one = sampling_ratio(CHECKPOINTS["sana-sprint-1.6b"], 1, "distilled")
    assert float(one.ratio) == pytest.approx(7.59 / 5.76, rel=1e-12)
    reference = sampling_ratio(CHECKPOINTS["sana-1.6b"], 20, "cfg")
    assert (float(reference.ratio), float(reference.value), str(reference.known)) == (1.0, 5.76, "measured")


def test_between_measured_steps_it_is_a_line_in_the_logarithm() -> None:
    found = sampling_ratio(CHECKPOINTS["wan2.1-1.3b-rcm"], np.array([2, 3, 4]), "distilled")
    assert list(found.known) == ["measured", "interpolated", "measured"]
    share = math.log(3 / 2) / math.log(4 / 2)
    by_hand = (84.09 * (1 - share) + 84.43 * share) / 83.02
    assert float(found.ratio[1]) == pytest.approx(by_hand, rel=1e-12)
    np.testing.assert_allclose(found.error_factor, 1 / found.ratio)  # VBench: more is better


def test_beyond_what_is_measured_nothing_is_known() -> None:
    steps = np.array([[4], [16], [50], [51]])
    found = sampling_ratio(CHECKPOINTS["flux-dev"], steps, np.array(["distilled", "cfg", "none"]))
    assert found.ratio.shape == (4, 3)
    assert (found.known == "unknown").tolist() == [[True] * 3, [False, True, True], [False, True, True], [True] * 3]
    assert np.isnan(found.ratio[found.known == "unknown"]).all()
    assert found.reason is not None
    assert "16, 20, 30, 50 steps" in found.reason
    assert sampling_ratio(CHECKPOINTS["ltx-video"], 50, "cfg").reason == "no measured figure of ltx-video is known"


def test_arrays_say_what_scalars_say() -> None:
    for name, mode in (("dit-xl-2", "cfg"), ("flux-schnell", "none"), ("hunyuan-video", "distilled")):
        steps = np.arange(1, 300)
        many = sampling_ratio(CHECKPOINTS[name], steps, mode)
        alone = [float(sampling_ratio(CHECKPOINTS[name], int(s), mode).ratio) for s in steps]
        np.testing.assert_array_equal(many.ratio, alone)


def test_every_figure_has_a_source_and_every_reference_sampling_is_one() -> None:
    record = SamplingRecord.model_validate(yaml.safe_load(SAMPLING_FILE.read_text(encoding="utf-8")))
    used = {row[-1] for row in record.rows} | {c.training.source for c in record.checkpoints.values() if c.training}
    assert used == set(record.sources)
    assert all(source.url.startswith("https://") for source in record.sources.values())
    for name, checkpoint in CHECKPOINTS.items():
        if checkpoint.distilled:
            assert checkpoint.teacher in CHECKPOINTS
            continue
        assert checkpoint.sampling is not None
        found = sampling_ratio(checkpoint, checkpoint.sampling.steps, checkpoint.sampling.guidance)
        assert str(found.known) == "unknown" or float(found.ratio) == 1.0, name


def test_a_table_without_a_source_is_refused() -> None:
    figures: dict[str, Any] = {
        "checkpoints": {"mine": {"family": "sana"}},
        "rows": [["mine", "fid", "minimize", 8, "cfg", 7.0, 6.0, "nowhere"]],
    }
    with pytest.raises(ValueError, match="names the source 'nowhere'"):
        SamplingRecord.model_validate(figures)
    named = {**figures, "sources": {"nowhere": {"title": "t", "url": "https://example.org"}}}
    table = shipped_table().extended(SamplingRecord.model_validate(named))
    assert float(sampling_ratio(table.checkpoints["mine"], 8, "cfg", table).ratio) == pytest.approx(7 / 6)
    with pytest.raises(InvalidInputError, match="no description"):
        build_table(SamplingRecord.model_validate({**named, "checkpoints": {}}))


QUESTIONS = [
    # pipeline, preset, steps, distilled, guidance of the sampling, passes
    ("sana-1.6b", "sana-1.6b", 20, False, "cfg", 2),
    ("sana-1.6b", "sana-1.6b", 2, True, "distilled", 1),
    ("sana-1.6b", "sana-1.6b", 4, True, "distilled", 1),
    ("sana-0.6b", "sana-0.6b", 1, True, "distilled", 1),
    ("flux-dev", "flux1-dev", 28, False, "distilled", 1),
    ("flux-dev", "flux1-dev", 4, True, "none", 1),
    ("wan2.1-1.3b", "wan2.1-1.3b", 2, True, "distilled", 1),
    ("wan2.1-14b", "wan2.1-14b", 50, False, "cfg", 2),
    ("hunyuan-video", "hunyuan-video", 20, False, "distilled", 1),
]


def _searched(pipeline: str, preset: str, steps: int, distilled: bool, passes: int) -> tuple[float, float]:
    """Quality by search, and by the law alone."""
    found = load_pipeline(pipeline)
    family = found.transformer.family
    config = found.transformer.to_dict()
    scalars = {k: v for k, v in config.items() if not isinstance(v, tuple)}
    defaults = found.record.defaults
    sizes = {"height": defaults.height, "width": defaults.width}
    sizes |= {"frames": defaults.frames} if found.video and defaults.frames else {}
    space = space_from_text(
        yaml.safe_dump(
            {
                "name": "asked",
                "description": "one question",
                "family": family,
                "pipeline": pipeline,
                "fixed": {k: v for k, v in scalars.items() if k != "num_layers"} | {"guidance_passes": passes},
                "dimensions": {
                    "num_layers": {"choices": [config["num_layers"]]},
                    "num_inference_steps": {"choices": [steps]},
                    "distilled": {"choices": [int(distilled)]},
                },
                "width_multiple": 1,
                "workload": {"phase": "forward", "batch_size": 1, "dtype": "bf16", **sizes},
                "hardware": ["h100-sxm"],
            }
        ),
        "test",
    )
    evaluator = Evaluator(space, resolve_pool(None, space))
    row = evaluator.evaluate(dict(space.dimensions)).take(np.zeros(1, dtype=np.int64))
    law = default_proxy(family)
    w = Workload(**dict(found.transformer.default_sizes))
    alone = law.predict(training_features(found.transformer, law, w, {}))
    return float(row["quality"][0]), float(alone.value)


@pytest.mark.parametrize(("pipeline", "preset", "steps", "distilled", "guidance", "passes"), QUESTIONS)
def test_one_question_one_number(
    pipeline: str, preset: str, steps: int, distilled: bool, guidance: str, passes: int, capsys: Any
) -> None:
    """The quality verb, the search and the pipeline's own plan or lever: the same ratio to 1e-9."""
    command = ["quality", preset, "--steps", str(steps), "--json", *(["--distilled"] if distilled else [])]
    assert cli(command) == 0
    document = json.loads(capsys.readouterr().out)
    told = document["sampling"]
    assert told["guidance"] == guidance
    factor = told["ratio"] if told["direction"] == "minimize" else 1 / told["ratio"]
    by_search, law = _searched(pipeline, preset, steps, distilled, passes)
    assert by_search == pytest.approx(document["predicted_fid"], rel=1e-9)
    assert by_search / law == pytest.approx(factor, rel=1e-9)
    found = load_pipeline(pipeline)
    request, _ = make_request(found, steps=None if distilled else steps)
    plan = Plan(found, request, Deployment(dtype=found.record.defaults.dtype))
    lever = get_lever(f"steps-{steps}") if distilled else None
    ratio = float(plan_sampling(plan).ratio) if lever is None else lever_effect(plan, lever).ratio
    assert ratio == pytest.approx(told["ratio"], rel=1e-9)


def test_verbs_refuse_what_a_checkpoint_is_not_made_for(capsys: Any) -> None:
    for wrong, why in (
        (["flux1-schnell", "--guidance", "cfg"], "runs with guidance none"),
        (["flux1-schnell", "--steps", "500"], "made for 1 to 4 steps"),
        (["wan2.1-14b", "--guidance", "distilled"], "runs with guidance none or cfg"),
        (["llama-3-8b", "--steps", "4"], "image and video models"),
        (["sana-1.6b", "--guidance", "loud"], "none, cfg, distilled"),
        (["cogvideox-5b", "--distilled"], "give the number of steps"),
    ):
        assert cli(["quality", *wrong]) == 2
        assert why in capsys.readouterr().err


def test_an_unknown_quality_is_said_and_not_guessed(capsys: Any) -> None:
    assert cli(["quality", "flux1-dev", "--steps", "4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["predicted_fid"] is None
    assert document["sampling"]["known"] == "unknown"
    assert cli(["quality", "flux1-dev", "--steps", "4"]) == 0
    assert "unknown at this sampling" in capsys.readouterr().out
    assert cli(["quality", "pixart-sigma", "--steps", "4", "--distilled"]) == 0
    assert "no measured figure of pixart-sigma, steps distilled, is known" in capsys.readouterr().out


def test_a_table_of_configs_gets_the_ratio_of_its_family() -> None:
    law = default_proxy("sana")
    sampling = asked_sampling("sana", {"num_inference_steps": 2, "distilled": True})
    assert sampling is not None
    found = load_pipeline("sana-1.6b").transformer
    alone = law.predict(training_features(found, law, Workload(**dict(found.default_sizes)), {}))
    both = sampled_quality(alone, law.direction, sampling.ratio())
    assert float(both.value / alone.value) == pytest.approx(6.50 / 5.76)
    assert float(both.low / alone.low) == pytest.approx(6.50 / 5.76)


def test_a_space_may_bring_its_own_figures_and_must_say_what_distilling_costs() -> None:
    raw = yaml.safe_load(load_space("sana-class").source_text)
    raw["sampling"] = {
        "sources": {"own": {"title": "our table", "url": "https://example.org"}},
        "rows": [["sana-1.6b", "fid", "minimize", n, "cfg", fid, 6.0, "own"] for n, fid in ((20, 6.0), (4, 9.0))],
    }
    space = space_from_text(yaml.safe_dump(raw), "test")
    evaluator = Evaluator(space, resolve_pool("h100-sxm", space))
    rows = {name: np.full(2, values[len(values) // 2]) for name, values in space.dimensions.items()}
    rows |= {"num_inference_steps": np.array([4, 20]), "distilled": np.zeros(2, dtype=int)}
    quality = evaluator.evaluate(rows).take(np.arange(2))["quality"]
    assert quality[0] / quality[1] == pytest.approx(1.5)

    raw["objectives"] = [{"metric": "quality"}, {"metric": "distillation_gpu_hours"}]
    unpriced = space_from_text(yaml.safe_dump(raw), "test")
    with pytest.raises(ArchSearchError, match=r"distillation: \{gpu_hours"):
        Evaluator(unpriced, resolve_pool("h100-sxm", unpriced))
    raw["distillation"] = {"gpu_hours": 500, "source": "our own run"}
    priced = space_from_text(yaml.safe_dump(raw), "test")
    rows["distilled"] = np.array([0, 1])
    columns = Evaluator(priced, resolve_pool("h100-sxm", priced)).evaluate(rows).take(np.arange(2))
    np.testing.assert_array_equal(columns["distillation_gpu_hours"], [0, 500])


def test_shipped_baselines_are_measured() -> None:
    for name in ("flux-class-12b", "sana-class", "marketing-4k", "wan-class-video", "realtime-avatar"):
        space = load_space(name)
        evaluator = Evaluator(space, resolve_pool("h100-sxm", space))
        columns = evaluator.baseline_columns
        assert columns is not None
        assert np.isfinite(columns["quality"]).all(), name
        steps, distilled = (space.dimensions.get(n) for n in ("num_inference_steps", "distilled"))
        assert steps is not None
        for value in steps:  # each number of steps is measured for one of the checkpoints at least
            rows = {n: np.full(2, v[len(v) // 2]) for n, v in space.dimensions.items()}
            rows["num_inference_steps"] = np.full(2, value)
            if distilled is not None:
                rows["distilled"] = np.array([0, 1])
            assert np.isfinite(evaluator.evaluate(rows).take(np.arange(2))["quality"]).any(), (name, value)


def test_a_pipeline_of_ones_own_describes_its_checkpoint(tmp_path: Any) -> None:
    lines = [
        "name: mine",
        "description: a test",
        "modality: image",
        "transformer: {model: sana-0.6b}",
        "checkpoint: {kind: step-distilled, method: ours, guidance: [distilled], steps: [2, 8]}",
        "guidance: {default: distilled, modes: [distilled]}",
        "defaults: {height: 1024, width: 1024, steps: 4}",
    ]
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(lines))
    found = load_pipeline(path)
    assert (found.checkpoint.distilled, found.checkpoint.steps) == (True, (2, 8))
    assert make_request(found)[0].passes == 1
    with pytest.raises(InvalidInputError, match="made for 2 to 8 steps"):
        make_request(found, steps=1)
    path.write_text("\n".join(lines).replace("modes: [distilled]", "modes: [distilled, cfg]"))
    with pytest.raises(InvalidInputError, match="runs with distilled, not with cfg"):
        load_pipeline(path)
    path.write_text("\n".join(lines).replace("method: ours, ", ""))
    with pytest.raises(InvalidInputError, match="names its method"):
        load_pipeline(path)


def test_steps_beyond_whole_numbers_of_64_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="less than or equal to 2147483648"):
        DefaultSampling.model_validate({"steps": 10**30, "guidance": "none"})
