"""The stand-in for asyncpg's pools, under the real `telewarden.storage.database.Database`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from simulation.store import READS, WRITES, Row, Store, insert, keys_of
from simulation.weather import Fate, Weather
from telewarden.messages import Key
from telewarden.storage.database import Database
from telewarden.storage.statements import statement

_CONNECT_S = 2.0
_STATEMENT_S = 10.0


class Pool:
    """As asyncpg.Pool, as far as it is asked."""

    def __init__(self, store: Store, weather: Weather, size: int) -> None:
        self._store, self._weather, self._size = store, weather, size

    def get_max_size(self) -> int:
        """As asyncpg."""
        return self._size

    @asynccontextmanager
    async def acquire(self, timeout: float | None = None) -> AsyncIterator[Connection]:
        """As asyncpg."""
        connection = Connection(self._store, self._weather)
        await connection.trip(timeout or _CONNECT_S)
        yield connection


class Connection:
    """As asyncpg.Connection: statements by their text. One that the simulation does not know fails."""

    def __init__(self, store: Store, weather: Weather) -> None:
        self._store, self._weather = store, weather
        self._writes: list[Callable[[], object]] | None = None

    async def trip(self, timeout_s: float = _STATEMENT_S) -> None:
        """One way to the database or back. Raises what asyncpg raises when it is down."""
        await self._weather.trip()
        if self._store.frozen:
            with trio.move_on_after(timeout_s):
                await self._store.thawed.wait_until(lambda: not self._store.frozen)
            if self._store.frozen:
                raise TimeoutError
        if not self._store.up:
            raise ConnectionRefusedError("connection refused")

    async def fetch(self, text: str, *arguments: Any, timeout: float | None = None) -> list[Row]:
        """As asyncpg."""
        await self.trip()
        if text not in READS:
            raise NotImplementedError(f"the simulation does not know the statement {text!r}")
        if text == statement("lock_keys"):
            await self._lock(keys_of(*arguments))
        rows = READS[text](self._store, *arguments)
        await self.trip()
        return rows

    async def _lock(self, keys: Sequence[Key]) -> None:
        """As `for update`: rows that are there, until the transaction ends."""
        locks = self._store.locks
        for key in sorted(key for key in keys if key in self._store.keys):
            await self._store.unlocked.wait_until(lambda key=key: locks.get(key, self) is self)  # type: ignore[misc]
            locks[key] = self

    async def fetchrow(self, text: str, *arguments: Any, timeout: float | None = None) -> Row | None:
        """As asyncpg."""
        rows = await self.fetch(text, *arguments)
        return rows[0] if rows else None

    async def fetchval(self, text: str, *arguments: Any, timeout: float | None = None) -> Any:
        """As asyncpg."""
        row = await self.fetchrow(text, *arguments)
        return next(iter(row.values())) if row is not None else None

    async def execute(self, text: str, *arguments: Any) -> str:
        """As asyncpg."""
        await self.trip()
        if text not in WRITES:
            raise NotImplementedError(f"the simulation does not know the statement {text!r}")
        if text == statement("begin_batch"):
            store, alone = self._store, bool(arguments[0])
            await store.unlocked.wait_until(lambda: store.may_begin(self, alone=alone))
            store.batches[self] = alone
        await self._write(lambda: WRITES[text](self._store, *arguments))
        return ""

    async def copy_records_to_table(
        self, table: str, *, schema_name: str, columns: Sequence[str], records: Iterable[Sequence[Any]]
    ) -> str:
        """As asyncpg."""
        await self.trip()
        rows = list(records)
        await self._write(lambda: insert(self._store, table, rows))
        return ""

    async def _write(self, write: Callable[[], object]) -> None:
        if self._writes is None:
            write()
            await self.trip()
        else:
            self._writes.append(write)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """As asyncpg: what is written in it is seen by others once it is committed."""
        writes = self._writes = []
        try:
            yield
            await self.trip()
            fate = self._weather.fate()
            if fate is Fate.LOST:
                raise ConnectionResetError("connection reset")
            for write in writes:
                write()
        finally:
            self._writes = None
            self._store.unlock(self)
        await self.trip()
        if fate is Fate.DONE_UNANSWERED:
            raise ConnectionResetError("connection reset")


def simulated_database(store: Store, weather: Weather) -> Database:
    """The product's own, on pools of the simulation."""
    reader, writer, lister, leaser = (Pool(store, weather, size) for size in (4, 2, 1, 4))
    return Database(
        reader,  # type: ignore[arg-type]
        writer,  # type: ignore[arg-type]
        lister,  # type: ignore[arg-type]
        leaser,  # type: ignore[arg-type]
        timeout_s=_CONNECT_S,
        clock_s=trio.current_time,
    )
