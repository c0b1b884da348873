"""Does a storage hold studies? A test class to subclass: name the storage in a fixture, and pytest does the rest.

    import pytest
    from archsearch.testing.storage_contract import StorageContract

    class TestMyDatabase(StorageContract):
        @pytest.fixture
        def storage(self) -> str:
            return "mysql+pymysql://user@host/studies"

``storage`` is what ``--storage`` takes: a URL or a path. Several tests may share it, at the same time too: every study
of the class has a name of its own, and is deleted where a test ends well. The tests need pytest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.search.evaluate.evaluator import Evaluator
from archsearch.search.evaluate.pool_models import resolve_pool
from archsearch.search.explore.enumeration import sweep
from archsearch.search.explore.keys import KEY
from archsearch.search.explore.samplers import cell_trials, directions
from archsearch.search.space.space import space_from_text
from archsearch.search.studies.ledger import WRITER, insert
from archsearch.search.studies.listing import list_studies
from archsearch.search.studies.storage import delete_study, load_study, open_storage, study_names
from archsearch.search.studies.study import create_study, resume_study, run_study
from archsearch.search.studies.study_contents import export_study, study_result, summarize_study

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

SPACE = """
name: contract
description: Small decoders, some of them beyond the budget.
family: decoder
fixed: {vocab_size: 32000, head_dim: 64, max_position_embeddings: 2048}
dimensions:
  num_key_value_heads: {range: [1, 4]}
  queries_per_kv: {choices: [1, 2, 4]}
  intermediate_size: {range: [512, 1536], step: 256}
  num_layers: {range: [2, 7]}
derived:
  num_attention_heads: num_key_value_heads * queries_per_kv
  hidden_size: num_key_value_heads * queries_per_kv * head_dim
budget: {parameters: [1.0e+6, 4.0e+7]}
workload: {phase: prefill, seq_len: 512, dtype: fp16}
execution: {name: vllm, launch_us: 0}
quality: {proxy: chinchilla-besiroglu, tokens: 1.0e+10}
"""
"""360 decoders: enough for batches and fronts, and priced in a blink. No host binds them, or many had one speed."""
WRITERS = 4


@lru_cache(maxsize=1)
def contract_evaluator() -> Evaluator:
    """What prices the architectures of the contract's space."""
    space = space_from_text(SPACE, "the storage contract")
    return Evaluator(space, resolve_pool("t4,a10"))


