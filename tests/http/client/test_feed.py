"""Following the feed: everything once and in order, whatever happens on the way."""

import logging
from pathlib import Path

import pytest

from support.client_ways import Use
from support.fake_api import CHANNEL, KEY, FakeApi, FakeTransport, Fault
from telewarden_http.client import (
    Client,
    CursorExpired,
    CursorFile,
    CursorFileUnusable,
    Event,
    KeyRefused,
    Kind,
)

TEXTS = [f"post {number}" for number in range(1, 8)]


def texts(events: list[Event]) -> list[str | None]:
    return [event.message.text for event in events]


def test_all_events_come_once_and_in_order(use: Use, api: FakeApi) -> None:
    ids = api.post(*TEXTS)
    events = use.feed(api, len(TEXTS), limit=3)
    assert texts(events) == TEXTS
    assert [event.id for event in events] == ids
    assert {event.kind for event in events} == {Kind.POSTED}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, headers={"Retry-After": "0"}),
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(status=502),
        Fault(status=408),
        Fault(refused=True),
        Fault(lost=True),
        Fault(cut=True),
        Fault(body=b'{"events":[{"id"'),
        Fault(body=b"<html>maintenance</html>"),
        Fault(body=b"[]"),
    ],
    ids=lambda fault: repr(fault)[6:40],
)
def test_a_fault_is_waited_out_and_nothing_is_left_out(use: Use, api: FakeApi, fault: Fault) -> None:
    api.post(*TEXTS)
    api.fault("/v1/feed", fault, Fault(), fault, fault)
    assert texts(use.feed(api, len(TEXTS), limit=2)) == TEXTS
    assert api.faults_left == 0


def test_it_ends_when_it_has_caught_up_if_that_is_wanted(use: Use, api: FakeApi) -> None:
    api.post(*TEXTS)
    assert texts(use.feed(api, limit=3, until_caught_up=True)) == TEXTS
    assert {asked.query["wait"] for asked in api.asked} == {"0"}


def test_it_goes_on_behind_an_event(use: Use, api: FakeApi) -> None:
    ids = api.post(*TEXTS)
    assert texts(use.feed(api, after=ids[2], until_caught_up=True)) == TEXTS[3:]


def test_only_the_kinds_and_channels_that_are_wanted_come(use: Use, api: FakeApi) -> None:
    api.post("here")
    api.post("elsewhere", channel="-1009")
    api.post("changed", kind="edited")
    found = use.feed(api, channels=[CHANNEL], kinds=["edited"], until_caught_up=True)
    assert texts(found) == ["changed"]
    assert api.asked[0].query["channels"] == CHANNEL


def test_from_now_on_nothing_comes_that_was_there(use: Use, api: FakeApi) -> None:
    api.post(*TEXTS)
    assert use.feed(api, after="now", until_caught_up=True) == []
    assert api.asked[0].query == {
        "after": "now",
        "wait": "0",
        "limit": "100",
        "kinds": "posted,edited,deleted",
    }


def test_an_expired_place_is_told_with_the_oldest_that_there_is(use: Use, api: FakeApi) -> None:
    ids = api.post(*TEXTS)
    oldest = api.expire_feed(4)
    with pytest.raises(CursorExpired, match="too old") as expired:
        use.feed(api, after=ids[0], until_caught_up=True)
    assert expired.value.oldest == oldest
    assert texts(use.feed(api, after=oldest, until_caught_up=True)) == TEXTS[4:]


def test_an_expired_place_may_be_skipped(use: Use, api: FakeApi) -> None:
    ids = api.post(*TEXTS)
    api.expire_feed(4)
    assert texts(use.feed(api, after=ids[0], until_caught_up=True, skip_expired=True)) == TEXTS[4:]


def test_what_asking_again_would_not_help_is_raised(use: Use, api: FakeApi) -> None:
    api.fault("/v1/feed", Fault(status=401))
    with pytest.raises(KeyRefused, match="as the test wants it") as refused:
        use.feed(api)
    assert refused.value.status == 401


def test_the_place_is_kept_behind_the_work(use: Use, api: FakeApi, tmp_path: Path) -> None:
    ids = api.post(*TEXTS)
    place = tmp_path / "place"
    assert texts(use.feed(api, 3, cursor=place)) == TEXTS[:3]
    # The loop was left with the third in hand: its work may not have been done.
    assert CursorFile(place).load() == ids[1]
    assert texts(use.feed(api, cursor=place, until_caught_up=True)) == TEXTS[2:]
    assert CursorFile(place).load() == ids[-1]
    assert use.feed(api, cursor=str(place), until_caught_up=True) == []
    assert list(tmp_path.iterdir()) == [place]


def test_a_file_that_holds_no_place_is_not_taken_for_one(tmp_path: Path, api: FakeApi) -> None:
    place = tmp_path / "place"
    for content in (b"", b"two words", b"\xff"):
        place.write_bytes(content)
        with (
            Client("http://fake", KEY, http_transport=FakeTransport(api)) as client,
            pytest.raises(CursorFileUnusable, match="place"),
        ):
            client.feed(cursor=place)


def test_a_place_that_cannot_be_kept_is_told(use: Use, tmp_path: Path, api: FakeApi) -> None:
    api.post(*TEXTS)
    with pytest.raises(CursorFileUnusable, match="cannot be kept"):
        use.feed(api, cursor=tmp_path / "nowhere" / "place", until_caught_up=True)


def test_of_an_outage_only_the_beginning_is_a_warning(
    use: Use, api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    api.post(*TEXTS)
    api.fault("/v1/feed", *[Fault(status=503)] * 3, Fault(), *[Fault(refused=True)] * 3)
    with caplog.at_level(logging.WARNING, "telewarden_http.client"):
        use.feed(api, limit=4, until_caught_up=True)
    assert [record.message for record in caplog.records] == [
        "asking again later: as the test wants it",
        "asking again later: nobody answers at http://fake/: Connection refused",
    ]
