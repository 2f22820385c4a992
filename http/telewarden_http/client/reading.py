"""An answer's status, headers and body turned into a value, or into the error that it means. No I/O here."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import msgspec

from telewarden_http.client.calls import Call, T
from telewarden_http.client.errors import (
    AnswerUnusable,
    ClientError,
    CursorExpired,
    KeyRefused,
    NotFound,
    RateLimited,
    RequestRefused,
    ServerUnavailable,
)


def read(call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> T:
    """The value of an answer. headers: with names that are found in any case. Raises ClientError."""
    if not 200 <= status < 300:
        raise _error(call, status, headers, body)
    try:
        return call.read(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnswerUnusable(
            f"{call.method} {call.path}: the answer cannot be read: {error}", status
        ) from None


def _error(call: Call[Any], status: int, headers: Mapping[str, str], body: bytes) -> ClientError:
    problem = _problem(body)
    detail = problem.get("detail") or problem.get("message")
    if not isinstance(detail, str):
        detail = f"{call.method} {call.path} was answered {status} {_phrase(status)}"
    match status:
        case 401 | 403:
            return KeyRefused(detail, status)
        case 404:
            return NotFound(detail, status)
        case 410 if isinstance(problem.get("oldest"), str):
            return CursorExpired(detail, problem["oldest"])
        case 429:
            return RateLimited(detail, status, _retry_after_s(headers))
        case 408:
            return ServerUnavailable(detail, status, _retry_after_s(headers))
        case _ if status >= 500:
            return ServerUnavailable(detail, status, _retry_after_s(headers))
    return RequestRefused(detail, status)


def _problem(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}  # of whoever stands between: only the status tells anything


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds or a date (RFC 9110, section 10.2.3); anything else counts as absent."""
    text = headers.get("Retry-After")
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
