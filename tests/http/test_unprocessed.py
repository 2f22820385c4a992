"""GET /api/messages/unprocessed, as the contract's row has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import structlog

from telewarden_http.protocols import Page, Source, Unavailable, UnknownChannel, UnprocessedQuery

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio


async def test_a_poll_gives_messages_their_count_and_the_filters(api: Api) -> None:
    api.reader.page = Page([b'{"id":"a"}', b'{"id":"b"}'], Source.CACHE, 2)

    answer = await api.poll(status="received,queued", excludeProcessedBy="parser")

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "success": True,
        "data": [{"id": "a"}, {"id": "b"}],
        "count": 2,
        "filters": {
            "channelId": api.channel,
            "statuses": ["received", "queued"],
            "excludeProcessedBy": "parser",
        },
    }


async def test_bodies_are_joined_and_never_decoded(api: Api) -> None:
    api.reader.page = Page([b"not json", b"\xff"], Source.CACHE, 2)

    answer = await api.poll()

    assert answer.body.startswith(b'{"success":true,"data":[not json,\xff],"count":2,"filters":')


async def test_the_count_is_of_messages_also_when_several_come_in_one_piece(api: Api) -> None:
    api.reader.page = Page([b'{"id":"a"},{"id":"b"}'], Source.CACHE, 2)

    answer = await api.poll()

    assert answer.json["count"] == len(answer.json["data"]) == 2


async def test_a_channel_where_nothing_waits_has_an_empty_list(api: Api) -> None:
    answer = await api.poll()

    assert (answer.json["data"], answer.json["count"]) == ([], 0)


async def test_a_poll_without_wishes_asks_for_a_thousand_received_messages(api: Api) -> None:
    answer = await api.poll()

    assert api.reader.queries == [UnprocessedQuery(api.channel, ("received",), None, 1000)]
    assert answer.json["filters"]["excludeProcessedBy"] is None


async def test_the_live_consumers_request_is_understood(api: Api) -> None:
    answer = await api.ask(
        "GET",
        "/api/messages/unprocessed",
        query={"channel": api.channel, "status": "received,queued", "limit": "100"},
        headers={"X-API-Key": api.consumer_key, "Content-Type": "application/json"},
    )

    assert answer.status == 200
    assert api.reader.queries == [UnprocessedQuery(api.channel, ("received", "queued"), None, 100)]


@pytest.mark.parametrize("query", [{}, {"channel": ""}, {"Channel": "-100"}])
async def test_a_poll_without_a_channel_is_refused_by_name(api: Api, query: dict[str, str]) -> None:
    answer = await api.ask("GET", "/api/messages/unprocessed", query=query)

    assert answer.status == 400
    assert '"channel"' in answer.refusal


@pytest.mark.parametrize(
    "channel",
    [
        "news",
        "@news",
        "1.5",
        "1e5",
        "0",
        "-0",
        "007",
        "+5",
        " 5",
        "0x10",
        "١٢",
        "9223372036854775808",
        "-9223372036854775809",
        "1" * 5000,
        "-100\x00",
        "-100\n",
    ],
)
async def test_what_is_no_channel_id_is_refused_by_name(api: Api, channel: str) -> None:
    answer = await api.poll(channel=channel)

    assert answer.status == 400
    assert '"channel"' in answer.refusal
    assert len(answer.refusal) < 300
    assert api.reader.queries == []


@pytest.mark.parametrize("channel", ["1", "9223372036854775807", "-9223372036854775808"])
async def test_any_signed_64_bit_number_is_a_channel_id(api: Api, channel: str) -> None:
    assert (await api.poll(channel=channel)).status == 200
    assert api.reader.queries[0].channel == channel


@pytest.mark.parametrize("status", ["unread", "received,unread", "RECEIVED", "received;queued"])
async def test_an_unknown_status_is_refused_with_the_known_ones(api: Api, status: str) -> None:
    answer = await api.poll(status=status)

    assert answer.status == 400
    assert '"status"' in answer.refusal
    assert "reprocess_pending" in answer.refusal


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        ("queued", ("queued",)),
        ("queued,received", ("queued", "received")),
        (" received , queued ", ("received", "queued")),
        ("received,received", ("received",)),
        ("received,", ("received",)),
        ("", ("received",)),
        ("reprocess_pending,retrying,failed", ("reprocess_pending", "retrying", "failed")),
    ],
)
async def test_statuses_are_a_comma_list(api: Api, status: str, asked: tuple[str, ...]) -> None:
    await api.poll(status=status)

    assert api.reader.queries[0].statuses == asked


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "ten", "1.0", "1e3", "+1", "٣", "9" * 30])
async def test_a_limit_beyond_its_range_is_refused_by_name(api: Api, limit: str) -> None:
    answer = await api.poll(limit=limit)

    assert answer.status == 400
    assert '"limit"' in answer.refusal
    assert "10000" in answer.refusal


@pytest.mark.parametrize("limit", ["1", "100", "10000"])
async def test_a_limit_in_its_range_is_taken(api: Api, limit: str) -> None:
    await api.poll(limit=limit)

    assert api.reader.queries[0].limit == int(limit)


@pytest.mark.parametrize("name", ["x" * 201, "a\x00b", "   "])
async def test_an_impossible_consumer_name_is_refused(api: Api, name: str) -> None:
    answer = await api.poll(excludeProcessedBy=name)

    assert answer.status == 400
    assert '"excludeProcessedBy"' in answer.refusal


async def test_a_blank_consumer_name_leaves_nobody_out(api: Api) -> None:
    await api.poll(excludeProcessedBy="")

    assert api.reader.queries[0].exclude_processed_by is None


async def test_a_parameter_given_twice_is_refused_by_name(api: Api) -> None:
    answer = await api.ask("GET", "/api/messages/unprocessed?channel=-1&channel=-2")

    assert answer.status == 400
    assert '"channel"' in answer.refusal


@pytest.mark.parametrize(
    "query", ["channel=-1&status=%ff", "channel=-1&" + "&".join(f"a{i}=" for i in range(101))]
)
async def test_a_query_string_that_cannot_be_read_is_refused(api: Api, query: str) -> None:
    answer = await api.ask("GET", f"/api/messages/unprocessed?{query}")

    assert answer.status == 400
    assert "query string" in answer.refusal


async def test_an_unknown_parameter_is_ignored(api: Api) -> None:
    assert (await api.poll(_="1700000000")).status == 200


@pytest.mark.parametrize("source", list(Source))
async def test_a_consumer_sees_which_store_answered(api: Api, source: Source) -> None:
    api.reader.page = Page((), source, 0)

    answer = await api.poll()

    assert answer.headers["x-telewarden-source"] == source.value
    assert ("x-telewarden-degraded" in answer.headers) == (source is Source.JOURNAL)
    assert api.sample("telegram_gateway_api_answers_total", source=source.value) == 1


async def test_an_answer_is_not_kept_by_a_proxy(api: Api) -> None:
    assert (await api.poll()).headers["cache-control"] == "no-store"


async def test_an_unknown_channel_is_not_found(api: Api) -> None:
    api.reader.error = UnknownChannel("channel -1001649127710 is not taken in")

    answer = await api.poll()

    assert answer.status == 404
    assert answer.refusal == "channel -1001649127710 is not taken in"


async def test_without_any_store_the_consumer_is_told_when_to_try_again(make_api: Callable[..., Api]) -> None:
    api = make_api(retry_after_s=7)
    api.reader.error = Unavailable("no store can answer")

    answer = await api.poll()

    assert (answer.status, answer.headers["retry-after"]) == (503, "7")
    assert answer.refusal == "no store can answer"


async def test_a_store_that_does_not_answer_in_time_is_unavailable(make_api: Callable[..., Api]) -> None:
    api = make_api(answer_timeout_s=0.01)
    api.reader.hangs = True

    answer = await api.poll()

    assert answer.status == 503
    assert "in time" in answer.refusal
    assert api.reader.cancelled.is_set()


async def test_an_unexpected_error_tells_the_client_nothing_but_a_request_id(api: Api) -> None:
    api.reader.error = ZeroDivisionError("password=hunter2")

    with structlog.testing.capture_logs() as logs:
        answer = await api.poll()

    assert answer.status == 500
    assert "hunter2" not in answer.refusal
    assert "Zero" not in answer.refusal
    assert answer.headers["x-request-id"] in answer.refusal
    assert logs[0]["request_id"] == answer.headers["x-request-id"]
    assert "ZeroDivisionError" in logs[0]["traceback"]


async def test_the_log_of_an_unexpected_error_holds_no_key(api: Api) -> None:
    api.reader.error = ZeroDivisionError()

    with structlog.testing.capture_logs() as logs:
        await api.poll()

    assert logs
    assert api.consumer_key not in repr(logs)
