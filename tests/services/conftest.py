"""A PostgreSQL server of the tests' own: on loopback, as a user without rights, stopped by its own process id."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from processes import free_port

PASSWORD = f"p{secrets.token_hex(8)}%40%2Fx"  # @ and a slash, encoded for a URL


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database's URL, password included."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.fail("no PostgreSQL server here: run tests/services/install-postgresql.sh")
    owner = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name  # the server refuses root
    home = Path(tempfile.mkdtemp(prefix="archsearch-postgres-", dir="/tmp"))
    secret, port = home / "secret", free_port()
    secret.write_text(unquote(PASSWORD) + "\n")
    if os.getuid() == 0:
        for path in (home, secret):
            shutil.chown(path, owner)
    user = {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    data = str(home / "data")
    initialise = [str(programs[-1] / "initdb"), "-D", data, "-U", "tester", "-A", "scram-sha-256", f"--pwfile={secret}"]
    subprocess.run([*initialise, "-E", "UTF8", "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd=home, **user)
    serve = [str(programs[-1] / "postgres"), "-D", data, "-p", str(port), "-k", str(home)]
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen([*serve, *options], stdout=log, stderr=log, cwd=home, **user)
    try:
        url = f"postgresql+psycopg://tester:{PASSWORD}@127.0.0.1:{port}/postgres"
        _wait_until_ready(url, server)
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown of this very process
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
        shutil.rmtree(home, ignore_errors=True)


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url.replace("+psycopg", ""), connect_timeout=5).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
