"""Positions in the feed, and the opaque tokens that consumers see of them."""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from telewarden_http.errors import BadRequest

_POSITION = struct.Struct(">IQ")
_CHECK = struct.Struct(">H")
_LENGTH = 19


class Position(NamedTuple):
    """A place in the feed; ordered. epoch: a journal's number. position: an event's number in it."""

    epoch: int
    position: int


BEGINNING = Position(0, 0)


def encode(position: Position) -> str:
    """The token of a position: 19 characters that survive in a URL."""
    packed = _POSITION.pack(*position)
    return urlsafe_b64encode(packed + _CHECK.pack(binascii.crc_hqx(packed, 0))).rstrip(b"=").decode()


def decode(token: str, name: str = "after") -> Position:
    """The position of a token. name: of the parameter, for the error. Raises BadRequest."""
    try:
        raw = urlsafe_b64decode(token.encode("ascii") + b"=") if len(token) == _LENGTH else b""
    except (UnicodeEncodeError, binascii.Error):
        raw = b""
    packed, check = raw[: _POSITION.size], raw[_POSITION.size :]
    if len(packed) == _POSITION.size and check == _CHECK.pack(binascii.crc_hqx(packed, 0)):
        position = Position(*_POSITION.unpack(packed))
        if position.position <= _MOST:
            return position
    raise BadRequest(f'"{name}" is not a token of this feed; send one back exactly as an answer gave it')


_MOST = 2**63 - 1
"""What the database's integers hold."""
