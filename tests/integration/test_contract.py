"""The old contract, row by row: what is served under its paths by a running gateway, in both roles, on real servers.

Written from the page that fixes names, shapes and meanings, so that an answer that has drifted from it is noticed.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import asyncpg
import pytest

from support.contract import GATEWAY_TOKEN, MEMBERS, TIME, Gateway, Side, check_message, running_gateway
from support.operator import channel_states

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CHANNELS = 32
STATUSES = {
    "received",
    "retrying",
    "published",
    "queued",
    "failed",
    "reprocess_pending",
    "reprocessed",
    "deleted",
}
SOME_ID = "01234567-89ab-cdef-0123-456789abcdef"
ROUTES = (
    ("GET", "/api/messages/unprocessed"),
    ("POST", "/api/messages/mark-processed"),
    ("GET", "/api/messages"),
    ("GET", f"/api/messages/{SOME_ID}"),
    ("DELETE", f"/api/messages/{SOME_ID}"),
    ("POST", f"/api/messages/{SOME_ID}/reprocess"),
    ("GET", "/api/channels"),
    ("POST", "/api/channels"),
    ("PUT", "/api/channels/999999"),
    ("DELETE", "/api/channels/999999"),
    ("POST", "/api/telegram-gateway/sync-messages"),
    ("POST", "/sync-messages"),
    ("GET", "/api/telegram-gateway/overview"),
    ("GET", "/api/telegram-gateway/metrics"),
    ("GET", "/api/telegram-gateway/queue"),
    ("GET", "/api/telegram-gateway/session"),
    ("GET", "/api/telegram-gateway/messages/summary"),
    ("GET", "/api/telegram-gateway/auth/status"),
)
"""All that need a key."""


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with running_gateway(tmp_path_factory.mktemp("gateway"), CHANNELS) as running:
        yield running


@pytest.fixture(params=["all", "api"])
def side(gateway: Gateway, request: pytest.FixtureRequest) -> Side:
    return gateway.sides[request.param]


@pytest.fixture
def channel(gateway: Gateway) -> int:
    """One that no other test posts to."""
    return next(gateway.channels)


async def posted(gateway: Gateway, side: Side, channel: int, *texts: str) -> list[dict[str, Any]]:
    """These posts as that side serves them."""
    await gateway.stack.control.post_many(channel, texts)
    return await side.until_polled(channel, list(texts))


async def rows_where(gateway: Gateway, channel: int, condition: str) -> int:
    connection = await asyncpg.connect(gateway.stack.postgres.dsn)
    try:
        found: int = await connection.fetchval(
            f"select count(*) from telegram_gateway.messages where channel_id = $1 and {condition}",
            str(channel),
        )
    finally:
        await connection.close()
    return found


async def until(look: Callable[[], Awaitable[object]], wanted: object) -> None:
    seen = None
    with anyio.move_on_after(20):
        while (seen := await look()) != wanted:
            await anyio.sleep(0.02)
        return
    raise AssertionError(f"{seen!r} instead of {wanted!r}")


# Keys.


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_key_is_needed_and_must_be_right(side: Side, method: str, path: str) -> None:
    side.client.cookies.clear()
    for headers in ({"X-API-Key": ""}, {"X-API-Key": "", "Authorization": "Basic eDp5"}):
        await side.refused(401, method, path, headers=headers)
    for headers in (
        {"X-API-Key": "wrong"},
        {"X-API-Key": "", "X-Gateway-Token": "wrong"},
        {"X-API-Key": "", "Authorization": "Bearer wrong"},
    ):
        await side.refused(403, method, path, headers=headers)


async def test_each_kind_of_key_is_accepted(gateway: Gateway) -> None:
    side = gateway.sides["all"]
    own = gateway.stack.daemon.api_key
    for headers in (
        {"X-API-Key": own},
        {"X-API-Key": "", "X-Gateway-Token": GATEWAY_TOKEN},
        {"X-API-Key": "", "Authorization": f"Bearer {own}"},
        {"X-API-Key": "", "Authorization": f"Bearer {GATEWAY_TOKEN}"},
    ):
        await side.data("GET", "/api/channels", headers=headers)


# GET /api/messages/unprocessed


async def test_unprocessed(gateway: Gateway, side: Side, channel: int) -> None:
    await posted(gateway, side, channel, "one", "two", "three")
    answer = await side.ask("GET", "/api/messages/unprocessed", params={"channel": str(channel)})
    body = answer.json()
    assert list(body) == ["success", "data", "count", "filters"]
    assert body["count"] == 3
    assert body["filters"] == {
        "channelId": str(channel),
        "statuses": ["received"],
        "excludeProcessedBy": None,
    }
    for message in body["data"]:
        check_message(message)
        assert (message["status"], message["source"], message["messageType"]) == (
            "received",
            "mtproto",
            "channel_post",
        )
    order = [message["receivedAt"] for message in body["data"]]
    assert order == sorted(order)

    asked = {
        "channel": str(channel),
        "status": "received,queued",
        "excludeProcessedBy": "somebody",
        "limit": "2",
    }
    assert len(await side.polled(channel, limit="10000")) == 3
    body = (await side.ask("GET", "/api/messages/unprocessed", params=asked)).json()
    assert [message["text"] for message in body["data"]] == ["one", "two"]
    assert (body["count"], body["filters"]) == (
        2,
        {"channelId": str(channel), "statuses": ["received", "queued"], "excludeProcessedBy": "somebody"},
    )

    one, two, _ = await side.polled(channel)
    await side.acknowledged(one["messageId"], channel=str(channel))
    await until(lambda: rows_where(gateway, channel, "true"), 3)
    await side.data("DELETE", f"/api/messages/{two['id']}")
    assert [m["text"] for m in await side.polled(channel)] == ["three"]
    await until(lambda: rows_where(gateway, channel, "status <> 'received'"), 2)
    assert [m["text"] for m in await side.polled(channel, status="published")] == ["one"]
    assert await side.polled(channel, status="published", excludeProcessedBy="tp-capital") == []
    assert await side.polled(channel, status="deleted") == [], "deleted ones are left out"


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({}, "channel"),
        ({"channel": ""}, "channel"),
        ({"channel": "@name"}, "channel"),
        ({"channel": "-100", "status": "unheard"}, "status"),
        ({"channel": "-100", "limit": "0"}, "limit"),
        ({"channel": "-100", "limit": "10001"}, "limit"),
        ({"channel": "-100", "limit": "many"}, "limit"),
    ],
)
async def test_unprocessed_names_what_is_wrong(side: Side, parameters: dict[str, str], named: str) -> None:
    assert f'"{named}"' in await side.refused(400, "GET", "/api/messages/unprocessed", params=parameters)


async def test_unprocessed_of_a_channel_that_is_not_taken_in(side: Side) -> None:
    await side.refused(404, "GET", "/api/messages/unprocessed", params={"channel": "-1009999999999"})


# POST /api/messages/mark-processed


async def test_mark_processed(gateway: Gateway, side: Side, channel: int) -> None:
    one, two = await posted(gateway, side, channel, "one", "two")
    body = {"messageIds": [one["messageId"], two["messageId"]], "processedBy": "tp-capital"}
    answer = await side.ask("POST", "/api/messages/mark-processed", json=body)
    assert answer.status_code == 200
    assert list(answer.json()) == ["success", "message", "data"]
    assert answer.json()["data"] == {"requested": 2, "updated": 2, "processedBy": "tp-capital"}
    assert isinstance(answer.json()["message"], str)
    assert await side.polled(channel) == []
    assert (await side.acknowledged(int(one["messageId"])))["updated"] == 0, "it is published already"
    await until(lambda: rows_where(gateway, channel, "status = 'published'"), 2)
    message = await side.data("GET", f"/api/messages/{one['id']}")
    check_message(message)
    assert message["status"] == "published"
    assert message["metadata"]["processed_by"] == "tp-capital"
    assert TIME.fullmatch(message["metadata"]["processed_at"])
    assert message["publishedAt"] == message["metadata"]["processed_at"]
    kept = {name: message["metadata"][name] for name in one["metadata"]}
    assert kept == one["metadata"], "what was there stays"


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "a string",
        {"messageIds": [], "processedBy": "x"},
        {"messageIds": "17", "processedBy": "x"},
        {"messageIds": ["17"]},
        {"messageIds": ["17"], "processedBy": ""},
        {"messageIds": ["17"], "processedBy": 5},
        {"messageIds": ["seventeen"], "processedBy": "x"},
        {"messageIds": [1.5], "processedBy": "x"},
        {"messageIds": [None], "processedBy": "x"},
        {"messageIds": [str(2**63)], "processedBy": "x"},
        {"messageIds": ["17"], "processedBy": "x", "channel": "no id"},
    ],
)
async def test_mark_processed_refuses_what_it_cannot_read(side: Side, body: object) -> None:
    await side.refused(400, "POST", "/api/messages/mark-processed", json=body)


async def test_mark_processed_without_a_channel_means_where_the_id_waits(
    gateway: Gateway, side: Side
) -> None:
    here, there = next(gateway.channels), next(gateway.channels)
    for channel in (here, there):
        await gateway.stack.control.post(channel, "the same id", message_id=5)
        await gateway.stack.control.post(channel, "another")
        await side.until_polled(channel, ["the same id", "another"])
    body = {"messageIds": ["5"], "processedBy": "tp-capital"}
    said = await side.refused(409, "POST", "/api/messages/mark-processed", json=body)
    assert str(here) in said
    assert str(there) in said
    other = (await side.polled(here))[1]["messageId"]
    both = {"messageIds": [other, "5"], "processedBy": "tp-capital"}
    await side.refused(409, "POST", "/api/messages/mark-processed", json=both)
    for channel in (here, there):
        texts = [message["text"] for message in await side.polled(channel)]
        assert texts == ["the same id", "another"], "nothing was changed"
    assert (await side.acknowledged("5", channel=str(here)))["updated"] == 1
    assert [message["text"] for message in await side.polled(here)] == ["another"]
    assert (await side.acknowledged("5"))["updated"] == 1, "now it waits in one channel alone"
    assert [message["text"] for message in await side.polled(there)] == ["another"]
    assert (await side.acknowledged("5"))["updated"] == 0
    unknown = {"messageIds": ["5"], "processedBy": "x", "channel": "-1009999999999"}
    await side.refused(404, "POST", "/api/messages/mark-processed", json=unknown)


# GET /api/messages


async def test_a_list_of_messages(gateway: Gateway, side: Side) -> None:
    first, second = next(gateway.channels), next(gateway.channels)
    one, two, three = await posted(gateway, side, first, "BUY one", "sell two", "buy three")
    await posted(gateway, side, second, "Buy four")
    await until(lambda: rows_where(gateway, first, "true"), 3)
    await until(lambda: rows_where(gateway, second, "true"), 1)

    async def listed(**parameters: str) -> list[str]:
        found = await side.data("GET", "/api/messages", params={"channelId": str(first)} | parameters)
        return sorted(message["text"] for message in found)

    answer = (await side.ask("GET", "/api/messages", params={"channelId": str(first)})).json()
    assert list(answer) == ["success", "data", "pagination"]
    assert list(answer["pagination"]) == ["total", "limit", "offset", "hasMore"]
    assert (answer["pagination"]["total"], answer["pagination"]["offset"]) == (3, 0)
    assert answer["pagination"]["hasMore"] is False
    for message in answer["data"]:
        check_message(message)
    assert await listed(channelId=f"{first},{second}") == ["BUY one", "Buy four", "buy three", "sell two"]
    assert await listed(messageId=two["messageId"]) == ["sell two"]
    assert await listed(search="buy") == ["BUY one", "buy three"]
    assert await listed(search="b%y") == []
    assert await listed(status="received,queued") == ["BUY one", "buy three", "sell two"]
    assert await listed(status="published") == []
    assert await listed(source="mtproto,bot") == ["BUY one", "buy three", "sell two"]
    assert await listed(source="bot") == []
    since = max(one["receivedAt"], three["receivedAt"])
    assert await listed(to="2001-01-01T00:00:00Z") == []
    assert len(await listed(**{"from": "2001-01-01"}, to=since)) >= 1
    assert await listed(**{"from": "2100-01-01T00:00:00.000Z"}) == []
    orders = {}
    for sort in ("asc", "desc"):
        found = await side.data("GET", "/api/messages", params={"channelId": str(first), "sort": sort})
        orders[sort] = [message["telegramDate"] for message in found]
    assert orders["asc"] == sorted(orders["asc"])
    assert orders["desc"] == sorted(orders["desc"], reverse=True)
    page = {"channelId": str(first), "limit": "2", "offset": "0", "sort": "asc"}
    pages = [
        (await side.ask("GET", "/api/messages", params=page | {"offset": str(offset)})).json()
        for offset in (0, 2)
    ]
    assert [p["pagination"]["hasMore"] for p in pages] == [True, False]
    assert [p["pagination"]["total"] for p in pages] == [3, 3]
    assert sorted(m["text"] for p in pages for m in p["data"]) == ["BUY one", "buy three", "sell two"]

    await side.data("DELETE", f"/api/messages/{two['id']}")
    await until(lambda: rows_where(gateway, first, "status = 'deleted'"), 1)
    assert await listed() == ["BUY one", "buy three"]
    assert await listed(includeDeleted="true") == ["BUY one", "buy three", "sell two"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"channelId": "x"},
        {"messageId": "x"},
        {"status": "x"},
        {"from": "x"},
        {"to": "x"},
        {"includeDeleted": "x"},
        {"sort": "x"},
        {"limit": "x"},
        {"offset": "-1"},
    ],
)
async def test_a_list_names_what_is_wrong(side: Side, parameters: dict[str, str]) -> None:
    (name,) = parameters
    assert f'"{name}"' in await side.refused(400, "GET", "/api/messages", params=parameters)


# GET and DELETE /api/messages/{id}, POST /api/messages/{id}/reprocess


async def test_one_message(gateway: Gateway, side: Side, channel: int) -> None:
    (one,) = await posted(gateway, side, channel, "one")
    await until(lambda: rows_where(gateway, channel, "true"), 1)
    assert await side.data("GET", f"/api/messages/{one['id']}") == one
    await side.refused(404, "GET", f"/api/messages/{SOME_ID}")
    await side.refused(404, "GET", "/api/messages/no-uuid")


async def test_a_soft_delete(gateway: Gateway, side: Side, channel: int) -> None:
    one, two = await posted(gateway, side, channel, "one", "two")
    await until(lambda: rows_where(gateway, channel, "true"), 2)
    deleted = await side.data("DELETE", f"/api/messages/{one['id']}", json={"reason": "spam"})
    check_message(deleted)
    assert (deleted["status"], deleted["text"]) == ("deleted", "one")
    assert set(deleted["metadata"]["deletion"]) == {"reason", "deletedAt"}
    assert deleted["metadata"]["deletion"]["reason"] == "spam"
    assert deleted["metadata"]["deletion"]["deletedAt"] == deleted["deletedAt"]
    without = await side.data("DELETE", f"/api/messages/{two['id']}")
    assert without["metadata"]["deletion"]["reason"] is None
    assert await side.polled(channel) == []
    await until(lambda: rows_where(gateway, channel, "deleted_at is not null"), 2)
    await side.refused(404, "DELETE", f"/api/messages/{SOME_ID}")
    await side.refused(400, "DELETE", f"/api/messages/{one['id']}", json={"reason": 5})


async def test_a_request_to_reprocess(gateway: Gateway, side: Side, channel: int) -> None:
    one, two = await posted(gateway, side, channel, "one", "two")
    await until(lambda: rows_where(gateway, channel, "true"), 2)
    asked = await side.data("POST", f"/api/messages/{one['id']}/reprocess")
    check_message(asked)
    assert asked["status"] == "reprocess_pending"
    assert asked["metadata"]["reprocess"] == {
        "requestedAt": asked["reprocessRequestedAt"],
        "requestedBy": "dashboard",
    }
    named = await side.data("POST", f"/api/messages/{two['id']}/reprocess", json={"requestedBy": "ana"})
    assert named["metadata"]["reprocess"]["requestedBy"] == "ana"
    await side.refused(404, "POST", f"/api/messages/{SOME_ID}/reprocess")
    await side.refused(400, "POST", f"/api/messages/{one['id']}/reprocess", json={"requestedBy": ""})


# Channels


def check_channel(channel: dict[str, Any]) -> None:
    assert list(channel) == [
        "id",
        "channelId",
        "label",
        "description",
        "isActive",
        "createdAt",
        "updatedAt",
    ]
    assert type(channel["id"]) is int
    assert re.fullmatch(r"-100\d+", channel["channelId"])
    assert type(channel["isActive"]) is bool
    for name in ("label", "description"):
        assert channel[name] is None or type(channel[name]) is str
    for name in ("createdAt", "updatedAt"):
        assert TIME.fullmatch(channel[name])


async def own(side: Side, channel: int) -> dict[str, Any] | None:
    """The channel in the list of all."""
    found = await side.data("GET", "/api/channels")
    return next((each for each in found if each["channelId"] == str(channel)), None)


async def status_of_a_poll(side: Side, channel: int) -> int:
    answer = await side.client.get("/api/messages/unprocessed", params={"channel": str(channel)})
    return answer.status_code


async def test_channels_of_the_settings_are_there(gateway: Gateway, side: Side) -> None:
    found = await side.data("GET", "/api/channels")
    for each in found:
        check_channel(each)
    ids = [each["channelId"] for each in found if each["isActive"]]
    assert {str(channel) for channel in gateway.stack.channel_ids} <= set(ids)
    (row,) = [each for each in found if each["channelId"] == str(gateway.stack.channel_ids[0])]
    said = await side.refused(409, "DELETE", f"/api/channels/{row['id']}")
    assert "telegram.channels" in said


async def test_a_channel_is_created_paused_resumed_and_removed(gateway: Gateway, side: Side) -> None:
    control = gateway.stack.control
    extra = (await control.create_channel(f"Extra {side.role}")).channel_id
    assert await status_of_a_poll(side, extra) == 404
    wanted = {"channelId": str(extra), "label": "Signals", "description": "of the day"}
    created = await side.data("POST", "/api/channels", 201, json=wanted)
    check_channel(created)
    assert {name: created[name] for name in wanted} == wanted
    assert created["isActive"] is True
    assert await own(side, extra) == created
    said = await side.refused(409, "POST", "/api/channels", json={"channelId": extra})
    assert str(extra) in said

    # It is taken in, also by a process that was not the one which was asked.
    await until(lambda: _state_of(gateway, extra), "taken in")
    watched = await _watched(gateway)
    await control.post(extra, "one")
    for each in gateway.sides.values():
        await each.until_polled(extra, ["one"])

    path = f"/api/channels/{created['id']}"
    paused = await side.data("PUT", path, json={"isActive": False, "label": "Rest"})
    check_channel(paused)
    assert (paused["isActive"], paused["label"], paused["description"]) == (False, "Rest", "of the day")
    assert paused["createdAt"] == created["createdAt"]
    assert paused["updatedAt"] > created["updatedAt"]
    await until(lambda: _watched(gateway), watched - 1)
    await control.post(extra, "while paused")
    # What is posted later elsewhere arrives, so this would have.
    seen_elsewhere = next(gateway.channels)
    await control.post(seen_elsewhere, "elsewhere")
    await side.until_polled(seen_elsewhere, ["elsewhere"])
    assert [message["text"] for message in await side.polled(extra)] == ["one"], "polls go on"

    resumed = await side.data("PUT", path, json={"channelId": str(extra), "isActive": True})
    assert resumed["isActive"] is True
    for each in gateway.sides.values():
        await each.until_polled(extra, ["one", "while paused"])
    await until(lambda: rows_where(gateway, extra, "true"), 2)

    removed = await side.data("DELETE", path)
    assert removed["channelId"] == str(extra)
    for each in gateway.sides.values():
        await until(lambda each=each: status_of_a_poll(each, extra), 404)  # type: ignore[misc]
        assert await own(each, extra) is None
    for method in ("PUT", "DELETE"):
        await side.refused(404, method, path, json={})
    assert await rows_where(gateway, extra, "true") == 2, "the messages stay"

    again = await side.data("POST", "/api/channels", 201, json={"channelId": extra})
    assert again["id"] != created["id"]
    for each in gateway.sides.values():
        await each.until_polled(extra, ["one", "while paused"])


async def _watched(gateway: Gateway) -> float:
    """Of how many channels the changes are asked for."""
    text = (await gateway.sides["all"].client.get("/metrics")).text
    (line,) = re.findall(r"^telewarden_watched_channels (.*)$", text, re.MULTILINE)
    return float(line)


async def test_a_channel_that_is_created_inactive_is_known_and_not_taken_in(
    gateway: Gateway, side: Side
) -> None:
    extra = (await gateway.stack.control.create_channel(f"Later {side.role}")).channel_id
    created = await side.data("POST", "/api/channels", 201, json={"channelId": extra, "isActive": False})
    assert (created["isActive"], created["label"], created["description"]) == (False, None, None)
    assert await status_of_a_poll(side, extra) == 404
    await gateway.stack.control.post(extra, "before")
    await side.data("PUT", f"/api/channels/{created['id']}", json={"isActive": True})
    await until(lambda: status_of_a_poll(side, extra), 200)
    await until(lambda: _state_of(gateway, extra), "taken in")
    await gateway.stack.control.post(extra, "after")
    messages = await side.until_polled(extra, ["after"])
    check_message(messages[0])


async def _state_of(gateway: Gateway, channel: int) -> str | None:
    """How the operator sees it, at the process that takes in."""
    return (await channel_states(gateway.stack.daemon.state_dir)).get(channel)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "channelId"),
        ({"channelId": None}, "channelId"),
        ({"channelId": "@name"}, "channelId"),
        ({"channelId": 12345}, "channelId"),
        ({"channelId": "-12345"}, "channelId"),
        ({"channelId": 1.5}, "channelId"),
        ({"channelId": True}, "channelId"),
        ({"channelId": "-1001649127710", "label": 5}, "label"),
        ({"channelId": "-1001649127710", "label": "x" * 201}, "label"),
        ({"channelId": "-1001649127710", "label": "a\0b"}, "label"),
        ({"channelId": "-1001649127710", "description": []}, "description"),
        ({"channelId": "-1001649127710", "isActive": "yes"}, "isActive"),
        ({"channelId": "-1001649127710", "isActive": None}, "isActive"),
        ([], "object"),
    ],
)
async def test_a_malformed_channel_names_what_is_wrong(side: Side, body: object, named: str) -> None:
    assert named in await side.refused(400, "POST", "/api/channels", json=body)
    if isinstance(body, dict) and body.get("channelId"):
        assert named in await side.refused(400, "PUT", "/api/channels/1", json=body)


async def test_a_channel_that_is_not_there(side: Side) -> None:
    for method in ("PUT", "DELETE"):
        for row in ("999999", "0", "-1", "x", "9" * 30):
            await side.refused(404, method, f"/api/channels/{row}", json={"isActive": True})


async def test_a_channels_id_cannot_be_changed(gateway: Gateway, side: Side) -> None:
    row = await own(side, gateway.stack.channel_ids[0])
    assert row is not None
    body = {"channelId": "-1009999999999"}
    assert "cannot be changed" in await side.refused(409, "PUT", f"/api/channels/{row['id']}", json=body)


# Sync


@pytest.mark.parametrize("path", ["/sync-messages", "/api/telegram-gateway/sync-messages"])
async def test_sync_messages(gateway: Gateway, channel: int, path: str) -> None:
    side = gateway.sides["all"]
    await posted(gateway, side, channel, "one", "two")
    body = {"limit": 10, "channels": [str(channel)], "concurrency": 2}
    answer = (await side.ask("POST", path, json=body)).json()
    assert list(answer) == ["success", "message", "data"]
    data = answer["data"]
    assert list(data) == ["totalMessagesSynced", "totalMessagesSaved", "channelsSynced", "timestamp"]
    assert (data["totalMessagesSynced"], data["totalMessagesSaved"]) == (2, 0)
    (synced,) = data["channelsSynced"]
    assert list(synced) == ["channelId", "label", "messagesSynced"]
    assert (synced["channelId"], synced["messagesSynced"]) == (str(channel), 2)
    assert type(synced["label"]) is str
    assert TIME.fullmatch(data["timestamp"])
    await side.refused(400, "POST", path, json={"limit": 0})
    await side.refused(400, "POST", path, json={"channels": []})
    await gateway.sides["api"].refused(503, "POST", path)


# The gateway at a glance


async def test_metrics_of_the_gateway(gateway: Gateway, channel: int) -> None:
    side = gateway.sides["all"]
    await posted(gateway, side, channel, "one")
    counters = await side.data("GET", "/api/telegram-gateway/metrics")
    assert list(counters) == [
        "connectionStatus",
        "messagesReceivedTotal",
        "messagesPublishedTotal",
        "publishFailuresTotal",
        "retryAttemptsTotal",
        "failureQueueSize",
    ]
    assert all(type(value) is int for value in counters.values())
    assert counters["connectionStatus"] == 1
    assert counters["messagesReceivedTotal"] >= 1
    assert counters["failureQueueSize"] == 0
    text = (await side.client.get("/metrics")).text
    for name, metric in (
        ("connectionStatus", "telegram_connection_status"),
        ("retryAttemptsTotal", "telegram_retry_attempts_total"),
        ("publishFailuresTotal", "telegram_publish_failures_total"),
    ):
        assert f"{metric} {float(counters[name])}" in text
    said = await gateway.sides["api"].refused(503, "GET", "/api/telegram-gateway/metrics")
    assert "role all" in said


async def test_the_queue(gateway: Gateway, side: Side, channel: int) -> None:
    one, two = await posted(gateway, side, channel, "one", "two")
    await until(lambda: rows_where(gateway, channel, "true"), 2)
    answer = (await side.ask("GET", "/api/telegram-gateway/queue", params={"limit": "1000"})).json()
    assert list(answer) == ["success", "data", "pagination"]
    for message in answer["data"]:
        check_message(message)
        assert message["status"] in ("received", "queued")
    order = [message["receivedAt"] for message in answer["data"]]
    assert order == sorted(order)
    assert {one["id"], two["id"]} <= {message["id"] for message in answer["data"]}
    assert answer["pagination"] == {
        "total": len(answer["data"]),
        "limit": 1000,
        "offset": 0,
        "hasMore": False,
    }
    short = (await side.ask("GET", "/api/telegram-gateway/queue?limit=1")).json()
    assert short["data"] == answer["data"][:1], "the oldest first"
    assert short["pagination"]["hasMore"] is True
    assert short["pagination"]["total"] == answer["pagination"]["total"]
    for limit in ("0", "1001", "x"):
        said = await side.refused(400, "GET", "/api/telegram-gateway/queue", params={"limit": limit})
        assert '"limit"' in said


async def test_the_session_is_named_and_never_shown(gateway: Gateway) -> None:
    answer = await gateway.sides["all"].ask("GET", "/api/telegram-gateway/session")
    facts = answer.json()["data"]
    assert list(facts) == ["exists", "sizeBytes", "updatedAt", "hash", "problem"]
    file = gateway.stack.folder / "state" / "telewarden.session"
    assert (facts["exists"], facts["problem"]) == (True, None)
    assert facts["sizeBytes"] == file.stat().st_size
    assert TIME.fullmatch(facts["updatedAt"])
    assert re.fullmatch(r"[0-9a-f]{16}", facts["hash"])
    assert str(file.parent) not in answer.text
    said = await gateway.sides["api"].refused(503, "GET", "/api/telegram-gateway/session")
    assert "role all" in said


async def test_the_summary(gateway: Gateway, side: Side, channel: int) -> None:
    before = await side.data("GET", "/api/telegram-gateway/messages/summary")
    (one,) = await posted(gateway, side, channel, f"newest {side.role}")
    await until(lambda: rows_where(gateway, channel, "true"), 1)
    summary = await side.data("GET", "/api/telegram-gateway/messages/summary")
    assert list(summary) == ["total", "byStatus", "totalIsExact", "recent"]
    assert set(summary["byStatus"]) == STATUSES
    assert summary["total"] == sum(summary["byStatus"].values()) == before["total"] + 1
    assert summary["byStatus"]["received"] == before["byStatus"]["received"] + 1
    assert summary["totalIsExact"] is True
    assert 1 <= len(summary["recent"]) <= 10
    for message in summary["recent"]:
        check_message(message)
    assert summary["recent"][0]["id"] == one["id"]


async def test_whether_the_account_is_signed_in(gateway: Gateway) -> None:
    status = await gateway.sides["all"].data("GET", "/api/telegram-gateway/auth/status")
    assert list(status) == ["connected", "authorised", "since", "problem"]
    assert (status["connected"], status["authorised"], status["problem"]) == (True, True, None)
    assert TIME.fullmatch(status["since"])
    said = await gateway.sides["api"].refused(503, "GET", "/api/telegram-gateway/auth/status")
    assert "role all" in said


async def test_the_overview(gateway: Gateway, side: Side) -> None:
    overview = await side.data("GET", "/api/telegram-gateway/overview")
    assert list(overview) == [
        "timestamp",
        "health",
        "connection",
        "channels",
        "metrics",
        "messages",
        "missing",
    ]
    assert TIME.fullmatch(overview["timestamp"])
    assert list(overview["health"]) == ["status", "live", "ready", "degraded"]
    assert overview["health"]["status"] == "healthy"
    assert overview["channels"]["total"] >= overview["channels"]["active"] >= CHANNELS
    assert overview["messages"]["total"] == sum(overview["messages"]["byStatus"].values())
    if side.role == "all":
        assert overview["connection"]["connected"] is True
        assert overview["metrics"]["connectionStatus"] == 1
        assert overview["missing"] == {}
    else:
        assert (overview["connection"], overview["metrics"]) == (None, None)
        assert set(overview["missing"]) == {"connection", "metrics"}


# Health and metrics


async def test_health_and_metrics_need_no_key_on_loopback(side: Side) -> None:
    health = await side.client.get("/health", headers={"X-API-Key": ""})
    assert health.status_code == 200
    assert health.json()["status"] == "healthy"
    assert {"status", "service", "timestamp"} <= set(health.json())
    assert TIME.fullmatch(health.json()["timestamp"])
    metrics = await side.client.get("/metrics", headers={"X-API-Key": ""})
    assert metrics.status_code == 200
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "telegram_gateway_api_http_requests_total{" in metrics.text


# Last, since it takes servers away.


async def test_what_is_down_is_said(gateway: Gateway) -> None:
    side, stack = gateway.sides["all"], gateway.stack
    await stack.telegram.kill()

    async def connected() -> bool:
        return bool((await side.data("GET", "/api/telegram-gateway/auth/status"))["connected"])

    before = await side.data("GET", "/api/telegram-gateway/auth/status")
    await until(connected, False)
    status = await side.data("GET", "/api/telegram-gateway/auth/status")
    assert status["problem"]
    assert status["since"] >= before["since"]
    for path in ("/sync-messages", "/api/telegram-gateway/sync-messages"):
        assert await side.refused(503, "POST", path)
    assert (await side.data("GET", "/api/telegram-gateway/metrics"))["connectionStatus"] == 0

    await stack.postgres.kill()
    overview = await side.data("GET", "/api/telegram-gateway/overview")
    assert (overview["channels"], overview["messages"]) == (None, None)
    assert set(overview["missing"]) == {"channels", "messages"}
    await until(lambda: _degraded(side), {"telegram", "database"})
    for method, path in (
        ("GET", "/api/channels"),
        ("GET", "/api/telegram-gateway/queue"),
        ("GET", "/api/telegram-gateway/messages/summary"),
    ):
        assert await side.refused(503, method, path)
    await side.refused(503, "POST", "/api/channels", json={"channelId": "-1001649127710"})

    await stack.valkey.kill()
    await until(lambda: _health(side), (503, "unhealthy"))


async def _health(side: Side) -> tuple[int, str]:
    answer = await side.client.get("/health")
    return answer.status_code, answer.json()["status"]


async def _degraded(side: Side) -> set[str]:
    overview = await side.data("GET", "/api/telegram-gateway/overview")
    return {each["what"] for each in overview["health"]["degraded"]} & {"telegram", "database"}


def test_the_members_are_those_of_the_page() -> None:
    assert len(MEMBERS) == 22
