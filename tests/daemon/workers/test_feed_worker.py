"""What the feed's worker serves ahead of the database is what the database serves later: each event once, in order."""

from contextlib import suppress
from typing import cast

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.feed_model import ModelJournal, ModelStore, deleted, gone, seen
from telewarden.messages import Acknowledged, Content, Posted
from telewarden.sandbox.alone import AloneContext
from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.feed_window import FeedWindow, Filter
from telewarden.storage.journal import Journal
from telewarden.workers import feed as worker
from telewarden.workers.feed import JournalFeed, StoredFeed
from telewarden_http.v1.feed_protocols import KINDS
from telewarden_http.v1.token import BEGINNING, Position

pytestmark = pytest.mark.anyio
ALL = Filter(None, frozenset(KINDS))
Told = tuple[Position, str, int]


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


class Process:
    """The one that takes in: its journal, its window, the worker between them."""

    def __init__(self, store: ModelStore, journal: ModelJournal | None = None) -> None:
        self.store = store
        self.journal = journal or ModelJournal()
        self.restart()

    def restart(self) -> None:
        """As after a crash: memory is gone, journal and database are there."""
        self.window = FeedWindow()
        self.feed = JournalFeed(
            self.window, self.store, cast(Journal, self.journal), None, take_over=self._nothing
        )

    async def _nothing(self) -> None:
        pass

    async def follow(self) -> list[Told]:
        """Let the worker do what it can, and give all that is in memory."""
        with suppress(DatabaseUnavailable):
            await self.feed._follow()
        return self.told()

    def told(self, after: Position | None = None) -> list[Told]:
        if self.window.start is None:
            return []
        after = self.window.start if after is None else max(after, self.window.start)
        return [
            (event.position, event.kind, _message_of(event.body))
            for event in self.window.after(after, ALL, 10_000).events
        ]


def _message_of(body: bytes) -> int:
    return int(body.partition(b'"messageId":"')[2].partition(b'"')[0])


def recorded(store: ModelStore) -> list[Told]:
    return [(change.position, change.kind, change.key.message_id) for change in store.events]


def short(told: list[Told]) -> list[str]:
    return [f"{kind} {message}" for _, kind, message in told]


async def test_a_post_that_is_certainly_new_is_served_before_the_database_has_it() -> None:
    process = Process(ModelStore())
    process.journal.observe(seen(1, "one"))
    assert await process.follow() == [], "this journal has no number yet"
    process.store.flush(process.journal, 10)
    process.store.up = False
    process.journal.observe(seen(2, "two"), seen(1, "One", 5), gone(2))
    assert short(await process.follow()) == ["posted 1", "posted 2", "edited 1", "deleted 2"]
    assert process.window.stored < process.window.head
    process.store.up = True
    process.store.flush(process.journal, 10)
    assert await process.follow() == recorded(process.store)


async def test_what_only_the_database_can_say_is_waited_for_and_all_that_follows_it() -> None:
    process = Process(ModelStore(), ModelJournal(epoch=1))
    process.journal.observe(seen(10, "ten"))
    await process.follow()
    process.journal.prune()
    process.journal.observe(seen(5, "late"), seen(11, "eleven"))
    assert short(await process.follow()) == ["posted 10"]
    asked = process.store.asked
    assert short(await process.follow()) == ["posted 10"]
    assert process.store.asked == asked, "there is nothing to ask as long as nothing is flushed"
    process.store.flush(process.journal, 10)
    assert short(await process.follow()) == ["posted 10", "posted 5", "posted 11"]


async def test_what_is_repeated_by_the_databases_word_is_no_event() -> None:
    process = Process(ModelStore(), ModelJournal(epoch=1))
    process.journal.observe(seen(10, "ten"))
    process.journal.prune()
    process.journal.observe(seen(5, "late"))
    process.store.flush(process.journal, 10)
    process.journal.observe(seen(5, "Late", 7), gone(5))
    assert short(await process.follow()) == ["posted 10", "posted 5", "edited 5", "deleted 5"]
    assert process.window.head == (1, process.journal.head)
    process.store.flush(process.journal, 100)
    assert await process.follow() == recorded(process.store)


async def test_with_the_database_down_from_the_start_it_goes_on_from_the_journal() -> None:
    process = Process(ModelStore(), ModelJournal(epoch=3))
    process.store.up = False
    process.journal.observe(seen(1, "one"))
    assert short(await process.follow()) == ["posted 1"]
    assert process.window.start == (3, 0)
    process.journal.append(Acknowledged(-1001, 1, "tp", 5))
    process.journal.observe(seen(2, "two"))
    assert short(await process.follow()) == ["posted 1", "posted 2"]
    process.store.up = True
    process.store.flush(process.journal, 100)
    assert await process.follow() == recorded(process.store)


