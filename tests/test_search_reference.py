"""Recommendations against a reference model, under conditions, and from studies that are still running."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware import GpuPool
from archsearch.search.answers.recommend import recommend
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.explore.fidelity import Fidelity, candidates, waiting_trials, work
from archsearch.search.pareto import non_dominated, objective_matrix
from archsearch.search.space.sections import Budget
from archsearch.search.space.space import SearchSpace, load_space
from archsearch.search.studies.ledger import insert
from archsearch.search.studies.study import create_study, run_study

pytest_plugins = ("search_fakes",)
REFERENCE = "llama-3.2-1b"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    text = Path("search_spaces/decoder-1b.yaml").read_text()
    text = text.replace("[3072, 12288], step: 128}", "[3072, 12288], step: 512}")
    path = tmp_path_factory.mktemp("spaces") / "decoder-small.yaml"
    path.write_text(text.replace("[1024, 3072], step: 64}", "[1024, 3072], step: 128}"))
    return Evaluator(load_space(str(path)), GpuPool.parse("a100-sxm-80gb,l4"))


def truth(evaluator: Evaluator, gpus: list[str]) -> set[tuple[Any, ...]]:
    """The front of all that is at least as good as the reference and faster on some GPUs, by brute force."""
    from archsearch.models.registry.families import load_preset

    own = evaluator.columns(evaluator.evaluate_config(load_preset(REFERENCE)), np.array([0]))
    evaluation = evaluator.evaluate(evaluator.space.mesh())
    cells = np.flatnonzero(evaluation.feasible)
    columns = evaluator.columns(evaluation, cells)
    keep = columns["quality"] <= own["quality"][0]
    for gpu in gpus:
        keep &= columns[f"throughput:{gpu}"] > own[f"throughput:{gpu}"][0] * (1 + 2e-9)
    points = objective_matrix({n: c[keep] for n, c in columns.items()}, evaluator.objective_columns)
    dimensions = evaluator.space.decode(cells[keep][non_dominated(points)])
    return set(zip(*(values.tolist() for values in dimensions.values()), strict=True))


@pytest.mark.parametrize("gpus", [[], ["l4"], ["l4", "a100-sxm-80gb"]])
def test_reference_bounds_are_exact(small: Evaluator, gpus: list[str]) -> None:
    best = recommend(small.space, top=500, reference=REFERENCE, faster_on=gpus, evaluator=small, progress=False)
    found = set(best[list(small.space.dimensions)].itertuples(index=False, name=None))
    assert found == truth(small, gpus)
    assert found
    reference = best.attrs["reference"]
    assert reference["name"] == REFERENCE
    assert (best["quality"] <= reference["quality"]).all()
    for gpu in gpus:
        assert (best[f"throughput:{gpu}"] > reference[f"throughput:{gpu}"]).all()


def test_sampled_studies_answer_to_a_reference(small: Evaluator, tmp_path: Path) -> None:
    place = str(tmp_path / "r.journal")
    options: dict[str, Any] = {"evaluator": small, "progress": False}
    study = run_study(small.space, name="r", storage=place, strategy="hybrid", trials=300, **options)
    best = recommend(study, top=50, reference=REFERENCE, faster_on=["l4"], where="num_layers <= 20", **options)
    reference = best.attrs["reference"]
    assert (best["num_layers"] <= 20).all()
    assert (best["quality"] <= reference["quality"]).all()
    assert (best["throughput:l4"] > reference["throughput:l4"]).all()


def test_conditions_are_constraints(small: Evaluator) -> None:
    best = recommend(small.space, top=500, where="head_dim == 64 and num_layers < 20", evaluator=small, progress=False)
    assert set(best["head_dim"]) == {64}
    assert best["num_layers"].max() < 20


def test_what_binds_is_named(small: Evaluator) -> None:
    options: dict[str, Any] = {"evaluator": small, "progress": False}
    with pytest.raises(ArchSearchError, match=r"feasible on .*: .* binds. The nearest misses it by \d.* all else kept"):
        recommend(small.space, reference="llama-3-8b", **options)
    record = small.space.record.model_copy(update={"budget": Budget()})
    free = small.on(SearchSpace(record, small.space.origin, small.space.source_text))
    with pytest.raises(ArchSearchError, match=r"predicted loss of llama-3-8b binds. The nearest misses it by \d"):
        recommend(free.space, reference="llama-3-8b", where="num_layers <= 20", evaluator=free, progress=False)
    with pytest.raises(InvalidInputError, match="of family encoder"):
        recommend(small.space, reference="modernbert-base", **options)
    with pytest.raises(InvalidInputError, match="the pool is a100-sxm-80gb, l4"):
        recommend(small.space, reference=REFERENCE, faster_on=["t4"], **options)
    with pytest.raises(InvalidInputError, match="faster than which model"):
        recommend(small.space, faster_on=["l4"], **options)
    with pytest.raises(UnknownNameError, match="num_layers"):
        recommend(small.space, where="num_layer < 3", **options)
    with pytest.raises(InvalidInputError, match="not allowed"):
        recommend(small.space, where="open('x')", **options)


def test_running_studies_answer_from_what_is_done(evaluator: Evaluator, tmp_path: Path) -> None:
    fidelity = Fidelity(objective="benchmark")
    place = str(tmp_path / "b.journal")
    study = create_study(evaluator.space, evaluator=evaluator, name="b", storage=place, fidelity=fidelity)
    with pytest.raises(ArchSearchError, match="no finished trials"):
        recommend("b", storage=place, evaluator=evaluator, progress=False)
    insert(study, waiting_trials(evaluator, candidates(evaluator, 6, 1.0, 0, progress=False)))
    seen: list[int] = []

    def timer(config: Any, workload: Any) -> float:
        if len(seen) == 4:
            best = recommend("b", storage=place, evaluator=evaluator, progress=False)
            states = [t.state.name for t in study.get_trials(deepcopy=False)]
            assert states.count("RUNNING") == 1
            assert states.count("WAITING") == 1
            assert 1 <= len(best) <= 4
        seen.append(1)
        return float(config.hidden_size)

    assert work(study, evaluator, fidelity, allow_code=False, progress=False, timer=timer) == 6


def test_kernel_limits_exclude_head_dims(tmp_path: Path) -> None:
    """FlashAttention takes multiples of 8 up to 256 on an A100; other head_dims are no answers, and the rest is."""
    text = Path("search_spaces/decoder-1b.yaml").read_text().replace("step: 64}", "step: 256}")
    text = text.replace("head_dim: {choices: [64, 128]}", "head_dim: {choices: [64, 100, 128, 320]}")
    text = text.replace("[10, 48]}", "[16, 40], step: 8}").replace("step: 128}", "step: 1024}")
    text = text.replace("budget:", "width_multiple: 4\nbudget:").replace(
        "parameters: [1.0e+9, 1.3e+9]", "memory_gib: 70"
    )
    path = tmp_path / "flash.yaml"
    path.write_text(text.replace("execution: torch-compiled", "execution: {name: torch-compiled, attention: flash}"))
    space = load_space(str(path))
    flash = Evaluator(space, GpuPool.parse("a100-sxm-80gb"))
    evaluation = flash.evaluate(space.mesh())
    legal = space.decode(np.flatnonzero(evaluation.legal))
    assert set(legal["head_dim"].tolist()) == {64, 128}
    np.testing.assert_array_equal(evaluation.legal, flash.legal(space.mesh()))
    assert any("FlashAttention needs head_dim in multiples of 8" in reason for reason in evaluation.rejected())
    path.write_text(path.read_text().replace("choices: [64, 100, 128, 320]", "choices: [64, 128]"))
    plain = Evaluator(load_space(str(path)), GpuPool.parse("a100-sxm-80gb"))
    one = {name: values[::7] for name, values in legal.items()}
    both = [
        e.columns(e.evaluate(one), np.arange(len(one["head_dim"])))["latency_s:a100-sxm-80gb"] for e in (flash, plain)
    ]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-9)
    with pytest.raises(UnsupportedError, match="flash attention on t4"):
        _fp16(path, "t4")


def _fp16(path: Path, gpu: str) -> Any:
    path.write_text(path.read_text().replace("dtype: bf16", "dtype: fp16"))
    evaluator = Evaluator(load_space(str(path)), GpuPool.parse(gpu))
    return evaluator.evaluate(evaluator.space.mesh())
