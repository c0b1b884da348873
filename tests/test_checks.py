"""What `make audit`, `make test-lowest` and `make test-installs` decide, on findings that are made up."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"checks_{name}", CHECKOUT / "checks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


audit, installs, lowest = script("audit"), script("installs"), script("lowest")


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("BSD License; MIT License", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("Apache-2.0 OR GPL-3.0", True),
        ("(Apache-2.0 OR BSD-2-Clause)", True),
        ("Apache-2.0 AND GPL-3.0", False),
        ("MIT License; GNU General Public License (GPL)", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_a_licence_is_allowed_by_all_of_its_parts_or_one_of_its_alternatives(licence: str, allowed: bool) -> None:
    assert audit.may_pass(licence) is allowed


def test_a_package_without_a_known_licence_is_told_unless_it_is_excused() -> None:
    packages = [
        {"Name": "good", "Version": "1", "License": "MIT"},
        {"Name": "Odd", "Version": "2", "License": "UNKNOWN"},
        {"Name": "archsearch", "Version": "0", "License": "anything"},
    ]
    assert audit.unpermitted(packages, set()) == (["Odd 2: UNKNOWN"], set())
    assert audit.unpermitted(packages, {"odd"}) == ([], {"odd"})


def test_a_finding_needs_an_excuse_of_its_test_and_file_and_no_excuse_goes_stale() -> None:
    finding = {"filename": "archsearch/a.py", "line_number": 3, "test_id": "B102", "issue_text": "exec"}
    here, elsewhere = ({"test": "B102", "file": file} for file in ("archsearch/a.py", "archsearch/b.py"))
    assert audit.unexcused([finding], [here]) == ([], [])
    assert audit.unexcused([finding], [{"test": "B102", "file": "*"}]) == ([], [])
    lines, stale = audit.unexcused([finding], [elsewhere])
    assert lines == ["archsearch/a.py:3: B102 exec"]
    assert stale == ["B102 in archsearch/b.py: an excuse for nothing"]


def test_vulnerable_packages_are_told_and_those_without_an_answer_too() -> None:
    weakness = {"id": "CVE-1", "fix_versions": ["2", "1.5"]}
    report = {
        "dependencies": [
            {"name": "bad", "version": "1", "vulns": [weakness]},
            {"name": "good", "version": "1", "vulns": []},
            {"name": "unheard", "skip_reason": "not found"},
            {"name": "archsearch", "skip_reason": "not found"},
        ]
    }
    assert audit.unanswered(report) == (["bad 1: CVE-1, mended in 2, 1.5"], ["unheard"])


def test_every_excuse_has_a_reason_and_a_file_that_exists() -> None:
    excuses = yaml.safe_load(audit.EXCUSES.read_text())
    for entry in (*excuses["bandit"], *excuses["licences"]):
        assert len(entry["reason"]) > 15
    assert all(e["file"] == "*" or (CHECKOUT / e["file"]).is_file() for e in excuses["bandit"])


def test_the_lowest_versions_are_those_of_the_project() -> None:
    assert (CHECKOUT / "requirements" / "lowest.txt").read_text() == lowest.lowest()


def test_the_lowest_set_leaves_out_no_extra_but_those_it_names() -> None:
    (line,) = [x for x in (CHECKOUT / "Makefile").read_text().splitlines() if x.startswith("LOWEST_EXTRAS :=")]
    assert sorted([*line.split(":=")[1].strip().split(","), "models"]) == lowest.extras(PROJECT)


def test_every_extra_that_users_install_is_tried_or_told() -> None:
    """``flash`` compiles CUDA; ``dev`` and ``checks`` are contributors'."""
    assert set(PROJECT["optional-dependencies"]) - set(installs.MODULES) == {"flash", "dev", "checks"}
