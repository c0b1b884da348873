"""Build the wheel and the sdist twice and compare them byte by byte: `make dist` leaves them in dist/.

The second build runs in a copy of the checkout in another folder, whose files have other times and modes, and makes its
wheel from the sdist. So that equal wheels also say that the sdist has all that the wheel needs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EPOCH = "1767225600"
"""SOURCE_DATE_EPOCH where the caller sets none: 2026-01-01. The times that files in both archives get."""


def build(checkout: Path, out: Path, *kinds: str) -> None:
    """Build in the environment at hand (``--no-isolation``), from a checkout into a folder."""
    environment = {"SOURCE_DATE_EPOCH": EPOCH} | os.environ
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", str(out), str(checkout)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def copied(target: Path) -> Path:
    """A copy of the checkout's tracked and new files, with modes and times of their own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for number, name in enumerate(sorted(filter(None, listed.stdout.split("\0")))):
        if not (ROOT / name).is_file():
            continue
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, path)
        path.chmod(0o750 if os.access(ROOT / name, os.X_OK) else 0o640)
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
    return target


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 by file name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the archives stay")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as place:
        first, second = Path(place) / "first", Path(place) / "second"
        build(ROOT, first, "--sdist", "--wheel")
        build(copied(Path(place) / "elsewhere"), second)
        found, again = digests(first), digests(second)
        if found != again:
            print("two builds differ:", *sorted(found.items() ^ again.items()), sep="\n  ")
            return 1
        out.mkdir(parents=True, exist_ok=True)
        for path in first.iterdir():
            shutil.copyfile(path, out / path.name)
    print(*(f"{digest}  {name}" for name, digest in found.items()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
