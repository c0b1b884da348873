"""What calibration and correction files may hold: physical values of coefficients that a kernel model has."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from archsearch import yaml_records
from archsearch.cli.main import run
from archsearch.cost import calibration as calibrations
from archsearch.cost.calibration import Calibration, read_calibration
from archsearch.cost.correction import read_corrections
from archsearch.errors import InvalidInputError
from archsearch.hardware import parsed as parsed_files
from archsearch.models.registry import presets

SHIPPED = Path("hardware_profiles/calibration")
KERNEL = "gemm/16bit"


@pytest.fixture(scope="module")
def good() -> Any:
    """A shipped file of one GPU, as plain values."""
    return yaml.safe_load((SHIPPED / "h100-sxm.yaml").read_text())


@pytest.fixture(scope="module")
def networks() -> Any:
    return json.loads((SHIPPED / "corrections" / "h100-sxm.json").read_text())


def set_at(content: Any, place: tuple[str, ...], value: object) -> Any:
    changed = deepcopy(content)
    part = changed
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    return changed


def line_with(text: str, *keys: str) -> int:
    """The line, counted from 1, of the key that these lead to in a file in block style, two spaces a level."""
    lines, at = text.splitlines(), 0
    for depth, key in enumerate(keys):
        at = next(i for i in range(at, len(lines)) if lines[i].startswith(f"{'  ' * depth}{key}:"))
    return at + 1


FIT = ("kernels", KERNEL)
HOSTILE: list[tuple[tuple[str, ...], object, str]] = [
    ((*FIT, "coefficients", "launch_s"), -1.0, "must be 3e-07 to 4e-05 s"),
    ((*FIT, "coefficients", "launch_s"), 1.0, "must be 3e-07 to 4e-05 s"),
    ((*FIT, "coefficients", "rate_fraction"), 1.7, "must be 0.4 to 1 "),
    ((*FIT, "coefficients", "dram_fraction"), 0.0, "must be 0.5 to 1 "),
    ((*FIT, "coefficients", "rate_fraction"), float("nan"), "finite"),
    ((*FIT, "coefficients", "rate_fraction"), float("inf"), "finite"),
    ((*FIT, "coefficients", "rate_fraction"), "fast", "number"),
    ((*FIT, "coefficients", "rate_fractoin"), 0.9, "unknown coefficient of gemm/16bit; did you mean rate_fraction"),
    ((*FIT, "coefficients", "softmax_factor"), 1.0, "unknown coefficient of gemm/16bit"),
    ((*FIT, "bands", "compute"), {"low": 1.1, "high": 1.2}, "less than or equal to 1"),
    ((*FIT, "bands", "compute"), {"low": 0.8, "high": 0.9}, "greater than or equal to 1"),
    ((*FIT, "bands", "compute"), {"low": -0.5, "high": 1.2}, "greater than 0"),
    ((*FIT, "bands", "compute"), {"low": 0.5, "high": 1e9}, "less than or equal to 20"),
    ((*FIT, "bands", "speed"), {"low": 0.9, "high": 1.1}, "'compute', 'memory' or 'latency'"),
    ((*FIT, "residuals", "mape"), -1.0, "greater than or equal to 0"),
    ((*FIT, "rows"), -5, "greater than or equal to 0"),
    ((*FIT, "speed"), 3, "unknown field"),
    (("level",), "galaxy", "'gpu', 'architecture' or 'default'"),
    (("serves",), [], "at least 1"),
]


@pytest.mark.parametrize(("place", "value", "said"), HOSTILE, ids=lambda v: str(v)[-40:])
def test_what_physics_or_the_model_excludes_is_refused_with_its_line(
    good: Any, place: tuple[str, ...], value: object, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "h100-sxm.yaml"
    path.write_text(yaml.safe_dump(set_at(good, place, value), sort_keys=False))
    with pytest.raises(InvalidInputError) as caught:
        read_calibration(path)
    text = str(caught.value)
    assert said in text
    line, field = text.removeprefix(f"{path}:").split(": ")[:2]
    assert field.startswith(".".join(place))
    assert int(line) == line_with(path.read_text(), *field.split("."))
    with pytest.raises(InvalidInputError):
        Calibration.load(tmp_path)


def test_a_family_that_no_model_serves_is_refused(good: Any, tmp_path: Path) -> None:
    path = tmp_path / "h100-sxm.yaml"
    path.write_text(yaml.safe_dump(set_at(good, ("kernels", "gemm/16bits"), good["kernels"][KERNEL]), sort_keys=False))
    line = line_with(path.read_text(), "kernels", "gemm/16bits")
    with pytest.raises(InvalidInputError, match=rf"{line}: kernels.gemm/16bits: unknown kernel family; did you mean"):
        read_calibration(path)


def test_every_problem_of_a_file_is_told_at_once(good: Any, tmp_path: Path) -> None:
    path = tmp_path / "h100-sxm.yaml"
    bad = set_at(set_at(good, (*FIT, "coefficients", "launch_s"), -1.0), (*FIT, "coefficients", "odd_rate"), 9.0)
    path.write_text(yaml.safe_dump(bad, sort_keys=False))
    with pytest.raises(InvalidInputError) as caught:
        read_calibration(path)
    assert len(str(caught.value).splitlines()) == 2


def test_no_estimate_comes_of_a_hostile_file(
    good: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "calibration").mkdir()
    bad = set_at(good, (*FIT, "coefficients", "launch_s"), -1.0)
    (tmp_path / "calibration" / "h100-sxm.yaml").write_text(yaml.safe_dump(bad, sort_keys=False))
    monkeypatch.setenv("ARCHSEARCH_PROFILES", str(tmp_path))
    assert run(["estimate", "dit-s-2", "-g", "h100-sxm"]) == 2
    said = capsys.readouterr()
    assert "launch_s" in said.err
    assert said.out == ""


def test_the_shipped_files_are_read() -> None:
    assert len([read_calibration(path) for path in SHIPPED.glob("*.yaml")]) > 10
    assert all(read_corrections(path) for path in (SHIPPED / "corrections").glob("*.json"))


NETWORK = ("kernels", KERNEL)
HOSTILE_NETWORKS: list[tuple[tuple[str, ...], object, str]] = [
    ((*NETWORK, "limit"), 30.0, "limit must be 0 to"),
    ((*NETWORK, "limit"), -0.1, "limit must be 0 to"),
    ((*NETWORK, "limit"), float("nan"), "limit must be 0 to"),
    ((*NETWORK, "b3"), [1.0], "shape"),
    ((*NETWORK, "w1"), [], "shape"),
    ((*NETWORK, "b3"), [0.0, 0.0, 0.0, float("nan")], "b3 holds what is no finite number"),
    ((*NETWORK, "more"), 1.0, "unknown fields more"),
    ((*NETWORK, "features"), ["m"], "other features"),
    (("kernels", "memory/norm"), {}, "matrix products"),
    (NETWORK, [], "not a correction"),
    (("kernels",), [], "no mapping kernels"),
    (("author",), "me", "unknown field"),
]


@pytest.mark.parametrize(("place", "value", "said"), HOSTILE_NETWORKS, ids=lambda v: str(v)[-40:])
def test_what_is_no_correction_is_refused(
    networks: Any, place: tuple[str, ...], value: object, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "h100-sxm.json"
    path.write_text(json.dumps(set_at(networks, place, value)))
    with pytest.raises(InvalidInputError, match=rf"h100-sxm\.json:1: .*{said}"):
        read_corrections(path)


def test_negative_scales_and_crossed_ranges_are_no_correction(networks: Any, tmp_path: Path) -> None:
    for name in ("scale", "low"):
        path = tmp_path / f"{name}.json"
        values = networks["kernels"][KERNEL][name]
        worse = [-1.0, *values[1:]] if name == "scale" else [1e9, *values[1:]]
        path.write_text(json.dumps(set_at(networks, (*NETWORK, name), worse)))
        with pytest.raises(InvalidInputError, match="scale must be above 0, and low not above high"):
            read_corrections(path)


class TestSecondProcess:
    """What an answer reads again in every process is parsed in the first only."""

    @pytest.fixture
    def parsed(self, tmp_path, monkeypatch) -> list[str]:
        """The names of the files that were parsed as YAML, in a home of its own."""
        monkeypatch.setenv("ARCHSEARCH_HOME", str(tmp_path / "home"))
        names: list[str] = []

        def counted(path: Path) -> dict[str, object]:
            names.append(path.name)
            return yaml_records.read_mapping(path)

        monkeypatch.setattr(parsed_files, "read_mapping", counted)
        return names

    def again(self) -> None:
        """As another process would begin."""
        for remembered in (parsed_files._kept, calibrations._load, presets.read_presets):
            remembered.cache_clear()

    def test_calibrations_are_parsed_once(self, parsed):
        folders = ((SHIPPED.resolve(), 0),)
        self.again()
        first = [read_calibration(file) for file in sorted(SHIPPED.resolve().glob("*.yaml"))]
        parsed.clear()
        self.again()
        calibrations._load(folders)
        assert sorted(parsed) == sorted(file.name for file in SHIPPED.glob("*.yaml"))
        parsed.clear()
        self.again()
        calibrations._load(folders)
        assert parsed == []
        assert [read_calibration(file) for file in sorted(SHIPPED.resolve().glob("*.yaml"))] == first

    def test_a_calibration_that_changed_is_parsed_again(self, parsed, tmp_path):
        file = tmp_path / "h100-sxm.yaml"
        text = (SHIPPED / "h100-sxm.yaml").read_text()
        file.write_text(text)
        for _ in range(2):
            self.again()
            calibrations._load(((tmp_path, 0),))
        assert parsed == [file.name]
        worse = yaml.safe_load(text)
        worse["kernels"][KERNEL]["coefficients"]["rate_fraction"] = 1.7
        file.write_text(yaml.safe_dump(worse))
        self.again()
        with pytest.raises(InvalidInputError, match=r"h100-sxm\.yaml:\d+: .*rate_fraction"):
            calibrations._load(((tmp_path, 0),))

    def test_presets_are_parsed_once(self, parsed):
        path = presets.PRESETS_DIR / "encoder.yaml"
        self.again()
        first = presets.read_presets(path)
        self.again()
        assert presets.read_presets(path) == first
        assert parsed == [path.name]
        told = yaml.safe_load(path.read_text())
        assert {name: {"source": p.source, **p.values} for name, p in first.items()} == told
