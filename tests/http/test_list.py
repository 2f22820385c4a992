"""GET /api/messages, as the contract's row has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from telewarden_http.protocols import Listing, ListQuery, Unavailable

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio


async def test_a_list_gives_messages_and_where_in_the_list_they_are(api: Api) -> None:
    api.reader.listing = Listing([b'{"id":"a"}', b'{"id":"b"}'], True, 7)

    answer = await api.ask("GET", "/api/messages", query={"limit": "2", "offset": "3"})

    assert answer.status == 200
    assert answer.headers["x-telewarden-source"] == "database"
    assert answer.json == {
        "success": True,
        "data": [{"id": "a"}, {"id": "b"}],
        "pagination": {"total": 7, "limit": 2, "offset": 3, "hasMore": True},
    }


async def test_a_total_that_took_too_long_is_a_lower_bound_and_says_so(api: Api) -> None:
    api.reader.listing = Listing([b"{}", b"{}"], True, None)

    answer = await api.ask("GET", "/api/messages", query={"limit": "2", "offset": "3"})

    assert answer.json["pagination"] == {
        "total": 6,
        "limit": 2,
        "offset": 3,
        "hasMore": True,
        "totalIsExact": False,
    }


async def test_without_wishes_it_is_the_newest_hundred(api: Api) -> None:
    await api.ask("GET", "/api/messages", query={"channelId": "", "search": "", "from": "", "sort": ""})

    assert api.reader.lists == [ListQuery()]
    assert (ListQuery().limit, ListQuery().newest_first, ListQuery().deleted) == (100, True, False)


async def test_all_wishes_are_understood(api: Api) -> None:
    await api.ask(
        "GET",
        "/api/messages",
        query={
            "channelId": "-1001, -1002,-1001",
            "messageId": "17",
            "status": "failed,queued",
            "source": "mtproto,unknown",
            "from": "2025-03-01T12:00:00.5Z",
            "to": "2025-03-02T00:00:00-03:00",
            "search": "50% off_",
            "includeDeleted": "TRUE",
            "sort": "asc",
            "limit": "10000",
            "offset": "1000000",
        },
    )

    assert api.reader.lists == [
        ListQuery(
            channels=("-1001", "-1002"),
            message_id=17,
            statuses=("failed", "queued"),
            sources=("mtproto", "unknown"),
            received_from=datetime(2025, 3, 1, 12, 0, 0, 500_000, UTC),
            received_to=datetime(2025, 3, 2, 3, 0, 0, 999, tzinfo=UTC),
            search="50% off_",
            deleted=True,
            newest_first=False,
            limit=10_000,
            offset=1_000_000,
        )
    ]


async def test_a_day_is_its_beginning_in_utc(api: Api) -> None:
    await api.ask("GET", "/api/messages", query={"from": "2025-03-01"})

    assert api.reader.lists == [ListQuery(received_from=datetime(2025, 3, 1, tzinfo=UTC))]


async def test_who_asks_for_the_status_deleted_wants_deleted_ones(api: Api) -> None:
    await api.ask("GET", "/api/messages", query={"status": "deleted"})

    assert api.reader.lists == [ListQuery(statuses=("deleted",), deleted=True)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("channelId", "abc"),
        ("channelId", "-1001,x"),
        ("messageId", "1,2"),
        ("messageId", "9223372036854775808"),
        ("status", "unread"),
        ("source", "a\x00b"),
        ("from", "yesterday"),
        ("from", "0001-01-01T00:00:00+14:00"),
        ("to", "2025-13-01"),
        ("search", "\x00"),
        ("search", "x" * 501),
        ("includeDeleted", "maybe"),
        ("sort", "newest"),
        ("limit", "0"),
        ("limit", "10001"),
        ("offset", "-1"),
        ("offset", "1000001"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_name(api: Api, name: str, value: str) -> None:
    answer = await api.ask("GET", "/api/messages", query={name: value})

    assert answer.status == 400
    assert f'"{name}"' in answer.refusal
    assert api.reader.lists == []


async def test_without_the_database_there_is_no_list(api: Api) -> None:
    api.reader.error = Unavailable("the database is down")

    answer = await api.ask("GET", "/api/messages")

    assert (answer.status, answer.refusal) == (503, "the database is down")
    assert "retry-after" in answer.headers


async def test_a_list_needs_a_key(api: Api) -> None:
    assert (await api.ask("GET", "/api/messages", headers={})).status == 401
