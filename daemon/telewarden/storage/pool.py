"""Pools of asyncpg connections: small, connected when first needed, and with an end to every silence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import ceil
from socket import (
    AF_UNIX,
    IPPROTO_TCP,
    SO_KEEPALIVE,
    SOL_SOCKET,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    TCP_USER_TIMEOUT,
)
from typing import Any

import asyncpg

from telewarden.storage.addresses import Addresses

Connection = Any
"""An asyncpg connection out of a pool (asyncpg's own proxy type is generic over its record class)."""

_KEPT_IDLE_S = 60.0
_PROBES = 3


class PooledConnection(asyncpg.Connection):
    """A connection whose users leave nothing behind: no settings, locks, cursors or listeners of the session.

    So giving it back costs no round trip. A transaction that was left open is rolled back all the same.
    """

    # asyncpg has it, its stubs have not.
    _transport: asyncio.BaseTransport

    def get_reset_query(self) -> str:
        """See asyncpg."""
        return ""

    def end_after_silence(self, seconds: float) -> None:
        """Have the kernel end it when the other machine has not answered for so long: to what was sent to it
        (TCP_USER_TIMEOUT), or, while nothing is sent, to probes (keepalive).

        A server that is busy, or stopped, is not silent in this sense: its kernel answers. tcp(7) has the options.
        """
        socket = self._transport.get_extra_info("socket")
        if socket.family == AF_UNIX:
            return
        first_s = ceil(seconds / 2)
        for level, option, value in (
            (IPPROTO_TCP, TCP_USER_TIMEOUT, ceil(seconds * 1000)),
            (SOL_SOCKET, SO_KEEPALIVE, 1),
            (IPPROTO_TCP, TCP_KEEPIDLE, first_s),
            (IPPROTO_TCP, TCP_KEEPINTVL, max(1, ceil((seconds - first_s) / _PROBES))),
            (IPPROTO_TCP, TCP_KEEPCNT, _PROBES),
        ):
            socket.setsockopt(level, option, value)


async def open_pool(
    dsn: str,
    *,
    size: int,
    connect_timeout_s: float,
    statement_timeout_s: float,
    tcp_user_timeout_s: float,
    statement_cache_size: int,
    check: Callable[[Connection], Awaitable[None]],
) -> asyncpg.Pool[asyncpg.Record]:
    """A pool of at most `size`; nothing connects yet. tcp_user_timeout_s: see `PooledConnection.end_after_silence`.

    check: run on each new connection; what it raises is what whoever wants a connection gets.
    """

    async def begin(connection: Connection) -> None:
        connection.end_after_silence(tcp_user_timeout_s)
        await check(connection)

    addresses = Addresses(dsn)

    async def connect(_: str | None = None, /, **options: Any) -> Any:
        return await addresses.connect(timeout_s=connect_timeout_s, **options)

    return await asyncpg.create_pool(
        connect=connect,
        min_size=0,
        max_size=size,
        command_timeout=statement_timeout_s,
        statement_cache_size=statement_cache_size,
        max_inactive_connection_lifetime=_KEPT_IDLE_S,
        init=begin,
        connection_class=PooledConnection,
    )
