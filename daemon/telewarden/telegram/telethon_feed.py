"""The Telethon driver of intake: thin, asyncio; its surprises (see its callers' tests) are turned into plain errors."""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import structlog
from telethon import TelegramClient, errors, events, functions, utils
from telethon.tl import types

from telewarden.storage.acceptance import Gone, Observation, Seen
from telewarden.storage.signal import Signal
from telewarden.telegram.client import ClientSettings, make_client
from telewarden.telegram.feed import ChannelClosed, Flooded, SessionUnusable, TelegramUnavailable
from telewarden.telegram.normalise import seen_from
from telewarden.telegram.session import LOGIN_HINT, check_session_file

log = structlog.get_logger(__name__)
T = TypeVar("T")

PUSHES_HELD = 10_000
"""Pushes that may wait for the journal; what comes beyond is dropped, and the channel's history is read instead."""
_DISCONNECT_S = 5.0
_CLOSED = (
    errors.ChannelPrivateError,
    errors.ChannelInvalidError,
    errors.ChatAdminRequiredError,
    errors.UserBannedInChannelError,
)
_UNREADABLE = (
    errors.InvalidBufferError,
    errors.TypeNotFoundError,
    errors.common.InvalidChecksumError,
    errors.common.BadMessageError,
    errors.common.ReadCancelledError,
    BufferError,
)


class TelethonFeed:
    """Opens connections for one account. request_timeout_s: how long Telegram may take to answer one request."""

    def __init__(self, settings: ClientSettings, *, request_timeout_s: float) -> None:
        self._settings = settings
        self._request_timeout_s = request_timeout_s

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["TelethonConnection"]:
        """A signed-in connection; ended when the context is left. Raises TelegramUnavailable, SessionUnusable."""
        check_session_file(self._settings.session_file)
        client = make_client(self._settings)
        connection = TelethonConnection(client, self._request_timeout_s)
        try:
            await connection.open(self._settings.connect_timeout_s)
            yield connection
        finally:
            # Telethon's tasks outlive a cancelled connect(): it must be told, in bounded time.
            with anyio.move_on_after(_DISCONNECT_S, shield=True):
                await client.disconnect()
            ended = client.disconnected
            if ended.done() and not ended.cancelled():
                # Why it ended was told already; a future that nobody asks would be reported once more.
                ended.exception()


