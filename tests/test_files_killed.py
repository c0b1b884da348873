"""Writers that are killed or run out of room: the file is the old one or the new one, never a part of one."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archsearch.bench.micro.results import COLUMNS, ResultsFile
from archsearch.errors import InvalidInputError
from archsearch.files import replacing, write_text

KILLS = 6
"""Of one writer here; ``make faults`` kills more."""
SETUP = """
import sys
from pathlib import Path
target = Path(sys.argv[1])
"""
WRITERS = {
    "text.yaml": "from archsearch.files import write_text\nwrite = lambda n: write_text(target, str(n % 10) * 300_000)",
    "table.csv": "import pandas as pd\nfrom archsearch.tables import write_table\n"
    "write = lambda n: write_table(pd.DataFrame({'a': [n % 10] * 20_000}), target)",
    "table.parquet": "import pandas as pd\nfrom archsearch.tables import write_table\n"
    "write = lambda n: write_table(pd.DataFrame({'a': [n % 10] * 20_000}), target)",
    "table.json": "import pandas as pd\nfrom archsearch.tables import write_table\n"
    "write = lambda n: write_table(pd.DataFrame({'a': [n % 10] * 5_000}), target)",
    "picture.html": "from archsearch.plotting.save import save\nimport plotly.graph_objects as go\n"
    "write = lambda n: save(go.Figure(go.Scatter(y=[n % 10] * 9)), target)",
    "rows.csv": "from archsearch.bench.micro.results import ResultsFile\nfile = ResultsFile(target)\n"
    "write = lambda n: file.add({'device': 'd' * 2000, 'key': str(n)})",
}
LOOP = "\nprint('ready', flush=True)\nfor n in range(10**9): write(n)\n"


def whole(path: Path) -> bool:
    """Whether the file is what one call of its writer writes."""
    import pandas as pd

    match path.name:
        case "text.yaml":
            text = path.read_text()
            return len(text) == 300_000 and len(set(text)) == 1
        case "table.csv":
            frame = pd.read_csv(path)
            return len(frame) == 20_000 and frame["a"].nunique() == 1
        case "table.parquet":
            frame = pd.read_parquet(path)
            return len(frame) == 20_000 and frame["a"].nunique() == 1
        case "table.json":
            frame = pd.read_json(path)
            return len(frame) == 5_000 and frame["a"].nunique() == 1
        case "picture.html":
            return path.read_text(encoding="utf-8").rstrip().endswith("</html>")
        case _:
            rows = ResultsFile(path).done.values()
            return all(len(row["device"]) == 2000 for row in rows) and len(rows) > 0


def kill_writer(path: Path, code: str, after_s: float) -> None:
    """Let a process write the file over and over, and kill it in the middle of it."""
    process = subprocess.Popen([sys.executable, "-c", SETUP + code + LOOP, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    while not path.exists():
        time.sleep(0.001)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path, name: str) -> None:
    chance = random.Random(name)
    for _ in range(max(1, KILLS // len(WRITERS))):
        kill_writer(tmp_path / name, WRITERS[name], chance.uniform(0, 0.05))
        assert whole(tmp_path / name)
        assert list(tmp_path.glob("*.yaml")) in ([], [tmp_path / "text.yaml"])  # no draft is taken for a file


def test_a_disk_without_room_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    write_text(path, "old")
    path.chmod(0o640)
    code = f"from archsearch.files import write_text; write_text({str(path)!r}, 'new' * 100_000)"

    def little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = subprocess.run([sys.executable, "-c", code], preexec_fn=little_room, capture_output=True, text=True)
    assert f"{path}: cannot be written: File too large" in process.stderr
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]
    with pytest.raises(InvalidInputError, match="/dev/full: cannot be written: No space left on device"):
        write_text("/dev/full", "new")


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text("old")
    real.chmod(0o604)
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o604

    def half() -> None:
        with replacing(link) as draft:
            draft.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert real.read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


def test_a_row_cut_off_is_measured_again_and_one_without_room_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    rows = ResultsFile(path)
    for key in ("a", "b"):
        rows.add({"device": "d", "key": key})
    before = path.read_bytes()
    path.write_bytes(before[:-4])  # all of the last row but its end
    assert list(ResultsFile(path).done) == [("d", "a")]
    assert path.read_bytes().splitlines()[0].decode() == ",".join(COLUMNS)
    ResultsFile(path).add({"device": "d", "key": "b"})
    assert path.read_bytes() == before
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        ResultsFile(path).add({"device": "d", "key": "c"})
    assert path.read_bytes() == before
