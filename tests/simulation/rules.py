"""The protocol's rules, and how each is broken by itself. Breaking one replaces the part of the product, or of a
stand-in, that keeps it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec
import pytest
import trio

from simulation.other import REMEMBER_S
from simulation.outside import LEASE_S
from simulation.process import Process
from simulation.servers import Server
from simulation.store import Store
from simulation.world import FLOOR, Setup, World
from telewarden import messages
from telewarden.messages import Event, Key, Posted, State, lift
from telewarden.storage.cache import CacheUnavailable, Listed, Turn, Write
from telewarden.storage.cache_sync import Mirror, page_writes
from telewarden.storage.reader import Reader
from telewarden.storage.shared_acknowledger import SharedAcknowledger
from telewarden.storage.shared_cache import Told
from telewarden.storage.tail import Record
from telewarden.workers import warmer

FOREVER_MS = 10**9


@dataclass(frozen=True)
class Stage:
    """Circumstances in which a rule matters often: with it unbroken the protocol holds there too.

    temper: bends a schedule's rates; process: slows a process's parts.
    """

    temper: Callable[[World], None] = lambda world: None
    process: Callable[[Process], None] = lambda process: None

    @property
    def setup(self) -> Setup:
        """With all rules as they are."""
        return Setup(process=self.process, temper=self.temper)


@dataclass(frozen=True)
class Rule:
    """One rule: what it says, and what breaks it.

    patch: parts of the product, while the schedules run. process: parts of each ingest process; server, store,
    acknowledger, floor, remember_s: see Setup. within: in so many schedules its breaking is found.
    """

    text: str
    patch: Callable[[pytest.MonkeyPatch], None] = lambda patch: None
    process: Callable[[Process], None] = lambda process: None
    server: type[Server] = Server
    store: Callable[[Store], None] = lambda store: None
    acknowledger: type[SharedAcknowledger] = SharedAcknowledger
    floor: int = FLOOR
    remember_s: float = REMEMBER_S
    stage: Stage = Stage()
    within: int = 600

    @contextmanager
    def broken(self) -> Iterator[Setup]:
        """While the context lasts."""

        def process(each: Process) -> None:
            self.stage.process(each)
            self.process(each)

        with pytest.MonkeyPatch.context() as patch:
            self.patch(patch)
            yield Setup(
                server=self.server,
                store=self.store,
                process=process,
                acknowledger=self.acknowledger,
                floor=self.floor,
                remember_s=self.remember_s,
                temper=self.stage.temper,
            )


class OneHistory(Server):
    """All servers' histories look the same."""

    one_history = True


class NoTombstones(Server):
    """Nothing is left where a message was."""

    tombstones = False


class KeepsMark(Server):
    """A warm leaves the mark that is there."""

    clears_mark = False


class AppliesAnything(Server):
    """Whatever comes late is carried out all the same."""

    def _is_next(self, turn: Turn) -> bool:
        return True


class TellsFirst(SharedAcknowledger):
    """Tells the cache first, and commits when it has answered."""

    async def _commit(self, keys: Sequence[Key], stored: Mapping[Key, State], consumer: str) -> None:
        now_s = trio.current_time()
        await self._commits.tell(
            [Told(key, stored[key].id if key in stored else None, now_s) for key in keys]
        )
        await trio.sleep(1.0)
        await super()._commit(keys, stored, consumer)


def _split(world: World) -> None:
    """The other process stays on a master that is cut off, while the new one is being warmed."""
    world.habits = replace(world.habits, sentinels=False)
    _only(
        world, fault_fail_over=0.05, fault_blip=0.1, fault_demote=0.02, do_acknowledge_there=0.2, do_look=0.3
    )


def _batches_pass_each_other(store: Store) -> None:
    store.batches_meet = False


def _no_early_acknowledgements(store: Store) -> None:
    store.early_acknowledgements = False


def _nothing_is_done(process: Process) -> None:
    class Forgetful(Mirror):
        def put(self, state: State) -> None:
            self._done.clear()
            super().put(state)

        def is_done(self, key: Key) -> bool:
            return False

    process.sync.mirror = Forgetful(process.habits.mirror_bound)


