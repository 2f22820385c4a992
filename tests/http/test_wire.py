"""The message object and its times."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telewarden_http.wire import Message, encode, iso_ms

# fmt: off
CONTRACT_FIELDS = [
    "id", "channelId", "messageId", "threadId", "source", "messageType", "text", "caption", "mediaType", "mediaRefs",
    "status", "receivedAt", "telegramDate", "publishedAt", "failedAt", "queuedAt", "reprocessRequestedAt",
    "reprocessedAt", "metadata", "createdAt", "updatedAt", "deletedAt",
]
# fmt: on


def a_message(**fields: Any) -> Message:
    required = {
        "id": "6e9f4a52-0d0b-5a3e-9d55-0a4b9f1c2d3e",
        "channel_id": "-1001649127710",
        "message_id": "9007199254740993",
        "received_at": iso_ms(0),
        "created_at": iso_ms(0),
        "updated_at": iso_ms(0),
    }
    return Message(**(required | fields))


def test_a_message_has_the_fields_of_the_contract_in_their_order() -> None:
    assert list(json.loads(encode(a_message()))) == CONTRACT_FIELDS


def test_an_absent_value_is_null() -> None:
    found = json.loads(encode(a_message()))

    assert {name for name, value in found.items() if value is None} == {
        "threadId",
        "text",
        "caption",
        "mediaType",
        "telegramDate",
        "publishedAt",
        "failedAt",
        "queuedAt",
        "reprocessRequestedAt",
        "reprocessedAt",
        "deletedAt",
    }


def test_a_message_without_media_or_metadata_has_an_empty_list_and_an_empty_object() -> None:
    found = json.loads(encode(a_message()))

    assert (found["mediaRefs"], found["metadata"]) == ([], {})


def test_an_id_beyond_the_integers_of_javascript_stays_exact() -> None:
    assert json.loads(encode(a_message()))["messageId"] == "9007199254740993"


def test_encoded_json_goes_out_byte_for_byte() -> None:
    message = a_message(media_refs=msgspec.Raw(b'[{"b":1,"a":2}]'), metadata=msgspec.Raw(b'{"views": 1e3}'))

    assert b'"mediaRefs":[{"b":1,"a":2}],' in encode(message)
    assert b'"metadata":{"views": 1e3},' in encode(message)


def test_values_are_encoded_as_json() -> None:
    message = a_message(media_refs=[{"id": "7"}], metadata={"replyTo": {"messageId": "5"}})

    found = json.loads(encode(message))
    assert found["mediaRefs"] == [{"id": "7"}]
    assert found["metadata"] == {"replyTo": {"messageId": "5"}}


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_from_json_as_it_was(text: str) -> None:
    assert json.loads(encode(a_message(text=text)))["text"] == text


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode(a_message(text="\ud800"))


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_709_251_199_999_999, "2024-02-29T23:59:59.999Z"),
        (1_740_830_400_123_999, "2025-03-01T12:00:00.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00.000Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_has_milliseconds_and_a_z(us: int, text: str) -> None:
    assert iso_ms(us) == text


@given(st.datetimes())
def test_a_time_is_the_one_that_the_standard_library_writes(moment: datetime) -> None:
    us = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)

    assert iso_ms(us) == moment.isoformat(timespec="milliseconds") + "Z"
    assert datetime.fromisoformat(iso_ms(us)).tzinfo == UTC


@pytest.mark.parametrize("us", [-62_135_596_800_000_001, 253_402_300_800_000_000, 10**30, -(10**30)])
def test_a_time_outside_the_calendar_is_refused(us: int) -> None:
    with pytest.raises(ValueError, match="outside the years 1 to 9999"):
        iso_ms(us)
