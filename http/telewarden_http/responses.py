"""The shapes of answers: the contract's envelopes, as finished bytes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from quart import Response

JSON: Final = "application/json"
_encoder = msgspec.json.Encoder(enc_hook=str)


def failure_body(message: str) -> bytes:
    """`{"success":false,"message":…}`"""
    return _encoder.encode({"success": False, "message": message})


def json_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
) -> Response:
    """An answer that holds JSON and is not to be kept by anyone in between."""
    response = Response(body, status=status, content_type=JSON)
    response.headers["Cache-Control"] = "no-store"
    response.headers.extend(headers)
    return response


def failure(
    status: int, message: str, headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
) -> Response:
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
