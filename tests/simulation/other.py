"""A process of the role `api` beside the ingest process: the real parts, on the same stores. What it may answer is
bounded by the lease."""

from dataclasses import dataclass, field

import trio

from simulation.cache import SimulatedCache
from simulation.database import simulated_database
from simulation.outside import CHANNELS, LEASE_S, Outside
from simulation.truth import Truth, Violation, name_of
from simulation.virtual import now_us
from telewarden.messages import Key
from telewarden.sandbox.alone import AloneContext
from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.shared_acknowledger import SharedAcknowledger
from telewarden.storage.shared_cache import SharedCache
from telewarden.storage.shared_reader import SharedReader
from telewarden.storage.signal import Signal
from telewarden.workers.shared import SharedCacheWorker
from telewarden_http.protocols import MarkProcessed, RequestRefused, Source, Unavailable, UnprocessedQuery

BOUND_S = LEASE_S + 2.5
"""What it reads is at most this old: the lease, and how late the request may come that gave it."""
REMEMBER_S = 3600.0


@dataclass
class Acknowledgement:
    """One of its own. committed_s: when it was answered; None while it is not known whether it happened."""

    committed_s: float | None = None
    told: set[str] = field(default_factory=set)


class OtherProcess:
    """Its parts, and the checks of what it answers."""

    def __init__(
        self,
        outside: Outside,
        truth: Truth,
        *,
        sentinels: bool,
        acknowledger: type[SharedAcknowledger] = SharedAcknowledger,
        remember_s: float = REMEMBER_S,
    ) -> None:
        self._store, self._file, self._truth, self._say = outside.store, outside.file, truth, outside.say
        self.cache = SimulatedCache(
            outside.servers, outside.weather, outside.spawn, outside.say, sentinels=sentinels
        )
        self.database = simulated_database(outside.store, outside.weather)
        self.shared = SharedCache(Signal(), remember_s=remember_s, clock_s=trio.current_time)
        cache, shared = self.cache, self.shared
        self.reader = SharedReader(self.database, cache, shared, channel_ids=CHANNELS)  # type: ignore[arg-type]
        self.acknowledger = acknowledger(
            self.database,
            cache,  # type: ignore[arg-type]
            shared,
            channel_ids=CHANNELS,
            clock_s=trio.current_time,
            clock_us=now_us,
        )
        self.worker = SharedCacheWorker(cache, shared)  # type: ignore[arg-type]
        self.own: dict[Key, Acknowledgement] = {}
        self._stored_at: dict[Key, float] = {}
        self._over_at: dict[Key, float] = {}
        self._excused_until = 0.0

    async def run(self) -> None:
        """For ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.worker.run, AloneContext())
            nursery.start_soon(self._ask_database)

    async def _ask_database(self) -> None:
        while True:
            try:
                await self.database.ping()
            except DatabaseUnavailable:
                await trio.sleep(0.1)
            await trio.sleep(0.5)

    def note(self) -> None:
        """Look at what is true at this moment."""
        now_s = trio.current_time()
        for key in self._store.waiting() & self._truth.sure:
            self._stored_at.setdefault(key, now_s)
        for key, state in self._truth.states.items():
            if not state.pending:
                self._over_at.setdefault(key, now_s)
        if self.shared.history is not None and not self.shared.owed:
            for own in self.own.values():
                if own.committed_s is not None:
                    own.told.add(self.shared.history)

    def excuse(self) -> None:
        """A server goes on that was frozen: what was sent to it long ago may give it one more lease."""
        self._excused_until = trio.current_time() + BOUND_S

    async def acknowledge(self, key: Key) -> None:
        """A consumer of this process has processed a message."""
        own = self.own.setdefault(key, Acknowledgement())
        self._say(f"{name_of(key)} is acknowledged there")
        request = MarkProcessed((key.message_id,), "archive", str(key.channel_id))
        try:
            marked = await self.acknowledger.mark_processed(request)
            self._say(f"{name_of(key)} acknowledged there: {marked.updated}")
        except RequestRefused as error:
            self._say(f"{name_of(key)} not there: {error}")
            marked = None
        if not any(each == key for each, _ in self._store.acknowledged):
            # It was refused, or the message is not known here yet: it goes on waiting.
            del self.own[key]
        elif marked is not None and own.committed_s is None:
            own.committed_s = trio.current_time()

    async def try_again(self) -> None:
        """What consumers do where they were told that their acknowledgement is not kept."""
        for key, own in list(self.own.items()):
            if own.committed_s is None:
                await self.acknowledge(key)

    def settled(
        self, began_s: float, history: str | None, warmed_at_s: float
    ) -> tuple[frozenset[Key], frozenset[Key]]:
        """Which of its acknowledgements the ingest process cannot miss: in the database, and in the cache, where it was
        told to this very history or the warm began after it."""
        done = {
            key: own
            for key, own in self.own.items()
            if own.committed_s is not None and own.committed_s < began_s
        }
        in_cache = (
            key
            for key, own in done.items()
            if history in own.told or (own.committed_s or began_s) < warmed_at_s
        )
        return frozenset(done), frozenset(in_cache)

    async def poll(self, channel_id: int) -> Source | None:
        """One poll; None where nobody can answer. Raises Violation."""
        began_s = trio.current_time()
        own = {key for key, own in self.own.items() if own.committed_s is not None}
        try:
            page = await self.reader.unprocessed(UnprocessedQuery(str(channel_id), limit=1000))
        except Unavailable:
            return None
        later = self._truth.waiting_after(self._file.ever)
        served = self._truth.served(page)
        self._say(
            f"poll of {channel_id} there since {began_s:.4f}: {page.source} {sorted(k.message_id for k in served)}"
        )
        who = f"{page.source} of another process"
        if again := own & served.keys():
            raise Violation(f"{name_of(min(again))} served by {who} after its own acknowledgement")
        if began_s < self._excused_until:
            return page.source
        waits = self._store.waiting() - self.own.keys()
        for key, since_s in self._stored_at.items():
            old = key.channel_id == channel_id and since_s < began_s - BOUND_S
            if old and later[key].pending and key in waits and key not in served:
                raise Violation(f"{name_of(key)} omitted by {who}")
        for key in served:
            if self._over_at.get(key, began_s) < began_s - BOUND_S and key not in self._store.waiting():
                raise Violation(f"{name_of(key)} served by {who} long after its end")
        return page.source
