"""The same poll gives the same bytes from the cache, the database and the journal alone, whatever happened before."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from msgspec import structs

from support.hostile import contents
from support.pipeline import CHANNELS, Pipeline, open_pipeline
from telewarden.messages import Acknowledged, Content, Deleted, Edited, Event, Posted, ReprocessRequested
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.valkey import EmbeddedValkey
from telewarden.storage.acceptance import Channel, Gone, Observation, Seen
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import open_database
from telewarden.storage.journal import Journal, open_journal
from telewarden.storage.migrate import upgrade
from telewarden.storage.reader import Reader
from telewarden_http.protocols import Source, UnprocessedQuery

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

LISTENED, TOGETHER = range(1, 11), range(21, 31)
"""Message ids of posts that a listener sees, one after another; and of some that arrive in the same microsecond."""
LIMITS = (1, 3, 10_000)
POLLS = [
    *(
        (statuses, consumer)
        for statuses in (("received",), ("received", "queued"))
        for consumer in (None, "a")
    ),
    (("reprocess_pending",), None),
    (("received", "published", "reprocess_pending"), None),
    (("published", "reprocess_pending"), "a"),
]


@dataclass(frozen=True)
class Listen:
    """The listener saw this."""

    observations: Sequence[Observation]


@dataclass(frozen=True)
class Together:
    """Posts of one time of arrival. new: certainly new."""

    posts: Sequence[tuple[int, Content, bool]]


@dataclass(frozen=True)
class Word:
    """The writer says that posts were new after all, before it moves the flushed position; events may have come between
    its flush and that."""


@dataclass(frozen=True)
class Act:
    """Something is done to messages: edit, delete, acknowledge or reprocess."""

    kind: str
    message_ids: Sequence[int]
    content: Content
    who: str


@dataclass(frozen=True)
class Run:
    """Workers run until they are done; see `_Modes.run`."""

    what: str


Step = Listen | Together | Word | Act | Run
channels = st.sampled_from(CHANNELS[:1] * 4 + CHANNELS[1:])
listened = st.sampled_from(LISTENED)
observations = st.one_of(
    st.builds(Seen, channels, listened, contents, st.integers(0, 2)),
    st.builds(Seen, channels, listened, contents, st.integers(0, 2)),
    st.builds(Gone, channels, listened),
)
names = st.sampled_from(["a", "b", 'tp "capital" 🚀'])
kinds = st.sampled_from(["edit", "delete", "acknowledge", "acknowledge", "reprocess"])
any_ids = st.lists(st.sampled_from([*LISTENED, *TOGETHER]), min_size=1, max_size=3, unique=True)
together = st.lists(
    st.tuples(st.sampled_from(TOGETHER), contents, st.booleans()),
    min_size=1,
    max_size=5,
    unique_by=lambda p: p[0],
)
steps = st.one_of(
    st.builds(Listen, st.lists(observations, min_size=1, max_size=5)),
    st.builds(Together, together),
    st.builds(Word),
    st.builds(Act, kinds, any_ids, contents, names),
    st.builds(Run, st.sampled_from(["writer", "writer", "redis", "redis", "warm"])),
)


@pytest.fixture(scope="module")
async def database_of_this_module(postgres: EmbeddedPostgres) -> str:
    await upgrade(postgres.dsn)
    return postgres.dsn


@dataclass
class _Modes:
    """One history in three places: journal, database and cache as usual, and a journal whose stores are down."""

    pipeline: Pipeline
    by_database: Reader
    alone: Journal
    by_journal: Reader
    early: set[int] = field(default_factory=set)
    posted: set[int] = field(default_factory=set)
    unsure: list[tuple[int, Posted]] = field(default_factory=list)
    kept: list[Event] = field(default_factory=list)
    taken: int = 0

    def take(self) -> None:
        """Note what the journal has accepted since; it is forgotten once both stores have it."""
        records = self.pipeline.journal.tail.after(self.taken)
        self.kept += [record.event for record in records]
        self.taken = self.pipeline.journal.head
        for record in records:
            post = record.event
            if isinstance(post, Acknowledged) and post.message_id not in self.posted:
                self.early.add(post.message_id)
            if isinstance(post, Posted) and post.channel_id == CHANNELS[0]:
                self.posted.add(post.message_id)
                if not post.new:
                    self.unsure.append((record.position, post))

    async def do(self, step: Step) -> None:
        """One step of the history."""
        match step:
            case Listen():
                await self.pipeline.accept(step.observations)
            case Together():
                posts = [post for post in step.posts if post[0] not in self.posted]
                await self.pipeline.journal.append(
                    lambda at_us: [Posted(CHANNELS[0], n, text, 0, at_us, new) for n, text, new in posts]
                )
            case Word():
                flushed = self.pipeline.journal.flushed
                unsure = [post for position, post in self.unsure if position > flushed]
                await self.pipeline.journal.append(lambda _: [structs.replace(p, new=True) for p in unsure])
            case Act():
                await self.pipeline.journal.append(lambda at_us: _events(step, self.posted, at_us))
            case Run():
                await self.run(step.what)
        self.take()

    async def run(self, what: str) -> None:
        """The database or the cache gets everything; or the cache is warmed anew."""
        pipeline = self.pipeline
        if what == "writer":
            async with pipeline.running("writer"):
                await pipeline.flushed()
            return
        if what == "warm":
            pipeline.sync.distrust("for the test")
        async with pipeline.running("redis", "warmer"):
            await pipeline.trusted()

    async def compare(self) -> None:
        """All polls, in all modes."""
        kept, self.kept = self.kept, []
        await self.alone.append(lambda _: kept)
        for statuses, consumer in POLLS:
            for limit in LIMITS:
                query = UnprocessedQuery(str(CHANNELS[0]), statuses, consumer, limit)
                plain = "published" not in statuses and "reprocess_pending" not in statuses
                if not plain and self._early_one_is_not_stored():
                    continue
                pages = [
                    await reader.unprocessed(query)
                    for reader in (self.pipeline.reader, self.by_database, self.by_journal)
                ]
                cached = plain and self.pipeline.sync.trusted is not None
                assert [page.source for page in pages] == [
                    Source.CACHE if cached else Source.DATABASE,
                    Source.DATABASE,
                    Source.JOURNAL,
                ], self.pipeline.reasons[-1:]
                if cached:
                    event(f"{min(pages[0].count, 3)} messages or more from the cache")
                bodies = [list(page.bodies) for page in pages]
                assert bodies[0] == bodies[1] == bodies[2], f"{query}: {_first_difference(bodies)}"
                assert [page.count for page in pages] == [len(bodies[0])] * 3

    def _early_one_is_not_stored(self) -> bool:
        """The database shows a message that was acknowledged before it came as published only once it is stored."""
        journal = self.pipeline.journal
        return any(
            isinstance(record.event, Posted) and record.event.message_id in self.early
            for record in journal.tail.after(journal.flushed)
        )


def _first_difference(answers: Sequence[Sequence[bytes]]) -> str:
    """Where answers part, and what each says there."""
    texts = [b",".join(bodies) for bodies in answers]
    place = next(
        (i for i, found in enumerate(zip(*texts, strict=False)) if len(set(found)) > 1), min(map(len, texts))
    )
    return f"at {place}: " + " | ".join(repr(text[max(0, place - 80) : place + 80]) for text in texts)


def _events(step: Act, posted: set[int], at_us: int) -> list[Event]:
    events: list[Event] = []
    for message_id in step.message_ids:
        key = (CHANNELS[0], message_id)
        if step.kind == "acknowledge":
            events.append(Acknowledged(*key, step.who, at_us))
        elif message_id not in posted:
            # Only an acknowledgement may come before its message.
            continue
        elif step.kind == "edit":
            events.append(Edited(*key, step.content, at_us, at_us))
        elif step.kind == "delete":
            events.append(Deleted(*key, at_us, step.who))
        else:
            events.append(ReprocessRequested(*key, step.who, at_us))
    return events


@asynccontextmanager
async def _modes(dsn: str, cache_url: str) -> AsyncIterator[_Modes]:
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "truncate telegram_gateway.messages, telegram_gateway.message_keys, telegram_gateway.acknowledgements"
    )
    await connection.close()
    async with redis.asyncio.Redis.from_url(cache_url) as client:
        await client.flushall()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "alone").mkdir()
        async with (
            # No mark expires between two steps.
            open_pipeline(Path(folder), dsn, cache_url, lease_s=600, batch_size=7) as pipeline,
            open_journal(Path(folder) / "alone" / "journal.sqlite") as alone,
            open_database("postgresql://127.0.0.1:9/nothing") as nothing,
        ):
            nothing.breaker.broke(float("inf"), "for the test")
            for channel_id in CHANNELS:
                await alone.open_channel(Channel(channel_id))
            by_database = Reader(
                pipeline.journal,
                pipeline.database,
                None,
                CacheSync(pipeline.journal.changed),
                channel_ids=CHANNELS,
            )
            by_journal = Reader(alone, nothing, None, CacheSync(alone.changed), channel_ids=CHANNELS)
            yield _Modes(pipeline, by_database, alone, by_journal)


@pytest.mark.timeout(300)
@given(history=st.lists(steps, min_size=1, max_size=25), comparing=st.sets(st.integers(0, 24), max_size=3))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    print_blob=True,
)
async def test_a_poll_gives_the_same_bytes_from_each_source_after_any_history(
    database_of_this_module: str,
    valkey_server: EmbeddedValkey,
    history: Sequence[Step],
    comparing: set[int],
) -> None:
    async with _modes(database_of_this_module, valkey_server.url) as modes:
        release = modes.pipeline.journal.release

        def keep_first(applied: int) -> None:
            modes.take()
            release(applied)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(modes.pipeline.journal, "release", keep_first)
            for number, step in enumerate(history):
                await modes.do(step)
                if number in comparing or number == len(history) - 1:
                    await modes.compare()
