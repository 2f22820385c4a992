"""DELETE /api/messages/{id} and POST /api/messages/{id}/reprocess, as the contract's rows have them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from telewarden_http.protocols import MessageIsDeleted, Unavailable

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio
ID = UUID("9f7e35d7-d94d-5c23-a82d-3c37b551a4ac")
DELETE = ("DELETE", f"/api/messages/{ID}")
REPROCESS = ("POST", f"/api/messages/{ID}/reprocess")
MESSAGE = b'{"id":"9f7e35d7-d94d-5c23-a82d-3c37b551a4ac","status":"changed"}'


@pytest.mark.parametrize(
    ("route", "body", "asked"),
    [
        (DELETE, b"", ("delete", ID, None)),
        (DELETE, b"{}", ("delete", ID, None)),
        (DELETE, b'{"reason": null}', ("delete", ID, None)),
        (DELETE, b'{"reason": "spam \xc3\xa9"}', ("delete", ID, "spam é")),
        (REPROCESS, b"", ("reprocess", ID, "dashboard")),
        (REPROCESS, b"  ", ("reprocess", ID, "dashboard")),
        (REPROCESS, b'{"requestedBy": "ana"}', ("reprocess", ID, "ana")),
    ],
)
async def test_the_changed_message_is_the_answer(
    api: Api, route: tuple[str, str], body: bytes, asked: tuple[str, UUID, str | None]
) -> None:
    api.changer.messages[ID] = MESSAGE
    answer = await api.ask(*route, body=body)
    assert (answer.status, answer.body) == (200, b'{"success":true,"data":' + MESSAGE + b"}")
    assert api.changer.requests == [asked]


@pytest.mark.parametrize("route", [DELETE, REPROCESS])
async def test_there_is_no_such_message(api: Api, route: tuple[str, str]) -> None:
    answer = await api.ask(*route)
    assert answer.status == 404
    assert str(ID) in answer.refusal
    method, path = route
    answer = await api.ask(method, path.replace(str(ID), "17"))
    assert answer.status == 404
    assert "not a UUID" in answer.refusal


@pytest.mark.parametrize(
    ("route", "body", "names"),
    [
        (DELETE, b"[]", "JSON object"),
        (DELETE, b"{", "not JSON"),
        (DELETE, b'{"reason": 7}', "reason"),
        (DELETE, b'{"reason": "' + b"x" * 1001 + b'"}', "at most 1000"),
        (DELETE, b'{"reason": "\\u0000"}', "NUL"),
        (REPROCESS, b'{"requestedBy": ""}', "requestedBy"),
        (REPROCESS, b'{"requestedBy": 1}', "requestedBy"),
        (REPROCESS, b'{"requestedBy": "' + b"x" * 201 + b'"}', "at most 200"),
    ],
)
async def test_what_cannot_be_used_is_named_and_changes_nothing(
    api: Api, route: tuple[str, str], body: bytes, names: str
) -> None:
    answer = await api.ask(*route, body=body)
    assert answer.status == 400
    assert names in answer.refusal
    assert api.changer.requests == []


@pytest.mark.parametrize("route", [DELETE, REPROCESS])
async def test_refusals_say_why(api: Api, route: tuple[str, str]) -> None:
    api.changer.error = MessageIsDeleted("it is deleted")
    answer = await api.ask(*route)
    assert (answer.status, answer.refusal) == (409, "it is deleted")
    api.changer.error = Unavailable("the database is down")
    answer = await api.ask(*route)
    assert (answer.status, answer.refusal) == (503, "the database is down")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("route", [DELETE, REPROCESS])
async def test_a_key_is_needed(api: Api, route: tuple[str, str]) -> None:
    assert (await api.ask(*route, headers={})).status == 401
    assert (await api.ask(*route, headers={"X-API-Key": "wrong"})).status == 403
    assert api.changer.requests == []
