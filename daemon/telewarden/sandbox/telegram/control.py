"""The control socket's client side: post, edit, delete, inject faults, ask for the truth."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

_MAX_LINE_BYTES = 256 * 1024 * 1024


class ControlError(Exception):
    """The local Telegram refused a request; the message says why."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a change did. message_ids: which messages; at_ms: when it was pushed, wall clock."""

    message_ids: tuple[int, ...]
    pts: int
    at_ms: float

    @property
    def message_id(self) -> int:
        """The only message."""
        return self.message_ids[0]


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """A channel. channel_id: marked, -100…; top: its newest message."""

    channel_id: int
    bare_id: int
    title: str
    top: int
    pts: int


@dataclass(frozen=True, slots=True)
class TrueMessage:
    """A message as Telegram has it, or had it before its deletion."""

    message_id: int
    text: str | None
    edit_date: float | None
    deleted: bool


class Control:
    """One connection to the control socket; its requests are made one at a time. They raise ControlError."""

    def __init__(self, stream: ByteStream, path: Path) -> None:
        self._stream, self._path = stream, path
        self._lines = BufferedByteReceiveStream(stream)
        self._lock = anyio.Lock()

    @classmethod
    @asynccontextmanager
    async def connect(cls, path: Path) -> AsyncIterator["Control"]:
        """A connection to the socket at a path."""
        control = cls(await anyio.connect_unix(path), path)
        try:
            yield control
        finally:
            await control._stream.aclose()

    async def reconnect(self) -> None:
        """Connect anew, after a restart of the server."""
        async with self._lock:
            await self._stream.aclose()
            self._stream = await anyio.connect_unix(self._path)
            self._lines = BufferedByteReceiveStream(self._stream)

    async def ask(self, op: str, **values: Any) -> dict[str, Any]:
        """Any request, as the server knows it."""
        async with self._lock:
            await self._stream.send(json.dumps({"op": op, **values}).encode() + b"\n")
            # Shielded: half an answer left behind would be taken for the next one's.
            with anyio.CancelScope(shield=True):
                line = await self._lines.receive_until(b"\n", _MAX_LINE_BYTES)
        reply: dict[str, Any] = json.loads(line)
        if not reply.pop("ok"):
            raise ControlError(reply["error"])
        return reply

    async def post(self, channel: int, text: str, **options: Any) -> Done:
        """Post. options: media, message_id (for one that appears late), reply_to, thread, topic, grouped_id, hidden
        (only history shows it)."""
        return _done(await self.ask("post", channel=channel, text=text, **options))

    async def post_many(self, channel: int, texts: Sequence[str]) -> Done:
        """Post several, pushed in one packet."""
        return _done(await self.ask("post_many", channel=channel, texts=list(texts)))

    async def edit(self, channel: int, message_id: int, text: str) -> Done:
        """Give a post another text."""
        return _done(await self.ask("edit", channel=channel, message_id=message_id, text=text))

    async def delete(self, channel: int, message_ids: Sequence[int]) -> Done:
        """Delete posts."""
        return _done(await self.ask("delete", channel=channel, message_ids=list(message_ids)))

    async def channels(self) -> list[ChannelFacts]:
        """Every channel."""
        return [ChannelFacts(**facts) for facts in (await self.ask("channels"))["channels"]]

    async def create_channel(self, title: str, **options: Any) -> ChannelFacts:
        """A new, empty channel. options: username, invite, joined (whether the account is in it),
        megagroup (a group, such as a channel's discussion)."""
        return ChannelFacts(**await self.ask("channel_create", title=title, **options))

    async def link(self, channel: int, group: int) -> None:
        """Make a group the discussion of a channel: each of its posts is forwarded there, and begins a thread."""
        await self.ask("channel_link", channel=channel, group=group)

    async def dump(self, channel: int) -> list[TrueMessage]:
        """Every message that a channel has or had."""
        return [TrueMessage(**facts) for facts in (await self.ask("dump", channel=channel))["messages"]]

    async def stats(self) -> dict[str, Any]:
        """connections, calls by method, pushes."""
        return await self.ask("stats")

    async def fault(self, name: str, **values: Any) -> dict[str, Any]:
        """Inject a fault; see `telewarden.sandbox.telegram.faults`."""
        return await self.ask("fault", name=name, **values)

    async def clear(self) -> None:
        """End every fault."""
        await self.ask("clear")


def _done(reply: dict[str, Any]) -> Done:
    return Done(tuple(reply["message_ids"]), reply["pts"], reply["at_ms"])
