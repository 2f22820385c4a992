"""The Telethon driver of intake: thin, asyncio; its surprises (see its callers' tests) are turned into plain errors."""

import asyncio
import math
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import anyio
import structlog
from telethon import errors, functions, utils
from telethon.tl import types

from telewarden.storage.acceptance import Gone, Observation, Seen
from telewarden.storage.signal import Signal
from telewarden.telegram.client import ClientSettings, PushClient, make_client_of
from telewarden.telegram.feed import (
    ChannelClosed,
    Difference,
    Flooded,
    Found,
    Place,
    Push,
    SessionUnusable,
    TelegramUnavailable,
    Unreadable,
)
from telewarden.telegram.normalise import seen_from, unknown_message
from telewarden.telegram.phases import Phase
from telewarden.telegram.references import Reference
from telewarden.telegram.session import LOGIN_HINT, check_session_file
from telewarden.telegram.telethon_channels import read_dialogs, resolve

log = structlog.get_logger(__name__)
T = TypeVar("T")

PUSHES_HELD = 10_000
"""Pushes that may wait for the journal; what comes beyond is dropped, and the channel's history is read instead."""
_DISCONNECT_S = 5.0
_IDS_A_REQUEST = _POSTS_A_REQUEST = 100
_IDS_SCANNED = 2_000
"""So many ids are asked for one by one at most, where a page of history cannot be read."""
_CLOSED = (
    errors.ChannelPrivateError,
    errors.ChannelInvalidError,
    errors.ChatAdminRequiredError,
    errors.UserBannedInChannelError,
)
_UNREADABLE = (
    errors.InvalidBufferError,
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
        client = make_client_of(PushClient, self._settings)
        connection = TelethonConnection(client, self._request_timeout_s)
        try:
            await connection.open()
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

    def __init__(self, client: PushClient, request_timeout_s: float) -> None:
        self._client = client
        self._timeout_s = request_timeout_s
        self._peers: dict[int, Any] = {}
        self._pushed: deque[Push] = deque()
        self._arrived = Signal()
        self._overflowed: set[int] = set()
        self._lost: str | None = None

    async def open(self) -> None:
        """Connect and make sure that the account is signed in."""
        self._client.on_updates = self._take
        with self._client.phases.limited():
            await self._ask(self._client.connect(), math.inf)
            self._client.disconnected.add_done_callback(self._ended)
            self._client.phases.enter(Phase.LOGIN)
            # The only request that tells an unauthorised key: get_me() swallows it.
            await self._ask(self._client(functions.updates.GetStateRequest()), math.inf)

    def _ended(self, future: "asyncio.Future[object]") -> None:
        error = None if future.cancelled() else future.exception()
        self._lost = (
            f"the connection to Telegram ended ({error})" if error else "the connection to Telegram ended"
        )
        self._arrived.fire()

    def _take(self, updates: Any) -> None:
        """Keep what was pushed. Called on the event loop by the client, for whatever Telegram sent."""
        match updates:
            case types.Updates() | types.UpdatesCombined():
                for update in updates.updates:
                    self._keep(update)
            case types.UpdateShort():
                self._keep(updates.update)
            case types.UpdatesTooLong():
                # Telegram has not told something, of whatever channel.
                self._overflowed.update(self._peers)
            case _:
                # The others are of private chats and of small groups.
                return
        self._arrived.fire()

    def _keep(self, update: Any) -> None:
        if isinstance(update, types.UpdateChannelTooLong):
            self._overflowed.add(_marked(update.channel_id))
            return
        change = _change(update)
        if change is None:
            return
        if len(self._pushed) >= PUSHES_HELD:
            self._overflowed.add(change.channel_id)
        else:
            self._pushed.append(change)

    async def pushes(self) -> list[Push]:
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

    def reachable(self, channel_ids: Sequence[int]) -> set[int]:
        """See the protocol. The session keeps what it needs to ask for a channel that it once saw."""
        for channel_id in channel_ids:
            if channel_id not in self._peers:
                with suppress(ValueError):
                    self._peers[channel_id] = self._client.session.get_input_entity(channel_id)
        return {channel_id for channel_id in channel_ids if channel_id in self._peers}

    async def places(self, channel_ids: Sequence[int]) -> dict[int, Place]:
        """See the protocol. It reads all dialogs."""
        wanted = frozenset(channel_ids)

        async def read() -> dict[int, Place]:
            found = {}
            async for dialog in self._client.iter_dialogs():
                if dialog.id in wanted:
                    self._peers[dialog.id] = dialog.input_entity
                    name = getattr(dialog.entity, "username", None) or ""
                    top, pts = dialog.dialog.top_message, dialog.dialog.pts or 0
                    found[dialog.id] = Place(top, pts, dialog.name, name)
            return found

        return await self._read_dialogs(read())

    async def difference(self, channel_id: int, pts: int, limit: int) -> Difference:
        """See the protocol."""
        asked_at_us = time.time_ns() // 1000
        peer = utils.get_input_channel(self._peer(channel_id))
        everything = types.ChannelMessagesFilterEmpty()
        request = functions.updates.GetChannelDifferenceRequest(peer, everything, max(pts, 1), limit)
        answer = await self._ask(self._client(request))
        if isinstance(answer, types.updates.ChannelDifferenceTooLong):
            return Difference((), answer.dialog.pts or 0, is_too_long=True)
        if isinstance(answer, types.updates.ChannelDifferenceEmpty):
            return Difference((), answer.pts)
        seen: list[Observation] = [*_observations(answer.new_messages, channel_id, asked_at_us)]
        for update in answer.other_updates:
            change = _change(update, asked_at_us)
            if change is not None and change.channel_id == channel_id:
                seen += change.observations
        return Difference(tuple(seen), answer.pts, bool(answer.final))

    async def pts(self, channel_id: int) -> int:
        """See the protocol."""
        request = functions.channels.GetFullChannelRequest(utils.get_input_channel(self._peer(channel_id)))
        full = (await self._ask(self._client(request))).full_chat
        return int(full.pts)

    async def dialogs(self) -> list[Found]:
        """See the protocol."""
        return await self._read_dialogs(read_dialogs(self._client))

    async def _read_dialogs(self, request: Awaitable[T]) -> T:
        with self._client.phases.limited():
            self._client.phases.enter(Phase.DIALOGS)
            return await self._ask(request, math.inf)

    async def resolve(self, reference: Reference, *, join: bool) -> Found:
        """See the protocol."""
        return await resolve(self._client, self._ask, reference, join=join)

    async def last_before(self, channel_id: int, moment_s: float) -> int:
        """See the protocol."""
        moment = datetime.fromtimestamp(moment_s, UTC)
        request = functions.messages.GetHistoryRequest(self._peer(channel_id), 0, moment, 0, 1, 0, 0, 0)
        messages = (await self._ask(self._client(request))).messages
        return int(messages[0].id) if messages else 0

    def _peer(self, channel_id: int) -> Any:
        if not self.reachable([channel_id]):
            raise ChannelClosed("the account cannot read it")
        return self._peers[channel_id]

    async def after(self, channel_id: int, message_id: int, limit: int) -> list[Seen]:
        """See the protocol. Where a page cannot be read, smaller ones are, and what is left is asked for by its id."""
        limit = min(limit, _POSTS_A_REQUEST)
        found: list[Seen] = []
        count = limit
        while len(found) < limit:
            try:
                page = await self._history(
                    channel_id, offset_id=message_id + 1, add_offset=-count, limit=count, min_id=message_id
                )
            except Unreadable:
                if count > 1:
                    count //= 2
                    continue
                page = await self._next_by_id(channel_id, message_id)
                count = limit
                if not page:
                    break
            found += page
            if not page or (len(page) < count and count == limit):
                break
            message_id, count = page[-1].message_id, limit
        return found[:limit]

    async def _next_by_id(self, channel_id: int, message_id: int) -> list[Seen]:
        """What comes next after an id, asked for id by id: of a message that cannot be read, history tells not even
        that."""
        for first in range(message_id + 1, message_id + 1 + _IDS_SCANNED, _IDS_A_REQUEST):
            page = await self.existing(channel_id, range(first, first + _IDS_A_REQUEST))
            if page:
                return sorted(page, key=lambda seen: seen.message_id)
        log.error("messages_not_reached", channel_id=channel_id, after=message_id, looked_at=_IDS_SCANNED)
        return []

    async def newest(self, channel_id: int, limit: int, before: int = 0) -> list[Seen]:
        """See the protocol. What cannot be read is left out: `after` finds it."""
        found: list[Seen] = []
        passed, count = 0, _POSTS_A_REQUEST
        while len(found) < limit:
            count = min(count, limit - len(found))
            try:
                page = await self._history(channel_id, offset_id=before, add_offset=passed, limit=count)
            except Unreadable:
                passed, count = (passed, count // 2) if count > 1 else (passed + 1, _POSTS_A_REQUEST)
                continue
            found += reversed(page)
            if len(page) < count:
                break
            passed, count = passed + len(page), _POSTS_A_REQUEST
        return found

    async def existing(self, channel_id: int, message_ids: Sequence[int]) -> list[Seen]:
        """See the protocol. Telegram answers for all or none: one that cannot be read is found by halving."""
        try:
            peer, asked_at_us = self._peer(channel_id), time.time_ns() // 1000
            messages = await self._ask(self._client.get_messages(peer, ids=list(message_ids)))
            return _observations((m for m in messages if m is not None), channel_id, asked_at_us)
        except Unreadable as error:
            if len(message_ids) == 1:
                log.error(
                    "message_not_known",
                    channel_id=channel_id,
                    message_id=message_ids[0],
                    constructor_id=f"{error.constructor_id:#010x}",
                    hint="a newer version of Telewarden may know it; it is kept without its content",
                )
                return [unknown_message(channel_id, message_ids[0], error.constructor_id)]
            middle = len(message_ids) // 2
            return [
                *await self.existing(channel_id, message_ids[:middle]),
                *await self.existing(channel_id, message_ids[middle:]),
            ]

    async def _history(
        self, channel_id: int, *, offset_id: int, limit: int, add_offset: int = 0, min_id: int = 0
    ) -> list[Seen]:
        """One page, oldest first. Telethon's own paging asks once more where it need not, outside of the budget."""
        peer, asked_at_us = self._peer(channel_id), time.time_ns() // 1000
        request = functions.messages.GetHistoryRequest(
            peer, offset_id, None, add_offset, min(limit, _POSTS_A_REQUEST), 0, min_id, 0
        )
        answer = await self._ask(self._client(request))
        seen = _observations(answer.messages, channel_id, asked_at_us)
        return sorted(seen, key=lambda post: post.message_id)

    async def _ask(self, request: Awaitable[T], timeout_s: float | None = None) -> T:
        """Await a request within its time-out, and say in this package's errors what went wrong."""
        # Telethon refuses a method by itself for as long as one channel was told to wait with it. Who asks here obeys
        # the waits, channel by channel.
        self._client._flood_waited_requests.clear()
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
        except errors.TypeNotFoundError as error:
            # Its text quotes what could not be read, which may be anything.
            raise Unreadable(error.invalid_constructor_id) from None
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


def _marked(bare_id: int) -> int:
    return int(utils.get_peer_id(types.PeerChannel(bare_id)))


def _observations(messages: Iterable[Any], channel_id: int, asked_at_us: int | None) -> list[Seen]:
    seen = (seen_from(message, channel_id, asked_at_us) for message in messages)
    return [observation for observation in seen if observation is not None]


def _change(update: Any, asked_at_us: int | None = None) -> Push | None:
    """A channel's change; None for updates that are none."""
    match update:
        case types.UpdateDeleteChannelMessages():
            channel_id = _marked(update.channel_id)
            gone: tuple[Observation, ...] = tuple(
                Gone(channel_id, message_id) for message_id in update.messages
            )
            return Push(channel_id, gone, update.pts, update.pts_count)
        case types.UpdateNewChannelMessage() | types.UpdateEditChannelMessage():
            message = update.message
            if not isinstance(message.peer_id, types.PeerChannel):
                return None
            channel_id = _marked(message.peer_id.channel_id)
            return Push(
                channel_id,
                tuple(_observations([message], channel_id, asked_at_us)),
                update.pts,
                update.pts_count,
            )
        case _:
            return None
