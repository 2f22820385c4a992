"""One ingest process of the simulation: the real parts, wired as the daemon wires them, on the stand-ins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import trio

from simulation.cache import SimulatedCache
from simulation.database import simulated_database
from simulation.outside import CHANNELS, LEASE_S, Outside
from simulation.virtual import now_us
from telewarden.failpoints import FailPoint
from telewarden.sandbox.alone import AloneContext
from telewarden.storage.acknowledger import JournalAcknowledger
from telewarden.storage.cache_sync import CacheSync, Mirror, Warm
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.journal import Journal
from telewarden.storage.reader import Reader
from telewarden.storage.tail import Record
from telewarden.workers import redis
from telewarden.workers.redis import RedisWorker
from telewarden.workers.warmer import Warmer
from telewarden.workers.writer import Writer
from telewarden_http.protocols import Source

_LOOK_S, _PING_S = 0.5, 5.0
"""How often the health worker asks the database for a sign of life, and how long it waits for it."""


@dataclass(frozen=True)
class Habits:
    """How a schedule's processes are set up."""

    retention_events: int = 50_000
    mirror_bound: int = 200_000
    batch_size: int = 500
    batch_age_s: float = 0.005
    applier_batch: int = redis.BATCH
    sentinels: bool = False
    wanders: float = 0.0


@dataclass
class Process:
    """The parts of one process. Breaking a rule replaces some of them before it runs."""

    outside: Outside
    habits: Habits
    journal: Journal
    database: Database
    cache: SimulatedCache
    sync: TimedSync
    reader: Reader
    acknowledger: JournalAcknowledger
    writer: Writer
    redis: RedisWorker
    warmer: Warmer
    reasons: dict[str, int] = field(default_factory=dict)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def run(self, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Until it crashes."""
        context = AloneContext()
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.journal.write_commits)
                for worker in (self.redis, self.warmer, self.writer):
                    nursery.start_soon(worker.run, context)
                nursery.start_soon(self._ask_database)
                task_status.started(nursery)

    async def _ask_database(self) -> None:
        """As the health worker does, which closes the database's breaker for the polls."""
        while True:
            with trio.move_on_after(_PING_S):
                try:
                    await self.database.ping()
                except DatabaseUnavailable as error:
                    self.outside.say(f"ping: {error}")
            await trio.sleep(_LOOK_S)

    def crash(self) -> None:
        """Whatever it was doing ends where it is."""
        self.scope.cancel()


class TimedSync(CacheSync):
    """The real one; it notes when the latest warm began."""

    warmed_at_s = 0.0

    def begin_warm(self, flushed: int, generation: UUID, *, plain: bool, now_s: float) -> Warm:
        """See CacheSync."""
        self.warmed_at_s = trio.current_time()
        return super().begin_warm(flushed, generation, plain=plain, now_s=now_s)


class SlowApplier(RedisWorker):
    """The real one, which may take fewer events at a time."""

    def __init__(self, most: int, cache: SimulatedCache, sync: CacheSync, journal: Journal) -> None:
        super().__init__(cache, sync, journal, lease_s=LEASE_S, clock_us=now_us)  # type: ignore[arg-type]
        self._most = most

    def _waiting(self, limit: int) -> list[Record]:
        return super()._waiting(min(limit, self._most))


def new_process(outside: Outside, habits: Habits, reasons: dict[str, int]) -> Process:
    """A process that starts on what the file holds."""
    waiting = [
        Record(position, event, at_us, size)
        for position, at_us, event, size in outside.file.events(outside.file.meta("flushed") or 0)
    ]
    journal = Journal(
        outside.file,  # type: ignore[arg-type]
        waiting,
        max_bytes=1 << 30,
        retention_events=habits.retention_events,
        clock_us=now_us,
    )
    database = simulated_database(outside.store, outside.weather)
    cache = SimulatedCache(
        outside.servers,
        outside.weather,
        outside.spawn,
        outside.say,
        sentinels=habits.sentinels,
        wanders=habits.wanders,
    )
    sync = TimedSync(journal.changed)
    sync.mirror = Mirror(habits.mirror_bound)

    def answered(source: Source, reason: str | None) -> None:
        if reason is not None:
            reasons[reason] = reasons.get(reason, 0) + 1

    channels: Sequence[int] = CHANNELS
    return Process(
        outside,
        habits,
        journal,
        database,
        cache,
        sync,
        Reader(journal, database, cache, sync, channel_ids=channels, on_answer=answered),  # type: ignore[arg-type]
        JournalAcknowledger(journal, database, sync, channel_ids=channels),
        Writer(
            journal,
            database,
            sync,
            batch_size=habits.batch_size,
            batch_age_s=habits.batch_age_s,
            fail_point=FailPoint(None),
        ),
        SlowApplier(habits.applier_batch, cache, sync, journal),
        Warmer(cache, sync, journal, database, channel_ids=channels, lease_s=LEASE_S, clock_us=now_us),  # type: ignore[arg-type]
        reasons,
    )
