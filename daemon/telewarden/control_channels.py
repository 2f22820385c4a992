"""The operator's requests about channels: lines in answer to each, the last one says that it is done."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Literal, TypeVar

import msgspec

from telewarden.backfill import Backfilled, Backfiller, BackfillRefused
from telewarden.channel_admin import ChannelAdmin, ChannelRow
from telewarden.channels import ChannelRefused
from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.journal_file import JournalError
from telewarden.telegram.feed import (
    ChannelClosed,
    Flooded,
    Found,
    SessionUnusable,
    TelegramUnavailable,
    Unreadable,
)

Action = Literal["list", "dialogs", "add", "remove", "pause", "resume", "backfill"]
_ROWS_A_LINE = 50
_FAILURES = (
    ChannelRefused,
    BackfillRefused,
    ChannelClosed,
    Flooded,
    JournalError,
    DatabaseUnavailable,
    SessionUnusable,
    TelegramUnavailable,
    Unreadable,
)
T = TypeVar("T")


class ChannelRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator wants of channels.

    reference: which one, as people write it. start: where a new one's reading begins. join: let the account enter it.
    follow: tell how it goes until it is settled. since_s, limit, serve: see `Backfiller.backfill`.
    """

    action: Action
    reference: str = ""
    start: str = "now"
    join: bool = False
    follow: bool = False
    since_s: float = 0.0
    limit: int | None = None
    serve: bool = False


class ChannelAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: more come until one is done. error: why it was not done."""

    rows: tuple[ChannelRow, ...] = ()
    dialogs: tuple[Found, ...] = ()
    backfilled: Backfilled | None = None
    error: str = ""
    done: bool = False


async def answer_channels(
    admin: ChannelAdmin, backfiller: Backfiller, request: ChannelRequest
) -> AsyncGenerator[ChannelAnswer, None]:
    """Do it, and tell."""
    try:
        async with aclosing(_carry_out(admin, backfiller, request)) as answers:
            async for answer in answers:
                yield answer
    except _FAILURES as error:
        yield ChannelAnswer(error=str(error), done=True)
    else:
        yield ChannelAnswer(done=True)


async def _carry_out(
    admin: ChannelAdmin, backfiller: Backfiller, request: ChannelRequest
) -> AsyncGenerator[ChannelAnswer, None]:
    match request.action:
        case "list":
            for rows in _parts(admin.rows()):
                yield ChannelAnswer(tuple(rows))
        case "dialogs":
            for found in _parts(await admin.dialogs()):
                yield ChannelAnswer(dialogs=tuple(found))
        case "add":
            row = await admin.add(request.reference, start=request.start, join=request.join)
            yield ChannelAnswer((row,))
            if request.follow:
                async with aclosing(admin.watch(row.channel_id)) as looks:
                    async for row in looks:
                        yield ChannelAnswer((row,))
        case "remove":
            await admin.remove(request.reference)
        case "pause" | "resume":
            yield ChannelAnswer((await admin.pause(request.reference, paused=request.action == "pause"),))
        case "backfill":
            channel_id = admin.served(request.reference)
            progress = backfiller.backfill(
                channel_id, since_s=request.since_s, limit=request.limit, serve=request.serve
            )
            async with aclosing(progress) as steps:
                async for step in steps:
                    yield ChannelAnswer(backfilled=step)


def _parts(items: Sequence[T]) -> Iterable[Sequence[T]]:
    for first in range(0, len(items), _ROWS_A_LINE):
        yield items[first : first + _ROWS_A_LINE]
