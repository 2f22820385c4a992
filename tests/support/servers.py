"""Real servers for tests: started once a session, emptied for each test."""

from dataclasses import dataclass

import asyncpg
import redis.asyncio


@dataclass(frozen=True)
class Servers:
    """Where the session's PostgreSQL and Valkey are. All of it is on 127.0.0.1."""

    dsn: str
    cache_url: str

    async def empty(self) -> None:
        """Back to an empty database and an empty cache."""
        await empty_database(self.dsn)
        async with redis.asyncio.Redis.from_url(self.cache_url) as client:
            await client.flushall()


async def empty_database(dsn: str) -> None:
    """Back to a database without the schema."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("drop schema if exists telegram_gateway cascade")
    await connection.close()