def _marks_before_catching_up(patch: pytest.MonkeyPatch) -> None:
    async def mark(run: warmer._Run, _: int) -> bool:
        async with run._sync.lock:
            run._still()
            await run._cache.set_mark(run.warm.mark.text, int(LEASE_S * 1000))
            run._still()
            run._sync.finish_warm(trio.current_time())
        return True

    patch.setattr(warmer._Run, "_mark", mark)


def _warms_from_the_head(process: Process) -> None:
    begin = process.sync.begin_warm
    process.sync.begin_warm = lambda _, *given, **named: begin(process.journal.head, *given, **named)  # type: ignore[method-assign]


def _asks_nothing(patch: pytest.MonkeyPatch) -> None:
    async def ask(*_: object) -> None:
        """Whatever the applier replays."""

    patch.setattr(warmer._Run, "_ask", ask)


def _reader_on(process: Process, of_channel: Callable[[int, int], Sequence[Record]]) -> Reader:
    """A reader that gets something else for the events which its source has not got yet."""

    class Tail:
        def __getattr__(self, name: str) -> Any:
            return of_channel if name == "of_channel" else getattr(process.journal.tail, name)

    class Journal:
        tail = Tail()

        def __getattr__(self, name: str) -> Any:
            return getattr(process.journal, name)

    return Reader(
        Journal(),  # type: ignore[arg-type]
        process.database,
        process.cache,  # type: ignore[arg-type]
        process.sync,
        channel_ids=process.reader._channel_ids,
    )


def _no_overlay(process: Process, source: str) -> None:
    setattr(process.reader, source, getattr(_reader_on(process, lambda channel_id, after: []), source))


class _Live(Sequence[Record]):
    """What the source lacks when it is looked at, not when the poll began."""

    def __init__(self, look: Callable[[], Sequence[Record]]) -> None:
        self._look = look

    def __getitem__(self, index: Any) -> Any:
        return self._look()[index]

    def __len__(self) -> int:
        return len(self._look())

    def __iter__(self) -> Iterator[Record]:
        return iter(self._look())


def _overlay_last(process: Process) -> None:
    journal, sync, tail = process.journal, process.sync, process.journal.tail

    def applied(channel_id: int, _: int) -> Sequence[Record]:
        # Never empty at first, so that the cache is asked for messages one by one.
        return _Live(lambda: tail.of_channel(channel_id, sync.applied))

    def flushed(channel_id: int, _: int) -> Sequence[Record]:
        return _Live(lambda: tail.of_channel(channel_id, journal.flushed))

    process.reader._from_cache = _reader_on(process, applied)._from_cache  # type: ignore[method-assign]
    process.reader._from_database = _reader_on(process, flushed)._from_database  # type: ignore[method-assign]


def _asks_for_no_tombstones(process: Process) -> None:
    read = process.cache.read

    async def reads_bare(*given: Any, **named: Any) -> Any:
        answer = await read(*given, **named)
        return Listed(answer.waiting, frozenset()) if isinstance(answer, Listed) else answer

    async def nothing_done(keys: Sequence[Key]) -> set[Key]:
        return set()

    by_keys = process.database.by_keys

    async def only_those_that_wait(keys: Collection[Key]) -> dict[Key, State]:
        return {key: state for key, state in (await by_keys(list(keys))).items() if state.pending}

    process.cache.read = reads_bare  # type: ignore[method-assign]
    process.sync.mirror.is_done = lambda key: False  # type: ignore[method-assign]
    reads = SimpleNamespace(
        waiting=process.database.waiting,
        by_keys=only_those_that_wait,
        done=nothing_done,
        by_id=process.database.by_id,
    )
    process.reader._database = reads  # type: ignore[assignment]


def _takes_no_for_yes(process: Process) -> None:
    apply = process.cache.apply

    async def unconfirmed(*given: Any) -> None:
        try:
            await apply(*given)
        except CacheUnavailable:
            return

    process.cache.apply = unconfirmed  # type: ignore[method-assign, assignment]


