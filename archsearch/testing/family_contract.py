"""Is a model family sound? A test class to subclass: name small architectures in a fixture, and pytest does the rest.

    import pytest
    from archsearch.testing.family_contract import FamilyCase, FamilyContract
    from archsearch.workload import Workload

    class TestMyFamily(FamilyContract):
        @pytest.fixture
        def case(self) -> FamilyCase:
            config = MyConfig(num_layers=2, hidden_size=256, num_attention_heads=4)
            return FamilyCase(config=config, workload=Workload(batch_size=2, height=256, width=256), module=build)

``module`` builds the torch module that the config describes, where there is one; its parameters are counted on the meta
device. The tests need pytest, and torch for that comparison alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from archsearch.arrays import as_float
from archsearch.errors import UnsupportedError
from archsearch.models.assembly import Assembled, Assembly
from archsearch.models.base import ModelConfig
from archsearch.models.field_types import field_types
from archsearch.workload import Phase, Workload

if TYPE_CHECKING:
    import torch

CLOSE = 1e-12
"""Relative difference that rounding may make between a grid and its architectures one by one."""


@dataclass(frozen=True, kw_only=True)
class FamilyCase:
    """A small architecture (plain numbers), and a workload of a forward pass that fits it.

    ``alone`` names sizes that are no axis of a grid: they are 1 unless a flag is set too. ``module`` builds the torch
    module that the config describes.
    """

    config: Any
    workload: Workload
    alone: frozenset[str] = frozenset()
    module: Callable[[], torch.nn.Module] | None = None

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What the family can run."""
        phases: tuple[Phase, ...] = self.config.phases
        return phases

    def at(self, phase: Phase) -> Workload:
        """The workload in another phase."""
        return replace(self.workload, phase=phase)

    def sizes(self) -> list[str]:
        """Fields that may be arrays."""
        return [name for name, kind in field_types(type(self.config)).items() if kind.holds(np.arange(2))]

    def grids(self) -> Iterator[Any]:
        """For every size a grid of two architectures: the case's, and one whose size is doubled, with one or two other
        sizes where it alone describes no real model (heads and width).

        Raises:
            AssertionError: a size that can never be doubled.
        """
        sizes = [name for name in self.sizes() if int(getattr(self.config, name) or 0)]
        for size in sorted(set(sizes) - self.alone):
            others = [other for other in sizes if other != size]
            groups = [(size,), *((size, other) for other in others), *((size, *two) for two in combinations(others, 2))]
            grid = next((g for group in groups if (g := self._doubled(group)) is not None), None)
            assert grid is not None, f"{size} can never be an array"
            yield grid

    def _doubled(self, names: tuple[str, ...]) -> ModelConfig | None:
        grid = replace(self.config, **{name: int(getattr(self.config, name)) * np.array([1, 2]) for name in names})
        return grid if all(np.all(requirement.holds) for requirement in grid.requirements()) else None


def architectures(grid: ModelConfig) -> list[tuple[tuple[int, ...], ModelConfig]]:
    """Every architecture of a grid as a config of plain numbers, with its index."""
    arrays = {f.name: getattr(grid, f.name) for f in fields(grid) if isinstance(getattr(grid, f.name), np.ndarray)}
    shape = np.broadcast_shapes(*(a.shape for a in arrays.values()))
    full = {name: np.broadcast_to(a, shape) for name, a in arrays.items()}
    return [(i, replace(grid, **{name: int(a[i]) for name, a in full.items()})) for i in np.ndindex(*shape)]


def assert_grid_is_its_architectures(grid: ModelConfig, workload: Workload) -> None:
    """Parameters, FLOPs, bytes moved and memory of a grid are those of its architectures one by one."""
    ops, use, parameters = grid.lower(workload), grid.memory(workload), grid.parameters()
    flops, moved = ops.flops(), ops.memory_bytes()
    alone = architectures(grid)
    shape = tuple(n + 1 for n in alone[-1][0])
    assert np.broadcast_shapes(np.shape(parameters), shape) == shape, "parameters have axes that the grid does not"
    for index, config in alone:
        assert all(requirement.holds for requirement in config.requirements()), f"{index} is no real model"
        single = config.lower(workload)
        for name, ours, theirs in (
            ("parameters", parameters, config.parameters()),
            ("FLOPs", flops, single.flops()),
            ("bytes moved", moved, single.memory_bytes()),
            ("memory", use.total, config.memory(workload).total),
        ):
            value = float(np.broadcast_to(ours, shape)[index])
            assert np.isclose(value, float(theirs), rtol=CLOSE, atol=0.0), f"{name} of the grid at {index}: {config}"


