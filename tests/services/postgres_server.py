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
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from processes import free_port

PASSWORD = f"p{secrets.token_hex(8)}%40%2Fx"  # @ and a slash, encoded for a URL


class PostgresServer:
    """A server with a data directory of its own; it can be stopped and started again.

    Raises:
        FileNotFoundError: no PostgreSQL is installed.
    """

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not programs:
            raise FileNotFoundError("no PostgreSQL server here: run tests/services/install-postgresql.sh")
        owner = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name  # the server refuses root
        self.home = Path(tempfile.mkdtemp(prefix="archsearch-postgres-", dir="/tmp"))
        secret, port = self.home / "secret", free_port()
        secret.write_text(unquote(PASSWORD) + "\n")
        if os.getuid() == 0:
            for path in (self.home, secret):
                shutil.chown(path, owner)
        root = os.getuid() == 0
        group = pwd.getpwnam(owner).pw_gid
        self._user: dict[str, Any] = {"user": owner, "group": group, "extra_groups": []} if root else {}
        data = str(self.home / "data")
        initialise = [str(programs[-1] / "initdb"), "-D", data, "-U", "tester", "-A", "scram-sha-256"]
        initialise += [f"--pwfile={secret}", "-E", "UTF8", "--no-sync"]
        subprocess.run(initialise, check=True, stdout=subprocess.DEVNULL, cwd=self.home, **self._user)
        self._serve = [str(programs[-1] / "postgres"), "-D", data, "-p", str(port), "-k", str(self.home)]
        self._serve += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        self.url = f"postgresql+psycopg://tester:{PASSWORD}@127.0.0.1:{port}/postgres"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        import psycopg

        with (self.home / "log").open("ab") as log:
            self._server = subprocess.Popen(self._serve, stdout=log, stderr=log, cwd=self.home, **self._user)
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._server.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """A fast shutdown of this very process: connections are ended."""
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(30)
        except subprocess.TimeoutExpired:
            self._server.kill()

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
