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
async def running_servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """A PostgreSQL and a Valkey for the tests of one module."""
    folder = tmp_path_factory.mktemp("servers")
    async with (
        EmbeddedPostgres.start(folder / "postgres") as postgres,
        EmbeddedValkey.start(folder / "valkey") as valkey,
    ):
        yield Servers(postgres.dsn, valkey.url)


@pytest.fixture
async def servers(running_servers: Servers) -> Servers:
    """They, with an empty database and an empty cache."""
    await running_servers.empty()
    return running_servers
