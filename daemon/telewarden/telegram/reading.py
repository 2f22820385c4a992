"""Reading channels: what changed since a known count, else history from the checkpoint and a compared window.

Every request is paced and obeys the waits that Telegram asked for; nothing here knows Telethon.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import anyio
import structlog

from telewarden.storage.acceptance import Gone, Observation, Seen
from telewarden.storage.journal import Journal
from telewarden.telegram.feed import Connection, Difference, Flooded, Place, Unreadable
from telewarden.telegram.intake import IntakeSettings
from telewarden.telegram.pacing import Budget, FloodWaits
from telewarden.telegram.pts import PushedAhead

log = structlog.get_logger(__name__)
T = TypeVar("T")

DIFFERENCE = 100
"""Changes asked for in one request; more than 100 are for bots
(core.telegram.org/method/updates.getChannelDifference)."""
_IDS_A_REQUEST = 100


class Accept(Protocol):
    """Has observations accepted, waiting for room in the journal. Returns how many events they made."""

    async def __call__(
        self,
        observations: Sequence[Observation],
        *,
        source: str,
        checkpoint: tuple[int, int] | None = None,
        pts: dict[int, int] | None = None,
    ) -> int:
        """See the class."""
        ...


@dataclass(frozen=True, slots=True)
class Followed:
    """is_told: Telegram told what changed; events: how many that made; pts: how far the channel is now."""

    is_told: bool
    events: int
    pts: int


class Asking:
    """Makes requests when the account's budget and Telegram's waits allow it."""

    def __init__(self, budget: Budget, floods: FloodWaits) -> None:
        self._budget, self._floods = budget, floods

    async def ask(self, method: str, channel_id: int | None, request: Callable[[], Awaitable[T]]) -> T:
        """Make a request.

        Raises Flooded, without asking, while Telegram wants none of this kind; and what it raises.
        """
        wait_s = self._floods.wait_s(method, channel_id, anyio.current_time())
        if wait_s:
            raise Flooded(wait_s)
        delay_s = self._budget.reserve(anyio.current_time())
        if delay_s:
            await anyio.sleep(delay_s)
        try:
            return await request()
        except Flooded as error:
            self._floods.asked(method, channel_id, error.wait_s, anyio.current_time())
            raise


class ChannelReader:
    """Brings channels up to date over one connection. May raise what a Connection raises, and ChannelClosed."""

    def __init__(
        self,
        connection: Connection,
        asking: Asking,
        journal: Journal,
        ahead: PushedAhead,
        accept: Accept,
        settings: Callable[[], IntakeSettings],
    ) -> None:
        self._connection, self._asking, self._journal = connection, asking, journal
        self._ahead, self._accept, self._settings_now = ahead, accept, settings

    @property
    def _settings(self) -> IntakeSettings:
        return self._settings_now()

    async def read(self, channel_id: int, *, place: Place | None, window: bool) -> None:
        """Read everything that is new. place: how far the channel was before this call, as far as is known.

        window: compare the newest posts too, although nothing says that one changed.
        """
        followed = Followed(False, 0, place.pts if place else 0)
        if self._journal.channels[channel_id].pts:
            followed = await self.follow(channel_id)
        if not followed.is_told:
            # What changed cannot be told: everything recent is compared. From how far on it can be told again has to be
            # known before that.
            pts = followed.pts or await self._pts(channel_id)
            await self._catch_up(channel_id, place.top if place else 0)
            await self._compare(channel_id, self._settings.window_s)
            reached = self._ahead.extend(channel_id, pts)
            await self._accept((), source="history", pts={channel_id: reached})
            return
        channel = self._journal.channels[channel_id]
        top = max(channel.top, place.top if place else 0)
        if channel.checkpoint < top:
            await self._catch_up(channel_id, top)
        if window:
            await self._compare(channel_id, 0.0)

    async def sync(self, channel_id: int, limit: int) -> tuple[int, int]:
        """Read the newest posts again. Returns how many Telegram showed, and how many events they made."""
        read = events = before = 0
        while read < limit:
            count = min(self._settings.page, limit - read)
            page = await self._asking.ask(
                "history", channel_id, partial(self._connection.newest, channel_id, count, before)
            )
            if page:
                before = min(seen.message_id for seen in page)
                in_order = sorted(page, key=lambda seen: seen.message_id)
                events += await self._accept(in_order, source="history")
            read += len(page)
            if len(page) < count:
                break
        return read, events

    async def follow(self, channel_id: int) -> Followed:
        """Read what changed since the channel's count, to the end. If Telegram cannot tell, the count is forgotten."""
        events = 0
        while True:
            try:
                difference = await self._difference(channel_id, self._journal.channels[channel_id].pts)
            except Unreadable as error:
                # History can be read around it. Where the channel is has to be known before that.
                log.warning("difference_unreadable", channel_id=channel_id, error=str(error))
                difference = Difference((), await self._pts(channel_id), is_too_long=True)
            if difference.is_too_long:
                await self._journal.forget_pts(channel_id)
                return Followed(False, events, difference.pts)
            reached = self._ahead.extend(channel_id, difference.pts)
            if difference.observations or reached > self._journal.channels[channel_id].pts:
                events += await self._accept(
                    difference.observations, source="difference", pts={channel_id: reached}
                )
            if difference.final:
                return Followed(True, events, reached)

    async def _difference(self, channel_id: int, pts: int) -> Difference:
        return await self._asking.ask(
            "difference",
            channel_id,
            partial(self._connection.difference, channel_id, pts, DIFFERENCE),
        )

    async def _catch_up(self, channel_id: int, top: int) -> None:
        """Read history from the checkpoint to its end. top: an id that is known to be there, or to have been."""
        page = self._settings.page
        while True:
            channel = self._journal.channels[channel_id]
            posts = await self._after(channel_id, channel.checkpoint)
            if not posts and channel.checkpoint < channel.top:
                # All in between is gone. What cannot be read is found only from near by.
                posts = await self._after(channel_id, channel.top)
            if posts:
                await self._accept(posts, source="history", checkpoint=(channel_id, posts[-1].message_id))
            # A short page alone is no end: Telegram may give less than it was asked for.
            if not posts or (len(posts) < page and posts[-1].message_id >= top):
                return

    async def _pts(self, channel_id: int) -> int:
        return await self._asking.ask("full", channel_id, partial(self._connection.pts, channel_id))

    async def _after(self, channel_id: int, message_id: int) -> list[Seen]:
        request = partial(self._connection.after, channel_id, message_id, self._settings.page)
        return await self._asking.ask("history", channel_id, request)

    async def _compare(self, channel_id: int, window_s: float) -> None:
        """Compare the newest posts with what is known: edits, deletions, and posts that were missed.

        window_s: the age up to which more than the usual number are compared, in seconds.
        """
        posts, is_all = await self._newest(channel_id, window_s)
        shown = {seen.message_id for seen in posts}
        channel = self._journal.channels[channel_id]
        low = channel.origin + 1 if is_all else min(shown)
        known = await self._journal.known_between(channel_id, low, channel.top)
        missing = [message_id for message_id in known if message_id not in shown]
        gone: list[Observation] = []
        for first in range(0, len(missing), _IDS_A_REQUEST):
            ids = missing[first : first + _IDS_A_REQUEST]
            still = await self._asking.ask(
                "messages", channel_id, partial(self._connection.existing, channel_id, ids)
            )
            posts += still
            left = {seen.message_id for seen in still}
            gone += [Gone(channel_id, message_id) for message_id in ids if message_id not in left]
        observations = [*sorted(posts, key=lambda seen: seen.message_id), *gone]
        if observations:
            await self._accept(observations, source="history")

    async def _newest(self, channel_id: int, window_s: float) -> tuple[list[Seen], bool]:
        """The newest posts, and whether they are all there are."""
        settings, posts, before = self._settings, list[Seen](), 0
        oldest_us = (time.time() - window_s) * 1_000_000
        while True:
            limit = min(settings.page, max(settings.window, settings.window_limit) - len(posts))
            page = await self._asking.ask(
                "history",
                channel_id,
                partial(self._connection.newest, channel_id, limit, before),
            )
            posts += page
            if len(page) < limit:
                return posts, True
            before = min(seen.message_id for seen in page)
            is_recent = min(seen.content.telegram_date_us or 0 for seen in page) > oldest_us
            wanted = settings.window_limit if window_s and is_recent else settings.window
            if len(posts) >= wanted:
                return posts, False
