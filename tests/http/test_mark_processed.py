"""POST /api/messages/mark-processed, as the contract's row has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from telewarden_http.protocols import AmbiguousMessage, MarkProcessed, Unavailable, UnknownChannel

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio


async def test_an_acknowledgement_is_answered_with_what_changed(api: Api) -> None:
    api.acknowledger.updated = 1

    answer = await api.acknowledge({"messageIds": ["101", "102"], "processedBy": "parser"})

    assert answer.status == 200
    assert answer.json == {
        "success": True,
        "message": "Marked 1 of 2 messages as processed",
        "data": {"requested": 2, "updated": 1, "processedBy": "parser"},
    }


async def test_ids_may_be_strings_or_integers(api: Api) -> None:
    await api.acknowledge({"messageIds": ["101", 102, "-3", 0], "processedBy": "parser"})

    assert api.acknowledger.requests == [MarkProcessed((101, 102, -3, 0), "parser", None)]


async def test_a_body_of_another_content_type_is_read_as_json(api: Api) -> None:
    answer = await api.ask(
        "POST",
        "/api/messages/mark-processed",
        body=b'{"messageIds":["1"],"processedBy":"parser"}',
        headers={"X-API-Key": api.consumer_key, "Content-Type": "text/plain; charset=latin-1"},
    )

    assert answer.status == 200


@pytest.mark.parametrize("channel", ["-1001649127710", -1001649127710])
async def test_the_channel_may_be_named(api: Api, channel: object) -> None:
    await api.acknowledge({"messageIds": [1], "processedBy": "parser", "channel": channel})

    assert api.acknowledger.requests[0].channel == "-1001649127710"


async def test_a_channel_that_is_null_is_not_named(api: Api) -> None:
    await api.acknowledge({"messageIds": [1], "processedBy": "parser", "channel": None})

    assert api.acknowledger.requests[0].channel is None


@pytest.mark.parametrize("channel", ["news", "", 1.5, True, [], {}, 2**63, "0", 0])
async def test_what_is_no_channel_id_is_refused_by_name(api: Api, channel: object) -> None:
    answer = await api.acknowledge({"messageIds": [1], "processedBy": "parser", "channel": channel})

    assert answer.status == 400
    assert '"channel"' in answer.refusal
    assert api.acknowledger.requests == []


@pytest.mark.parametrize("ids", [[], None, "1", 1, {}, {"0": 1}, True])
async def test_ids_must_be_a_list_that_is_not_empty(api: Api, ids: object) -> None:
    answer = await api.acknowledge({"messageIds": ids, "processedBy": "parser"})

    assert answer.status == 400
    assert '"messageIds"' in answer.refusal


@pytest.mark.parametrize(
    "value", [True, None, 1.5, 2.0**60, "", "abc", "1.0", "1e3", " 1", "1\n", "+1", "0x1", "١", [], {}, [1]]
)
async def test_what_is_no_message_id_is_refused_by_its_place(api: Api, value: object) -> None:
    answer = await api.acknowledge({"messageIds": ["1", value], "processedBy": "parser"})

    assert answer.status == 400
    assert '"messageIds[1]"' in answer.refusal
    assert api.acknowledger.requests == []


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, str(2**63), str(-(2**63) - 1), 2**64, 12345678901234567890123]
)
async def test_an_id_beyond_64_bits_is_refused_and_shown(api: Api, value: object) -> None:
    answer = await api.acknowledge({"messageIds": [value], "processedBy": "parser"})

    assert answer.status == 400
    assert '"messageIds[0]"' in answer.refusal
    assert str(value) in answer.refusal


@pytest.mark.parametrize("digits", [30, 400, 5000])
async def test_an_id_of_absurd_length_is_refused(api: Api, digits: int) -> None:
    as_text = await api.acknowledge({"messageIds": ["1" * digits], "processedBy": "parser"})
    as_number = await api.acknowledge(b'{"messageIds":[' + b"1" * digits + b'],"processedBy":"parser"}')

    assert (as_text.status, as_number.status) == (400, 400)
    assert len(as_text.refusal) < 300
    assert len(as_number.refusal) < 300


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), str(2**63 - 1), str(-(2**63))])
async def test_an_id_at_the_edge_of_64_bits_is_taken(api: Api, value: object) -> None:
    assert (await api.acknowledge({"messageIds": [value], "processedBy": "parser"})).status == 200


async def test_ten_thousand_ids_fit_into_a_request(api: Api) -> None:
    body = {"messageIds": [str(n) for n in range(10_000)], "processedBy": "parser"}

    assert (await api.acknowledge(body)).json["data"]["requested"] == 10_000


async def test_more_ids_than_fit_are_refused_with_the_limit(api: Api) -> None:
    answer = await api.acknowledge({"messageIds": [1] * 10_001, "processedBy": "parser"})

    assert answer.status == 400
    assert "10000" in answer.refusal


@pytest.mark.parametrize("name", [None, "", "   ", 5, True, ["parser"], {"name": "parser"}])
async def test_the_consumer_must_have_a_name(api: Api, name: object) -> None:
    answer = await api.acknowledge({"messageIds": [1], "processedBy": name})

    assert answer.status == 400
    assert '"processedBy"' in answer.refusal


async def test_a_missing_name_is_refused(api: Api) -> None:
    answer = await api.acknowledge({"messageIds": [1]})

    assert answer.status == 400
    assert '"processedBy"' in answer.refusal


async def test_a_name_of_200_characters_is_taken_and_one_more_is_not(api: Api) -> None:
    longest = await api.acknowledge({"messageIds": [1], "processedBy": "ü" * 200})
    too_long = await api.acknowledge({"messageIds": [1], "processedBy": "ü" * 201})

    assert (longest.status, too_long.status) == (200, 400)
    assert longest.json["data"]["processedBy"] == "ü" * 200


@pytest.mark.parametrize("name", [r"a\u0000b", r"a\ud800b", r"\udc00", r"a\ud800"])
async def test_a_name_that_postgresql_cannot_store_is_refused(api: Api, name: str) -> None:
    answer = await api.acknowledge(b'{"messageIds":[1],"processedBy":"' + name.encode() + b'"}')

    assert answer.status == 400
    assert api.acknowledger.requests == []


async def test_a_name_beyond_the_basic_plane_is_taken(api: Api) -> None:
    answer = await api.acknowledge(rb'{"messageIds":[1],"processedBy":"\ud83d\ude00"}')

    assert answer.json["data"]["processedBy"] == "\U0001f600"


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"messageIds"', b"true"])
async def test_a_body_that_is_no_object_is_refused(api: Api, body: bytes) -> None:
    answer = await api.acknowledge(body)

    assert answer.status == 400
    assert "object" in answer.refusal


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"messageIds":[1,],"processedBy":"parser"}', "byte 17"),
        (b'{"messageIds":[1], processedBy:"parser"}', "byte 19"),
        (b"{'messageIds':[1]}", "byte 1"),
        (b'{"a":1}{', "trailing characters"),
        (b"\xef\xbb\xbf{}", "byte 0"),
        (b'{"a":NaN}', "byte 5"),
        (b'{"a":"\xff"}', "byte 6"),
        (b'{"messageIds":[1', "byte 16"),
        (b"", "byte 0"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
async def test_malformed_json_is_refused_with_its_place(api: Api, body: bytes, place: str) -> None:
    answer = await api.acknowledge(body)

    assert answer.status == 400
    assert place in answer.refusal


async def test_an_unknown_member_is_ignored(api: Api) -> None:
    answer = await api.acknowledge({"messageIds": [1], "processedBy": "parser", "extra": {"deep": [1]}})

    assert answer.status == 200


async def test_an_id_that_waits_in_two_channels_is_a_conflict_that_names_them(api: Api) -> None:
    api.acknowledger.error = AmbiguousMessage(17, ["-1001", "-1002"])

    answer = await api.acknowledge({"messageIds": [17], "processedBy": "parser"})

    assert answer.status == 409
    assert "-1001" in answer.refusal
    assert "-1002" in answer.refusal


async def test_an_unknown_channel_is_not_found(api: Api) -> None:
    api.acknowledger.error = UnknownChannel("channel -5 is not taken in")

    answer = await api.acknowledge({"messageIds": [17], "processedBy": "parser", "channel": "-5"})

    assert (answer.status, answer.refusal) == (404, "channel -5 is not taken in")


async def test_an_acknowledgement_that_cannot_be_kept_is_to_be_tried_again(api: Api) -> None:
    api.acknowledger.error = Unavailable("the journal is full")

    answer = await api.acknowledge({"messageIds": [17], "processedBy": "parser"})

    assert (answer.status, answer.refusal) == (503, "the journal is full")
    assert int(answer.headers["retry-after"]) > 0


async def test_an_unexpected_error_tells_the_client_nothing(api: Api) -> None:
    api.acknowledger.error = KeyError("internal table name")

    answer = await api.acknowledge({"messageIds": [17], "processedBy": "parser"})

    assert answer.status == 500
    assert "table" not in answer.refusal


async def test_a_body_over_the_limit_is_refused_with_the_limit(api: Api) -> None:
    answer = await api.acknowledge(b" " * (1024 * 1024 + 1))

    assert answer.status == 413
    assert "1048576" in answer.refusal


async def test_a_body_at_the_limit_is_read(api: Api) -> None:
    wanted = json.dumps({"messageIds": [1], "processedBy": "parser"}).encode()

    answer = await api.acknowledge(wanted.ljust(1024 * 1024))

    assert answer.status == 200


async def test_a_smaller_limit_may_be_set(make_api: Any) -> None:
    api: Api = make_api(body_limit_bytes=50)

    answer = await api.acknowledge({"messageIds": [1] * 30, "processedBy": "parser"})

    assert answer.status == 413
    assert "50 bytes" in answer.refusal