class FamilyContract:
    """What archsearch needs of a family's configs. A subclass has a fixture ``case``."""

    def test_a_config_keeps_the_protocol(self, case: FamilyCase) -> None:
        config = case.config
        assert isinstance(config, ModelConfig)
        assert isinstance(config, Assembled)
        assert config.family
        assert all(np.all(requirement.holds) for requirement in config.requirements())
        assert float(config.tokens(case.workload)) > 0

    def test_a_config_is_written_and_read(self, case: FamilyCase) -> None:
        document = case.config.to_dict()
        assert all(isinstance(v, int | str | bool | tuple | None) for v in document.values()), document
        assert type(case.config).from_dict(document) == case.config

    def test_requirements_tell_of_every_architecture(self, case: FamilyCase) -> None:
        """Where a size is negative or 1 more, arrays of requirements are those of the architectures one by one."""
        for name in case.sizes():
            value = getattr(case.config, name)
            if not isinstance(value, int) or isinstance(value, bool) or value == 0:  # 0 leaves a part out
                continue
            values = (value, -1, value + 1)
            with np.errstate(all="ignore"):
                requirements = replace(case.config, **{name: np.array(values)}).requirements()
                single = [replace(case.config, **{name: v}).requirements() for v in values]
            for i, column in enumerate(requirements):
                holds = np.broadcast_to(column.holds, (3,)).tolist()
                assert holds == [bool(rows[i].holds) for rows in single], f"{column.reason}, {name}={values}"

    def test_grids_are_their_architectures(self, case: FamilyCase) -> None:
        for grid in case.grids():
            for phase in case.phases:
                assert_grid_is_its_architectures(grid, case.at(phase))

    def test_parameters_are_what_the_modules_weigh_under_any_workload(self, case: FamilyCase) -> None:
        config = case.config
        parameters = float(config.parameters())
        assert 0 <= float(config.active_parameters()) <= parameters
        assert parameters == int(parameters)
        for workload in (case.workload, replace(case.workload, batch_size=2 * case.workload.batch_size)):
            assembly = Assembly(workload)
            config.assemble(assembly)
            assert float(assembly.parameters) == parameters, workload

    def test_memory_is_the_sum_of_its_parts(self, case: FamilyCase) -> None:
        for phase in case.phases:
            use = case.config.memory(case.at(phase))
            parts = [float(part) for part in (use.weights, use.activations, use.kv_cache, use.optimizer)]
            assert all(np.isfinite(part) and part >= 0 for part in parts), (phase, parts)
            assert np.isclose(float(use.total), sum(parts), rtol=CLOSE)
            assert use.activations > 0
            assert (float(use.optimizer) > 0) == (phase is Phase.TRAIN)
            if phase is not Phase.TRAIN:
                assert float(use.weights) >= case.config.parameters() * case.workload.activation_dtype.itemsize

    def test_every_phase_has_its_operations(self, case: FamilyCase) -> None:
        for phase in case.phases:
            ops = case.config.lower(case.at(phase))
            names = [op.name for op in ops]
            assert names, phase
            assert len(set(names)) == len(names), f"two operations of {phase} have one name"
            assert all(np.all(np.asarray(op.count) >= 0) for op in ops)
        for phase in set(Phase) - set(case.phases):
            try:
                case.config.lower(case.at(phase))
            except UnsupportedError:
                continue
            raise AssertionError(f"{phase} is none of the family's phases, and is not refused")

    def test_flops_add_up(self, case: FamilyCase) -> None:
        """Over operations, and over samples: twice the batch is twice the FLOPs."""
        for phase in case.phases:
            workload = case.at(phase)
            ops = case.config.lower(workload)
            assert np.isclose(float(ops.flops()), sum(float(op.flops() * as_float(op.count)) for op in ops), rtol=CLOSE)
            twice = case.config.lower(replace(workload, batch_size=2 * workload.batch_size))
            assert np.isclose(float(twice.flops()), 2 * float(ops.flops()), rtol=1e-9), phase

    def test_parameters_are_those_of_the_module(self, case: FamilyCase) -> None:
        if case.module is None:
            return
        import torch

        with torch.device("meta"):
            module = case.module()
        assert int(case.config.parameters()) == sum(p.numel() for p in module.parameters())
