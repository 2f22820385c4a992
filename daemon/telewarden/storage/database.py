"""The database through asyncpg: two small pools, so that polls never starve behind the writer; time-outs everywhere."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

import anyio
import asyncpg
import structlog

from telewarden.messages import Key, State
from telewarden.storage.breaker import Breaker
from telewarden.storage.listing import listing
from telewarden.storage.migrate import HEAD, MigrationError, found_version, unfit, upgrade
from telewarden.storage.pool import Connection, open_pool
from telewarden.storage.rows import at, state_of
from telewarden.storage.statements import statement
from telewarden_http.protocols import ListQuery

log = structlog.get_logger(__name__)

_POLL_S = 2.0
"""How long a poll waits for the database before it takes the next source, in seconds."""
_BREAKER_OPEN_S = 5.0
_LIST_S = 1.5
"""How long a page of a list may take, in seconds; and how long counting the rest may take besides: a third of that."""
_CLOSE_S = 1.0
_ROLLUPS_S = 300.0
_LEASE_S = 5.0
"""How long handing something to a consumer may take, in seconds; those of one consumer wait for each other."""
_LEASE_POOL = 4


class DatabaseUnavailable(Exception):
    """The database does not answer, or not in time."""


class SchemaMissing(DatabaseUnavailable):
    """The database answers, but has another schema than this version needs. found: its number; None for none."""

    def __init__(self, text: str, found: int | None = None) -> None:
        super().__init__(text)
        self.found = found


POLLED = frozenset({"received", "queued"})
"""The statuses that consumers poll for: these are found without looking at every day."""


REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.RaiseError,
)
"""Errors that say that a row itself cannot be stored, however often it is tried: its values, a constraint, an index
entry that is too long, a trigger that refuses it. They pass through."""

UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresError,
)
"""All others say something of the database, its state or its rights: what was asked may succeed later."""


class Database:
    """Everything the daemon asks of the database. Made by `open_database`; connects when first needed.

    Its methods raise DatabaseUnavailable, and SchemaMissing where the schema is not there yet.
    """

    def __init__(
        self,
        reader: asyncpg.Pool[asyncpg.Record],
        writer: asyncpg.Pool[asyncpg.Record],
        lister: asyncpg.Pool[asyncpg.Record],
        leaser: asyncpg.Pool[asyncpg.Record],
        *,
        timeout_s: float,
        upgrade: Callable[[], Awaitable[object]] | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader, self._writer, self._lister, self._leaser = reader, writer, lister, leaser
        self._timeout_s = timeout_s
        self._turns = anyio.Semaphore(max(1, reader.get_max_size() - 1), fast_acquire=True)
        self._lease_turns = anyio.Semaphore(leaser.get_max_size(), fast_acquire=True)
        self._upgrade = upgrade
        self._upgrading = anyio.Lock()
        self._clock_s = clock_s
        # The health worker's ping closes it as soon as the database is back; a poll tries only if nobody else did.
        self.breaker = Breaker(_BREAKER_OPEN_S)
        self._floor: datetime | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection for a poll. Fails at once while the breaker is open."""
        if not self.breaker.allows(self._clock_s()):
            raise DatabaseUnavailable(f"the database is down ({self.breaker.last_error})")
        tries = self.breaker.failed
        # A crowd of polls waits here for its turn, within the API's own time-out: that is no outage.
        async with self._turns:
            if self.breaker.failed and not tries:
                # It broke while this one waited, which would now wait as long again, and those behind it too.
                raise DatabaseUnavailable(f"the database is down ({self.breaker.last_error})")
            async with self._using(self._reader, _POLL_S) as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A connection for the writer and the warmer, who wait for the database anyway."""
        async with self._using(self._writer) as connection:
            yield connection

    @asynccontextmanager
    async def listing(self) -> AsyncIterator[Connection]:
        """A connection for what may take long, a second or two at most, so that no poll waits behind it."""
        async with self._using(self._lister, _LIST_S * 2) as connection:
            yield connection

    @asynccontextmanager
    async def leasing(self) -> AsyncIterator[Connection]:
        """A connection for a consumer's leases, of a pool of their own: they wait for each other, and polls for none of
        them. Fails at once while the breaker is open."""
        if not self.breaker.allows(self._clock_s()):
            raise DatabaseUnavailable(f"the database is down ({self.breaker.last_error})")
        async with self._lease_turns, self._using(self._leaser, _LEASE_S) as connection:
            yield connection

    @asynccontextmanager
    async def _using(
        self, pool: asyncpg.Pool[asyncpg.Record], within_s: float | None = None
    ) -> AsyncIterator[Connection]:
        """A connection; within_s bounds everything until it is given back, also where a frozen server hangs."""
        try:
            with anyio.fail_after(within_s):
                async with pool.acquire(timeout=self._timeout_s) as connection:
                    yield connection
        except SchemaMissing as error:
            await self._lacks_schema(error)
            raise
        except (
            asyncpg.UndefinedTableError,
            asyncpg.UndefinedFunctionError,
            asyncpg.InvalidSchemaNameError,
            asyncpg.UndefinedColumnError,
        ) as error:
            missing = SchemaMissing(f"{unfit(None)} ({error})")
            await self._lacks_schema(missing)
            raise missing from error
        except REFUSED:
            raise
        except UNAVAILABLE as error:
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if (
                pool is self._reader
                or (pool is self._writer and isinstance(error, OSError | asyncpg.PostgresConnectionError))
                or (
                    pool is self._leaser
                    and isinstance(error, OSError | asyncpg.PostgresConnectionError)
                    and not isinstance(error, TimeoutError)
                )
            ):
                # A statement of the writer that failed says nothing of the polls; a list that took too long neither,
                # nor a consumer that waited too long for its own other calls.
                self.breaker.broke(self._clock_s(), text)
            raise DatabaseUnavailable(f"the database does not answer ({text})") from error
        else:
            self.breaker.succeeded()

    async def _lacks_schema(self, error: SchemaMissing) -> None:
        self.breaker.broke(self._clock_s(), str(error))
        await self._try_upgrade()

    async def _try_upgrade(self) -> None:
        """Where a setting allows it (an empty database that came up after the daemon), once at a time."""
        if self._upgrade is not None and not self._upgrading.locked():
            async with self._upgrading:
                try:
                    await self._upgrade()
                except MigrationError as error:
                    log.error("upgrade_failed", error=str(error))

    async def ping(self) -> None:
        """Ask for a sign of life, and whether the schema is there."""
        async with self._using(self._reader, _POLL_S) as connection:
            await connection.fetchval("select 1 from telegram_gateway.message_keys limit 1")

    async def waiting(
        self, channel_id: int, statuses: Sequence[str], exclude_processed_by: str | None, limit: int
    ) -> Sequence[asyncpg.Record]:
        """One channel's messages of some statuses, oldest first: rows, for `render_row` or `state_of`."""
        asked = (str(channel_id), list(statuses), exclude_processed_by, limit)
        async with self.reading() as connection:
            if POLLED.issuperset(statuses):
                return await self._since_floor(connection, asked)
            rows: Sequence[asyncpg.Record] = await connection.fetch(statement("waiting"), *asked)
        return rows

    async def _since_floor(self, connection: Connection, asked: Sequence[object]) -> Sequence[asyncpg.Record]:
        """What waits, looked for from the poll floor of the last answer on; once more if that has come down since."""
        if self._floor is None:
            self._floor = await connection.fetchval(statement("poll_floor"))
        while True:
            since = self._floor
            rows: Sequence[asyncpg.Record] = await connection.fetch(statement("waiting_open"), *asked, since)
            self._floor = rows[0]["poll_floor"]
            if self._floor >= since:
                return rows if rows[0]["id"] is not None else []

    async def listed(self, query: ListQuery) -> tuple[Sequence[asyncpg.Record], int | None]:
        """One row more than the page of a list has, where there are more, for `render_row`; and how many there are in
        all, None where counting takes too long."""
        asked = listing(query)
        async with self.listing() as connection:
            rows: Sequence[asyncpg.Record] = await connection.fetch(
                asked.page, *asked.arguments, query.limit + 1, query.offset, timeout=_LIST_S
            )
            if len(rows) <= query.limit and (rows or not query.offset):
                return rows, query.offset + len(rows)
            try:
                return rows, int(
                    await connection.fetchval(asked.count, *asked.arguments, timeout=_LIST_S / 3)
                )
            except TimeoutError:
                return rows, None

    async def by_id(self, message_id: UUID) -> State | None:
        """One message by its id."""
        async with self.reading() as connection:
            row = await connection.fetchrow(statement("by_id"), message_id)
        return None if row is None else state_of(row)

    async def by_keys(self, keys: Sequence[Key]) -> dict[Key, State]:
        """Messages by channel and message id; those that are not stored are left out."""
        async with self.reading() as connection:
            rows = await connection.fetch(statement("by_keys"), *_pairs(keys))
        return {state.key: state for state in map(state_of, rows)}

    async def stored(self, channel_id: int, message_ids: Sequence[int]) -> set[int]:
        """Which of a channel's messages are stored, also those that are deleted."""
        async with self.reading() as connection:
            rows = await connection.fetch(statement("stored"), str(channel_id), list(message_ids))
        return {row["message_id"] for row in rows}

    async def done(self, keys: Sequence[Key]) -> set[Key]:
        """Which of some messages are acknowledged or no longer wait, by the database's word."""
        if not keys:
            return set()
        async with self.reading() as connection:
            rows = await connection.fetch(statement("done"), *_pairs(keys))
        return {Key(int(row["channel_id"]), row["message_id"]) for row in rows}

    async def channel_tops(self, channel_ids: Sequence[int]) -> dict[int, int]:
        """The highest stored message id of each channel; 0 where nothing is stored."""
        async with self.writing() as connection:
            rows = await connection.fetch(statement("channel_tops"), [str(c) for c in channel_ids])
        return {int(row["channel_id"]): row["top"] for row in rows}

    async def channel_bottom(self, channel_id: int) -> int:
        """The lowest stored message id of a channel; 0 where nothing is stored."""
        async with self.writing() as connection:
            return int(await connection.fetchval(statement("channel_bottom"), str(channel_id)) or 0)

    async def rows_between(self, channel_id: int, low: int, high: int) -> dict[int, tuple[str | None, bool]]:
        """(text or caption, whether it is deleted) of a channel's messages with ids from low to high, by id."""
        async with self.writing() as connection:
            rows = await connection.fetch(statement("rows_between"), str(channel_id), low, high)
        return {row["message_id"]: (row["text"], row["deleted"]) for row in rows}

    async def pending_page(self, channel_id: int, after: tuple[int, UUID], limit: int) -> list[State]:
        """A channel's waiting messages after (received at in microseconds, id), in that order: one page of a warm."""
        async with self.writing() as connection:
            floor = await connection.fetchval(statement("poll_floor"))
            rows = await connection.fetch(
                statement("pending_page"), at(after[0]), after[1], limit, str(channel_id), floor
            )
        return [state_of(row) for row in rows]

    async def pending_count(self, channel_ids: Sequence[int]) -> int:
        """How many messages wait in some channels: how much a warm has to do."""
        async with self.writing() as connection:
            floor = await connection.fetchval(statement("poll_floor"))
            return int(
                await connection.fetchval(statement("pending_count"), [str(c) for c in channel_ids], floor)
            )

    async def only_plain(self) -> bool:
        """Whether a plain poll's answer is the same for every consumer and for `received,queued`."""
        async with self.writing() as connection:
            floor = await connection.fetchval(statement("poll_floor"))
            return bool(await connection.fetchval(statement("only_plain"), floor))

    async def new_epoch(self) -> int:
        """A number for a new journal, above all that the database holds."""
        async with self.writing() as connection:
            return int(await connection.fetchval(statement("new_epoch")))

    async def upkeep(self, keep_days: int) -> tuple[int, int, datetime]:
        """Make the coming days' partitions, drop those that are older than keep_days, move the poll floor.

        Returns (days made, days or chunks dropped, the floor). Harmless to repeat.
        """
        async with self.writing() as connection:
            row = await connection.fetchrow(statement("upkeep"), timedelta(days=keep_days))
        return row["made"], row["dropped"], row["floor"]

    async def refresh_rollups(self) -> bool:
        """Bring messages_hourly and messages_daily up to date; False where TimescaleDB does that itself."""
        async with self.writing() as connection:
            return bool(
                await connection.fetchval("select telegram_gateway.refresh_rollups()", timeout=_ROLLUPS_S)
            )


