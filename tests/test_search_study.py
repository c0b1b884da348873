"""Enumeration, sampled studies and recommendations on a toy family with a toy cost model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archsearch.errors import ArchSearchError, InvalidInputError, UnknownNameError, UnsupportedError
from archsearch.hardware import GpuPool, load_gpu
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.frames import to_records
from archsearch.search.explore.enumeration import sweep
from archsearch.search.pareto import non_dominated, objective_matrix
from archsearch.search.space.space import SearchSpace, parse_space
from archsearch.search.studies.study import (
    export_study,
    list_studies,
    load_study,
    resume_study,
    run_study,
    study_frame,
    summarize_study,
)

pytest_plugins = ("search_fakes",)


def all_rows(evaluator: Evaluator) -> list[dict[str, float]]:
    """Every architecture priced on its own, as scalars: the slow truth."""
    space = evaluator.space
    rows = []
    for cell in range(space.size):
        dimensions = {name: value.item() for name, value in space.decode(np.array(cell)).items()}
        evaluation = evaluator.evaluate({name: np.array([value]) for name, value in dimensions.items()})
        row = {name: float(value[0]) for name, value in evaluator.columns(evaluation, np.array([0])).items()}
        rows.append(dimensions | row | {"feasible": bool(evaluation.feasible[0]), "legal": bool(evaluation.legal[0])})
    return rows


def test_enumeration_is_what_single_evaluations_say(evaluator: Evaluator) -> None:
    rows = all_rows(evaluator)
    result = sweep(evaluator.space, evaluator=evaluator, progress=False)
    assert result.architectures == len(rows)
    assert result.legal == sum(row["legal"] for row in rows)
    assert result.valid == sum(row["feasible"] for row in rows) > 0
    valid = [row for row in rows if row["feasible"]]
    points = objective_matrix(
        {n: np.array([row[n] for row in valid]) for n in evaluator.objective_columns}, evaluator.objective_columns
    )
    truth = {
        (r["hidden_size"], r["num_layers"], r["intermediate_size"], r["head_dim"])
        for r, on in zip(valid, non_dominated(points), strict=True)
        if on
    }
    front = result.front
    found = set(
        zip(front["hidden_size"], front["num_layers"], front["intermediate_size"], front["head_dim"], strict=True)
    )
    assert found == truth
    by_key = {(r["hidden_size"], r["num_layers"], r["intermediate_size"], r["head_dim"]): r for r in rows}
    for record in front.to_dict(orient="records"):
        same = by_key[tuple(record[n] for n in evaluator.space.dimensions)]  # type: ignore[index]
        for name in ("parameters", "flops", "quality", "latency_s:t4", "throughput_worst", "throughput_weighted"):
            assert record[name] == pytest.approx(same[name], rel=1e-12)


@pytest.mark.parametrize("max_cells", [1, 7, 64, 1000])
def test_chunked_equals_whole(evaluator: Evaluator, max_cells: int) -> None:
    whole = sweep(evaluator.space, evaluator=evaluator, progress=False)
    cut = sweep(evaluator.space, evaluator=evaluator, progress=False, max_cells=max_cells)
    np.testing.assert_array_equal(whole.front_cells, cut.front_cells)
    assert (whole.legal, whole.valid, whole.rejected) == (cut.legal, cut.valid, cut.rejected)
    for gpu in evaluator.pool.ids:
        np.testing.assert_array_equal(whole.gpu_front_cells[gpu], cut.gpu_front_cells[gpu])


def test_json_answer_holds_plain_numbers(evaluator: Evaluator) -> None:
    answer = json.loads(json.dumps(sweep(evaluator.space, evaluator=evaluator, progress=False).to_dict()))
    assert {"architectures", "valid", "evaluation_s", "architectures_per_s", "front"} <= answer.keys()
    assert set(answer["front"][0]["latency_s"]) == {"t4", "a100-sxm-40gb"}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_front_is_written(evaluator: Evaluator, tmp_path: Path, suffix: str) -> None:
    import pandas as pd

    result = sweep(evaluator.space, evaluator=evaluator, progress=False)
    path = result.write(tmp_path / f"front.{suffix}")
    again = {"parquet": pd.read_parquet, "csv": pd.read_csv, "json": pd.read_json}[suffix](path)
    np.testing.assert_allclose(again["quality"], result.front["quality"], rtol=1e-9)


def test_unknown_suffix_and_missing_directory_are_told(evaluator: Evaluator, tmp_path: Path) -> None:
    result = sweep(evaluator.space, evaluator=evaluator, progress=False)
    with pytest.raises(InvalidInputError, match="parquet"):
        result.write(tmp_path / "front.xlsx")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        result.write(tmp_path / "no" / "front.csv")


def test_rejections_name_their_reason(evaluator: Evaluator) -> None:
    rejected = sweep(evaluator.space, evaluator=evaluator, progress=False).rejected
    assert rejected["num_attention_heads must divide hidden_size"] > 0
    assert any("budget: parameters at most" in reason for reason in rejected)
    assert rejected["constraint: intermediate_size <= 4 * hidden_size"] > 0


def test_pool_that_lacks_the_dtype_is_refused(toy_space: SearchSpace, toy_file: Path) -> None:
    path = toy_file.with_name("bf16.yaml")
    path.write_text(toy_file.read_text().replace("dtype: fp16", "dtype: bf16"))
    with pytest.raises(UnsupportedError, match=r"t4 .*fp16.*leave t4 out"):
        Evaluator(parse_space(path), GpuPool.of([load_gpu("t4"), load_gpu("a100-sxm-40gb")]), {})


SAMPLED = ["random", "hybrid", "nsga2", "nsga3", "tpe"]


def params(study: object) -> list[dict[str, int]]:
    return [trial.params for trial in study.trials]  # type: ignore[attr-defined]


@pytest.mark.parametrize("strategy", SAMPLED)
def test_sampled_studies_repeat_and_hold_no_duplicates(evaluator: Evaluator, tmp_path: Path, strategy: str) -> None:
    runs = [
        run_study(
            evaluator.space,
            evaluator=evaluator,
            trials=60,
            strategy=strategy,
            seed=seed,
            name=f"s{i}",
            storage=str(tmp_path / f"{i}.journal"),
            progress=False,
        )
        for i, seed in enumerate((3, 3, 4))
    ]
    assert len(runs[0].trials) == 60
    assert params(runs[0]) == params(runs[1])
    assert [t.values for t in runs[0].trials] == [t.values for t in runs[1].trials]
    assert params(runs[0]) != params(runs[2])
    frame = study_frame(runs[0])
    assert not frame.duplicated(["hidden_size", "num_layers", "intermediate_size", "num_attention_heads"]).any()
    legal = evaluator.legal({n: frame[n].to_numpy() for n in evaluator.space.dimensions})
    assert legal.all()


@pytest.mark.parametrize("strategy", ["random", "hybrid"])
def test_sampling_everything_finds_the_exact_front(evaluator: Evaluator, tmp_path: Path, strategy: str) -> None:
    study = run_study(
        evaluator.space,
        evaluator=evaluator,
        trials=10_000,
        strategy=strategy,
        name="all",
        storage=str(tmp_path / "all.journal"),
        progress=False,
    )
    exact = sweep(evaluator.space, evaluator=evaluator, progress=False).front
    front = study_frame(study, front_only=True)
    names = list(evaluator.objective_columns)
    for name in names:
        np.testing.assert_allclose(np.sort(front[name]), np.sort(exact[name]), rtol=1e-12)


def test_architectures_that_are_the_same_appear_once(evaluator: Evaluator, toy_file: Path, tmp_path: Path) -> None:
    # a helper dimension that changes no field doubles the cells, not the architectures
    text = toy_file.read_text().replace("derived:", "  helper: {choices: [0, 1]}\nderived:")
    path = toy_file.with_name("twice.yaml")
    path.write_text(text.replace("constraints:", "constraints:\n  - helper >= 0"))
    twice = Evaluator(parse_space(path), evaluator.pool, evaluator.models)
    assert twice.space.size == 2 * evaluator.space.size
    names = list(evaluator.objective_columns)
    once = sweep(evaluator.space, evaluator=evaluator, progress=False).front[names].to_numpy()
    np.testing.assert_array_equal(sweep(twice.space, evaluator=twice, progress=False).front[names].to_numpy(), once)
    study = run_study(
        twice.space,
        evaluator=twice,
        trials=10_000,
        strategy="random",
        name="twice",
        storage=str(tmp_path / "t.journal"),
        progress=False,
    )
    legal = evaluator.legal(evaluator.space.decode(np.arange(evaluator.space.size)))
    assert 0 < len(study.trials) <= np.count_nonzero(legal)
    assert len(study.trials) > 0.98 * np.count_nonzero(legal)


def test_studies_of_a_url_are_listed_and_resumed(evaluator: Evaluator, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/t.db"
    run_study(
        evaluator.space, evaluator=evaluator, trials=20, strategy="nsga2", name="r", storage=place, progress=False
    )
    again = resume_study("r", trials=15, storage=place, progress=False, evaluator=evaluator)
    frame = study_frame(again)
    assert len(frame) == 35
    assert not frame.duplicated(["hidden_size", "num_layers", "intermediate_size", "num_attention_heads"]).any()
    assert summarize_study(load_study("r", place))["trials"] == 35
    assert list_studies(place)["name"].tolist() == ["r"]


def test_workers_learn_what_others_stored_meanwhile(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archsearch.search.explore import samplers

    place, meanwhile = str(tmp_path / "w.journal"), []
    run_study(
        evaluator.space, evaluator=evaluator, trials=5, strategy="random", name="w", storage=place, progress=False
    )
    original = samplers.cell_trials

    def with_a_rival(*args: Any, **kwargs: Any) -> Any:
        finished = original(*args, **kwargs)
        if not meanwhile:  # another worker stores half of the very same architectures first
            meanwhile.extend(finished[: len(finished) // 2])
            load_study("w", place).add_trials(meanwhile)
        return finished

    monkeypatch.setattr(samplers, "cell_trials", with_a_rival)
    resume_study("w", trials=100, storage=place, seed=9, progress=False, evaluator=evaluator)
    frame = study_frame(load_study("w", place))
    assert len(frame) == 5 + len(meanwhile) + 100
    assert not frame.duplicated(["hidden_size", "num_layers", "intermediate_size", "num_attention_heads"]).any()


def test_exhaustive_study_holds_the_exact_front(evaluator: Evaluator, tmp_path: Path) -> None:
    place = str(tmp_path / "e.journal")
    study = run_study(evaluator.space, evaluator=evaluator, name="e", storage=place, progress=False)
    summary = summarize_study(study)
    assert summary["strategy"] == "exhaustive"
    assert summary["complete"]
    exact = sweep(evaluator.space, evaluator=evaluator, progress=False)
    assert summary["front"] == len(exact.front_cells)
    assert summary["valid"] == exact.valid
    with pytest.raises(InvalidInputError, match="nothing left"):
        resume_study("e", storage=place, progress=False, evaluator=evaluator)
    with pytest.raises(InvalidInputError, match="exists"):
        run_study(evaluator.space, evaluator=evaluator, name="e", storage=place, progress=False)
    path = export_study(study, tmp_path / "e.csv")
    assert path.read_text().count("\n") == summary["trials"] + 1


def test_interrupted_study_keeps_finished_trials(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archsearch.search.explore import samplers

    place, calls = str(tmp_path / "i.journal"), []
    original = samplers.cell_trials

    def interrupted(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(samplers, "cell_trials", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(
            evaluator.space, evaluator=evaluator, trials=120, strategy="nsga2", name="i", storage=place, progress=False
        )
    assert len(load_study("i", place).trials) == samplers.GENETIC_POPULATION


def test_budget_misses_are_constraints(evaluator: Evaluator, tmp_path: Path) -> None:
    study = run_study(
        evaluator.space,
        evaluator=evaluator,
        trials=10_000,  # more than there are, so that those beyond the budget are met too
        strategy="random",
        name="c",
        storage=str(tmp_path / "c.journal"),
        progress=False,
    )
    frame = study_frame(study)
    low, high = evaluator.space.record.budget.parameters or (0, 0)
    inside = (frame["parameters"] >= low) & (frame["parameters"] <= high)
    np.testing.assert_array_equal(frame["feasible"], inside)
    assert frame["feasible"].any()
    assert not frame["feasible"].all()
    best = {trial.number for trial in study.best_trials}
    assert best == set(frame.loc[frame["on_front"], "trial"])


def test_unknown_names_are_told(evaluator: Evaluator, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="nsga2"):
        run_study(evaluator.space, evaluator=evaluator, strategy="nsga", name="x", storage=str(tmp_path / "x.journal"))
    with pytest.raises(ArchSearchError, match="unknown study"):
        load_study("nope", str(tmp_path / "x.journal"))
    with pytest.raises(InvalidInputError, match="study name"):
        run_study(evaluator.space, evaluator=evaluator, name="../x", progress=False)


def test_records_are_nested_by_gpu(evaluator: Evaluator) -> None:
    record = to_records(sweep(evaluator.space, evaluator=evaluator, progress=False).front)[0]
    assert set(record["config"]) == {
        "hidden_size",
        "num_layers",
        "intermediate_size",
        "head_dim",
        "num_attention_heads",
    }
    assert record["throughput"]["t4"] == pytest.approx(128 * 4 / record["latency_s"]["t4"])
