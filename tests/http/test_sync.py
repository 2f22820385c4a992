"""POST /sync-messages and /api/telegram-gateway/sync-messages, as the contract's row has them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from telewarden_http.protocols import SyncedChannel, SyncRequest, Unavailable, UnknownChannel

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio
ROUTES = ("/sync-messages", "/api/telegram-gateway/sync-messages")


@pytest.mark.parametrize("route", ROUTES)
async def test_what_was_read_is_told_channel_by_channel(api: Api, route: str) -> None:
    api.synchroniser.synced = [
        SyncedChannel("-1001", "Signals", 500, 3),
        SyncedChannel("-1002", "News", 20, 0),
    ]
    answer = await api.ask(
        "POST", route, body=b'{"channels": ["-1001", -1002], "limit": 7, "concurrency": 2}'
    )
    assert answer.status == 200
    found = answer.json
    timestamp = found["data"].pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp)
    assert found == {
        "success": True,
        "message": "Synchronised 520 messages of 2 channels, 3 of them new",
        "data": {
            "totalMessagesSynced": 520,
            "totalMessagesSaved": 3,
            "channelsSynced": [
                {"channelId": "-1001", "label": "Signals", "messagesSynced": 500},
                {"channelId": "-1002", "label": "News", "messagesSynced": 20},
            ],
        },
    }
    assert api.synchroniser.requests == [SyncRequest(("-1001", "-1002"), 7, 2)]


@pytest.mark.parametrize("body", [b"", b"  ", b"{}", b'{"channels": null, "unknown": 1}'])
async def test_without_a_wish_every_channel_is_read(api: Api, body: bytes) -> None:
    answer = await api.ask("POST", ROUTES[0], body=body)
    assert answer.status == 200
    assert answer.json["data"]["channelsSynced"] == []
    assert api.synchroniser.requests == [SyncRequest(None, 500, 4)]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"[]", "JSON object"),
        (b"{", "not JSON"),
        (b'{"limit": 0}', "limit"),
        (b'{"limit": "5"}', "limit"),
        (b'{"limit": true}', "limit"),
        (b'{"limit": 10001}', "limit"),
        (b'{"concurrency": 33}', "concurrency"),
        (b'{"channels": []}', "channels"),
        (b'{"channels": "-1001"}', "channels"),
        (b'{"channels": ["signals"]}', "channels[0]"),
        (b'{"channels": [-1001, {}]}', "channels[1]"),
    ],
)
async def test_a_malformed_wish_is_refused_by_name(api: Api, body: bytes, names: str) -> None:
    answer = await api.ask("POST", ROUTES[0], body=body)
    assert answer.status == 400
    assert names in answer.refusal
    assert api.synchroniser.requests == []


@pytest.mark.parametrize(
    ("error", "status"), [(Unavailable("Telegram is not connected"), 503), (UnknownChannel("-1009"), 404)]
)
async def test_what_cannot_be_done_is_told(api: Api, error: Exception, status: int) -> None:
    api.synchroniser.error = error
    answer: Any = await api.ask("POST", ROUTES[0])
    assert answer.status == status
    assert str(error) in answer.refusal
    assert ("retry-after" in answer.headers) == (status == 503)