class StorageContract:
    """What archsearch needs of a storage. A subclass has a fixture ``storage``: a URL or path, as ``--storage`` takes
    it, that can be written to."""

    def test_a_new_study_is_empty_and_listed(self, storage: str) -> None:
        with _study_name(storage) as name:
            create_study(contract_evaluator().space, evaluator=contract_evaluator(), name=name, storage=storage)
            assert load_study(name, storage).trials == []
            assert name in study_names(storage)

    def test_a_taken_name_and_a_missing_study_are_told(self, storage: str) -> None:
        import pytest

        evaluator = contract_evaluator()
        with _study_name(storage) as name:
            create_study(evaluator.space, evaluator=evaluator, name=name, storage=storage)
            with pytest.raises(InvalidInputError):
                create_study(evaluator.space, evaluator=evaluator, name=name, storage=storage)
            with pytest.raises(UnknownNameError):
                load_study(f"{name}-2", storage)

    def test_a_sampled_study_resumes_and_holds_nothing_twice(self, storage: str) -> None:
        evaluator = contract_evaluator()
        options: dict[str, Any] = {"storage": storage, "evaluator": evaluator, "progress": False}
        with _study_name(storage) as name:
            run_study(evaluator.space, trials=30, strategy="nsga2", name=name, **options)
            resumed = resume_study(name, trials=25, **options)
            trials = load_study(name, storage).trials
            assert [trial.number for trial in trials] == list(range(55))
            assert len({tuple(sorted(trial.params.items())) for trial in trials}) == 55
            assert _facts(resumed) == _facts(load_study(name, storage))
            filled = resume_study(name, trials=100, until=60, **options)
            assert len(filled.trials) == 60

    def test_equal_seeds_give_equal_studies(self, storage: str) -> None:
        evaluator = contract_evaluator()
        kept = []
        for _ in range(2):
            with _study_name(storage) as name:
                options: dict[str, Any] = {"storage": storage, "evaluator": evaluator, "progress": False}
                run_study(evaluator.space, trials=40, strategy="random", seed=3, name=name, **options)
                kept.append([trial.params for trial in load_study(name, storage).trials])
        assert kept[0] == kept[1]

    def test_an_exhaustive_study_is_the_exact_front(self, storage: str) -> None:
        import pytest

        evaluator = contract_evaluator()
        options: dict[str, Any] = {"storage": storage, "evaluator": evaluator, "progress": False}
        with _study_name(storage) as name:
            run_study(evaluator.space, strategy="exhaustive", name=name, **options)
            exact = sweep(evaluator.space, evaluator=evaluator, progress=False)
            stored = study_result(load_study(name, storage), front_only=True).frame
            truth = exact.result(exact.front_cells).frame
            dimensions = list(evaluator.space.dimensions)
            for column in (*dimensions, *evaluator.objective_columns):  # floats to the last bit
                a, b = (frame.sort_values(dimensions)[column].to_numpy() for frame in (stored, truth))
                np.testing.assert_array_equal(a, b)
            with pytest.raises(InvalidInputError):  # there is nothing left to add
                resume_study(name, **options)

    def test_studies_are_listed_shown_and_exported(self, storage: str, tmp_path: Path) -> None:
        evaluator = contract_evaluator()
        options: dict[str, Any] = {"storage": storage, "evaluator": evaluator, "progress": False}
        with _study_name(storage) as name:
            run_study(evaluator.space, trials=20, strategy="random", name=name, **options)
            summary = summarize_study(load_study(name, storage))
            listed = list_studies(storage).set_index("name").loc[name]
            assert (summary["trials"], summary["strategy"], summary["hardware"]) == (20, "random", ["t4", "a10"])
            assert (listed["trials"], listed["feasible"]) == (20, summary["feasible"])
            assert listed["problem"] is None
            path = export_study(load_study(name, storage), tmp_path / "study.csv")
            assert path.read_text(encoding="utf-8").count("\n") == 21

    def test_bulk_writes_are_what_optuna_writes(self, storage: str) -> None:
        """Values, parameters, distributions, attributes and constraints, in order, as Optuna keeps them in memory."""
        import optuna

        trials = _trials(range(0, 120, 2))
        with _study_name(storage) as name:
            study = _bare_study(name, storage)
            assert insert(study, trials[:25]) == [True] * 25
            assert insert(study, trials[25:]) == [True] * 35
            plain = optuna.create_study(directions=directions(contract_evaluator().objective_columns))
            plain.add_trials(_trials(range(0, 120, 2)))
            assert _facts(study) == _facts(plain)
            assert _facts(load_study(name, storage)) == _facts(plain)

    def test_nothing_twice_and_no_more_than_the_limit(self, storage: str) -> None:
        trials = _trials(range(10))
        with _study_name(storage) as name:
            study = _bare_study(name, storage)
            assert insert(study, [trials[0], trials[1], trials[0]]) == [True, True, False]
            assert insert(study, trials[1:4]) == [False, True, True]
            assert insert(study, trials[4:], limit=6) == [True, True, False, False, False, False]
            assert insert(study, trials[9:], limit=6) == [False]
            assert _keys(study.trials) == _keys(trials[:6])

    def test_a_failed_architecture_may_be_tried_again(self, storage: str) -> None:
        from optuna.trial import TrialState, create_trial

        (trial,) = _trials([3])
        with _study_name(storage) as name:
            study = _bare_study(name, storage)
            study.add_trial(create_trial(state=TrialState.FAIL, system_attrs=dict(trial.system_attrs)))
            assert insert(study, [trial], limit=1) == [True]
            assert [trial.number for trial in study.trials] == [0, 1]

    def test_writers_with_connections_of_their_own_share_the_architectures(self, storage: str) -> None:
        """Each writer offers all architectures in an order of its own: none is kept twice, and the limit holds."""
        with _study_name(storage) as name:
            _bare_study(name, storage)
            taken: list[int] = []
            writers = [Thread(target=_offer, args=(name, storage, seed, 50, taken)) for seed in range(WRITERS)]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
            kept = load_study(name, storage).trials
            assert sum(taken) == len(kept) == 50
            assert len(set(_keys(kept))) == 50
            assert [trial.number for trial in kept] == list(range(50))

    def test_a_deleted_study_is_gone_and_no_other(self, storage: str) -> None:
        evaluator = contract_evaluator()
        with _study_name(storage) as kept, _study_name(storage) as dropped:
            for name in (kept, dropped):
                create_study(evaluator.space, evaluator=evaluator, name=name, storage=storage)
            insert(load_study(dropped, storage), _trials(range(5)))
            delete_study(dropped, storage)
            assert kept in study_names(storage)
            assert dropped not in study_names(storage)
            create_study(evaluator.space, evaluator=evaluator, name=dropped, storage=storage)  # the name is free again
            assert load_study(dropped, storage).trials == []


@contextmanager
def _study_name(storage: str) -> Iterator[str]:
    """A name that no other study has; its study is deleted at the end, where the test went well."""
    name = f"contract-{uuid4().hex[:12]}"
    yield name
    if name in study_names(storage):
        delete_study(name, storage)


def _bare_study(name: str, storage: str) -> optuna.Study:
    """A study as Optuna makes it, without what archsearch notes in it."""
    import optuna

    goals = directions(contract_evaluator().objective_columns)
    return optuna.create_study(study_name=name, storage=open_storage(storage, name, create=True), directions=goals)


def _trials(cells: Iterable[int]) -> list[FrozenTrial]:
    return cell_trials(contract_evaluator(), np.asarray(list(cells), dtype=np.int64))


def _offer(name: str, storage: str, seed: int, limit: int, taken: list[int]) -> None:
    """Offer sixty architectures in an order of one's own; ``taken`` collects how many were."""
    study, trials = load_study(name, storage), _trials(range(60))
    for part in np.array_split(np.random.default_rng(seed).permutation(60), 6):
        taken.append(sum(insert(study, [trials[i] for i in part], limit=limit)))


def _keys(trials: list[FrozenTrial]) -> list[str]:
    return [trial.system_attrs[KEY] for trial in trials]


def _facts(study: optuna.Study) -> list[tuple[object, ...]]:
    """All that a study says of its trials; a proxy's mark of the writer aside."""
    return [
        (
            trial.number,
            trial.state,
            trial.values,
            trial.params,
            trial.distributions,
            trial.user_attrs,
            {name: value for name, value in trial.system_attrs.items() if name != WRITER},
            trial.constraints,
        )
        for trial in study.trials
    ]