async def test_a_new_journal_begins_behind_all_that_was_before() -> None:
    store = ModelStore()
    process = Process(store, ModelJournal(epoch=1))
    process.journal.observe(seen(1, "one"), seen(2, "two"))
    store.flush(process.journal, 100)
    process = Process(store)
    assert short(await process.follow()) == ["posted 1", "posted 2"]
    process.journal.prune()
    process.journal.observe(seen(1, "One", 9), seen(3, "three"))
    process.journal.epoch = 2
    await process.follow()
    store.flush(process.journal, 100)
    assert short(await process.follow()) == ["posted 1", "posted 2", "edited 1", "posted 3"]
    assert process.told()[-1][0] == (2, 2)


async def test_an_old_journal_that_was_put_back_stops_the_feed_and_says_so() -> None:
    store = ModelStore()
    process = Process(store, ModelJournal(epoch=2))
    process.journal.observe(seen(1, "one"))
    store.flush(process.journal, 100)
    old = Process(store, ModelJournal(epoch=1))
    old.journal.observe(seen(7, "seven"))
    assert short(await old.follow()) == ["posted 1"]
    assert old.feed._told_of_epoch == 1


async def test_what_the_database_refused_is_an_event_when_it_takes_it_after_all() -> None:
    store = ModelStore()
    process = Process(store, ModelJournal(epoch=1))
    store.on_set_aside = process.feed.refused
    store.refused = {1}
    process.journal.observe(seen(1, "one"))
    assert short(await process.follow()) == ["posted 1"], "it was certain, as far as anybody knew"
    store.flush(process.journal, 10)
    assert store.events == []
    process.journal.append(Posted(-1001, 1, Content(text="one"), 0, 9, False))
    assert short(await process.follow()) == ["posted 1"]
    store.flush(process.journal, 10)
    assert (await process.follow())[1:] == recorded(store) != []


Step = tuple[str, int, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("see"), st.integers(1, 6), st.integers(0, 3)),
        st.tuples(st.just("gone"), st.integers(1, 6), st.just(0)),
        st.tuples(st.just("handed"), st.integers(1, 6), st.just(0)),
        st.tuples(st.just("acknowledge"), st.integers(1, 6), st.just(0)),
        st.tuples(st.just("flush"), st.integers(1, 6), st.just(0)),
        st.tuples(st.just("die"), st.integers(1, 6), st.just(0)),
        st.tuples(
            st.sampled_from(("prune", "follow", "follow", "up", "down", "restart")), st.just(0), st.just(0)
        ),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(STEPS, st.booleans(), st.integers(2, 5), st.sampled_from((3, 20_000)))
def test_whatever_is_served_early_and_late_is_each_event_of_the_database_once_in_order(
    steps: list[Step], forgets: bool, page: int, most_known: int
) -> None:
    async def run() -> None:
        store = ModelStore()
        process = Process(store)
        process.journal.forgets = forgets
        process.feed._filling.foresight._most_known = most_known
        cursor = BEGINNING
        got: list[Told] = []

        async def read() -> None:
            """A consumer of this process, which keeps its place."""
            nonlocal cursor
            await process.follow()
            window = process.window
            if not window.covers(cursor) and store.up:
                older = [told for told in recorded(store) if told[0] > cursor]
                got.extend(older)
                cursor = max([cursor, window.stored, *(told[0] for told in older)])
            if window.covers(cursor):
                got.extend(process.told(cursor))
                cursor = max(cursor, window.head)

        for what, number, version in steps:
            match what:
                case "see":
                    process.journal.observe(seen(number, f"{number}/{version}", version))
                case "gone":
                    process.journal.observe(gone(number))
                case "handed":
                    process.journal.append(deleted(number, 1))
                case "acknowledge":
                    process.journal.append(Acknowledged(-1001, number, "tp", process.journal.head))
                case "flush":
                    store.flush(process.journal, number)
                case "die":
                    store.flush(process.journal, number, committed_only=True)
                    process.restart()
                    process.feed._filling.foresight._most_known = most_known
                case "prune":
                    process.journal.prune()
                case "follow":
                    await read()
                case "up":
                    store.up = True
                case "down":
                    store.up = False
                case _:
                    process.restart()
                    process.feed._filling.foresight._most_known = most_known
        store.up = True
        while process.journal.flushed < process.journal.head:
            store.flush(process.journal, 3)
        await read()
        assert got == recorded(store)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_PAGE", page)
        anyio.run(run, backend="trio")


async def test_a_process_that_serves_sees_what_the_database_holds() -> None:
    store = ModelStore()
    journal = ModelJournal(epoch=1)
    window = FeedWindow()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(StoredFeed(window, store, None, look_s=0.01).run, AloneContext())
        for n in range(1, 4):
            journal.observe(seen(n, str(n)))
            store.up = True
            store.flush(journal, 10)
            store.up = n != 2
            with anyio.fail_after(5):
                while store.up and window.head != (1, n):
                    await anyio.sleep(0.01)
        with anyio.fail_after(5):
            while window.head != (1, 3):
                await anyio.sleep(0.01)
        store.floor_at = Position(1, 2)
        with anyio.fail_after(5):
            while window.start != (1, 2):
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert [event.position.position for event in window.after(Position(1, 2), ALL, 10).events] == [3]