def _pairs(keys: Sequence[Key]) -> tuple[list[str], list[int]]:
    return [str(key.channel_id) for key in keys], [key.message_id for key in keys]


async def _check_schema(connection: Connection) -> None:
    """Each new connection is one to a database that this version understands."""
    found = await found_version(connection)
    if found != HEAD:
        raise SchemaMissing(str(unfit(found)), found)


@asynccontextmanager
async def open_database(
    dsn: str,
    *,
    reader_pool: int = 4,
    writer_pool: int = 2,
    statement_timeout_s: float = 10.0,
    connect_timeout_s: float = 2.0,
    tcp_user_timeout_s: float = 10.0,
    statement_cache_size: int = 100,
    auto_migrate: bool = False,
) -> AsyncIterator[Database]:
    """The database, whether it is up or not. Nothing connects before it is needed.

    tcp_user_timeout_s: after which a connection to a machine that does not answer is lost.
    auto_migrate: bring the schema up to date when it turns out to be missing.
    """

    async def pool(size: int, timeout_s: float) -> asyncpg.Pool[asyncpg.Record]:
        return await open_pool(
            dsn,
            size=size,
            connect_timeout_s=connect_timeout_s,
            statement_timeout_s=timeout_s,
            tcp_user_timeout_s=tcp_user_timeout_s,
            statement_cache_size=statement_cache_size,
            check=_check_schema,
        )

    reader, writer = await pool(reader_pool, _POLL_S), await pool(writer_pool, statement_timeout_s)
    lister, leaser = await pool(1, _LIST_S), await pool(_LEASE_POOL, _LEASE_S)
    try:
        if auto_migrate:
            try:
                await upgrade(dsn, timeout_s=connect_timeout_s)
            except MigrationError as error:
                # It may not be up yet; the upgrade is tried again when the schema turns out to be missing.
                log.warning("not_upgraded_yet", error=str(error))
        yield Database(
            reader,
            writer,
            lister,
            leaser,
            timeout_s=connect_timeout_s,
            upgrade=(lambda: upgrade(dsn, timeout_s=connect_timeout_s)) if auto_migrate else None,
        )
    finally:
        # asyncpg gives connections back in tasks of its own: cut off at once, they would end with errors nobody sees.
        with anyio.move_on_after(_CLOSE_S, shield=True):
            for each in (reader, writer, lister, leaser):
                await each.close()
        for each in (reader, writer, lister, leaser):
            each.terminate()