def _jumps_over_what_is_forgotten(process: Process) -> None:
    tail = process.journal.tail

    def waiting(limit: int) -> list[Record]:
        return tail.after(max(process.sync.applied, tail.first - 1), limit)

    process.redis._waiting = waiting  # type: ignore[method-assign]


def _skips_what_has_no_body(process: Process) -> None:
    async def states(keys: Sequence[Key]) -> dict[Key, State]:
        return {}

    process.reader._states = states  # type: ignore[method-assign]


def _lasts_forever(process: Process) -> None:
    cache = process.cache
    cache.set_mark, cache.renew = (  # type: ignore[method-assign]
        partial(_with_lease, call) for call in (cache.set_mark, cache.renew)
    )


async def _with_lease(call: Callable[[str, int], Any], mark: str, _: int) -> None:
    await call(mark, FOREVER_MS)


def _renews_in_any_case(process: Process) -> None:
    process.redis._lease_ms = lambda: 3000  # type: ignore[method-assign]


def _slow_pages(process: Process, after_s: float = 2.0) -> None:
    read = process.database.pending_page

    async def slowly(channel_id: int, after: tuple[int, UUID], limit: int) -> list[State]:
        page = await read(channel_id, after, limit)
        await trio.sleep(after_s)
        return page

    process.database.pending_page = slowly  # type: ignore[method-assign]


def _slow_applier(process: Process) -> None:
    apply = process.cache.apply

    async def slowly(history: str, writes: Iterable[Write], turn: Turn | None = None) -> None:
        await trio.sleep(0.4)
        await apply(history, writes, turn)

    process.cache.apply = slowly  # type: ignore[method-assign]


def _slow_applier_and_pages(process: Process) -> None:
    _slow_applier(process)
    _slow_pages(process, 5.0)


def _much_comes(world: World) -> None:
    """More than a slow applier can take, which gets one event at a time."""
    world.habits = replace(world.habits, applier_batch=1)
    world.weather.mean_s, world.pause_s = 0.001, 0.1
    _only(world, do_edit=0.5, do_read_again=0.3, do_post=0.3, do_look=0.3)


def _folds_nothing(patch: pytest.MonkeyPatch) -> None:
    def bare(page: Sequence[State], _: Sequence[Record], mirror: Mirror) -> list[Write]:
        return page_writes(page, [], mirror)

    patch.setattr(warmer, "page_writes", bare)


def _only(world: World, **shares: float) -> None:
    """No faults but these; each share is a part of all actions, roughly."""
    world.weather.breaks = world.weather.slow = 0.0
    for name in world.weights:
        if name.startswith("fault_"):
            world.weights[name] = 0.0
    total = sum(world.weights.values())
    world.weights |= {name: total * share for name, share in shares.items()}


def _fail_overs(world: World) -> None:
    """The replica takes over again and again."""
    _only(world, fault_fail_over=0.05, fault_demote=0.05, do_replicate=0.2)


def _crashes(world: World) -> None:
    """The process is started again and again while the other one reads."""
    world.pause_s = 0.003
    _only(world, fault_crash=0.05, do_look=0.5)


def _cuts(world: World) -> None:
    """The ingest process reaches no cache for seconds, while the other one reads there."""
    _only(world, fault_cut=0.05, do_look=0.5, do_rest=0.1, do_heal=0.05)


def _flushes(world: World) -> None:
    """The cache is emptied while messages wait to be stored and are acknowledged in the other process."""
    world.habits = replace(world.habits, batch_age_s=0.3)
    _only(world, fault_flush=0.05, do_acknowledge_there=0.1)


def _posts_are_news(patch: pytest.MonkeyPatch) -> None:
    def resets(event: Event) -> State:
        lifted = lift(event)
        if isinstance(event, Posted):
            return msgspec.structs.replace(lifted, status_at_us=event.received_at_us)
        return lifted

    patch.setattr(messages, "lift", resets)


def _the_last_text_wins(patch: pytest.MonkeyPatch) -> None:
    join = messages.join

    def last(a: State, b: State) -> State:
        joined = join(a, b)
        if b.content is None:
            return joined
        return msgspec.structs.replace(joined, content=b.content, version=b.version)

    patch.setattr(messages, "join", last)


