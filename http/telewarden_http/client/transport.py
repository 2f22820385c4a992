"""What both clients share of httpx: addresses, headers, time-outs, and what its errors mean."""

from typing import Any, Final

import httpx

from telewarden_http.client.calls import Call
from telewarden_http.client.errors import AnswerUnusable, ServerUnavailable, Transient
from telewarden_http.settings import is_loopback

ANSWER_BYTES_MOST: Final = 256 * 1024 * 1024
"""A larger answer is not read on: a page of 1,000 long messages is a few megabytes."""


def base_url(url: str) -> httpx.URL:
    """The address of the server. Raises ValueError if requests cannot be sent there."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not an address: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is not an address such as http://127.0.0.1:4010")
    return parsed


def trusts_environment(url: httpx.URL) -> bool:
    """Whether proxies that the environment names are used: no proxy leads to this machine itself."""
    return not is_loopback(url.host)


def headers(key: str) -> dict[str, str]:
    """Of every request. Raises ValueError for a key that no header can carry, without repeating it."""
    if not key or not all("!" <= character <= "~" for character in key):
        raise ValueError("the key must be printable ASCII without spaces, and not empty")
    return {"Authorization": f"Bearer {key}", "Accept": "application/json"}


def request(http: httpx.Client | httpx.AsyncClient, call: Call[Any], timeout_s: float) -> httpx.Request:
    """The call as httpx sends it."""
    return http.build_request(
        call.method,
        call.path,
        params=dict(call.query) or None,
        content=call.body,
        headers=None if call.body is None else {"Content-Type": "application/json"},
        timeout=httpx.Timeout(timeout_s, read=timeout_s + call.wait_s),
    )


def check_size(call: Call[Any], size: int) -> None:
    """Raises AnswerUnusable for an answer that is too large to be one of this API."""
    if size > ANSWER_BYTES_MOST:
        raise AnswerUnusable(
            f"{call.method} {call.path}: the answer is larger than {ANSWER_BYTES_MOST} bytes"
        )


def too_slow(call: Call[Any], timeout_s: float) -> ServerUnavailable:
    """The answer was not complete in time."""
    return ServerUnavailable(
        f"{call.method} {call.path}: no complete answer within {call.wait_s + timeout_s:g} s"
    )


def meaning(error: httpx.HTTPError, call: Call[Any], timeout_s: float) -> Transient:
    """What an error of httpx means to the caller."""
    where = f"{call.method} {call.path}"
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError():
            host = error.request.url.copy_with(path="/", query=None)
            return ServerUnavailable(f"nobody answers at {host}: {error or 'no connection in time'}")
        case httpx.TimeoutException():
            return too_slow(call, timeout_s)
        case httpx.DecodingError() | httpx.RemoteProtocolError():
            return AnswerUnusable(f"{where}: the answer was cut off or garbled: {error}")
    return ServerUnavailable(f"{where}: the connection broke: {error or type(error).__name__}")
