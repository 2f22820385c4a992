"""TCP transports (core.telegram.org/mtproto/mtproto-transports): full, abridged, intermediate, padded intermediate."""

import os
import zlib
from typing import Protocol

from anyio.streams.buffered import BufferedByteReceiveStream

MAX_PACKET_BYTES = 4 * 1024 * 1024
Reader = BufferedByteReceiveStream


class BadFrame(Exception):
    """What arrived is no frame of this transport; the connection has to end."""


class Transport(Protocol):
    """Packets out of bytes, and back."""

    async def read(self, reader: Reader) -> bytes:
        """The next packet. Raises BadFrame, and anyio's end-of-stream errors."""
        ...

    def frame(self, packet: bytes) -> bytes:
        """A packet as it goes over the wire."""
        ...


async def sniff(reader: Reader) -> Transport:
    """The transport that a client's first bytes announce."""
    first = await reader.receive_exactly(1)
    if first == b"\xef":
        return Abridged()
    start = first + await reader.receive_exactly(3)
    if start == b"\xee" * 4:
        return Intermediate(padded=False)
    if start == b"\xdd" * 4:
        return Intermediate(padded=True)
    return Full(start)


def _checked(length: int, *, least: int = 4) -> int:
    if not least <= length <= MAX_PACKET_BYTES:
        raise BadFrame(f"a packet of {length} bytes")
    return length


class Full:
    """Length, sequence number, packet, CRC32. It has no tag: `start` is the first packet's length."""

    def __init__(self, start: bytes) -> None:
        self._start: bytes | None = start
        self._received = self._sent = 0

    async def read(self, reader: Reader) -> bytes:
        """See Transport."""
        head = self._start or await reader.receive_exactly(4)
        self._start = None
        length = _checked(int.from_bytes(head, "little"), least=12)
        rest = await reader.receive_exactly(length - 4)
        if zlib.crc32(head + rest[:-4]) != int.from_bytes(rest[-4:], "little"):
            raise BadFrame("CRC32 does not match")
        if int.from_bytes(rest[:4], "little") != self._received:
            raise BadFrame("a packet is missing")
        self._received += 1
        return rest[4:-4]

    def frame(self, packet: bytes) -> bytes:
        """See Transport."""
        body = (len(packet) + 12).to_bytes(4, "little") + self._sent.to_bytes(4, "little") + packet
        self._sent += 1
        return body + zlib.crc32(body).to_bytes(4, "little")


class Abridged:
    """One byte of length in words, or 0x7f and three."""

    async def read(self, reader: Reader) -> bytes:
        """See Transport."""
        words = (await reader.receive_exactly(1))[0] & 0x7F
        if words == 0x7F:
            words = int.from_bytes(await reader.receive_exactly(3), "little")
        return await reader.receive_exactly(_checked(words * 4))

    def frame(self, packet: bytes) -> bytes:
        """See Transport."""
        words = len(packet) // 4
        return (bytes([words]) if words < 0x7F else b"\x7f" + words.to_bytes(3, "little")) + packet


class Intermediate:
    """Four bytes of length; padded: up to 15 bytes of noise after each packet."""

    def __init__(self, *, padded: bool) -> None:
        self._padded = padded

    async def read(self, reader: Reader) -> bytes:
        """See Transport."""
        length = _checked(int.from_bytes(await reader.receive_exactly(4), "little") & 0x7FFFFFFF)
        packet = await reader.receive_exactly(length)
        if self._padded:
            # Encrypted packets are 24 bytes and whole blocks; plain ones tell their own length.
            plain = packet[:8] == bytes(8)
            return packet if plain else packet[: 24 + (len(packet) - 24) // 16 * 16]
        return packet

    def frame(self, packet: bytes) -> bytes:
        """See Transport."""
        noise = os.urandom(os.urandom(1)[0] % 16) if self._padded and len(packet) > 4 else b""
        return (len(packet) + len(noise)).to_bytes(4, "little") + packet + noise
