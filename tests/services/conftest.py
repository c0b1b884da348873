"""What the services' tests share: one PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server that can be stopped and started."""
    try:
        server = PostgresServer()
    except FileNotFoundError as error:
        pytest.fail(str(error))
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    """A database's URL, password included."""
    return postgres.url
