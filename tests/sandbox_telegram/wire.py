"""MTProto by hand, for what no client says: any salt, any number, any body, over the abridged transport."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from telethon.extensions import BinaryReader
from telethon.tl.core import MessageContainer

from telewarden.sandbox.telegram.connection import SALT
from telewarden.sandbox.telegram.crypto import (
    ige_decrypt,
    ige_encrypt,
    key_id,
    message_key,
    message_keys,
)
from telewarden.sandbox.telegram.messages import packet


def key_of(session_file: Path) -> bytes:
    """The authorisation key that a session file holds."""
    with closing(sqlite3.connect(session_file)) as database:
        ((key,),) = database.execute("select auth_key from sessions").fetchall()
    return bytes(key)


class Wire:
    """One connection with a key. Its session's id and message ids are the caller's to choose."""

    def __init__(self, stream: SocketStream, auth_key: bytes) -> None:
        self._stream, self._auth_key = stream, auth_key
        self._reader = BufferedByteReceiveStream(stream)
        self._last_id = 0
        self.last_frame_bytes = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, port: int, auth_key: bytes) -> AsyncIterator["Wire"]:
        """A connection."""
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"\xef")
            yield cls(stream, auth_key)

    def next_id(self, *, after_s: float = 0.0) -> int:
        """A message id that a client could give now, or so many seconds later."""
        wanted = int((time.time() + after_s) * 2**32) & ~3
        self._last_id = max(wanted, self._last_id + 4) if not after_s else wanted
        return self._last_id

    async def send(
        self, body: bytes, *, message_id: int | None = None, salt: int = SALT, session_id: int = 1
    ) -> int:
        """Send one encrypted message; its id."""
        number = self.next_id() if message_id is None else message_id
        plain = packet(salt, session_id, number, 1, body)
        padded = plain + bytes(12 + (-(len(plain) + 12)) % 16)
        msg_key = message_key(self._auth_key, padded, from_server=False)
        key, iv = message_keys(self._auth_key, msg_key, from_server=False)
        await self.send_frame(key_id(self._auth_key) + msg_key + ige_encrypt(padded, key, iv))
        return number

    async def send_frame(self, frame: bytes) -> None:
        """Send bytes as one packet of the transport."""
        words = len(frame) // 4
        head = bytes([words]) if words < 0x7F else b"\x7f" + words.to_bytes(3, "little")
        await self._stream.send(head + frame)

    async def receive_frame(self) -> bytes:
        """The next packet. Raises anyio's end-of-stream errors."""
        with anyio.fail_after(5):
            words = (await self._reader.receive_exactly(1))[0]
            if words == 0x7F:
                words = int.from_bytes(await self._reader.receive_exactly(3), "little")
            frame = await self._reader.receive_exactly(words * 4)
        self.last_frame_bytes = len(frame)
        return frame

    async def receive(self) -> list[Any]:
        """The TL objects of the next packet, containers taken apart."""
        frame = await self.receive_frame()
        msg_key, body = frame[8:24], frame[24:]
        key, iv = message_keys(self._auth_key, msg_key, from_server=True)
        plain = ige_decrypt(body, key, iv)
        assert message_key(self._auth_key, plain, from_server=True) == msg_key
        with BinaryReader(plain[32:]) as reader:
            found = reader.tgread_object()
        return [part.obj for part in found.messages] if isinstance(found, MessageContainer) else [found]

    async def ended(self) -> bool:
        """Whether the server ends the connection, without another word."""
        try:
            await self.receive_frame()
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            return True
        return False
