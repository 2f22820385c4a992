"""Receipts: what a consumer gets with each delivery, and sends back to say what became of it."""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from telewarden_http.v1.token import Position

_RECEIPT = struct.Struct(">IQI")
_CHECK = struct.Struct(">I")
_LENGTH = 27


class Receipt(NamedTuple):
    """One delivery of an event. position: the event's. deliveries: which delivery of it to this consumer, from 1."""

    position: Position
    deliveries: int


def encode(receipt: Receipt, consumer: str) -> str:
    """The text of a receipt: 27 characters that survive in a URL. It is of no use to another consumer."""
    packed = _RECEIPT.pack(*receipt.position, receipt.deliveries)
    return urlsafe_b64encode(packed + _check(packed, consumer)).rstrip(b"=").decode()


def decode(text: str, consumer: str) -> Receipt | None:
    """The receipt that a text is; None where it is none that was given to this consumer."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=") if len(text) == _LENGTH else b""
    except (UnicodeEncodeError, binascii.Error):
        return None
    packed = raw[: _RECEIPT.size]
    if len(packed) != _RECEIPT.size or raw[_RECEIPT.size :] != _check(packed, consumer):
        return None
    epoch, position, deliveries = _RECEIPT.unpack(packed)
    if position > _MOST or not 0 < deliveries <= _MOST_DELIVERIES:
        return None
    receipt = Receipt(Position(epoch, position), deliveries)
    # The last character has bits to spare.
    return receipt if encode(receipt, consumer) == text else None


def _check(packed: bytes, consumer: str) -> bytes:
    return _CHECK.pack(binascii.crc32(consumer.encode(), binascii.crc32(packed)))


_MOST = 2**63 - 1
_MOST_DELIVERIES = 2**31 - 1
"""What the database's integers hold."""
