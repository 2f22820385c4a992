"""Compares Telegram's history with the database, id by id, while everything goes on; and mends what differs.

What differs at first sight may only be under way. So each difference is looked at again, after the writer has stored
what had been accepted by then, and counts only if it is still there.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import anyio

from telewarden.messages import Deleted, Edited, Event, Posted
from telewarden.storage.acceptance import VERSIONS_A_SECOND, Seen
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal
from telewarden.telegram.feed import Connection
from telewarden.telegram.reading import Asking

PAGE = 100
_FLUSH_S = 60.0
_LOOKS = 3


class CannotLook(Exception):
    """The comparison could not be made; the message says why and what to do."""


class Kind(Enum):
    """How a message differs."""

    MISSING = "missing"
    """Telegram has it, the database does not"""
    EXTRA = "extra"
    """the database has it, Telegram does not, or no longer"""
    TEXT = "text differs"
    """both have it, with another text"""
    DELETED = "deleted here only"
    """Telegram has it, in the database it is deleted; a deletion is final, so this cannot be mended"""


@dataclass(frozen=True, slots=True)
class Difference:
    """One message that differs."""

    channel_id: int
    message_id: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Row:
    """A message as the database has it."""

    text: str | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class Report:
    """compared: how many ids were looked at; differences: what is left of them; repaired: how many were mended."""

    compared: int = 0
    differences: tuple[Difference, ...] = ()
    repaired: int = 0


def compare(channel_id: int, there: Mapping[int, Seen], here: Mapping[int, Row]) -> list[Difference]:
    """How a channel's messages on Telegram and in the database differ, by id. Pure."""
    found = []
    for message_id in sorted({*there, *here}):
        seen, row = there.get(message_id), here.get(message_id)
        kind = None
        if seen is None:
            kind = Kind.EXTRA if row is not None and not row.deleted else None
        elif row is None:
            kind = Kind.MISSING
        elif row.deleted:
            kind = Kind.DELETED
        elif row.text != (seen.content.text or seen.content.caption):
            kind = Kind.TEXT
        if kind is not None:
            found.append(Difference(channel_id, message_id, kind))
    return found


