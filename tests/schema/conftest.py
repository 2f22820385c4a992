"""Each PostgreSQL that this machine has: the embedded one, Debian's 15, and the one that a variable names."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from support.debian import needed
from telewarden.sandbox.postgres import EmbeddedPostgres

DEBIANS = Path("/usr/lib/postgresql/15/bin")
NAMED = "TELEWARDEN_TEST_POSTGRES_BIN"


@dataclass(frozen=True)
class Server:
    """One server, whose database a test may fill as it likes."""

    dsn: str

    async def connect(self, user: str | None = None) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection, acting as a role if one is named."""
        connection = await asyncpg.connect(self.dsn)
        if user is not None:
            await connection.execute(f"set role {user}")
        return connection


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop a module: the servers live on it."""
    return "asyncio"


@pytest.fixture(
    scope="module",
    params=["embedded", "debian"]
    + [pytest.param("named", marks=pytest.mark.timescale)] * (NAMED in os.environ),
)
async def postgres(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EmbeddedPostgres]:
    """A server of each kind."""
    programs: Path | None = None
    settings: dict[str, str] = {}
    match request.param:
        case "debian":
            programs = needed(DEBIANS, "postgresql-15")
        case "named":
            programs, settings = Path(os.environ[NAMED]), {"shared_preload_libraries": "timescaledb"}
    folder = tmp_path_factory.mktemp("postgres")
    async with EmbeddedPostgres.start(folder / "data", bin_folder=programs, settings=settings) as server:
        yield server


@pytest.fixture
async def server(postgres: EmbeddedPostgres) -> Server:
    """It, with an empty database."""
    connection = await asyncpg.connect(postgres.dsn)
    await connection.execute("drop schema if exists telegram_gateway cascade")
    await connection.close()
    return Server(postgres.dsn)
