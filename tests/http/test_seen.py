"""Whether messages were seen: GET /v1/messages/{channel}/{message}/seen and POST /v1/messages/{channel}/seen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from telewarden_http.protocols import Unavailable, UnknownChannel

if TYPE_CHECKING:
    from http.conftest import Answer, Api

pytestmark = pytest.mark.anyio


def problem(answer: Answer) -> str:
    """The detail of an RFC 9457 problem; asserts that the answer is one."""
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json) == {"type", "title", "status", "detail"}
    assert (answer.json["type"], answer.json["status"]) == ("about:blank", answer.status)
    detail: str = answer.json["detail"]
    return detail


@pytest.mark.parametrize("known", [True, False])
async def test_one_message_was_seen_or_not(api: Api, known: bool) -> None:
    api.reader.known = {17} if known else set()

    answer = await api.ask("GET", f"/v1/messages/{api.channel}/17/seen")

    assert answer.status == 200
    assert answer.json == {"channel": api.channel, "message": "17", "seen": known}
    assert api.reader.asked_seen == [(api.channel, (17,))]


async def test_many_are_asked_about_at_once_in_their_order(api: Api) -> None:
    api.reader.known = {1, 3}
    body = json.dumps({"messages": ["3", 2, "1", "3"]}).encode()

    answer = await api.ask("POST", f"/v1/messages/{api.channel}/seen", body=body)

    assert answer.status == 200
    assert answer.json == {"channel": api.channel, "seen": ["3", "1"], "notSeen": ["2"]}
    assert api.reader.asked_seen == [(api.channel, (3, 2, 1))]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/messages/abc/1/seen", '"channel"'),
        ("/v1/messages/-1001/x/seen", '"message"'),
        ("/v1/messages/-1001/9223372036854775808/seen", '"message"'),
    ],
)
async def test_what_is_no_message_is_a_problem_that_names_it(api: Api, path: str, names: str) -> None:
    answer = await api.ask("GET", path)

    assert answer.status == 400
    assert names in problem(answer)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"messages":[]}', b'{"messages":"1"}', b'{"messages":[true]}', b'{"messages":[1'],
)
async def test_a_body_that_cannot_be_meant_is_a_problem(api: Api, body: bytes) -> None:
    answer = await api.ask("POST", f"/v1/messages/{api.channel}/seen", body=body)

    assert answer.status == 400
    assert problem(answer)
    assert api.reader.asked_seen == []


@pytest.mark.parametrize(
    ("error", "status"), [(UnknownChannel("no such channel"), 404), (Unavailable("nobody knows"), 503)]
)
async def test_refusals_are_problems(api: Api, error: Exception, status: int) -> None:
    api.reader.error = error

    answer = await api.ask("GET", f"/v1/messages/{api.channel}/1/seen")

    assert (answer.status, problem(answer)) == (status, str(error))
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/messages/-1001/seen", None, 405),
        ("GET", "/v1/messages/-1001/1/seen", {}, 401),
        ("GET", "/v1/messages/-1001/1/seen", {"X-API-Key": "wrong"}, 403),
    ],
)
async def test_every_failure_below_v1_is_a_problem(
    api: Api, method: str, path: str, headers: dict[str, str] | None, status: int
) -> None:
    answer = await api.ask(method, path, headers=headers)

    assert answer.status == status
    assert problem(answer)


async def test_an_unexpected_error_below_v1_is_a_problem_without_a_secret(api: Api) -> None:
    api.reader.error = RuntimeError("secret")

    answer = await api.ask("GET", f"/v1/messages/{api.channel}/1/seen")

    assert answer.status == 500
    assert "secret" not in problem(answer)
