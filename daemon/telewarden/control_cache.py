"""The operator's requests about the cache: lines in answer to each, the last one says that it is done."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal

import msgspec

from telewarden.cache_admin import CacheAdmin, CacheRefused, CacheStatus, ChannelWaiting, WarmShown
from telewarden.storage.cache import CacheUnavailable
from telewarden.storage.cache_verify import CannotCompare, Differs
from telewarden.storage.database import DatabaseUnavailable

Action = Literal["status", "warm", "verify", "flush"]
NO_CACHE = "no cache is configured: polls are answered by the database; set cache.url to have one"
_ROWS_A_LINE = 200
_FAILURES = (CacheRefused, CacheUnavailable, CannotCompare, DatabaseUnavailable)


class CacheRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator wants of the cache."""

    action: Action


class CacheAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: more come until one is done. error: why it was not done.

    channels, differences: those that no line before had. removed, left: see `CacheAdmin.flush`. total: channels in all.
    compared, changing, channels_done: see `CacheReport`.
    """

    status: CacheStatus | None = None
    channels: tuple[ChannelWaiting, ...] = ()
    warm: WarmShown | None = None
    removed: int = 0
    left: int = 0
    compared: int = 0
    changing: int = 0
    channels_done: int = 0
    total: int = 0
    differences: tuple[Differs, ...] = ()
    error: str = ""
    done: bool = False


async def answer_cache(admin: CacheAdmin | None, request: CacheRequest) -> AsyncGenerator[CacheAnswer, None]:
    """Do what was asked for. Who stops listening ends it. admin: None where there is no cache."""
    if admin is None:
        yield CacheAnswer(error=NO_CACHE, done=True)
        return
    try:
        async with aclosing(_lines(admin, request.action)) as lines:
            async for line in lines:
                yield line
    except _FAILURES as error:
        yield CacheAnswer(error=str(error), done=True)
    else:
        yield CacheAnswer(done=True)


async def _lines(admin: CacheAdmin, action: Action) -> AsyncGenerator[CacheAnswer, None]:
    match action:
        case "status":
            status, channels = await admin.status()
            yield CacheAnswer(status=status)
            for first in range(0, len(channels), _ROWS_A_LINE):
                yield CacheAnswer(channels=tuple(channels[first : first + _ROWS_A_LINE]))
        case "warm":
            async with aclosing(admin.warm()) as steps:
                async for step in steps:
                    yield CacheAnswer(warm=step)
        case "flush":
            async with aclosing(admin.flush()) as removals:
                async for removed, left in removals:
                    yield CacheAnswer(removed=removed, left=left)
        case "verify":
            async with aclosing(_compared(admin)) as compared:
                async for line in compared:
                    yield line


async def _compared(admin: CacheAdmin) -> AsyncGenerator[CacheAnswer, None]:
    async with aclosing(admin.verify()) as reports:
        async for report in reports:
            for first in range(0, max(1, len(report.differences)), _ROWS_A_LINE):
                yield CacheAnswer(
                    compared=report.compared,
                    changing=report.changing,
                    channels_done=report.channels_done,
                    total=report.channels,
                    differences=report.differences[first : first + _ROWS_A_LINE],
                )
