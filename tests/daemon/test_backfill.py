"""Older posts: brought downwards from where the reading began, behind live posts, and from where it was stopped."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
import trio.testing

from telewarden.backfill import ACKNOWLEDGED_BY, Backfilled, Backfiller, BackfillRefused
from telewarden.messages import Acknowledged, Content, Edited, Posted
from telewarden.storage.acceptance import Channel, Seen
from telewarden.storage.journal import Journal, open_journal
from telewarden.telegram.feed import Flooded, TelegramUnavailable
from telewarden.telegram.intake import TelegramState
from telewarden.telegram.pacing import Budget, FloodWaits
from telewarden.telegram.reading import Asking

pytestmark = pytest.mark.anyio
NEWS = -1001
DAY_US = 86_400_000_000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0.02)}


@dataclass
class History:
    """A channel's history: message n is of day n. errors: what the next requests answer."""

    ids: list[int]
    errors: list[Exception] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    async def newest(self, channel_id: int, limit: int, before: int = 0) -> list[Seen]:
        await anyio.lowlevel.checkpoint()
        self.asked.append(before)
        if self.errors:
            raise self.errors.pop(0)
        found = sorted((i for i in self.ids if i < before), reverse=True)[:limit]
        return [Seen(channel_id, i, Content(text=f"#{i}", telegram_date_us=i * DAY_US)) for i in found]


@dataclass
class Stored:
    bottom: int = 0

    async def channel_bottom(self, channel_id: int) -> int:
        await anyio.lowlevel.checkpoint()
        return self.bottom


@dataclass
class World:
    journal: Journal
    history: History
    stored: Stored
    state: TelegramState
    connected: bool = True

    def backfiller(self) -> Backfiller:
        asking = Asking(Budget(25.0, 25), FloodWaits())
        connection = cast(Any, self.history)
        return Backfiller(
            lambda: (connection, asking) if self.connected else None,
            self.journal,
            cast(Any, self.stored),
            self.state,
            lambda: 25.0,
        )

    async def run(self, **options: Any) -> Backfilled:
        async with aclosing(self.backfiller().backfill(NEWS, **options)) as steps:
            every = [step async for step in steps]
        return every[-1]

    def posts(self) -> list[Posted]:
        return [r.event for r in self.journal.tail.after(0) if isinstance(r.event, Posted)]

    def acknowledged(self) -> set[int]:
        events = [r.event for r in self.journal.tail.after(0)]
        return {e.message_id for e in events if isinstance(e, Acknowledged) and e.consumer == ACKNOWLEDGED_BY}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        await journal.open_channel(Channel(NEWS, 300, top=300, floor=0, origin=300, pts=5))
        state = TelegramState(connected=True, caught_up=True)
        yield World(journal, History(list(range(1, 301))), Stored(), state)


def ids(events: Sequence[Posted]) -> list[int]:
    return sorted(event.message_id for event in events)


async def test_everything_older_comes_once_and_counts_as_processed(world: World) -> None:
    done = await world.run()
    assert (done.posts, done.reached) == (300, 0)
    assert ids(world.posts()) == list(range(1, 301))
    assert world.acknowledged() == set(range(1, 301))
    assert world.journal.channels[NEWS] == Channel(NEWS, 300, top=300, floor=0, origin=0, pts=5)
    again = await world.run()
    assert again.posts == 0
    assert len(world.posts()) == 300


async def test_served_posts_are_not_acknowledged(world: World) -> None:
    await world.run(limit=10, serve=True)
    assert ids(world.posts()) == list(range(291, 301))
    assert world.acknowledged() == set()


async def test_stopped_anywhere_it_goes_on_from_there(world: World) -> None:
    async with aclosing(world.backfiller().backfill(NEWS)) as steps:
        async for step in steps:
            if step.posts:
                break
    assert world.journal.channels[NEWS].origin == 200
    assert (await world.run()).posts == 200
    assert ids(world.posts()) == list(range(1, 301))


async def test_a_limit_and_a_date_end_it(world: World) -> None:
    assert (await world.run(limit=30)).reached == 270
    done = await world.run(since_s=150 * 86_400.0)
    assert (done.reached, done.oldest_us) == (149, 150 * DAY_US)
    assert ids(world.posts()) == list(range(150, 301))
    assert (await world.run(since_s=150 * 86_400.0)).posts == 0


async def test_an_edit_of_an_older_post_counts_from_then_on(world: World) -> None:
    edited = Seen(NEWS, 250, Content(text="edited"), 10)
    assert await world.journal.accept([edited]) == []
    await world.run()
    (record,) = await world.journal.accept([edited])
    assert isinstance(record.event, Edited)


async def test_waits_and_lost_connections_are_told_and_outlasted(world: World) -> None:
    world.history.errors = [Flooded(300.0), TelegramUnavailable("the connection ended")]
    async with aclosing(world.backfiller().backfill(NEWS)) as steps:
        told = [step.waits async for step in steps]
    assert any("300 s" in waits for waits in told)
    assert any("connection ended" in waits for waits in told)
    assert ids(world.posts()) == list(range(1, 301))


@pytest.mark.parametrize("reason", ["connected", "caught_up"])
async def test_nothing_is_asked_while_newer_posts_have_to_come_first(world: World, reason: str) -> None:
    if reason == "connected":
        world.connected = False
    else:
        world.state.caught_up = False
    async with aclosing(world.backfiller().backfill(NEWS)) as steps:
        waits = [(await anext(steps)).waits for _ in range(4)]
        assert waits[0] == ""
        assert all(waits[1:])
        assert world.history.asked == []
        world.connected, world.state.caught_up = True, True
        async for _ in steps:
            pass
    assert len(world.posts()) == 300


async def test_where_the_database_has_posts_it_begins_below_the_oldest(world: World) -> None:
    known = -1002
    await world.journal.open_channel(Channel(known, 300, top=300, floor=300))
    world.stored.bottom = 120
    async with aclosing(world.backfiller().backfill(known)) as steps:
        async for _ in steps:
            pass
    posts = [post for post in world.posts() if post.channel_id == known]
    assert ids(posts) == list(range(1, 120))
    assert not any(post.new for post in posts), "the database has to say whether they are new"


async def test_a_channel_that_is_not_taken_in_and_a_second_run_are_refused(world: World) -> None:
    with pytest.raises(BackfillRefused, match="none of the channels"):
        await anext(world.backfiller().backfill(-1009))
    backfiller = world.backfiller()
    async with aclosing(backfiller.backfill(NEWS)) as steps:
        await anext(steps)
        with pytest.raises(BackfillRefused, match="under way"):
            await anext(backfiller.backfill(NEWS))
    assert (await world.run()).posts == 300
