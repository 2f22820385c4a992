"""The shapes of answers: the contract's envelopes, as finished bytes."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from quart import Response

_HEADERS: Final = {"Content-Type": "application/json", "Cache-Control": "no-store"}
_NONE: Final[dict[str, str]] = {}
_encoder = msgspec.json.Encoder(enc_hook=str)


def failure_body(message: str) -> bytes:
    """`{"success":false,"message":…}`"""
    return _encoder.encode({"success": False, "message": message})


def json_response(body: bytes, status: int = 200, headers: dict[str, str] = _NONE) -> Response:
    """An answer that holds JSON and is not to be kept by anyone in between."""
    return Response(body, status=status, headers=_HEADERS | headers)


def failure(status: int, message: str, headers: dict[str, str] = _NONE) -> Response:
    """The contract's failure."""
    return json_response(failure_body(message), status, headers)


def success(**members: Any) -> bytes:
    """`{"success":true,…}` with these members, in this order."""
    return _encoder.encode({"success": True, **members})


def success_list(bodies: Sequence[bytes], **members: Any) -> bytes:
    """`{"success":true,"data":[…],…}`: the bodies are joined as they are, decoded by nobody."""
    tail = _encoder.encode(members)
    return b"".join((b'{"success":true,"data":[', b",".join(bodies), b"],", tail[1:]))


def encode(value: object) -> bytes:
    """JSON of facts; whatever JSON does not know is shown as its str()."""
    return _encoder.encode(value)
