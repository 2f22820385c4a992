"""One schedule: a process, its stores, Telegram and consumers, and a list of actions that chance interleaves."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import trio

from simulation import virtual
from simulation.journal_file import MemoryFile
from simulation.other import REMEMBER_S, OtherProcess
from simulation.outside import CHANNELS, LEASE_S, Outside
from simulation.process import Habits, Process, new_process
from simulation.servers import Server, Servers, Times
from simulation.store import Store, insert
from simulation.truth import Expected, Truth, Violation
from simulation.weather import Weather
from telewarden.messages import Acknowledged, Content, Key, State, message_uuid
from telewarden.storage.acceptance import Channel, Gone, Observation, Seen
from telewarden.storage.journal_file import JournalError
from telewarden.storage.reader import Reader
from telewarden.storage.rows import at, message_row
from telewarden.storage.shared_acknowledger import SharedAcknowledger
from telewarden_http.protocols import (
    AmbiguousMessage,
    MarkProcessed,
    Page,
    Source,
    Unavailable,
    UnprocessedQuery,
)

FLOOR = 8
"""Ids up to this one were there before the journal; only the database can say what became of them."""
WARM_FIRST = 0.6
"""How many schedules begin with a cache that answers."""
POLL_WITHIN_S = 5.0
"""So long a consumer waits for its answer."""
QUIET_S = 30.0
"""When nothing fails any more, the cache must answer within so long."""


@dataclass
class Setup:
    """What a broken rule changes: parts of the world before it begins, and of each process before it runs.

    acknowledger, remember_s: of the other process. floor: ids up to which only the database can say. temper: bends the
    schedule's rates to where the rule matters.
    """

    server: type[Server] = Server
    store: Callable[[Store], None] = lambda store: None
    process: Callable[[Process], None] = lambda process: None
    acknowledger: type[SharedAcknowledger] = SharedAcknowledger
    floor: int = FLOOR
    remember_s: float = REMEMBER_S
    temper: Callable[[World], None] = lambda world: None


@dataclass
class Outcome:
    """What came of a schedule. violation: None if the protocol held. polls: answers by source."""

    violation: str | None = None
    polls: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)


class World:
    """One schedule. rng: all of its chances. steps: actions before the quiet at its end."""

    def __init__(self, rng: random.Random, setup: Setup, *, steps: int, log: bool = False) -> None:
        self.rng, self.setup, self.steps = rng, setup, steps
        self.outcome = Outcome()
        self._logs = log
        self._scope = trio.CancelScope()
        self.temper()
        setup.temper(self)

    # ---- plumbing

    def temper(self) -> None:
        """Swarm testing: each schedule has its own rates and weights (Groce et al., ISSTA 2012)."""
        choice = self.rng.choice
        self.weather = Weather(
            self.rng,
            breaks=choice([0.0, 0.0, 0.02, 0.08]),
            slow=choice([0.0, 0.0, 0.0, 0.02]),
            mean_s=choice([0.0005, 0.002, 0.01]),
        )
        self.habits = Habits(
            retention_events=choice([3, 8, 50_000, 50_000]),
            mirror_bound=choice([0, 2, 200_000, 200_000, 200_000]),
            batch_size=choice([1, 3, 500]),
            batch_age_s=choice([0.005, 0.005, 0.3]),
            sentinels=choice([False, True]),
            wanders=choice([0.0, 0.0, 0.1]),
        )
        self.times = Times(body_s=choice([1.0, 5.0, 3600.0]), bound=choice([3, 10_000, 10_000, 10_000]))
        self.pause_s = choice([0.003, 0.01, 0.05])
        names = [name for name in dir(self) if name.startswith(("do_", "fault_"))]
        usual = [name for name in names if name.startswith("do_")]
        faults = [name for name in names if name.startswith("fault_")]
        eager = {
            "do_poll": 12,
            "do_post": 4,
            "do_acknowledge": 4,
            "do_edit": 3,
            "do_look": 3,
            "do_replicate": 8,
            "do_heal": 2,
        }
        weights = [eager.get(name, 1) * choice([0.1, 1, 1, 4]) for name in usual]
        a_fault = choice([0.0, 0.02, 0.05, 0.1]) * sum(weights) / len(faults)
        rates = [a_fault * choice([0, 0, 1, 6]) for _ in faults]
        self.weights = dict(zip(usual + faults, weights + rates, strict=True))

    def say(self, text: str) -> None:
        """A line of the log, when it is kept."""
        if self._logs:
            self.outcome.log.append(f"{trio.current_time():9.4f} {text}")

    def fail(self, text: str) -> None:
        """The protocol did not hold: the schedule ends."""
        if self.outcome.violation is None:
            self.outcome.violation = text
            self.say(f"VIOLATION {text}")
        self._scope.cancel()

    async def main(self) -> None:
        """The whole schedule."""
        with self._scope:
            async with trio.open_nursery() as self.nursery:
                self._begin()
                await self._boot()
                if self.rng.random() < WARM_FIRST:
                    await self._until_answered()
                for _ in range(self.steps):
                    await trio.sleep(self.rng.expovariate(1 / self.pause_s))
                    name = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
                    self.say(f"{name} | {self}")
                    await getattr(self, name)()
                    self.other.note()
                await self._quiet()
                self.nursery.cancel_scope.cancel()

    def _begin(self) -> None:
        self.servers = Servers(self.rng, self.times, self.setup.server)
        self.store, self.file = Store(), MemoryFile()
        self.setup.store(self.store)
        self.truth = Truth()
        self.outside = Outside(
            self.servers, self.store, self.file, self.weather, self.nursery.start_soon, self.say
        )
        self.other = OtherProcess(
            self.outside,
            self.truth,
            sentinels=self.habits.sentinels,
            acknowledger=self.setup.acknowledger,
            remember_s=self.setup.remember_s,
        )
        self.nursery.start_soon(self.other.run)
        self.top = dict.fromkeys(CHANNELS, FLOOR)
        self.texts = 0
        for channel_id in CHANNELS:
            for message_id in range(1, 5):
                self._store_before(channel_id, message_id)

    def _store_before(self, channel_id: int, message_id: int) -> None:
        """A message from before the journal, some of them done with."""
        us = virtual.now_us() - 60_000_000 + message_id
        state = State(
            channel_id,
            message_id,
            # An old gateway gave its rows ids of another kind.
            id=message_uuid(channel_id, message_id)
            if message_id < 3
            else UUID(int=-channel_id << 64 | message_id),
            created_at_us=us,
            received_at_us=us,
            content=Content(text=self._text(message_id)),
            version=1 << 20,
            updated_at_us=us,
        )
        if message_id % 2:
            state = State(
                **{name: getattr(state, name) for name in state.__struct_fields__}
                | {"status": "published", "status_at_us": us + 1, "published_at_us": us + 1}
            )
        key = (str(channel_id), message_id, state.id, at(us), state.version, at(state.status_at_us), 0, 0)
        insert(self.store, "message_keys", [key])
        insert(self.store, "messages", [message_row(state)])
        self.truth.seed(state)

    async def _boot(self) -> None:
        self.process = new_process(self.outside, self.habits, self.outcome.reasons)
        self.setup.process(self.process)
        self.own: trio.Nursery = await self.nursery.start(self.process.run)
        for channel_id in CHANNELS:
            place = Channel(channel_id, FLOOR, FLOOR, self.setup.floor)
            self._spawn(self._in_the_process, self.process.journal.open_channel, place)

    def _spawn(self, run: Callable[..., Awaitable[object]], *arguments: object) -> None:
        self.own.start_soon(partial(run, *arguments))

    async def _in_the_process(self, run: Callable[..., Awaitable[object]], *arguments: object) -> None:
        try:
            await run(*arguments)
        except JournalError as error:
            self.say(f"journal: {error}")

    def _text(self, message_id: int) -> str:
        self.texts += 1
        return f"{message_id}:{self.texts}"

    def __str__(self) -> str:
        process = self.process
        sync, journal = process.sync, process.journal
        trusted = f"trusts {sync.trusted.history}" if sync.trusted else sync.reason
        cut = " cut" if process.cache.cut else ""
        database = "up" if self.store.up and not self.store.frozen else "down"
        return (
            f"journal {journal.head}/{journal.flushed}/{sync.applied} {self.servers.primary} {self.servers.other}"
            f"{cut} [{trusted}] database {database}"
        )

    # ---- Telegram

    def _any_channel(self) -> int:
        return self.rng.choice(CHANNELS)

    def _any_key(self) -> Key:
        channel_id = self._any_channel()
        return Key(channel_id, self.rng.randint(1, self.top[channel_id]))

    async def _observe(self, observation: Observation) -> None:
        if observation.channel_id in self.process.journal.channels:
            self._spawn(self._in_the_process, self.process.journal.accept, [observation])

    async def do_post(self) -> None:
        """A new message; now and then one that overtakes another."""
        channel_id = self._any_channel()
        waiting = sum(state.pending for state in self.truth.states.values())
        if waiting > 12:
            return
        self.top[channel_id] += self.rng.choice([1, 1, 1, 2])
        await self._see(Key(channel_id, self.top[channel_id]), 0)

    async def do_read_again(self) -> None:
        """History shows a message that may be known, or be from before the journal, or have been missed."""
        await self._see(self._any_key(), self.rng.choice([0, 0, 1, 2, 3]))

    async def do_edit(self) -> None:
        """A message has another text."""
        await self._see(self._any_key(), self.rng.randint(1, 5))

    async def _see(self, key: Key, edit_date_s: int) -> None:
        await self._observe(Seen(*key, Content(text=self._text(key.message_id)), edit_date_s))

    async def do_delete(self) -> None:
        """A message is gone."""
        if self.rng.random() < 0.3:
            await self._observe(Gone(*self._any_key()))

    # ---- consumers

    async def do_acknowledge(self) -> None:
        """A consumer has processed a message: most often one that waits."""
        waits = sorted(key for key, state in self.truth.states.items() if state.pending)
        key = self.rng.choice(waits) if waits and self.rng.random() < 0.9 else self._any_key()
        channel = str(key.channel_id) if self.rng.random() < 0.8 else None
        self._spawn(self._acknowledge, MarkProcessed((key.message_id,), "tp-capital", channel))

    async def _acknowledge(self, request: MarkProcessed) -> None:
        process = self.process
        try:
            await process.acknowledger.mark_processed(request)
        except (Unavailable, AmbiguousMessage) as error:
            self.say(f"not acknowledged: {error}")

    async def do_acknowledge_unseen(self) -> None:
        """One that no store knows, as it is accepted while nobody can look: its message may yet come."""
        channel_id = self._any_channel()
        key = Key(channel_id, self.rng.randint(5, self.top[channel_id] + 2))
        if self.rng.random() < 0.5 and key not in self.truth.states:
            run = self.process.journal.append
            self._spawn(self._in_the_process, run, lambda at_us: [Acknowledged(*key, "tp-capital", at_us)])

    async def do_poll(self) -> None:
        """A consumer asks what waits."""
        statuses = self.rng.choice([("received",), ("received",), ("received", "queued")])
        limit = self.rng.choice([1000, 1000, 1000, 3])
        query = UnprocessedQuery(str(self._any_channel()), statuses=statuses, limit=limit)
        self._spawn(self._poll, query)

    async def _poll(self, query: UnprocessedQuery) -> Page | None:
        process, began_s = self.process, trio.current_time()
        self.truth.advance(self.file.ever, process.journal.head)
        expected = self.truth.expected(int(query.channel))
        mark = process.sync.trusted
        there = self.other.settled(began_s, process.sync.history, process.sync.warmed_at_s)
        page = await process.reader.unprocessed(query)
        tail = process.journal.tail.of_channel(int(query.channel), 0)
        took_s = trio.current_time() - began_s
        self.outcome.polls[str(page.source)] += 1
        try:
            if took_s > POLL_WITHIN_S:
                raise Violation(f"a poll took {took_s:.2f} s")
            settled = {
                Source.DATABASE: there[0],
                Source.CACHE: there[1] if mark is process.sync.mark else frozenset(),
            }
            waits = {k: v for k, v in expected.waits.items() if k not in self.other.own}
            over = expected.over | settled.get(page.source, frozenset())
            limit = query.limit - len(expected.waits) + len(waits)
            self.truth.check(
                Expected(waits, over), page, limit, self.file.ever, [record.event for record in tail]
            )
        except Violation as violation:
            self.fail(str(violation))
        texts = {key.message_id: version for key, version in self.truth.served(page).items()}
        self.say(f"poll of {query.channel} since {began_s:.4f}: {page.source} {texts}")
        return page

    async def do_ask_seen(self) -> None:
        """A consumer asks whether messages were taken in."""
        channel_id = self._any_channel()
        ids = self.rng.sample(range(1, self.top[channel_id] + 3), 4)
        self._spawn(self._ask_seen, channel_id, ids)

    async def _ask_seen(self, channel_id: int, ids: list[int]) -> None:
        self.truth.advance(self.file.ever, self.process.journal.head)
        taken_in = {key.message_id for key, state in self._of(channel_id, self.truth.states) if state.exists}
        try:
            seen = await self.process.reader.seen(str(channel_id), ids)
        except Unavailable:
            return
        later = self.truth.waiting_after(self.file.ever)
        by_now = {key.message_id for key, state in self._of(channel_id, later) if state.exists}
        if not set(ids) & taken_in <= seen <= by_now:
            self.fail(
                f"of {ids} in {channel_id}, {sorted(seen)} are said to be seen; it is {sorted(taken_in)}"
            )

    def _of(self, channel_id: int, states: Mapping[Key, State]) -> list[tuple[Key, State]]:
        return [(key, state) for key, state in states.items() if key.channel_id == channel_id]

    async def do_look(self) -> None:
        """Another process answers a poll from the cache."""
        self.nursery.start_soon(self._look, self._any_channel())

    async def _look(self, channel_id: int) -> None:
        try:
            source = await self.other.poll(channel_id)
        except Violation as violation:
            self.fail(str(violation))
            return
        self.outcome.polls[f"{source} of the other"] += 1

    async def do_acknowledge_there(self) -> None:
        """A consumer of the other process has processed a message."""
        waits = sorted(
            key for key, state in self.truth.states.items() if state.pending and key not in self.other.own
        )
        if waits:
            key = self.rng.choice(waits)
            self.nursery.start_soon(self.other.acknowledge, key)

    async def do_rest(self) -> None:
        """Nothing happens for a while: leases and bodies expire."""
        await trio.sleep(self.rng.choice([0.3, 1.0, 4.0]))

    # ---- the stores

    async def do_replicate(self) -> None:
        """The replica gets some of what it lacks."""
        self.servers.replicate(most=20 if self.rng.random() < 0.3 else None)

    async def do_heal(self) -> None:
        """One thing that fails is mended."""
        match self.rng.randrange(6):
            case 0 | 1:
                self.store.mend()
            case 2:
                self.process.cache.cut = False
            case 3:
                self._thaw()
            case 4:
                if self.servers.other.master or not all(server.up for server in self.servers.all):
                    self.servers.rejoin()
            case _:
                self.file.full = False

    def _thaw(self) -> None:
        if any(server.frozen for server in self.servers.all):
            self.other.excuse()
        self.servers.thaw()

    # ---- faults

    async def fault_crash(self) -> None:
        """The process is killed, and started again."""
        self.process.crash()
        await trio.sleep(self.rng.uniform(0.001, 0.3))
        await self._boot()

    async def fault_database_down(self) -> None:
        """It refuses connections."""
        self.store.up = False

    async def fault_database_frozen(self) -> None:
        """It answers nothing."""
        self.store.frozen = True

    async def fault_disk_full(self) -> None:
        """The journal can accept nothing."""
        self.file.full = True

    async def fault_fail_over(self) -> None:
        """The replica takes over."""
        self.servers.fail_over()

    async def fault_restart_empty(self) -> None:
        """The master's process is replaced by a fresh one."""
        self.servers.restart()

    async def fault_stop(self) -> None:
        """The master is down until it is mended."""
        self.servers.stop(self.servers.primary)

    async def fault_freeze(self) -> None:
        """The master is stopped, and goes on later with all that it holds."""
        if self.servers.primary.up:
            self.servers.primary.frozen = True

    async def fault_flush(self) -> None:
        """FLUSHALL."""
        self.servers.flush(trio.current_time())

    async def fault_blip(self) -> None:
        """Connections to the cache break."""
        self.process.cache.lose()

    async def fault_cut(self) -> None:
        """The process reaches no cache server."""
        self.process.cache.cut = True

    async def fault_demote(self) -> None:
        """Who was cut off learns of the new master, and follows it."""
        if self.servers.other.master:
            self.servers.rejoin()

    # ---- the end

    async def _quiet(self) -> None:
        """Everything is mended: the cache answers again, all agree, and the answer is the truth, byte by byte."""
        self.weather.calm = True
        self.weather.mean_s = 0.0005
        self.store.mend()
        self.file.full, self.process.cache.cut = False, False
        self._thaw()
        self.servers.rejoin()
        self.say(f"quiet | {self}")
        # What is on its way to the journal arrives.
        await trio.sleep(1.0)
        await self.other.try_again()
        await self._until_answered()
        for channel_id in CHANNELS:
            query = UnprocessedQuery(str(channel_id))
            page = await self._poll(query)
            if page is None or self.outcome.violation is not None:
                return
            await self._compare(query, page)

    async def _until_answered(self) -> None:
        """Until the cache answers and has everything, or it takes too long."""
        journal, sync = self.process.journal, self.process.sync
        with trio.move_on_after(QUIET_S):
            while not (
                journal.backlog == 0
                and sync.trusted is not None
                and sync.applied == journal.head
                and self.servers.primary.mark(trio.current_time()) == sync.trusted.text
                and self.other.shared.trusted == self.servers.primary.history
            ):
                await trio.sleep(0.1)

    async def _compare(self, query: UnprocessedQuery, page: Page) -> None:
        process = self.process
        waits = {
            key
            for key, state in self.truth.states.items()
            if state.pending and key.channel_id == int(query.channel)
        }
        if page.source is not Source.CACHE and len(waits) <= self.times.bound:
            self.fail(f"{QUIET_S} s after the last fault the cache does not answer: {process.sync.reason}")
            return
        other = Reader(process.journal, process.database, None, process.sync, channel_ids=CHANNELS)
        stored, there = await other.unprocessed(query), await self.other.reader.unprocessed(query)
        if not page.bodies == stored.bodies == there.bodies:
            self.fail(f"answers differ: {page.bodies!r}, {stored.bodies!r}, {there.bodies!r}")
        elif there.source is not page.source:
            self.fail(f"{QUIET_S} s after the last fault the other process answers from {there.source}")


def run_schedule(
    seed: int, number: int, setup: Setup | None = None, *, steps: int = 120, log: bool = False
) -> Outcome:
    """Run one schedule; the same seed and number give the same one."""
    rng = random.Random(f"{seed}/{number}")
    world = World(rng, setup or Setup(), steps=steps, log=log)
    virtual.run(world.main, rng, lambda: rng.expovariate(1 / 0.0005))
    return world.outcome


__all__ = ["LEASE_S", "Outcome", "Setup", "World", "run_schedule"]
