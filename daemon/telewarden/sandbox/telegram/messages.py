"""MTProto messages inside an encrypted packet: taking containers apart, putting answers together. No I/O."""

import gzip
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from telethon.errors import TypeNotFoundError
from telethon.extensions import BinaryReader
from telethon.tl import types
from telethon.tl.core import GzipPacked, MessageContainer

from telewarden.sandbox.telegram.crypto import tl_bytes

VECTOR, BOOL_TRUE, BOOL_FALSE = 0x1CB5C415, 0x997275B5, 0xBC799737
RPC_RESULT = 0xF35C6D01
GZIP_FROM_BYTES = 1024
_MAX_UNPACKED_BYTES = 16 * 1024 * 1024
_MAX_PARTS = 1020
_TOO_LOW, _TOO_HIGH, _NOT_A_CLIENTS = 16, 17, 18
_OLDEST_S, _NEWEST_S = 300, 30


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
    except struct.error as error:
        raise BadMessage(f"unreadable: {error}") from error
    body = _unpacked(body)
    if _constructor(body) == MessageContainer.CONSTRUCTOR_ID:
        return Packet(salt, session_id, message_id, tuple(_parts(body)))
    return Packet(salt, session_id, message_id, (Incoming(message_id, seqno, _object_or_none(body)),))


def bad_message_code(message_id: int, now_s: float) -> int | None:
    """Why a client's message id cannot be taken, as bad_msg_notification numbers it; None if it can.

    See core.telegram.org/mtproto/service_messages_about_messages: not from the last 300 s or the next 30 s, or
    marked as a server's.
    """
    seconds = message_id >> 32
    if seconds < now_s - _OLDEST_S:
        return _TOO_LOW
    if seconds > now_s + _NEWEST_S:
        return _TOO_HIGH
    return _NOT_A_CLIENTS if message_id & 3 else None


def read_object(data: bytes) -> tuple[Any, int]:
    """The TL object that data begins with, and how many bytes it takes. Raises BadMessage, TypeNotFoundError."""
    with BinaryReader(data) as reader:
        try:
            return reader.tgread_object(), reader.tell_position()
        except TypeNotFoundError:
            raise
        except Exception as error:
            # Generated code fails in as many ways as there are kinds of nonsense; none says more than "unreadable".
            raise BadMessage(f"unreadable: {error}") from error


def _object_or_none(body: bytes) -> Any:
    try:
        return read_object(body)[0]
    except TypeNotFoundError:
        return None


def _constructor(body: bytes) -> int:
    return int.from_bytes(body[:4], "little")


def _unpacked(body: bytes) -> bytes:
    """A body as it was before it was gzipped, if it was."""
    if _constructor(body) != GzipPacked.CONSTRUCTOR_ID:
        return body
    try:
        with BinaryReader(body[4:]) as reader:
            packed = reader.tgread_bytes()
        unpacker = zlib.decompressobj(31)
        unpacked = unpacker.decompress(packed, _MAX_UNPACKED_BYTES)
    except (BufferError, struct.error, zlib.error) as error:
        raise BadMessage(f"unreadable: {error}") from error
    if not unpacker.eof:
        raise BadMessage(f"packed data that is cut off, or longer than {_MAX_UNPACKED_BYTES} bytes")
    return unpacked


def _parts(body: bytes) -> Iterator[Incoming]:
    """The messages of a container. None of them may be a container again."""
    count = int.from_bytes(body[4:8], "little")
    if count > _MAX_PARTS:
        raise BadMessage(f"a container of {count} messages")
    at = 8
    for _ in range(count):
        try:
            part_id, seqno, length = struct.unpack_from("<qii", body, at)
        except struct.error as error:
            raise BadMessage(f"a container that is cut off: {error}") from error
        at += 16
        if not 0 <= length <= len(body) - at:
            raise BadMessage(f"a message of {length} bytes where {len(body) - at} are left")
        part = _unpacked(body[at : at + length])
        if _constructor(part) == MessageContainer.CONSTRUCTOR_ID:
            raise BadMessage("a container in a container")
        yield Incoming(part_id, seqno, _object_or_none(part))
        at += length


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
