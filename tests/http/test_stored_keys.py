"""Keys of the database: what they open, which channels exist for them, and how often they may ask."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from telewarden_http.app import gate_of, replace_keys, settings_of
from telewarden_http.auth import Principal, Scope, StoredKey, key_digest, new_key, scopes_of
from telewarden_http.protocols import ListQuery
from telewarden_http.wire import Message, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.conftest import Answer, Api

pytestmark = pytest.mark.anyio

CHANNEL, OTHER = "-1001649127710", "-1001649127711"
ID = "6e9f4a52-0d0b-5a3e-9d55-0a4b9f1c2d3e"


def stored(
    api: Api,
    *scopes: str,
    channels: frozenset[str] | None = None,
    expires_at_s: float | None = None,
    name: str = "board",
) -> dict[str, str]:
    """A stored key that the API knows, and no other one; the header that carries it."""
    key_id, key = new_key()
    who = Principal(name, name, scopes_of(scopes or ("read", "ack")), channels, is_stored=True)
    gate_of(api.app).keyring.learn([StoredKey(key_id, who, key_digest(key_id, key.encode()), expires_at_s)])
    return {"X-API-Key": key}


async def polled(api: Api, headers: dict[str, str], channel: str = CHANNEL) -> Answer:
    return await api.ask("GET", f"/api/messages/unprocessed?channel={channel}", headers=headers)


@pytest.mark.parametrize("carry", ["X-API-Key", "X-Gateway-Token", "Authorization"])
async def test_a_stored_key_opens_whichever_way_it_comes(api: Api, carry: str) -> None:
    key = stored(api)["X-API-Key"]
    answer = await polled(api, {carry: f"Bearer {key}" if carry == "Authorization" else key})
    assert answer.status == 200
    assert list(gate_of(api.app).keyring.used) == [key[3:11]]


async def test_another_secret_under_the_same_id_is_wrong(api: Api) -> None:
    key = stored(api)["X-API-Key"]
    other = key[:-1] + ("A" if key[-1] != "A" else "B")
    answer = await polled(api, {"X-API-Key": other})
    assert (answer.status, answer.refusal) == (403, "The key is not valid")
    assert gate_of(api.app).keyring.used == {}


async def test_a_key_that_is_no_more_in_the_table_is_wrong(api: Api) -> None:
    revoked = stored(api)
    gate_of(api.app).keyring.learn([])
    assert (await polled(api, revoked)).status == 403


async def test_a_key_expires_by_itself(api: Api) -> None:
    assert (await polled(api, stored(api, expires_at_s=time.time() + 60))).status == 200
    answer = await polled(api, stored(api, expires_at_s=time.time() - 1))
    assert (answer.status, answer.refusal) == (403, "The key has expired; ask for another one")


async def test_before_the_stored_keys_are_read_nobody_is_told_that_the_key_is_wrong(api: Api) -> None:
    answer = await polled(api, {"X-API-Key": new_key()[1]})
    assert answer.status == 503
    assert "not read yet" in answer.refusal
    assert int(answer.headers["retry-after"]) >= 1
    assert (await polled(api, {"X-API-Key": api.consumer_key})).status == 200


async def test_the_settings_keys_stay_when_stored_ones_come_and_the_other_way_round(api: Api) -> None:
    headers = stored(api)
    replace_keys(api.app, settings_of(api.app))
    assert (await polled(api, headers)).status == 200
    assert (await polled(api, {"X-API-Key": api.consumer_key})).status == 200


async def test_a_scope_opens_its_routes_alone(api: Api) -> None:
    reads = stored(api, "read")
    body = json.dumps({"messageIds": ["1"], "processedBy": "board"}).encode()
    answer = await api.ask("POST", "/api/messages/mark-processed", headers=reads, body=body)
    assert (answer.status, answer.refusal) == (403, "The key does not have the scope 'ack', which this needs")
    assert (await api.ask("DELETE", f"/api/messages/{ID}", headers=stored(api, "read", "ack"))).status == 403
    assert (await api.ask("DELETE", f"/api/messages/{ID}", headers=stored(api, "admin"))).status == 404
    assert scopes_of(("admin",)) == frozenset(Scope)


def message(channel: str) -> bytes:
    at = "2026-11-25T12:00:00.000Z"
    return encode(
        Message(id=ID, channel_id=channel, message_id="1", received_at=at, created_at=at, updated_at=at)
    )


async def test_other_channels_do_not_exist_for_a_limited_key(api: Api) -> None:
    limited = stored(api, "admin", channels=frozenset({CHANNEL}))
    assert (await polled(api, limited)).status == 200
    answer = await polled(api, limited, OTHER)
    assert answer.status == 404
    assert f"channel {OTHER} is none that this gateway takes in" in answer.refusal
    for method, path, body in (
        ("GET", f"/v1/messages/{OTHER}/1/seen", None),
        ("POST", f"/v1/messages/{OTHER}/seen", b'{"messages":["1"]}'),
        ("POST", "/sync-messages", json.dumps({"channels": [OTHER]}).encode()),
    ):
        assert (await api.ask(method, path, headers=limited, body=body)).status == 404, path
    assert [query.channel for query in api.reader.queries] == [CHANNEL]
    assert api.synchroniser.requests == []


async def test_a_limited_key_finds_and_changes_no_message_of_another_channel(api: Api) -> None:
    limited = stored(api, "admin", channels=frozenset({CHANNEL}))
    for channel, status in ((OTHER, 404), (CHANNEL, 200)):
        found = message(channel)
        api.reader.messages = {UUID(ID): found}
        api.changer.messages = {UUID(ID): found}
        for method, path in (
            ("GET", f"/api/messages/{ID}"),
            ("DELETE", f"/api/messages/{ID}"),
            ("POST", f"/api/messages/{ID}/reprocess"),
        ):
            assert (await api.ask(method, path, headers=limited)).status == status, (method, channel)
    assert len(api.changer.requests) == 2


async def test_a_bare_id_is_looked_for_in_the_channels_of_the_key_alone(api: Api) -> None:
    limited = stored(api, "ack", channels=frozenset({CHANNEL}))
    body = json.dumps({"messageIds": ["1"], "processedBy": "board"}).encode()
    assert (await api.ask("POST", "/api/messages/mark-processed", headers=limited, body=body)).status == 200
    assert api.acknowledger.requests[-1].readable == frozenset({CHANNEL})


async def test_a_list_holds_the_channels_of_the_key_alone(api: Api) -> None:
    limited = stored(api, "read", channels=frozenset({CHANNEL}))
    for asked, meant in (("", (CHANNEL,)), (f"?channelId={CHANNEL},{OTHER}", (CHANNEL,))):
        assert (await api.ask("GET", f"/api/messages{asked}", headers=limited)).status == 200
        listed: ListQuery = api.reader.lists[-1]
        assert listed.channels == meant
    before = len(api.reader.lists)
    answer = await api.ask("GET", f"/api/messages?channelId={OTHER}", headers=limited)
    assert (answer.status, answer.json["data"], answer.json["pagination"]["total"]) == (200, [], 0)
    assert len(api.reader.lists) == before


async def test_a_stored_key_that_asks_too_often_is_told_when_to_come_back(
    make_api: Callable[..., Api],
) -> None:
    api = make_api(requests_per_s=0.5, burst=3)
    busy = stored(api)
    answers = [await polled(api, busy) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit"] for answer in answers[:3]] == [
        '"key";r=2;t=0',
        '"key";r=1;t=0',
        '"key";r=0;t=2',
    ]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"key";q=3;w=6'}
    assert answers[3].headers["retry-after"] in ("1", "2")
    assert len(api.reader.queries) == 3
    # Nobody else is hindered, and a consumer of the settings never is.
    for _ in range(10):
        assert (await polled(api, {"X-API-Key": api.consumer_key})).status == 200


async def test_wrong_keys_from_an_address_are_not_looked_at_for_ever(make_api: Callable[..., Api]) -> None:
    api = make_api(wrong_keys=10)
    known = {"X-API-Key": api.consumer_key}
    assert (await polled(api, known)).status == 200
    wrong = [await polled(api, {"X-API-Key": f"guess-number-{n}-padded"}) for n in range(12)]
    assert [answer.status for answer in wrong] == [403] * 10 + [429] * 2
    assert int(wrong[-1].headers["retry-after"]) >= 1
    # Who was right from there before goes on; who was not learns nothing, also not that a guess was right.
    assert (await polled(api, known)).status == 200
    assert (await polled(api, {"X-API-Key": api.other_key})).status == 429
