"""GET /api/messages/{id}, as the contract's row has it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from telewarden_http.protocols import Unavailable

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio

ID = "6e9f4a52-0d0b-5a3e-9d55-0a4b9f1c2d3e"


async def test_a_message_is_given_by_its_id(api: Api) -> None:
    api.reader.messages[UUID(ID)] = b'{"id":"%s","text":null}' % ID.encode()

    answer = await api.ask("GET", f"/api/messages/{ID}")

    assert answer.status == 200
    assert answer.body == b'{"success":true,"data":{"id":"%s","text":null}}' % ID.encode()


async def test_an_id_in_capitals_is_the_same_id(api: Api) -> None:
    api.reader.messages[UUID(ID)] = b"{}"

    assert (await api.ask("GET", f"/api/messages/{ID.upper()}")).status == 200


async def test_a_message_that_does_not_exist_is_not_found(api: Api) -> None:
    answer = await api.ask("GET", f"/api/messages/{ID}")

    assert answer.status == 404
    assert ID in answer.refusal


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "abc",
        ID[:-1],
        ID + "0",
        ID.replace("-", ""),
        f"urn:uuid:{ID}",
        f"{{{ID}}}",
        "%00",
        "%ff",
        "x" * 2000,
    ],
)
async def test_what_is_no_uuid_is_not_found_and_the_answer_says_why(api: Api, text: str) -> None:
    answer = await api.ask("GET", f"/api/messages/{text}")

    assert answer.status == 404
    assert "not a UUID" in answer.refusal
    assert len(answer.refusal) < 300


async def test_without_any_store_the_consumer_is_told_to_try_again(api: Api) -> None:
    api.reader.error = Unavailable("no store can answer")

    answer = await api.ask("GET", f"/api/messages/{ID}")

    assert (answer.status, answer.refusal) == (503, "no store can answer")
