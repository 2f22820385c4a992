"""Consumers in the database: their places, leases, dead letters. Decision 0024 says why all of it is there alone."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import asyncpg

from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.pool import Connection
from telewarden.storage.render import render_row
from telewarden.storage.rows import us_of
from telewarden.storage.signal import Signal
from telewarden.storage.statements import statement
from telewarden_http.protocols import Unavailable, UnknownChannel
from telewarden_http.v1.consumers_protocols import (
    Channels,
    ConsumerChange,
    ConsumerState,
    Delivery,
    Kind,
    Lag,
    Leased,
    Outcome,
    Settled,
    Start,
)
from telewarden_http.v1.receipts import Receipt
from telewarden_http.v1.token import Position, encode
from telewarden_http.wire import iso_ms

COUNTED = 10_000
"""How far the events of a lag are counted."""


class ConsumerCounts:
    """What was handed to consumers since the process began, and what became of it."""

    def __init__(self) -> None:
        self.first = 0
        """Deliveries of events that were handed to their consumer for the first time."""
        self.again = 0
        """Those that had been before."""
        self.died = 0
        """Events that became dead letters."""
        self.skipped = 0
        """Events that were not handed out, since their message was gone with its day."""
        self.outcomes: Counter[Outcome] = Counter()
        """What became of receipts that were sent."""

    @property
    def acknowledged(self) -> int:
        """Events that were acknowledged."""
        return self.outcomes[Outcome.ACKNOWLEDGED]


class DatabaseConsumers:
    """Implements ConsumerStore and ConsumerAdmin. returned: fires when this process gave something back, or changed a
    consumer, so that others need not wait for what they knew of."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.counts = ConsumerCounts()
        self.returned = Signal()

    async def lease(self, consumer: str, channels: Channels, *, limit: int, lease_s: float) -> Leased:
        """See ConsumerStore."""
        rows: Sequence[asyncpg.Record] = ()
        try:
            async with self._connection() as connection:
                *rows, stands = await connection.fetch(
                    statement("consumer_lease"),
                    consumer,
                    _listed(channels),
                    limit,
                    timedelta(seconds=lease_s),
                )
                # In a statement of its own, which sees at least what that one has seen.
                deliveries = await self._with_bodies(connection, consumer, rows)
        except Unavailable:
            if rows:
                # Handed out, and nobody gets it: it does not count, as far as the database can be told so. Else it is
                # served again when its lease is over.
                with suppress(Unavailable):
                    await self.give_back(consumer, [_receipt(row) for row in rows])
            raise
        self.counts.died += stands["died"]
        for each in deliveries:
            if each.receipt.deliveries == 1:
                self.counts.first += 1
            else:
                self.counts.again += 1
        return Leased(
            deliveries,
            Position(stands["at_epoch"], stands["at_position"]),
            _both(stands["channels"], channels),
            stands["kinds"],
            stands["again_in_s"],
            more=stands["more"] or len(deliveries) < len(rows),
        )

    async def _with_bodies(
        self, connection: Connection, consumer: str, rows: Sequence[asyncpg.Record]
    ) -> list[Delivery]:
        """The deliveries, oldest first. Those whose message is gone with its day are settled."""
        if not rows:
            return []
        keys = {(row["channel_id"], row["message_id"]) for row in rows}
        found = await connection.fetch(
            statement("by_keys"), [channel for channel, _ in keys], [number for _, number in keys]
        )
        bodies = {(row["channel_id"], row["message_id"]): render_row(row) for row in found}
        gone = [row for row in rows if (row["channel_id"], row["message_id"]) not in bodies]
        if gone:
            await connection.execute(
                statement("consumer_skip"),
                consumer,
                [row["epoch"] for row in gone],
                [row["position"] for row in gone],
            )
            self.counts.skipped += len(gone)
        return sorted(
            (
                _delivery(row, bodies[row["channel_id"], row["message_id"]])
                for row in rows
                if (row["channel_id"], row["message_id"]) in bodies
            ),
            key=lambda delivery: delivery.receipt.position,
        )

    async def give_back(self, consumer: str, receipts: Sequence[Receipt]) -> None:
        """See ConsumerStore."""
        await self._hold(consumer, receipts, 0, "undo")
        self.returned.fire()

    async def acknowledge(self, consumer: str, receipts: Sequence[Receipt]) -> list[Settled]:
        """See ConsumerStore."""
        positions = sorted({receipt.position for receipt in receipts})
        async with self._connection() as connection:
            rows = await connection.fetch(
                statement("consumer_acknowledge"),
                consumer,
                [position.epoch for position in positions],
                [position.position for position in positions],
            )
        outcomes = {
            Position(row["epoch"], row["position"]): Outcome.ACKNOWLEDGED
            if row["settled"]
            else Outcome.ALREADY
            if row["handed_out"]
            else Outcome.UNKNOWN
            for row in rows
        }
        return self._counted([Settled(outcomes[receipt.position]) for receipt in receipts])

    async def return_(self, consumer: str, receipts: Sequence[Receipt], delay_s: float) -> list[Settled]:
        """See ConsumerStore."""
        held = await self._hold(consumer, receipts, delay_s, "return")
        self.returned.fire()
        return self._counted([Settled(_outcome(held[each], Outcome.RETURNED)) for each in receipts])

    async def extend(self, consumer: str, receipts: Sequence[Receipt], lease_s: float) -> list[Settled]:
        """See ConsumerStore."""
        held = await self._hold(consumer, receipts, lease_s, "extend")
        rows = [held[each] for each in receipts]
        return self._counted([Settled(_outcome(row, Outcome.EXTENDED), _iso(row["due_at"])) for row in rows])

    async def _hold(
        self, consumer: str, receipts: Sequence[Receipt], for_s: float, what: str
    ) -> Mapping[Receipt, asyncpg.Record]:
        asked = sorted(set(receipts))
        async with self._connection() as connection:
            rows = await connection.fetch(
                statement("consumer_hold"), consumer, *_columns(asked), timedelta(seconds=for_s), what
            )
        self.counts.died += sum(row["died"] for row in rows)
        return {_receipt(row): row for row in rows}

    async def state(self, consumer: str, channels: Channels) -> ConsumerState | None:
        """See ConsumerStore."""
        async with self._connection() as connection:
            row = await connection.fetchrow(
                statement("consumer_states"), consumer, _listed(channels), COUNTED + 1
            )
        return None if row is None else _state(row, channels)

    async def all(self) -> list[ConsumerState]:
        """See ConsumerAdmin."""
        async with self._connection() as connection:
            rows = await connection.fetch(statement("consumer_states"), None, None, COUNTED + 1)
        return [_state(row, None) for row in rows]

    async def drop(self, name: str) -> bool:
        """See ConsumerAdmin."""
        async with self._connection() as connection:
            return bool(await connection.fetchval("select telegram_gateway.drop_consumer($1)", name))

    async def configure(self, consumer: str, channels: Channels, change: ConsumerChange) -> bool:
        """See ConsumerStore."""
        wanted = change.channels if change.sets_channels else None
        start, at = (change.start.value, None) if isinstance(change.start, Start) else ("at", change.start)
        async with self._connection() as connection:
            if wanted is not None:
                rows = await connection.fetch(statement("known_channels"), list(wanted))
                known = {row["channel_id"] for row in rows}
                for channel in wanted:
                    if channel not in known or (channels is not None and channel not in channels):
                        raise UnknownChannel(f"channel {channel} is none that this gateway takes in")
            is_new = await connection.fetchval(
                "select telegram_gateway.configure_consumer($1, $2, $3, $4, $5, $6, $7, $8)",
                consumer,
                _listed(channels),
                change.sets_channels,
                # All channels of a key that is limited are these.
                _listed(channels if wanted is None else wanted),
                None if change.kinds is None else [kind.value for kind in change.kinds],
                change.max_deliveries,
                None if change.start is None else start,
                at,
            )
        self.returned.fire()
        return bool(is_new)

    async def dead_letters(
        self, consumer: str, channels: Channels, *, after: Position, limit: int
    ) -> tuple[list[Delivery], Position | None]:
        """See ConsumerStore."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                statement("consumer_dead"), consumer, _listed(channels), *after, limit + 1
            )
            page = rows[:limit]
            deliveries = await self._with_bodies(connection, consumer, page)
        more = len(rows) > limit
        return deliveries, Position(page[-1]["epoch"], page[-1]["position"]) if more else None

    async def revive(self, consumer: str, channels: Channels, receipts: Sequence[Receipt] | None) -> int:
        """See ConsumerStore."""
        epochs, positions, _ = (None, None, None) if receipts is None else _columns(receipts)
        async with self._connection() as connection:
            revived = await connection.fetch(
                statement("consumer_revive"), consumer, _listed(channels), epochs, positions
            )
        self.returned.fire()
        return len(revived)

    def _counted(self, settled: list[Settled]) -> list[Settled]:
        self.counts.outcomes.update(each.outcome for each in settled)
        return settled

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with self._database.leasing() as connection:
                yield connection
        except DatabaseUnavailable as error:
            raise Unavailable(
                "the database is down, and it keeps the consumers' places and leases; try again, or read the feed "
                "meanwhile, which goes on"
            ) from error


def _listed(channels: Channels) -> list[str] | None:
    return None if channels is None else sorted(channels)


def _both(filtered: Sequence[str] | None, readable: Channels) -> Channels:
    if filtered is None or readable is None:
        return readable if filtered is None else frozenset(filtered)
    return frozenset(filtered).intersection(readable)


def _columns(receipts: Sequence[Receipt]) -> tuple[list[int], list[int], list[int]]:
    return (
        [receipt.position.epoch for receipt in receipts],
        [receipt.position.position for receipt in receipts],
        [receipt.deliveries for receipt in receipts],
    )


def _outcome(row: asyncpg.Record, held: Outcome) -> Outcome:
    if row["due_at"] is not None:
        return held
    return Outcome.EXPIRED if row["handed_out"] else Outcome.UNKNOWN


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso_ms(us_of(moment))


def _receipt(row: asyncpg.Record) -> Receipt:
    return Receipt(Position(row["epoch"], row["position"]), row["deliveries"])


def _delivery(row: asyncpg.Record, body: bytes) -> Delivery:
    return Delivery(
        _receipt(row),
        Kind(row["kind"]),
        row["channel_id"],
        row["message_id"],
        iso_ms(us_of(row["changed_at"])),
        body,
        iso_ms(us_of(row["due_at"])),
    )


def _state(row: asyncpg.Record, readable: Channels) -> ConsumerState:
    counted = (row["fresh"], row["in_flight"], row["dead"])
    channels = _both(row["channels"], readable)
    return ConsumerState(
        name=row["name"],
        channels=_listed(channels),
        kinds=[Kind(kind) for kind in row["kinds"]],
        max_deliveries=row["max_deliveries"],
        created_at=iso_ms(us_of(row["created_at"])),
        position=encode(Position(row["epoch"], row["position"])),
        skipped_by_retention=row["skipped_by_retention"],
        lag=Lag(
            waiting=min(row["fresh"] + row["waiting"], COUNTED),
            leased=min(row["leased"], COUNTED),
            delayed=min(row["delayed"], COUNTED),
            dead=min(row["dead"], COUNTED),
            oldest_waiting_at=_iso(row["oldest_waiting_at"]),
            is_exact=max(counted) <= COUNTED and row["fresh"] + row["waiting"] <= COUNTED,
        ),
    )
