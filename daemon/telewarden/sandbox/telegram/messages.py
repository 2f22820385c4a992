"""MTProto messages inside an encrypted packet: taking containers apart, putting answers together. No I/O."""

import gzip
import struct
import time
import zlib
from dataclasses import dataclass
from typing import Any

from telethon.extensions import BinaryReader
from telethon.tl import types
from telethon.tl.core import GzipPacked, MessageContainer

from telewarden.sandbox.telegram.crypto import tl_bytes

VECTOR, BOOL_TRUE, BOOL_FALSE = 0x1CB5C415, 0x997275B5, 0xBC799737
RPC_RESULT = 0xF35C6D01
GZIP_FROM_BYTES = 1024
_MAX_UNPACKED_BYTES = 16 * 1024 * 1024
_MAX_PARTS = 1020


class BadMessage(Exception):
    """What a client sent cannot be read; the connection has to end."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message of a client's. body: a TL object, or None if this server does not know its constructor."""

    message_id: int
    seqno: int
    body: Any


@dataclass(frozen=True, slots=True)
class Packet:
    """What a client's packet holds: its salt, its session, and its messages, containers taken apart."""

    salt: int
    session_id: int
    message_id: int
    messages: tuple[Incoming, ...]


def parse(plain: bytes) -> Packet:
    """Read a decrypted packet. Raises BadMessage."""
    try:
        salt, session_id, message_id, seqno, length = struct.unpack_from("<qqqii", plain)
        if not 0 <= length <= len(plain) - 32:
            raise BadMessage(f"a message of {length} bytes in a packet of {len(plain)}")
        body = plain[32 : 32 + length]
        return Packet(salt, session_id, message_id, tuple(_messages(message_id, seqno, body)))
    except (struct.error, BufferError, OSError, EOFError, zlib.error, IndexError) as error:
        raise BadMessage(f"unreadable: {error}") from error


def _messages(message_id: int, seqno: int, body: bytes) -> list[Incoming]:
    constructor = int.from_bytes(body[:4], "little")
    if constructor == GzipPacked.CONSTRUCTOR_ID:
        with BinaryReader(body[4:]) as reader:
            packed = reader.tgread_bytes()
        unpacker = zlib.decompressobj(31)
        return _messages(message_id, seqno, unpacker.decompress(packed, _MAX_UNPACKED_BYTES))
    if constructor == MessageContainer.CONSTRUCTOR_ID:
        found: list[Incoming] = []
        count = int.from_bytes(body[4:8], "little")
        if count > _MAX_PARTS:
            raise BadMessage(f"a container of {count} messages")
        at = 8
        for _ in range(count):
            part_id, part_seqno, length = struct.unpack_from("<qii", body, at)
            found += _messages(part_id, part_seqno, body[at + 16 : at + 16 + length])
            at += 16 + length
        return found
    with BinaryReader(body) as reader:
        try:
            parsed = reader.tgread_object()
        except Exception as error:  # Telethon raises TypeNotFoundError, a bare Exception's child
            if type(error).__name__ != "TypeNotFoundError":
                raise BadMessage(f"unreadable: {error}") from error
            parsed = None
    return [Incoming(message_id, seqno, parsed)]


def encode(value: Any) -> bytes:
    """A result as TL bytes: objects, booleans and vectors of objects or integers."""
    match value:
        case bool():
            return (BOOL_TRUE if value else BOOL_FALSE).to_bytes(4, "little")
        case bytes():
            return value
        case list():
            parts = [encode(item) if not isinstance(item, int) else struct.pack("<i", item) for item in value]
            return struct.pack("<Ii", VECTOR, len(parts)) + b"".join(parts)
        case _:
            return bytes(value)


def rpc_result(request_id: int, result: bytes) -> bytes:
    """The answer to a request; large ones are packed."""
    if len(result) > GZIP_FROM_BYTES:
        packed = gzip.compress(result, compresslevel=1)
        result = GzipPacked.CONSTRUCTOR_ID.to_bytes(4, "little") + tl_bytes(packed)
    return struct.pack("<Iq", RPC_RESULT, request_id) + result


def rpc_error(request_id: int, code: int, message: str) -> bytes:
    """The answer to a request that failed."""
    return rpc_result(request_id, bytes(types.RpcError(code, message)))


class Numbering:
    """Message ids and sequence numbers of one session, the server's side."""

    def __init__(self) -> None:
        self._last = 0
        self._content = 0

    def next_id(self, *, answer: bool) -> int:
        """Increasing, odd; its upper half is the time in seconds (core.telegram.org/mtproto/description)."""
        # An id leaves a remainder of 1 modulo 4 if it answers a message of the client's, else 3.
        wanted = (time.time_ns() << 32) // 1_000_000_000 & ~3
        self._last = max(wanted, (self._last & ~3) + 4)
        return self._last | (1 if answer else 3)

    def next_seqno(self, *, content: bool) -> int:
        """Twice the number of content messages before it, plus one if it is one."""
        number = self._content * 2 + (1 if content else 0)
        self._content += 1 if content else 0
        return number


def container(parts: list[tuple[int, int, bytes]]) -> bytes:
    """Several messages, each (id, sequence number, body), as one."""
    body = b"".join(struct.pack("<qii", i, s, len(b)) + b for i, s, b in parts)
    return struct.pack("<Ii", MessageContainer.CONSTRUCTOR_ID, len(parts)) + body


def packet(salt: int, session_id: int, message_id: int, seqno: int, body: bytes) -> bytes:
    """A packet before its encryption."""
    return struct.pack("<qqqii", salt, session_id, message_id, seqno, len(body)) + body
