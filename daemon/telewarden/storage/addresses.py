"""A database at several addresses: each gets its share of the time, the one that answered last is asked first.

asyncpg tries them in order within one time-out: a first address whose machine hangs would use up all of it, each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import asyncpg

_NEXT = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.TargetServerAttributeNotMatched,
)
"""Errors after which another address may do better. A password that is wrong is wrong there too."""


def each_address(dsn: str) -> list[str]:
    """A DSN for each of the hosts that one names before its path."""
    parts = urlsplit(dsn)
    account, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return [dsn]
    return [parts._replace(netloc=f"{account}{at}{host}").geturl() for host in hosts.split(",")]


class Addresses:
    """Where a database may be, by its DSN."""

    def __init__(self, dsn: str) -> None:
        self._order = each_address(dsn)

    async def connect(self, *, timeout_s: float, **options: Any) -> Any:
        """A connection to the first that takes it, within timeout_s in all. options: asyncpg's.

        Raises asyncpg's errors, OSError; where there are several addresses, one that tells what each of them said.
        """
        if len(self._order) == 1:
            return await asyncpg.connect(self._order[0], timeout=timeout_s, **options)
        failed: list[tuple[str, Exception]] = []
        for dsn in tuple(self._order):
            try:
                connection = await asyncpg.connect(dsn, timeout=timeout_s / len(self._order), **options)
            except _NEXT as error:
                failed.append((dsn, error))
            else:
                self._order.sort(key=lambda other: other != dsn)
                return connection
        raise ConnectionError(_all_said(failed)) from failed[-1][1]


def _all_said(failed: Sequence[tuple[str, Exception]]) -> str:
    return "; ".join(
        f"{urlsplit(dsn).netloc.rpartition('@')[2]}: {type(error).__name__}{f': {error}' if str(error) else ''}"
        for dsn, error in failed
    )
