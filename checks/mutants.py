"""Do the tests notice when the code is wrong? `make mutants` breaks cost/ and search/ in small ways and runs them.

cosmic-ray makes every mutant of each module below (another operator, another number, a condition turned round ...); a
sample of them, drawn by a seed, is tried in a copy of the checkout. A mutant that no test fails on survives: it is
printed as a diff, to be killed by a new test or understood to change nothing.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("archsearch", "benchmarks", "hardware_profiles", "pipelines", "search_spaces", "tests", "pyproject.toml")
TESTS = {
    "archsearch/cost/bounds.py": "tests/test_cost_roofline_bound.py",
    "archsearch/cost/collectives.py": "tests/test_cost_collective.py",
    "archsearch/cost/combine.py": "tests/test_cost_gemm.py tests/test_cost_attention.py",
    "archsearch/cost/correction_leash.py": "tests/test_cost_correction_leash.py",
    "archsearch/cost/kernels": "tests/test_cost_gemm.py tests/test_cost_attention.py tests/test_cost_memory.py "
    "tests/test_cost_collective.py tests/test_cost_experts.py tests/test_cost_delta_net.py tests/test_cost_decode.py",
    "archsearch/cost/legality.py": "tests/test_cost_execution.py tests/test_cost_model.py",
    "archsearch/cost/quantization.py": "tests/test_cost_quantization.py",
    "archsearch/cost/replicas.py": "tests/test_cost_replicas.py",
    "archsearch/search/explore/windows.py": "tests/test_search_windows.py",
    "archsearch/search/pareto.py": "tests/test_search_pareto.py",
    "archsearch/search/space": "tests/test_search_space.py tests/test_space_files.py tests/test_space_changes.py",
}
"""What is broken, a file or a package, and the tests that have to notice."""
IN_ANNOTATIONS = "core/ReplaceBinaryOperator_BitOr"
"""Mutants that are left out: ``A | B`` of types, which is never run, is nearly all that they break."""
CONFIG = """\
[cosmic-ray]
module-path = "{module}"
timeout = {timeout}
excluded-modules = []
test-command = "{python} -m pytest -n 0 -x -q -p no:cacheprovider {tests}"
[cosmic-ray.distributor]
name = "local"
"""


def called(*command: str, cwd: Path) -> str:
    """What a command prints on stdout; the script ends where it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-800:]}")
    return done.stdout


def sampled(session: Path, most: int, seed: int) -> int:
    """Keep at most so many of a session's mutants; how many there were."""
    with sqlite3.connect(session) as database:
        rows = "select job_id, module_path, operator_name, occurrence from mutation_specs order by 2, 3, 4"
        every = [(job, operator) for job, _, operator, _ in database.execute(rows)]
        jobs = [job for job, operator in every if not operator.startswith(IN_ANNOTATIONS)]
        kept = set(random.Random(seed).sample(jobs, min(most, len(jobs))))
        for job, _ in every:
            if job not in kept:
                database.execute("delete from mutation_specs where job_id = ?", (job,))
                database.execute("delete from work_items where job_id = ?", (job,))
    return len(jobs)


def outcomes(session: Path) -> tuple[int, list[str]]:
    """Mutants that were tried, and the diffs of those that survived."""
    with sqlite3.connect(session) as database:
        rows = database.execute("select test_outcome, diff from work_results").fetchall()
    return len(rows), [diff or "" for outcome, diff in rows if str(outcome).upper().endswith("SURVIVED")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--each", type=int, default=30, help="mutants tried of each module")
    parser.add_argument("--seed", type=int, default=0, help="which are drawn")
    parser.add_argument("--timeout", type=float, default=300, help="seconds after which a mutant counts as noticed")
    parser.add_argument("modules", nargs="*", help=f"some of {', '.join(TESTS)}")
    asked = parser.parse_args()
    unknown = set(asked.modules) - set(TESTS)
    if unknown:
        parser.error(f"no tests are known of {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "checkout"
        copy.mkdir()
        for name in COPIED:
            source = ROOT / name
            shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy / name)
        total = alive = 0
        for number, module in enumerate(asked.modules or TESTS):
            config, session = Path(place) / f"{number}.toml", Path(place) / f"{number}.sqlite"
            config.write_text(
                CONFIG.format(module=module, timeout=asked.timeout, python=sys.executable, tests=TESTS[module])
            )
            called(sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", *TESTS[module].split(), cwd=copy)
            ray = [str(Path(sys.executable).with_name("cosmic-ray"))]
            called(*ray, "init", str(config), str(session), cwd=copy)
            count = sampled(session, asked.each, asked.seed)
            called(*ray, "exec", str(config), str(session), cwd=copy)
            tried, survivors = outcomes(session)
            total, alive = total + tried, alive + len(survivors)
            print(f"{module}: {tried} of {count} mutants tried, {len(survivors)} survived", flush=True)
            print(*survivors, sep="\n", flush=True)
    print(f"{total} tried, {total - alive} noticed, {alive} survived")
    return 0


if __name__ == "__main__":
    sys.exit(main())