FAIL_OVERS, CRASHES, FLUSHES, CUTS = (Stage(temper) for temper in (_fail_overs, _crashes, _flushes, _cuts))
SLOW_APPLIER = Stage(_much_comes, _slow_applier)
SLOW_WARM = Stage(_much_comes, _slow_applier_and_pages)
SPLIT = Stage(_split, _slow_pages)

RULES: dict[str, Rule] = {
    "history": Rule(
        "a mark is trusted only on a master and in the replication history (master_replid) that was warmed",
        server=OneHistory,
        stage=FAIL_OVERS,
    ),
    "mark_after_catch_up": Rule(
        "the mark is set only when every event accepted so far is applied",
        patch=_marks_before_catching_up,
        stage=SLOW_WARM,
    ),
    "warm_from_flushed": Rule(
        "when a warm starts, the applier goes back to the oldest event that is not in the database",
        process=_warms_from_the_head,
    ),
    "fold_page": Rule(
        "events applied during a warm are folded onto each page that was read before them",
        patch=_folds_nothing,
    ),
    "overlay_first": Rule(
        "a reader notes the events not yet in its source before it reads the source",
        process=_overlay_last,
    ),
    "overlay_cache": Rule(
        "a cache read is overlaid with the events not yet applied to the cache",
        process=partial(_no_overlay, source="_from_cache"),
    ),
    "overlay_database": Rule(
        "a database read is overlaid with the events not yet flushed",
        process=partial(_no_overlay, source="_from_database"),
    ),
    "tombstone": Rule(
        "an acknowledged message leaves a tombstone, and nothing adds over it",
        server=NoTombstones,
        process=_nothing_is_done,
    ),
    "new_only": Rule(
        "only a post that is certainly new enters the pending set; another waits for the database's word",
        floor=0,
    ),
    "clear_with_mark": Rule(
        "a warm clears the mark together with the sets, before it writes",
        server=KeepsMark,
        stage=CRASHES,
    ),
    "ack_before_row": Rule(
        "an acknowledgement is kept even when the row is not there yet, and meets it on arrival",
        store=_no_early_acknowledgements,
    ),
    "warm_asks_tail": Rule(
        "a warm asks the database about every message that the applier will replay, and leaves a tombstone where it is "
        "done",
        patch=_asks_nothing,
        process=_nothing_is_done,
        stage=FLUSHES,
    ),
    "overlay_keys_read": Rule(
        "a read also asks its source about every message that only the overlay holds: acknowledged?",
        process=_asks_for_no_tombstones,
    ),
    "replay_merges": Rule("a replayed post never moves a status back", patch=_posts_are_news),
    "lease": Rule("the mark expires unless the ingest process renews it", process=_lasts_forever, stage=CUTS),
    "lease_follows_applier": Rule(
        "a renewal reaches only as far as the oldest event that is not applied allows",
        process=_renews_in_any_case,
        stage=SLOW_APPLIER,
    ),
    "confirm": Rule(
        "the applied position moves only past confirmed writes; an unknown result is applied again",
        process=_takes_no_for_yes,
    ),
    "stop_at_retention": Rule(
        "an applier that falls behind the journal's retention distrusts the cache",
        process=_jumps_over_what_is_forgotten,
    ),
    "newest_text": Rule("an older text never overwrites a newer one", patch=_the_last_text_wins),
    "body_from_truth": Rule(
        "a body that has expired is read from the database and overlaid, not skipped",
        process=_skips_what_has_no_body,
    ),
    "ack_commits_first": Rule(
        "role api commits an acknowledgement before it touches the cache",
        acknowledger=TellsFirst,
    ),
    "pay_again": Rule(
        "role api applies its recent acknowledgements again in a history that it has not seen",
        remember_s=0.0,
        stage=SPLIT,
    ),
    "batches_meet": Rule(
        "a message and an acknowledgement that came before it are never committed without one having seen the other",
        store=_batches_pass_each_other,
    ),
    "late_write": Rule(
        "a write that its caller gave up on changes nothing when it comes late", server=AppliesAnything
    ),
}
"""By name."""
