"""A store's answer within its time: no request waits without end."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from telewarden_http.protocols import Unavailable

_T = TypeVar("_T")


async def in_time(
    answer: Awaitable[_T], timeout_s: float, otherwise: str, error: type[Exception] = Unavailable
) -> _T:
    """The answer. Raises `error`, with the text `otherwise`, if it takes longer than so many seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            return await answer
    except TimeoutError:
        raise error(otherwise) from None
