"""Install the wheel, alone and with each extra, into new environments of several Pythons, and ask it for an answer.

    python checks/installs.py python3.11 python3.12 python3.13

Needs a package index. Extras that need CUDA or gigabytes (``flash``, and ``torch`` and ``notebooks`` without
``--torch``) are told as left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    "torch": ["torch"],
    "models": ["transformers", "diffusers"],
    "notebooks": ["jupyterlab", "ipykernel"],
    "report": ["matplotlib"],
    "ui": ["nicegui"],
    "dashboard": ["optuna_dashboard"],
    "samplers": ["cmaes"],
    "postgres": ["psycopg"],
    "grpc": ["grpc", "google.protobuf"],
    "dask": ["distributed"],
    "docs": ["zensical", "mkdocstrings"],
}
"""What each extra brings; those of contributors (``dev``, ``checks``) are what `make test` and `make audit` install."""
HEAVY = ("notebooks", "torch")
SEEN = "estimate", "bert-base", "--hardware", "h100-sxm", "--json"


def called(*command: str, cwd: str | None = None) -> str:
    """What a command prints.

    Raises:
        RuntimeError: it failed; the text ends in its last lines.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ARCHSEARCH"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def tried(wheel: Path, python: str, extra: str) -> None:
    """Install into a new environment and ask the command line; an extra's modules are imported.

    Raises:
        RuntimeError: what did not work.
    """
    uv = [sys.executable, "-m", "uv"]
    with tempfile.TemporaryDirectory() as place:
        venv = Path(place) / "venv"
        called(*uv, "venv", "--quiet", "--python", python, str(venv))
        inside = str(venv / "bin" / "python")
        wanted = f"archsearch[{extra}] @ file://{wheel}" if extra else str(wheel)
        called(*uv, "pip", "install", "--quiet", "--python", inside, wanted)
        answer = json.loads(called(str(venv / "bin" / "archsearch"), *SEEN, cwd=place))
        if not answer["latency_s"] > 0:
            raise RuntimeError(f"no latency: {answer}")
        for module in MODULES.get(extra, ()):
            called(inside, "-c", f"import {module}", cwd=place)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("pythons", nargs="+", help="names or paths of interpreters")
    parser.add_argument("--torch", action="store_true", help="with the extras that bring torch")
    asked = parser.parse_args()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    left_out = {name for name in extras if name not in MODULES or (name in HEAVY and not asked.torch)}
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        called(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", place, str(ROOT))
        (wheel,) = Path(place).glob("*.whl")
        for python in asked.pythons:
            if shutil.which(python) is None:
                print(f"{python}: NOT TRIED, no such interpreter")
                failed += 1
                continue
            for extra in ["", *(e for e in extras if e not in left_out)]:
                try:
                    tried(wheel, python, extra)
                    print(f"{python} {extra or 'base'}: ok", flush=True)
                except RuntimeError as error:
                    failed += 1
                    print(f"{python} {extra or 'base'}: FAILED, {error}", flush=True)
    print(f"left out: {', '.join(sorted(left_out))}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
