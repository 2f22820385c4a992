"""Telethon's TCP transport with phases that can be told apart, and with bounds on what a server may make us hold."""

import asyncio
import os
import socket
import zlib
from typing import Any

from telethon.network.connection.tcpfull import ConnectionTcpFull, FullPacketCodec
from telethon.tl.core.gzippacked import GzipPacked

from telewarden.telegram.phases import Phase, Phases

FRAME_BYTES = 16 * 1024 * 1024
"""No answer is that long: Telegram's own bound on what it takes is 1 MiB, and a page of 100 posts has some 100 KiB."""
INFLATED_BYTES = 32 * 1024 * 1024
"""Nor, unpacked, that long."""


class TooMuch(ConnectionError):
    """The server sent more than it ever should; the connection is given up."""


class BoundedCodec(FullPacketCodec):  # type: ignore[misc]
    """The full transport (core.telegram.org/mtproto/mtproto-transports#full) with a bound on a frame's length."""

    async def read_packet(self, reader: Any) -> Any:
        """The next packet. Raises TooMuch, and what Telethon's does."""
        return await super().read_packet(_Bounded(reader))


class _Bounded:
    """A stream that refuses to wait for more than a frame may have."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def readexactly(self, count: int) -> bytes:
        if count > FRAME_BYTES:
            raise TooMuch(f"a packet of {count} bytes was announced; {FRAME_BYTES} is the bound")
        return await self._reader.readexactly(count)


class PhasedConnection(ConnectionTcpFull):  # type: ignore[misc]
    """A connection that tells which phase it is in; made by `phased`."""

    packet_codec = BoundedCodec
    phases: Phases
    has_key: bool
    _ip: str

    async def _connect(self, timeout: float | None = None, ssl: Any = None) -> None:
        self.phases.enter(Phase.RESOLVE)
        try:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(self._ip, self._port, type=socket.SOCK_STREAM)
            self.phases.enter(Phase.TCP)
            await self._first_of([entry[4][0] for entry in found], ssl)
        except OSError as error:
            self.phases.problem = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise
        self.phases.enter(Phase.HANDSHAKE if self.has_key else Phase.KEY)

    async def _first_of(self, addresses: list[Any], ssl: Any) -> None:
        """Connect to the first address that answers; the phase bounds all of them together."""
        host, left = self._ip, list(dict.fromkeys(addresses))
        try:
            while True:
                self._ip = left.pop(0)
                try:
                    await super()._connect(timeout=None, ssl=ssl)
                except OSError:
                    if not left:
                        raise
                else:
                    return
        finally:
            self._ip = host


def phased(phases: Phases, *, has_key: bool) -> type[PhasedConnection]:
    """The kind of connection that Telethon is to make. has_key: the session has an authorisation key already."""
    return type("PhasedConnection", (PhasedConnection,), {"phases": phases, "has_key": has_key})


def inflate(data: bytes) -> bytes:
    """gzip data unpacked. Raises TooMuch beyond INFLATED_BYTES, ValueError if it is none or is cut off."""
    unpacking = zlib.decompressobj(wbits=31)
    try:
        inflated = unpacking.decompress(data, INFLATED_BYTES)
    except zlib.error as error:
        raise ValueError(f"what was packed cannot be unpacked ({error})") from error
    if unpacking.unconsumed_tail:
        # An error keeps what its function held for as long as anybody keeps the error.
        del inflated
        raise TooMuch(f"a packed answer has more than {INFLATED_BYTES} bytes, which is the bound")
    if not unpacking.eof:
        raise ValueError("a packed answer is cut off")
    return inflated


def bound_unpacking() -> None:
    """Have Telethon unpack with a bound: it does that in two methods of one class, and takes no other class."""

    def read(reader: Any) -> bytes:
        constructor = reader.read_int(signed=False)
        if constructor != GzipPacked.CONSTRUCTOR_ID:
            raise ValueError(f"constructor {constructor:#010x} is not packed")
        return inflate(reader.tgread_bytes())

    GzipPacked.read = staticmethod(read)
    GzipPacked.from_reader = classmethod(lambda cls, reader: cls(inflate(reader.tgread_bytes())))