class TelethonConnection:
    """One connection; see `telewarden.telegram.feed.Connection`."""

    def __init__(self, client: TelegramClient, request_timeout_s: float) -> None:
        self._client = client
        self._timeout_s = request_timeout_s
        self._peers: dict[int, Any] = {}
        self._pushed: deque[Observation] = deque()
        self._arrived = Signal()
        self._overflowed: set[int] = set()
        self._lost: str | None = None

    async def open(self, timeout_s: float) -> None:
        """Connect and make sure that the account is signed in."""
        handled = (
            types.UpdateNewChannelMessage,
            types.UpdateEditChannelMessage,
            types.UpdateDeleteChannelMessages,
            types.UpdateChannelTooLong,
        )
        self._client.add_event_handler(self._take, events.Raw(handled))
        await self._ask(self._client.connect(), timeout_s)
        self._client.disconnected.add_done_callback(self._ended)
        # The only request that tells an unauthorised key: get_me() swallows it.
        await self.probe()

    def _ended(self, future: "asyncio.Future[object]") -> None:
        error = None if future.cancelled() else future.exception()
        self._lost = (
            f"the connection to Telegram ended ({error})" if error else "the connection to Telegram ended"
        )
        self._arrived.fire()

    async def _take(self, update: Any) -> None:
        match update:
            case types.UpdateDeleteChannelMessages():
                channel_id = utils.get_peer_id(types.PeerChannel(update.channel_id))
                self._hold([Gone(channel_id, message_id) for message_id in update.messages])
            case types.UpdateChannelTooLong():
                self._overflowed.add(utils.get_peer_id(types.PeerChannel(update.channel_id)))
                self._arrived.fire()
            case _:
                message = update.message
                channel_id = utils.get_peer_id(message.peer_id)
                seen = seen_from(message, channel_id)
                if seen is not None:
                    self._hold([seen])

    def _hold(self, observations: Sequence[Observation]) -> None:
        if len(self._pushed) + len(observations) > PUSHES_HELD:
            self._overflowed.update(observation.channel_id for observation in observations)
        else:
            self._pushed.extend(observations)
        self._arrived.fire()

    async def pushes(self) -> list[Observation]:
        """See the protocol."""
        await self._arrived.wait_until(lambda: bool(self._pushed or self._overflowed or self._lost))
        if not self._pushed and self._lost is not None:
            raise TelegramUnavailable(self._lost)
        taken = list(self._pushed)
        self._pushed.clear()
        return taken

    def overflowed(self) -> set[int]:
        """See the protocol."""
        dropped, self._overflowed = self._overflowed, set()
        return dropped

    async def probe(self) -> None:
        """See the protocol."""
        await self._ask(self._client(functions.updates.GetStateRequest()))

    async def tops(self, channel_ids: Sequence[int]) -> dict[int, int]:
        """See the protocol. It reads all dialogs, which also lets Telethon know every channel's place."""
        wanted = frozenset(channel_ids)

        async def read() -> dict[int, int]:
            found = {}
            async for dialog in self._client.iter_dialogs():
                if dialog.id in wanted:
                    self._peers[dialog.id] = dialog.input_entity
                    found[dialog.id] = dialog.dialog.top_message
            return found

        return await self._ask(read(), self._timeout_s * 3)

    async def after(self, channel_id: int, message_id: int, limit: int) -> list[Seen]:
        """See the protocol."""
        return await self._messages(channel_id, limit=limit, min_id=message_id, reverse=True, wait_time=0)

    async def newest(self, channel_id: int, limit: int) -> list[Seen]:
        """See the protocol."""
        return await self._messages(channel_id, limit=limit, wait_time=0)

    async def existing(self, channel_id: int, message_ids: Sequence[int]) -> list[Seen]:
        """See the protocol."""
        return await self._messages(channel_id, ids=list(message_ids))

    async def _messages(self, channel_id: int, **which: Any) -> list[Seen]:
        peer = self._peers.get(channel_id)
        if peer is None:
            raise ChannelClosed("the account cannot read it")
        asked_at_us = time.time_ns() // 1000
        messages = await self._ask(self._client.get_messages(peer, **which))
        seen = (seen_from(message, channel_id, asked_at_us) for message in messages if message is not None)
        return [observation for observation in seen if observation is not None]

    async def _ask(self, request: Awaitable[T], timeout_s: float | None = None) -> T:
        """Await a request within its time-out, and say in this package's errors what went wrong."""
        try:
            with anyio.fail_after(timeout_s or self._timeout_s):
                return await request
        except (errors.FloodWaitError, errors.FloodError) as error:
            raise Flooded(float(getattr(error, "seconds", 0) or 30)) from error
        except _CLOSED as error:
            raise ChannelClosed(
                f"Telegram refuses it ({type(error).__name__}): is the account still in it?"
            ) from error
        except (errors.UnauthorizedError, errors.AuthKeyError, errors.common.AuthKeyNotFound) as error:
            raise SessionUnusable(
                f"Telegram no longer accepts the session ({error}); {LOGIN_HINT}"
            ) from error
        except TimeoutError as error:
            raise TelegramUnavailable("Telegram did not answer in time") from error
        except (OSError, EOFError, sqlite3.Error, errors.RPCError, errors.SecurityError, ValueError) as error:
            raise TelegramUnavailable(
                f"Telegram cannot be reached ({type(error).__name__}: {error})"
            ) from error
        except _UNREADABLE as error:
            raise TelegramUnavailable(f"Telegram answered something unreadable ({error})") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Telethon cancels the requests that are under way when the connection ends; nobody cancelled us.
            raise TelegramUnavailable("the connection to Telegram ended while it was asked") from error
