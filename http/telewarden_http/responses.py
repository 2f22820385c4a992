"""The shapes of answers: the contract's envelopes, as finished bytes."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from quart import Response, request

from telewarden_http.auth import Principal

_HEADERS: Final = {"Content-Type": "application/json", "Cache-Control": "no-store"}
_STATUSES: Final = frozenset(HTTPStatus)
_NONE: Final[dict[str, str]] = {}
_NOTHING: Final[dict[str, object]] = {}
_encoder = msgspec.json.Encoder(enc_hook=str)


def failure_body(
    path: str, status: int, message: str, members: Mapping[str, object] = _NOTHING
) -> tuple[bytes, str]:
    """(body, media type) of a failure: below /v1 a problem (RFC 9457), with further members, elsewhere the contract's
    `{"success":false,"message":…}`."""
    if path.startswith("/v1/"):
        title = HTTPStatus(status).phrase if status in _STATUSES else "Error"
        problem = {"type": "about:blank", "title": title, "status": status, "detail": message, **members}
        return _encoder.encode(problem), "application/problem+json"
    return _encoder.encode({"success": False, "message": message}), "application/json"


def json_response(body: bytes, status: int = 200, headers: dict[str, str] = _NONE) -> Response:
    """An answer that holds JSON and is not to be kept by anyone in between."""
    return Response(body, status=status, headers=_HEADERS | headers)


def failure(
    status: int,
    message: str,
    headers: dict[str, str] = _NONE,
    members: Mapping[str, object] = _NOTHING,
) -> Response:
    """A failure in the shape that the request's path calls for. members: what a problem tells besides."""
    body, media_type = failure_body(request.path, status, message, members)
    return json_response(body, status, headers | {"Content-Type": media_type})


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


class _OfChannel(msgspec.Struct, rename="camel"):
    channel_id: str


def may_read_message(who: Principal, body: bytes) -> bool:
    """Whether a message, given as its wire JSON, exists for whoever asks."""
    return who.channels is None or who.may_read(msgspec.json.decode(body, type=_OfChannel).channel_id)
