"""The wheel works from any directory: data, entry point and declared dependencies, without the checkout."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the built wheel in it; it borrows this environment's other packages."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(CHECKOUT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    venv = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    (site,) = (venv / "lib").glob("python*/site-packages")
    # a path in a .pth file comes last on sys.path, and the .pth files of that directory (the checkout's own
    # editable install) are not read
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv


def call(venv: Path, place: Path, *arguments: str) -> Any:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ARCHSEARCH"))}
    done = subprocess.run(
        [str(venv / "bin" / "archsearch"), *arguments, "--json"],
        cwd=place,
        env=environment | {"ARCHSEARCH_HOME": str(place / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_wheel_does_not_see_the_checkout(installed, tmp_path):
    code = "import archsearch, archsearch.data as d; print(archsearch.__file__, d.data_path('hardware_profiles'))"
    python = str(installed / "bin" / "python")
    done = subprocess.run([python, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert all(Path(path).is_relative_to(installed) for path in done.stdout.split())


def test_wheel_carries_the_profiles(installed, tmp_path):
    ids = {gpu["id"] for gpu in call(installed, tmp_path, "hardware", "list")}
    assert ids == {path.stem for path in (CHECKOUT / "hardware_profiles").glob("*.yaml")}


def test_wheel_carries_the_spaces(installed, tmp_path):
    names = {space["name"] for space in call(installed, tmp_path, "spaces", "list")}
    assert names == {path.stem for path in (CHECKOUT / "search_spaces").glob("*.yaml")}


def test_wheel_carries_the_pipelines(installed, tmp_path):
    arguments = ("pipeline", "estimate", "dit-xl-2", "--hardware", "h100-sxm")
    assert call(installed, tmp_path, *arguments)["pipeline"] == "dit-xl-2"
    names = {p["name"] for p in call(installed, tmp_path, "pipeline", "list")["pipelines"]}
    assert names == {path.stem for path in (CHECKOUT / "pipelines").glob("*.yaml")}


def test_wheel_carries_the_calibration(installed, tmp_path):
    arguments = ("estimate", "bert-large", "--hardware", "h100-sxm")
    from archsearch import estimate

    assert call(installed, tmp_path, *arguments)["latency_s"] == estimate("bert-large", "h100-sxm").latency_s


def test_wheel_carries_the_licence_and_no_tests(installed):
    (site,) = (installed / "lib").glob("python*/site-packages")
    (record,) = site.glob("archsearch-*.dist-info/RECORD")
    files = [line.split(",")[0] for line in record.read_text().splitlines()]
    assert any(name.endswith("licenses/LICENSE") for name in files)
    assert any(name.endswith("licenses/NOTICE") for name in files)
    assert "archsearch/py.typed" in files
    assert {name.split("/")[0] for name in files if ".dist-info" not in name and "/bin/" not in name} == {"archsearch"}


def imports(top_level_only: bool) -> Iterator[tuple[str, str]]:
    """(file, third-party package) of every import in the package."""
    for path in sorted((CHECKOUT / "archsearch").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in tree.body if top_level_only else ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                package = name.partition(".")[0]
                if package not in sys.stdlib_module_names and package != "archsearch":
                    yield str(path.relative_to(CHECKOUT)), package


def declared(requirements: list[str]) -> set[str]:
    """Import names of requirement lines."""
    names = {re.match(r"[\w.-]+", line).group().lower() for line in requirements}  # type: ignore[union-attr]
    return {IMPORT_NAMES.get(name, name) for name in names}


IMPORT_NAMES = {"pyyaml": "yaml", "nvidia-ml-py": "pynvml", "flash-attn": "flash_attn", "grpcio": "grpc"}
IMPORT_NAMES |= {"optuna-dashboard": "optuna_dashboard"}
TORCH_MODULES = {
    "archsearch/bench/micro/model_blocks.py",
    "archsearch/models/plain/dit.py",
    "archsearch/quality/modules.py",
    "archsearch/quality/tiny_decoders.py",
}
"""Subclasses of torch's classes; other modules import these inside the functions that need them."""
PAGE_MODULES = {"archsearch/ui/controls.py", "archsearch/ui/page.py", "archsearch/ui/panels.py"}
"""What the page is made of; ``archsearch/ui/serve.py`` imports them inside the function that serves it."""
TRITON_KERNELS = "archsearch/bench/micro/kernels.py"


def test_modules_import_only_base_dependencies():
    base = declared(PROJECT["dependencies"])
    found = {(file, name) for file, name in imports(top_level_only=True) if name not in base}
    pages = {(file, "nicegui") for file in PAGE_MODULES}
    assert found == pages | {(file, "torch") for file in TORCH_MODULES} | {
        (TRITON_KERNELS, "torch"),
        (TRITON_KERNELS, "triton"),
    }


def test_every_import_is_declared_somewhere():
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    known = declared(PROJECT["dependencies"]) | declared(extras)
    assert {(file, name) for file, name in imports(top_level_only=False) if name not in known} == set()


def test_every_base_dependency_is_used():
    """pyarrow is what pandas writes Parquet with; it is the one dependency that no line imports."""
    used = {name for _, name in imports(top_level_only=False)} | {"pyarrow"}
    assert declared(PROJECT["dependencies"]) - used == set()


def test_two_builds_are_the_same_bytes(tmp_path):
    """Of another folder, with other times and modes of files, and a wheel that is made from the sdist."""
    command = [sys.executable, str(CHECKOUT / "checks" / "build_twice.py"), "--out", str(tmp_path / "dist")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.suffix for path in (tmp_path / "dist").iterdir()) == [".gz", ".whl"]


def test_hosted_ci_runs_the_targets_of_the_local_one():
    """The workflow is a matrix of make's targets, and ``.ci/run`` calls make with a list of them."""
    local = re.findall(r"^make (.+)$", (CHECKOUT / ".ci" / "run").read_text(), re.MULTILINE)
    workflow = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["target"]
    assert job["strategy"]["matrix"]["target"] == " ".join(local).split()
    assert any(step.get("run", "").startswith("make ${{ matrix.target }}") for step in job["steps"])


def calibration_sources() -> set[str]:
    """Tables that shipped coefficients say they were fitted on."""
    folder = CHECKOUT / "hardware_profiles" / "calibration"
    texts = [path.read_text() for path in (*folder.glob("*.yaml"), *folder.glob("corrections/*.json"))]
    return {name for text in texts for name in re.findall(r"[\w-]+\.csv", text)}


def test_notice_names_every_table_that_coefficients_were_fitted_on():
    tables = calibration_sources()
    assert "gemm_tensor_core.csv" in tables
    notice = (CHECKOUT / "NOTICE").read_text()
    assert {name for name in tables if name not in notice} == set()


def test_notice_gives_every_source_a_licence_or_says_that_it_is_unknown():
    """A source is a paragraph with an address; the line below the address is its licence."""
    lines = [line.strip() for line in (CHECKOUT / "NOTICE").read_text().splitlines()]
    addresses = [number for number, line in enumerate(lines) if line.startswith("https://")]
    assert len(addresses) >= 15
    assert [lines[n] for n in addresses if not re.search(r"[Ll]icen[sc]e", lines[n + 1])] == []
