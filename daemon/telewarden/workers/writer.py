"""The writer: takes the journal in order into the database, a transaction a batch, then moves the flushed position.

A crash between the two repeats a batch, which changes nothing. A database that is down is waited for.
"""

from collections.abc import Callable, Sequence

import anyio
import msgspec
import structlog

from telewarden.failpoints import FailPoint
from telewarden.messages import Edited, Key, Posted, key_of
from telewarden.storage.batch import LostRace, write_batch
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import REFUSED, Database, DatabaseUnavailable
from telewarden.storage.journal import Journal
from telewarden.storage.journal_file import JournalError
from telewarden.storage.statements import statement
from telewarden.storage.tail import Record
from telewarden_supervisors import WorkerContext

log = structlog.get_logger(__name__)

_IDLE_S = 1.0
_RETRY_FIRST_S, _RETRY_LAST_S = 0.1, 1.0


class Writer:
    """Stores the journal's events.

    batch_size, batch_age_s: a batch goes when it has so many events, or when its first has waited so long (polls do not
    wait for it: they see what is not stored yet). stored: how many rows it inserted; poisoned: how many events it had
    to set aside. on_set_aside: told of which messages.
    """

    def __init__(
        self,
        journal: Journal,
        database: Database,
        sync: CacheSync,
        *,
        batch_size: int,
        batch_age_s: float,
        fail_point: FailPoint,
        on_set_aside: Callable[[Key], None] = lambda key: None,
    ) -> None:
        self._journal, self._database, self._sync = journal, database, sync
        self.batch_size, self.batch_age_s = batch_size, batch_age_s
        self._fail_point = fail_point
        self._on_set_aside = on_set_aside
        self.stored = 0
        self.poisoned = 0

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        retry_s = _RETRY_FIRST_S
        while True:
            with anyio.move_on_after(_IDLE_S):
                await self._journal.changed.wait_until(lambda: self._journal.backlog > 0)
            if not self._journal.backlog:
                ctx.beat()
            try:
                while self._journal.backlog:
                    with anyio.move_on_after(self.batch_age_s):
                        await self._journal.changed.wait_until(
                            lambda: self._journal.backlog >= self.batch_size
                        )
                    await self._flush()
                    ctx.beat()
                    retry_s = _RETRY_FIRST_S
                ctx.status("the database has everything")
            except LostRace as error:
                ctx.status(str(error))
            except JournalError as error:
                # A full disk is waited for: what is accepted stays, and polls go on.
                ctx.beat()
                ctx.status(str(error))
                await anyio.sleep(_RETRY_LAST_S)
            except DatabaseUnavailable as error:
                # It is known to be down: that is waited for, and no restart would help.
                ctx.beat()
                ctx.status(f"waiting for the database: {error}")
                await anyio.sleep(retry_s)
                retry_s = min(retry_s * 2, _RETRY_LAST_S)

    async def _flush(self) -> None:
        if self._journal.epoch is None:
            await self._journal.set_epoch(await self._database.new_epoch())
        records = self._journal.tail.after(self._journal.flushed, self.batch_size)
        self._fail_point.reach("writer.before_commit")
        arrived = await self._store(records, self._journal.epoch or 0)
        self._fail_point.reach("writer.after_commit")
        flushed = records[-1].position
        if arrived:
            await self._journal.vouch(arrived, flushed)
        await self._journal.settle(flushed)
        # Asked only now: a warm may have begun meanwhile, and needs what is after the position that it began from.
        self._journal.release(self._sync.holds(self._journal.flushed))

    async def _store(self, records: Sequence[Record], epoch: int) -> list[Posted | Edited]:
        """Store records; those that the database refuses are found by halving and set aside."""
        try:
            async with self._database.writing() as connection:
                flushed = await write_batch(connection, records, epoch)
        except REFUSED as error:
            if len(records) == 1:
                await self._set_aside(records[0], epoch, f"{type(error).__name__}: {error}")
                return []
            middle = len(records) // 2
            return [
                *await self._store(records[:middle], epoch),
                *await self._store(records[middle:], epoch),
            ]
        self.stored += flushed.inserted
        return list(flushed.arrived)

    async def _set_aside(self, record: Record, epoch: int, error: str) -> None:
        event = record.event
        async with self._database.writing() as connection:
            await connection.execute(
                statement("set_aside"),
                epoch,
                record.position,
                str(event.channel_id),
                event.message_id,
                msgspec.msgpack.encode(event),
                error,
            )
        self.poisoned += 1
        self._on_set_aside(key_of(event))
        log.error(
            "event_set_aside",
            channel_id=event.channel_id,
            message_id=event.message_id,
            error=error,
            hint="the database refuses it; see `telewarden poison list`",
        )
