"""Brings a channel's older posts, from before the place where its reading began, downwards from there.

How far it got is the channel's origin in the journal: stopped anywhere, it goes on from there the next time.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace

import anyio

from telewarden.messages import Posted
from telewarden.storage.acceptance import Seen
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal, JournalFull
from telewarden.telegram.feed import Connection, Flooded, TelegramUnavailable
from telewarden.telegram.intake import TelegramState
from telewarden.telegram.reading import Asking

ACKNOWLEDGED_BY = "backfill"
"""Who is said to have processed older posts, unless they are to be served."""
PAGE = 100
_SHARE = 0.2
_BACKLOG = 1_000
_WAIT_S = 1.0


class BackfillRefused(Exception):
    """It cannot be done; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Backfilled:
    """How far it is. posts: taken in by this run; reached: the message id down to which all is there; top: where it
    began; oldest_us: the date of the oldest post so far; waits: why nothing happens at the moment."""

    posts: int = 0
    reached: int = 0
    top: int = 0
    oldest_us: int | None = None
    waits: str = ""


class Backfiller:
    """Reads through the listener's connection, and lets live posts go first.

    asking: the connection, and how it may be asked; None while Telegram is not connected. requests_per_s: the account's
    budget now, of which it takes a fifth at most.
    """

    def __init__(
        self,
        asking: Callable[[], tuple[Connection, Asking] | None],
        journal: Journal,
        database: Database,
        state: TelegramState,
        requests_per_s: Callable[[], float],
    ) -> None:
        self._asking_now, self._journal, self._database = asking, journal, database
        self._state, self._requests_per_s = state, requests_per_s
        self._running: set[int] = set()

    async def backfill(
        self, channel_id: int, *, since_s: float = 0.0, limit: int | None = None, serve: bool = False
    ) -> AsyncGenerator[Backfilled, None]:
        """Read older posts, newest of them first, and yield how far it is.

        since_s: only posts from that time on, seconds since the epoch. limit: so many posts at most. serve: polls serve
        them as they serve new posts; otherwise they are stored as processed by ACKNOWLEDGED_BY. Raises BackfillRefused,
        and what a Connection, a Database and a Journal raise.
        """
        if channel_id not in self._journal.channels:
            raise BackfillRefused(f"{channel_id} is none of the channels that are taken in")
        if channel_id in self._running:
            raise BackfillRefused(f"a backfill of {channel_id} is under way already")
        self._running.add(channel_id)
        try:
            before = await self._begin(channel_id)
            progress = Backfilled(reached=before - 1, top=before - 1)
            yield progress
            while before > 1 and (limit is None or progress.posts < limit):
                waits = self._waits()
                if waits:
                    yield replace(progress, waits=waits)
                    await anyio.sleep(_WAIT_S)
                    continue
                count = PAGE if limit is None else min(PAGE, limit - progress.posts)
                try:
                    page = await self._page(channel_id, count, before)
                except (Flooded, TelegramUnavailable) as error:
                    yield replace(progress, waits=str(error))
                    await anyio.sleep(min(error.wait_s, 60.0) if isinstance(error, Flooded) else _WAIT_S)
                    continue
                posts = [seen for seen in page if (seen.content.telegram_date_us or 0) >= since_s * 1_000_000]
                is_last = len(page) < count or len(posts) < len(page)
                if posts:
                    before = min(seen.message_id for seen in posts)
                if len(page) < count and len(posts) == len(page):
                    # The beginning of the channel.
                    before = 1
                try:
                    progress = await self._accept(channel_id, posts, before, progress, serve=serve)
                except JournalFull as error:
                    before = progress.reached + 1
                    yield replace(progress, waits=str(error))
                    await anyio.sleep(_WAIT_S)
                    continue
                yield progress
                if is_last:
                    return
                await anyio.sleep(1 / (self._requests_per_s() * _SHARE))
        finally:
            self._running.discard(channel_id)

    async def _begin(self, channel_id: int) -> int:
        """The id below which posts are missing."""
        channel = self._journal.channels[channel_id]
        if channel.origin:
            return channel.origin + 1
        # Everything since the database's first post has been accounted for.
        stored = await self._database.channel_bottom(channel_id)
        return stored or channel.top + 1

    def _waits(self) -> str:
        """Why older posts have to wait now; empty if they need not."""
        if self._asking_now() is None:
            return "Telegram is not connected"
        if not self._state.caught_up:
            return "newer posts are being read first"
        if self._journal.backlog > _BACKLOG:
            return "the database is behind; what is newer is stored first"
        return ""

    async def _page(self, channel_id: int, count: int, before: int) -> list[Seen]:
        now = self._asking_now()
        if now is None:
            raise TelegramUnavailable("Telegram is not connected")
        connection, asking = now
        return await asking.ask("history", channel_id, lambda: connection.newest(channel_id, count, before))

    async def _accept(
        self, channel_id: int, posts: list[Seen], before: int, progress: Backfilled, *, serve: bool
    ) -> Backfilled:
        in_order = sorted(posts, key=lambda seen: seen.message_id)
        acknowledged_by = None if serve else ACKNOWLEDGED_BY
        records = await self._journal.backfill(channel_id, in_order, before - 1, acknowledged_by)
        taken = sum(1 for record in records if isinstance(record.event, Posted))
        oldest_us = in_order[0].content.telegram_date_us if in_order else progress.oldest_us
        return replace(
            progress, posts=progress.posts + taken, reached=before - 1, oldest_us=oldest_us, waits=""
        )
