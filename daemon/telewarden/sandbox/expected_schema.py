"""Writes the schema that `telewarden db check` expects: of a database that was just upgraded."""

from pathlib import Path

import anyio
import asyncpg

from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.storage import migrations
from telewarden.storage.migrate import catalog, catalog_text, upgrade

FILE = Path(migrations.__file__).with_name("expected_schema.txt")


async def write() -> None:
    """Into the source tree."""
    async with EmbeddedPostgres.start() as postgres:
        await upgrade(postgres.dsn)
        connection = await asyncpg.connect(postgres.dsn)
        FILE.write_text(catalog_text(await catalog(connection)), encoding="utf-8")
        await connection.close()


if __name__ == "__main__":
    anyio.run(write)