class Verifier:
    """Looks through the daemon's own connection: a session has one owner.

    asking: the listener's connection, and how it may be asked; None while Telegram is not connected. channel_ids: those
    that can be compared.
    """

    def __init__(
        self,
        asking: Callable[[], tuple[Connection, Asking] | None],
        journal: Journal,
        database: Database,
        channel_ids: Callable[[], Sequence[int]],
    ) -> None:
        self._asking_now, self._journal, self._database = asking, journal, database
        self._channel_ids = channel_ids

    async def verify(
        self, channel_ids: Sequence[int], *, since_s: float = 0.0, repair: bool = False
    ) -> AsyncGenerator[Report, None]:
        """Compare channels, all if none is named. Yields what is found so far, and in the end the result.

        since_s: only messages from that time on, seconds since the epoch. Raises CannotLook, and what a Connection
        and a Database raise.
        """
        known = self._channel_ids()
        for channel_id in channel_ids:
            if channel_id not in known or channel_id not in self._journal.channels:
                raise CannotLook(f"{channel_id} is none of the channels that are taken in")
        report = Report()
        for channel_id in channel_ids or [c for c in known if c in self._journal.channels]:
            candidates: list[Difference] = []
            async for compared, found in self._pages(channel_id, since_s):
                candidates += found
                report = replace(report, compared=report.compared + compared)
                yield report
            left = await self._still(candidates)
            if left and repair:
                await self._repair(left)
                still = await self._still(left)
                report = replace(report, repaired=report.repaired + len(left) - len(still))
                left = still
            report = replace(report, differences=(*report.differences, *left))
            yield report

    def _connection(self) -> tuple[Connection, Asking]:
        now = self._asking_now()
        if now is None:
            raise CannotLook(
                "Telegram is not connected; see `telewarden ps` for why, and try again when it is"
            )
        return now

    async def _pages(self, channel_id: int, since_s: float) -> AsyncIterator[tuple[int, list[Difference]]]:
        """(ids looked at, differences) of a channel, newest first."""
        origin = self._journal.channels[channel_id].origin
        before = 2**31 - 1
        while True:
            connection, asking = self._connection()
            page = await self._ask(asking, channel_id, connection, before)
            recent = [seen for seen in page if (seen.content.telegram_date_us or 0) >= since_s * 1_000_000]
            is_last = len(page) < PAGE or len(recent) < len(page)
            there = {seen.message_id: seen for seen in recent if seen.message_id > origin}
            low = min(there, default=before) if since_s else origin + 1
            if not is_last:
                low = max(min(there, default=before), origin + 1)
            here = await self._rows(channel_id, low, before - 1)
            yield len({*there, *here}), compare(channel_id, there, here)
            if is_last or low <= origin + 1:
                return
            before = low

    async def _ask(self, asking: Asking, channel_id: int, connection: Connection, before: int) -> list[Seen]:
        return await asking.ask("history", channel_id, lambda: connection.newest(channel_id, PAGE, before))

    async def _still(self, candidates: Sequence[Difference]) -> list[Difference]:
        """Those that are there each time that they are looked at, with everything stored that was accepted by then."""
        left = list(candidates)
        for _ in range(_LOOKS):
            if not left:
                break
            await self._flushed()
            found: list[Difference] = []
            for first in range(0, len(left), PAGE):
                found += await self._look(left[first : first + PAGE])
            left = found
        return left

    async def _look(self, candidates: Sequence[Difference]) -> list[Difference]:
        channel_id = candidates[0].channel_id
        ids = [difference.message_id for difference in candidates]
        there = {seen.message_id: seen for seen in await self._read(channel_id, ids)}
        rows = await self._rows(channel_id, min(ids), max(ids))
        return compare(channel_id, there, {i: row for i, row in rows.items() if i in ids})

    async def _rows(self, channel_id: int, low: int, high: int) -> dict[int, Row]:
        rows = await self._database.rows_between(channel_id, low, high)
        return {message_id: Row(text, deleted) for message_id, (text, deleted) in rows.items()}

    async def _read(self, channel_id: int, ids: Sequence[int]) -> list[Seen]:
        connection, asking = self._connection()
        return await asking.ask("messages", channel_id, lambda: connection.existing(channel_id, ids))

    async def _flushed(self) -> None:
        """Until the database has what has been accepted up to now."""
        head = self._journal.head
        try:
            with anyio.fail_after(_FLUSH_S):
                await self._journal.changed.wait_until(lambda: self._journal.flushed >= head)
        except TimeoutError:
            raise CannotLook(
                "the database does not take what is accepted; bring it back (see /health) and try again"
            ) from None

    async def _repair(self, differences: Sequence[Difference]) -> None:
        """Bring what differs by the ordinary way: the journal, then the writer."""
        for first in range(0, len(differences), PAGE):
            part = differences[first : first + PAGE]
            channel_id = part[0].channel_id
            there = {s.message_id: s for s in await self._read(channel_id, [d.message_id for d in part])}

            def events(
                at_us: int, part: Sequence[Difference] = part, there: Mapping[int, Seen] = there
            ) -> list[Event]:
                return list(_mending(part, there, at_us))

            await self._journal.append(events)
        await self._flushed()


def _mending(differences: Iterable[Difference], there: Mapping[int, Seen], at_us: int) -> Iterable[Event]:
    """The events that mend differences, given what Telegram has."""
    for difference in differences:
        channel_id, message_id = difference.channel_id, difference.message_id
        seen = there.get(message_id)
        if difference.kind is Kind.EXTRA and seen is None:
            yield Deleted(channel_id, message_id, at_us, "deleted on Telegram")
        elif difference.kind is Kind.MISSING and seen is not None:
            version = seen.edit_date_s * VERSIONS_A_SECOND
            # Not certainly new: the database says so when it has inserted it, and then it is served.
            yield Posted(channel_id, message_id, seen.content, version, at_us, False)
        elif difference.kind is Kind.TEXT and seen is not None:
            # Newer than whatever has the same edit date: Telegram was asked just now.
            version = (seen.edit_date_s + 1) * VERSIONS_A_SECOND - 1
            yield Edited(channel_id, message_id, seen.content, version, at_us)
