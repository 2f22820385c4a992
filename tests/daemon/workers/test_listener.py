"""Intake against a Telegram that lives in memory: what the listener reads, compares and accepts, on a virtual clock."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
import trio.testing

from telewarden.channels import ChannelSet
from telewarden.messages import Content, Deleted, Edited, Event, Posted
from telewarden.sandbox.alone import AloneContext
from telewarden.storage.acceptance import Channel, Gone, Observation, Seen
from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.journal import Journal, open_journal
from telewarden.storage.signal import Signal
from telewarden.telegram.feed import (
    ChannelClosed,
    ChannelNotFound,
    Difference,
    Flooded,
    Found,
    Place,
    Push,
    SessionUnusable,
    TelegramUnavailable,
    Unreadable,
)
from telewarden.telegram.intake import IntakeSettings, TelegramState
from telewarden.telegram.references import ById, Reference
from telewarden.workers.listener import Listener

pytestmark = pytest.mark.anyio
NEWS, SIGNALS = -1001, -1002


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """A trio loop whose clock jumps to the next deadline; threads (the journal's) hold it back while they work."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0.02)}


@dataclass
class FakeTelegram:
    """A world of channels, and the faults that a test asks for. It implements Feed."""

    messages: dict[int, dict[int, Seen]] = field(default_factory=lambda: {NEWS: {}, SIGNALS: {}})
    connections: list["FakeConnection"] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)
    next_errors: dict[int, list[Exception]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    changes: dict[int, list[tuple[type, int]]] = field(default_factory=dict)
    is_too_long: bool = False
    is_unreadable: bool = False

    def post(self, channel_id: int, message_id: int, text: str = "BUY", *, push: bool = True) -> None:
        self._show(Seen(channel_id, message_id, Content(text=text)), push=push)

    def edit(self, channel_id: int, message_id: int, text: str, at: int, *, push: bool = True) -> None:
        self._show(Seen(channel_id, message_id, Content(text=text), at), push=push)

    def _show(self, seen: Seen, *, push: bool) -> None:
        self.messages[seen.channel_id][seen.message_id] = seen
        self._changed(seen, push=push)

    def delete(self, channel_id: int, message_id: int, *, push: bool = True) -> None:
        del self.messages[channel_id][message_id]
        self._changed(Gone(channel_id, message_id), push=push)

    def pts(self, channel_id: int) -> int:
        return 1 + len(self.changes.setdefault(channel_id, []))

    def _changed(self, observation: Observation, *, push: bool) -> None:
        channel_id = observation.channel_id
        self.pts(channel_id)
        self.changes[channel_id].append((type(observation), observation.message_id))
        if not push:
            return
        for connection in self.connections:
            connection.pushed.append(Push(channel_id, (observation,), self.pts(channel_id), 1))
            connection.arrived.fire()

    def drop(self) -> None:
        for connection in self.connections:
            connection.lost = True
            connection.arrived.fire()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["FakeConnection"]:
        if self.refusals:
            raise self.refusals.pop(0)
        connection = FakeConnection(self)
        self.connections.append(connection)
        try:
            yield connection
        finally:
            self.connections.remove(connection)


class FakeConnection:
    def __init__(self, telegram: FakeTelegram) -> None:
        self.telegram = telegram
        self.pushed: list[Push] = []
        self.arrived = Signal()
        self.lost = False
        self.dropped: set[int] = set()

    def _fail(self, channel_id: int) -> None:
        errors = self.telegram.next_errors.get(channel_id)
        if errors:
            raise errors.pop(0)

    def reachable(self, channel_ids: Sequence[int]) -> set[int]:
        return {c for c in channel_ids if c in self.telegram.messages}

    async def places(self, channel_ids: Sequence[int]) -> dict[int, Place]:
        self.telegram.requests.append("places")
        await anyio.lowlevel.checkpoint()
        self._fail(0)
        world = self.telegram.messages
        return {c: Place(max(world[c], default=0), self.telegram.pts(c)) for c in channel_ids if c in world}

    async def difference(self, channel_id: int, pts: int, limit: int) -> Difference:
        """As Telegram has it: what a message is now, for whatever happened to it."""
        self.telegram.requests.append(f"difference {channel_id} {pts}")
        await anyio.lowlevel.checkpoint()
        self._fail(channel_id)
        now = self.telegram.pts(channel_id)
        if self.telegram.is_unreadable and pts < now:
            raise Unreadable(0x12345678)
        if self.telegram.is_too_long and pts < now:
            return Difference((), now, is_too_long=True)
        part = self.telegram.changes[channel_id][pts - 1 :][:limit]
        world = self.telegram.messages[channel_id]
        seen = [
            world[i] if kind is Seen else Gone(channel_id, i)
            for kind, i in part
            if kind is Gone or i in world
        ]
        return Difference(tuple(seen), pts + len(part), final=pts + len(part) == now)

    async def pts(self, channel_id: int) -> int:
        await anyio.lowlevel.checkpoint()
        return self.telegram.pts(channel_id)

    async def after(self, channel_id: int, message_id: int, limit: int) -> list[Seen]:
        self.telegram.requests.append(f"after {channel_id} {message_id}")
        await anyio.lowlevel.checkpoint()
        self._fail(channel_id)
        found = sorted(i for i in self.telegram.messages[channel_id] if i > message_id)
        return [self.telegram.messages[channel_id][i] for i in found[:limit]]

    async def newest(self, channel_id: int, limit: int, before: int = 0) -> list[Seen]:
        self.telegram.requests.append(f"newest {channel_id} {limit}")
        await anyio.lowlevel.checkpoint()
        self._fail(channel_id)
        found = sorted(
            (i for i in self.telegram.messages[channel_id] if not before or i < before), reverse=True
        )
        return [self.telegram.messages[channel_id][i] for i in found[:limit]]

    async def existing(self, channel_id: int, message_ids: Sequence[int]) -> list[Seen]:
        self.telegram.requests.append(f"existing {channel_id} {list(message_ids)}")
        await anyio.lowlevel.checkpoint()
        world = self.telegram.messages[channel_id]
        return [world[i] for i in message_ids if i in world]

    async def dialogs(self) -> list[Found]:
        await anyio.lowlevel.checkpoint()
        return [Found(channel_id, f"Channel {channel_id}") for channel_id in self.telegram.messages]

    async def resolve(self, reference: Reference, *, join: bool) -> Found:
        await anyio.lowlevel.checkpoint()
        for found in await self.dialogs():
            if reference == ById(found.channel_id):
                return found
        raise ChannelNotFound("the account is not in it")

    async def last_before(self, channel_id: int, moment_s: float) -> int:
        await anyio.lowlevel.checkpoint()
        world = self.telegram.messages[channel_id]
        return max(
            (i for i, s in world.items() if (s.content.telegram_date_us or 0) < moment_s * 1e6), default=0
        )

    async def probe(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self.lost:
            raise TelegramUnavailable("no answer")

    async def pushes(self) -> list[Push]:
        await self.arrived.wait_until(lambda: bool(self.pushed or self.lost or self.dropped))
        if self.lost:
            raise TelegramUnavailable("the connection ended")
        taken, self.pushed = self.pushed, []
        return taken

    def overflowed(self) -> set[int]:
        dropped, self.dropped = self.dropped, set()
        return dropped


@dataclass
class FakeDatabase:
    """Only knows how far each channel was stored."""

    stored: dict[int, int] = field(default_factory=dict)
    failures: int = 0

    async def channel_tops(self, channel_ids: Sequence[int]) -> dict[int, int]:
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("down")
        return {c: self.stored.get(c, 0) for c in channel_ids}


@dataclass
class Intake:
    telegram: FakeTelegram
    database: FakeDatabase
    journal: Journal
    state: TelegramState
    channels: ChannelSet
    listener: Listener

    def events(self) -> list[Event]:
        return [record.event for record in self.journal.tail.after(0)]

    def texts(self, channel_id: int = NEWS) -> dict[int, str | None]:
        """What the journal makes of a channel: text by message id, None where it was deleted."""
        texts: dict[int, str | None] = {}
        for event in self.events():
            if event.channel_id == channel_id:
                if isinstance(event, Posted | Edited):
                    texts[event.message_id] = event.content.text
                elif isinstance(event, Deleted):
                    texts[event.message_id] = None
        return texts

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.listener.run, AloneContext())
            yield
            tasks.cancel_scope.cancel()

    async def until(self, texts: dict[int, str | None], channel_id: int = NEWS) -> None:
        with anyio.fail_after(600):
            await self.journal.changed.wait_until(lambda: self.texts(channel_id) == texts)


@pytest.fixture
async def intake(tmp_path: Path) -> AsyncIterator[Intake]:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        telegram, database, state = FakeTelegram(), FakeDatabase(), TelegramState()
        channels = ChannelSet(journal, [NEWS, SIGNALS], first_read="all")
        listener = Listener(
            telegram,
            journal,
            database,  # type: ignore[arg-type]
            state,
            channels,
            IntakeSettings(page=3, window=5, window_limit=30),
        )
        yield Intake(telegram, database, journal, state, channels, listener)


def first_read(intake: Intake, first_read: str | int) -> None:
    intake.channels.first_read = first_read


async def test_history_is_read_from_the_checkpoint_page_by_page(intake: Intake) -> None:
    for message_id in range(1, 8):
        intake.telegram.post(NEWS, message_id, f"#{message_id}")
    async with intake.listening():
        await intake.until({n: f"#{n}" for n in range(1, 8)})
    assert [r for r in intake.telegram.requests if r.startswith(f"after {NEWS}")] == [
        f"after {NEWS} 0",
        f"after {NEWS} 3",
        f"after {NEWS} 6",
    ]
    assert intake.journal.channels[NEWS].checkpoint == 7


async def test_a_channel_never_seen_begins_now_unless_told_otherwise(intake: Intake) -> None:
    first_read(intake, "now")
    for message_id in (1, 2):
        intake.telegram.post(NEWS, message_id, "old")
    async with intake.listening():
        with anyio.fail_after(60):
            while not intake.telegram.connections or NEWS not in intake.journal.channels:
                await anyio.sleep(0.01)
        intake.telegram.post(NEWS, 3, "new")
        await intake.until({3: "new"})
        intake.telegram.edit(NEWS, 1, "an old one, edited", at=5)
        intake.telegram.post(NEWS, 4, "newer")
        await intake.until({3: "new", 4: "newer"})


async def test_a_channel_never_seen_may_begin_with_its_newest_posts(intake: Intake) -> None:
    first_read(intake, 2)
    for message_id in (1, 5, 9):
        intake.telegram.post(NEWS, message_id, f"#{message_id}")
    async with intake.listening():
        await intake.until({5: "#5", 9: "#9"})


async def test_a_lost_journal_begins_where_the_database_ended(intake: Intake) -> None:
    for message_id in (1, 2, 3, 4):
        intake.telegram.post(NEWS, message_id, f"#{message_id}")
    intake.database.stored[NEWS] = 2
    intake.database.failures = 3
    first_read(intake, "now")
    async with intake.listening():
        with anyio.fail_after(60):
            await intake.journal.changed.wait_until(lambda: {3, 4} <= intake.texts().keys())
    posts = {e.message_id: e.new for e in intake.events() if isinstance(e, Posted) and e.channel_id == NEWS}
    assert posts[3] is True
    assert posts[4] is True
    # The database may have the older ones or lack them: only it can say.
    assert posts.get(1, False) is posts.get(2, False) is False


async def test_pushes_are_accepted_as_they_come(intake: Intake) -> None:
    async with intake.listening():
        with anyio.fail_after(60):
            while not intake.state.connected:
                await anyio.sleep(0.01)
        intake.telegram.post(NEWS, 1, "BUY")
        intake.telegram.post(SIGNALS, 1, "SELL")
        intake.telegram.edit(NEWS, 1, "BUY more", at=5)
        await intake.until({1: "BUY more"})
        await intake.until({1: "SELL"}, SIGNALS)
        intake.telegram.delete(NEWS, 1)
        await intake.until({1: None})


async def test_a_gap_before_a_push_has_the_history_read(intake: Intake) -> None:
    async with intake.listening():
        with anyio.fail_after(60):
            while not intake.state.connected:
                await anyio.sleep(0.01)
        intake.telegram.post(NEWS, 1, "swallowed", push=False)
        intake.telegram.post(NEWS, 2, "swallowed too", push=False)
        intake.telegram.post(NEWS, 3, "pushed")
        await intake.until({1: "swallowed", 2: "swallowed too", 3: "pushed"})
        # Not only found by the timer: long before it is due.
        assert anyio.current_time() < 50


async def test_what_happened_during_an_outage_is_found_after_the_reconnect(intake: Intake) -> None:
    for message_id in (1, 2, 3):
        intake.telegram.post(NEWS, message_id, f"#{message_id}")
    async with intake.listening():
        await intake.until({1: "#1", 2: "#2", 3: "#3"})
        intake.telegram.drop()
        intake.telegram.edit(NEWS, 1, "#1, edited", at=5, push=False)
        intake.telegram.delete(NEWS, 2, push=False)
        intake.telegram.post(NEWS, 4, "#4", push=False)
        await intake.until({1: "#1, edited", 2: None, 3: "#3", 4: "#4"})
    assert intake.state.reconnects == 1


async def test_what_is_never_pushed_is_found_by_the_timer(intake: Intake) -> None:
    async with intake.listening():
        with anyio.fail_after(60):
            while not intake.state.connected:
                await anyio.sleep(0.01)
        intake.telegram.post(NEWS, 1, "quiet", push=False)
        await intake.until({1: "quiet"})
        assert anyio.current_time() < 100


async def test_dropped_pushes_have_the_history_read(intake: Intake) -> None:
    async with intake.listening():
        with anyio.fail_after(60):
            while not intake.state.connected:
                await anyio.sleep(0.01)
        began = anyio.current_time()
        intake.telegram.post(NEWS, 1, "dropped", push=False)
        (connection,) = intake.telegram.connections
        connection.dropped = {NEWS}
        connection.arrived.fire()
        await intake.until({1: "dropped"})
        assert anyio.current_time() - began < 40


async def test_a_flood_wait_on_one_channel_does_not_delay_another(intake: Intake) -> None:
    intake.telegram.post(NEWS, 1, "flooded")
    intake.telegram.post(SIGNALS, 1, "at once")
    intake.telegram.next_errors[NEWS] = [Flooded(40)]
    async with intake.listening():
        await intake.until({1: "at once"}, SIGNALS)
        assert anyio.current_time() < 10
        await intake.until({1: "flooded"})
        assert 40 <= anyio.current_time() < 100


async def connected(intake: Intake) -> None:
    with anyio.fail_after(60):
        while not (intake.state.connected and intake.state.caught_up):
            await anyio.sleep(0.01)


async def test_changes_of_old_posts_during_an_outage_are_told_by_the_count(intake: Intake) -> None:
    for message_id in range(1, 21):
        intake.telegram.post(NEWS, message_id, f"#{message_id}")
    async with intake.listening():
        await intake.until({n: f"#{n}" for n in range(1, 21)})
        await connected(intake)
        intake.telegram.drop()
        intake.telegram.edit(NEWS, 1, "far outside of the window", at=5, push=False)
        intake.telegram.delete(NEWS, 2, push=False)
        began_s = anyio.current_time()
        await intake.until({1: "far outside of the window", 2: None} | {n: f"#{n}" for n in range(3, 21)})
        assert anyio.current_time() - began_s < 5


@pytest.mark.parametrize("what", ["is_too_long", "is_unreadable"])
async def test_what_a_difference_cannot_tell_is_read_from_history(intake: Intake, what: str) -> None:
    async with intake.listening():
        await connected(intake)
        setattr(intake.telegram, what, True)
        for message_id in range(1, 10):
            intake.telegram.post(NEWS, message_id, f"#{message_id}", push=False)
        await intake.until({n: f"#{n}" for n in range(1, 10)})
        intake.telegram.edit(NEWS, 9, "edited", at=5, push=False)
        intake.telegram.delete(NEWS, 8, push=False)
        texts: dict[int, str | None] = {n: f"#{n}" for n in range(1, 8)}
        texts |= {8: None, 9: "edited"}
        await intake.until(texts)
        setattr(intake.telegram, what, False)
        intake.telegram.post(NEWS, 10, "told again", push=False)
        await intake.until({**texts, 10: "told again"})
    assert intake.state.reconnects == 0
    # The count is known again, and what it accounts for is not read twice.
    assert intake.journal.channels[NEWS].pts == intake.telegram.pts(NEWS)


async def test_a_watched_channel_that_is_never_pushed_is_taken_in_within_its_interval(intake: Intake) -> None:
    async with intake.listening():
        await connected(intake)
        for message_id in range(1, 20):
            began_s = anyio.current_time()
            intake.telegram.post(NEWS, message_id, "quiet", push=False)
            await intake.until(dict.fromkeys(range(1, message_id + 1), "quiet"))
            assert anyio.current_time() - began_s < 1.5


async def test_a_flood_wait_on_the_dialogs_does_not_keep_known_channels_from_being_taken_in(
    intake: Intake,
) -> None:
    intake.telegram.post(NEWS, 1, "before")
    async with intake.listening():
        await intake.until({1: "before"})
        await connected(intake)
        intake.telegram.next_errors[0] = [Flooded(500)]
        intake.telegram.drop()
        intake.telegram.post(NEWS, 2, "missed", push=False)
        began_s = anyio.current_time()
        await intake.until({1: "before", 2: "missed"})
        assert anyio.current_time() - began_s < 10


async def test_a_channel_whose_count_is_not_known_is_read_once_and_then_followed(intake: Intake) -> None:
    await intake.journal.open_channel(Channel(NEWS, checkpoint=0, top=0))
    for message_id in range(1, 8):
        intake.telegram.post(NEWS, message_id, f"#{message_id}")
    # How far it is on Telegram is not told either.
    intake.telegram.next_errors[0] = [Flooded(500)]
    async with intake.listening():
        await intake.until({n: f"#{n}" for n in range(1, 8)})
        await connected(intake)
        await anyio.sleep(30)  # of virtual time, in which nothing more is asked for
        assert intake.journal.channels[NEWS].pts == intake.telegram.pts(NEWS)
    assert sum(request.startswith("newest") for request in intake.telegram.requests) < 5


async def test_a_full_disk_is_waited_for_and_told(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    full = [OSError(28, "No space left on device")] * 3
    commit = intake.journal._file.commit

    def fails() -> None:
        if full and intake.state.connected:
            raise full.pop()
        commit()

    monkeypatch.setattr(intake.journal._file, "commit", fails)
    async with intake.listening():
        await connected(intake)
        intake.telegram.post(NEWS, 1, "kept")
        with anyio.fail_after(60):
            while "No space left" not in (intake.state.problem or ""):
                await anyio.sleep(0.01)
        await intake.until({1: "kept"})
        with anyio.fail_after(60):
            while intake.state.problem is not None:
                await anyio.sleep(0.01)
    assert intake.state.reconnects == 0


async def test_a_closed_channel_is_told_and_the_others_go_on(intake: Intake) -> None:
    intake.telegram.post(NEWS, 1, "closed")
    intake.telegram.post(SIGNALS, 1, "open")
    intake.telegram.next_errors[NEWS] = [ChannelClosed("no access")]
    async with intake.listening():
        await intake.until({1: "open"}, SIGNALS)
        with anyio.fail_after(60):
            while NEWS not in intake.state.closed_channels:
                await anyio.sleep(0.01)
        await intake.until({1: "closed"})  # it opened again, and the timer saw it
        with anyio.fail_after(60):
            while NEWS in intake.state.closed_channels:
                await anyio.sleep(0.01)


async def test_a_channel_that_the_account_cannot_read_is_told(intake: Intake) -> None:
    del intake.telegram.messages[NEWS]
    intake.telegram.post(SIGNALS, 1, "open")
    async with intake.listening():
        await intake.until({1: "open"}, SIGNALS)
    assert NEWS in intake.state.closed_channels


async def test_it_reconnects_for_ever_and_an_unusable_session_is_named(intake: Intake) -> None:
    intake.telegram.refusals = [
        TelegramUnavailable("refused"),
        SessionUnusable("no session; run: telewarden session login"),
        Flooded(20),
        TelegramUnavailable("refused again"),
    ]
    intake.telegram.post(NEWS, 1, "in the end")
    async with intake.listening():
        with anyio.fail_after(60):
            while "session login" not in (intake.state.problem or ""):
                await anyio.sleep(0.01)
        assert not intake.state.session_loaded
        await intake.until({1: "in the end"})
        assert intake.state.connected
        assert intake.state.problem is None


async def test_at_the_journals_bound_intake_waits_and_loses_nothing(tmp_path: Path, intake: Intake) -> None:
    intake.journal._max_bytes = 1
    intake.telegram.post(NEWS, 1, "one")
    intake.telegram.post(NEWS, 2, "two")
    async with intake.listening():
        await intake.until({1: "one", 2: "two"})
        intake.telegram.post(NEWS, 3, "three")
        with anyio.fail_after(60):
            while intake.state.problem is None:
                await anyio.sleep(0.01)
        assert "journal.max_bytes" in intake.state.problem
        assert 3 not in intake.texts()
        intake.journal._max_bytes = 1_000_000
        await intake.until({1: "one", 2: "two", 3: "three"})


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_the_journal_ends_with_what_telegram_has(intake: Intake, seed: int) -> None:
    dice = random.Random(seed)
    expected: dict[int, str | None] = {}
    top = 0
    async with intake.listening():
        for step in range(1, 80):
            push = dice.random() < 0.7
            alive = [i for i, text in expected.items() if text is not None][-4:]
            action = dice.choice(["post", "post", "edit", "delete", "drop", "wait"])
            if action == "post":
                top += dice.choice([1, 1, 1, 2])
                expected[top] = f"#{top}"
                intake.telegram.post(NEWS, top, f"#{top}", push=push)
            elif action == "edit" and alive:
                message_id = dice.choice(alive)
                expected[message_id] = f"#{message_id} at {step}"
                intake.telegram.edit(NEWS, message_id, f"#{message_id} at {step}", at=step, push=push)
            elif action == "delete" and alive and dice.random() < 0.5:
                message_id = dice.choice(alive)
                expected[message_id] = None
                intake.telegram.delete(NEWS, message_id, push=push)
            elif action == "drop":
                intake.telegram.drop()
            else:
                await anyio.sleep(dice.choice([0.001, 0.1, 5]))
            # What falls out of the compared window is another matter.
            with anyio.fail_after(600):
                await intake.journal.changed.wait_until(lambda: _agree(intake.texts(), expected))
    posts = [e.message_id for e in intake.events() if isinstance(e, Posted)]
    assert len(posts) == len(set(posts)), f"seed {seed}: posted twice"


def _agree(texts: dict[int, str | None], expected: dict[int, str | None]) -> bool:
    """A message deleted before anybody saw it leaves no trace."""
    seen = {i: text for i, text in expected.items() if text is not None or i in texts}
    return {i: t for i, t in texts.items() if i in seen} == seen


async def test_a_place_in_the_journal_is_kept_over_restarts(intake: Intake) -> None:
    await intake.journal.open_channel(Channel(NEWS, checkpoint=2, top=2, floor=0, origin=0))
    for message_id in (1, 2, 3):
        intake.telegram.post(NEWS, message_id, f"#{message_id}")
    async with intake.listening():
        with anyio.fail_after(60):
            await intake.journal.changed.wait_until(lambda: 3 in intake.texts())
    assert f"after {NEWS} 2" in intake.telegram.requests


EXTRA = -1003


async def test_a_channel_that_is_added_is_taken_in_at_once(intake: Intake) -> None:
    intake.telegram.messages[EXTRA] = {}
    intake.telegram.post(EXTRA, 1, "before")
    intake.telegram.post(NEWS, 1, "here")
    async with intake.listening():
        await intake.until({1: "here"})
        began_s = anyio.current_time()
        await intake.channels.add(EXTRA, "Extra", "all")
        await intake.until({1: "before"}, EXTRA)
        intake.telegram.post(EXTRA, 2, "pushed")
        await intake.until({1: "before", 2: "pushed"}, EXTRA)
        assert anyio.current_time() - began_s < 5, "no timer had to come"


@pytest.mark.parametrize(
    ("start", "texts"),
    [("now", {4: "#4"}), ("2", {2: "#2", 3: "#3", 4: "#4"}), ("1970-01-03", {2: "#2", 3: "#3", 4: "#4"})],
)
async def test_an_added_channel_begins_where_it_was_told(
    intake: Intake, start: str, texts: dict[int, str | None]
) -> None:
    intake.telegram.messages[EXTRA] = {}
    for day in (1, 2, 3):
        intake.telegram.messages[EXTRA][day] = Seen(
            EXTRA, day, Content(text=f"#{day}", telegram_date_us=day * 86_400_000_000)
        )
    async with intake.listening():
        await intake.channels.add(EXTRA, "Extra", start)
        with anyio.fail_after(60):
            while EXTRA not in intake.journal.channels:
                await anyio.sleep(0.01)
        intake.telegram.post(EXTRA, 4, "#4")
        await intake.until(texts, EXTRA)


async def test_a_channel_is_added_while_the_database_is_down_and_the_others_go_on(intake: Intake) -> None:
    intake.telegram.messages[EXTRA] = {}
    intake.telegram.post(EXTRA, 1, "extra")
    async with intake.listening():
        intake.telegram.post(NEWS, 1, "one")
        await intake.until({1: "one"})
        intake.database.failures = 3
        await intake.channels.add(EXTRA, "Extra", "all")
        with anyio.fail_after(60):
            while not intake.listener.has_unopened:
                await anyio.sleep(0.01)
        intake.telegram.drop()
        intake.telegram.post(NEWS, 2, "two", push=False)
        await intake.until({1: "one", 2: "two"})
        assert EXTRA not in intake.journal.channels
        await intake.until({1: "extra"}, EXTRA)
        assert not intake.listener.has_unopened


async def test_a_paused_channel_misses_nothing_once_it_goes_on(intake: Intake) -> None:
    async with intake.listening():
        intake.telegram.post(NEWS, 1, "one")
        await intake.until({1: "one"})
        await intake.channels.pause(NEWS, paused=True)
        with anyio.fail_after(60):
            while NEWS in intake.listener._readable:
                await anyio.sleep(0.01)
        intake.telegram.post(NEWS, 2, "two")
        intake.telegram.edit(NEWS, 1, "edited", at=5)
        intake.telegram.post(SIGNALS, 1, "another channel's")
        await intake.until({1: "another channel's"}, SIGNALS)
        assert intake.texts(NEWS) == {1: "one"}
        await intake.channels.pause(NEWS, paused=False)
        await intake.until({1: "edited", 2: "two"})


@pytest.mark.parametrize("error", [Flooded(500), Unreadable(0x12345678)])
async def test_a_new_channel_is_taken_in_although_the_dialogs_cannot_be_read(
    intake: Intake, error: Exception
) -> None:
    intake.telegram.messages[EXTRA] = {}
    intake.telegram.post(EXTRA, 1, "before")
    async with intake.listening():
        await connected(intake)
        intake.telegram.next_errors[0] = [error] * 100
        began_s = anyio.current_time()
        await intake.channels.add(EXTRA, "Extra", "all")
        await intake.until({1: "before"}, EXTRA)
        assert anyio.current_time() - began_s < 10


@pytest.mark.parametrize("error", [ChannelClosed("no access"), Flooded(2), Unreadable(0x12345678)])
async def test_a_channel_that_cannot_be_opened_is_tried_again_and_the_others_go_on(
    intake: Intake, error: Exception
) -> None:
    intake.telegram.messages[EXTRA] = {}
    for message_id in (1, 2, 3):
        intake.telegram.post(EXTRA, message_id, f"#{message_id}")
    async with intake.listening():
        await connected(intake)
        intake.telegram.next_errors[EXTRA] = [error]
        await intake.channels.add(EXTRA, "Extra", "2")
        with anyio.fail_after(60):
            while not intake.listener.has_unopened:
                await anyio.sleep(0.01)
        intake.telegram.post(NEWS, 1, "goes on")
        await intake.until({1: "goes on"})
        assert EXTRA not in intake.journal.channels
        await intake.until({2: "#2", 3: "#3"}, EXTRA)
    assert len(intake.telegram.connections) == 0
