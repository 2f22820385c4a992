"""Real servers for the tests of this folder: started once, emptied for each test."""

from collections.abc import AsyncIterator

import pytest

from support.servers import Servers
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.valkey import EmbeddedValkey


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop a module: the servers live on it."""
    return "asyncio"


@pytest.fixture(scope="module")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL for the tests of one module."""
    async with EmbeddedPostgres.start(tmp_path_factory.mktemp("servers") / "postgres") as server:
        yield server


@pytest.fixture(scope="module")
async def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedValkey]:
    """A Valkey for the tests of one module."""
    async with EmbeddedValkey.start(tmp_path_factory.mktemp("servers") / "valkey") as server:
        yield server


@pytest.fixture
async def servers(postgres: EmbeddedPostgres, valkey_server: EmbeddedValkey) -> Servers:
    """They, with an empty database and an empty cache."""
    found = Servers(postgres.dsn, valkey_server.url)
    await found.empty()
    return found
