"""Our own families keep the contract that an outsider's can be checked with; and it catches a family that does not.

A family that is registered, and named in no list of ours, is estimated, judged, searched and explained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from references import SMALL
from toy_diffusion import SPACE, ToyDiffusionConfig, toy_module, write_presets

import archsearch
from archsearch.api import explain
from archsearch.arrays import as_float
from archsearch.models.assembly import Assembly
from archsearch.models.base import Modality, Requirement
from archsearch.models.registry.families import load_preset, register_family, unregister_family
from archsearch.quality import default_proxy, get_proxy
from archsearch.testing.family_contract import FamilyCase, FamilyContract
from archsearch.workload import Workload

ONE_ONLY = {"cogvideox": frozenset({"patch_size_t"})}
TOY = ToyDiffusionConfig(num_layers=4, hidden_size=256, num_attention_heads=4)
WORK = Workload(batch_size=2, height=256, width=256)


class TestOurFamilies(FamilyContract):
    """Two layers of every kind; ``test_models_real_modules.py`` compares presets with the real modules."""

    @pytest.fixture(params=SMALL)
    def case(self, request: pytest.FixtureRequest) -> FamilyCase:
        reference = SMALL[request.param](2)
        alone = ONE_ONLY.get(reference.config.family, frozenset())
        return FamilyCase(config=reference.config, workload=reference.workload, alone=alone)


class TestAFamilyOfAnOutsider(FamilyContract):
    @pytest.fixture
    def case(self) -> FamilyCase:
        return FamilyCase(config=TOY, workload=WORK, module=toy_module)


class _Loops(ToyDiffusionConfig):
    """Takes one architecture alone."""

    def requirements(self) -> tuple[Requirement, ...]:
        return (
            Requirement(reason="num_layers must be even", holds=bool(np.all(np.asarray(self.num_layers) % 2 == 0))),
        )


class _WeighsItsInput(ToyDiffusionConfig):
    """Its parameters grow with the batch."""

    def assemble(self, a: Assembly) -> None:
        ToyDiffusionConfig.assemble(self, a)
        a.weigh(as_float(a.w.batch_size))


class _ForgetsTheGrid(ToyDiffusionConfig):
    """Its FLOPs are those of the first architecture."""

    def assemble(self, a: Assembly) -> None:
        ToyDiffusionConfig.assemble(replace(self, num_layers=int(np.asarray(self.num_layers).flat[0])), a)


class _SaysNamesTwice(ToyDiffusionConfig):
    """Two of its operations have one name."""

    def assemble(self, a: Assembly) -> None:
        ToyDiffusionConfig.assemble(self, a)
        a.pointwise("final", "add", 1, 1)


class _RunsOnce(ToyDiffusionConfig):
    """Its first layer works on one sample alone, whatever the batch."""

    def assemble(self, a: Assembly) -> None:
        ToyDiffusionConfig.assemble(self, a)
        a.linear("extra", 1, 8, 8, bias=False)


@pytest.mark.parametrize(
    ("family", "test"),
    [
        (_Loops, FamilyContract.test_requirements_tell_of_every_architecture),
        (_WeighsItsInput, FamilyContract.test_parameters_are_what_the_modules_weigh_under_any_workload),
        (_ForgetsTheGrid, FamilyContract.test_grids_are_their_architectures),
        (_SaysNamesTwice, FamilyContract.test_every_phase_has_its_operations),
        (_RunsOnce, FamilyContract.test_flops_add_up),
        (_RunsOnce, FamilyContract.test_parameters_are_those_of_the_module),
    ],
)
def test_the_contract_catches(family: type[Any], test: Callable[[FamilyContract, FamilyCase], None]) -> None:
    config = family(num_layers=4, hidden_size=256, num_attention_heads=4)
    with pytest.raises(AssertionError):
        test(FamilyContract(), FamilyCase(config=config, workload=WORK, module=toy_module))


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[Path]:
    register_family(ToyDiffusionConfig, write_presets(tmp_path))
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    yield space
    unregister_family("toy-diffusion")


@pytest.mark.usefixtures("registered")
def test_a_registered_family_is_estimated_and_explained() -> None:
    answer = archsearch.estimate("toy-diffusion-s", "t4", height=256, width=256, dtype="fp16")
    assert answer.parameters == sum(p.numel() for p in toy_module().parameters())
    assert answer.throughput_unit == "image steps/s"
    assert answer.memory_bytes["weights"] == 2 * answer.parameters
    told = explain("toy-diffusion-s", "t4", height=256, width=256, dtype="fp16")
    assert told.per == "step"
    assert {row["dimension"] for row in told.neighbours} >= {"hidden_size", "num_layers"}


@pytest.mark.usefixtures("registered")
def test_a_registered_family_has_the_quality_of_its_modality() -> None:
    assert default_proxy("toy-diffusion").name == default_proxy("sd3").name
    assert "toy-diffusion" in get_proxy("latent-diffusion-fid").families
    assert "toy-diffusion" in get_proxy("dit-loss").families
    assert "toy-diffusion" not in get_proxy("chinchilla").families
    assert load_preset("toy-diffusion-s").modality is Modality.IMAGE


def test_a_space_of_a_registered_family_is_searched(registered: Path) -> None:
    frame = archsearch.enumerate_space(str(registered), "t4")
    assert len(frame) > 1
    assert frame.attrs["family"] == "toy-diffusion"
    assert np.all(np.isfinite(frame["quality"]))
    best = archsearch.recommend(str(registered), hardware="t4", top=1)
    assert {"quality_rank_best", "quality_rank_worst"} <= set(best.columns)  # proxies of the modality were compared
