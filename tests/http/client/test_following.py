"""What following the feed decides, without doing it."""

from typing import Any

import pytest

from telewarden_http.client.answers import FeedPage, Kind
from telewarden_http.client.errors import CursorExpired, ServerUnavailable
from telewarden_http.client.following import Ask, Following, Keep, Pause, following
from telewarden_http.client.retry import Backoff, Retry


def way(after: str = "beginning", kept: str | None = None, **options: Any) -> Following:
    """A way through the feed, with long polls of 25 s and back-off between half a second and one."""
    given: dict[str, Any] = {
        "keeps": False,
        "channels": None,
        "kinds": tuple(Kind),
        "limit": 100,
        "wait_s": 25,
        "until_caught_up": False,
        "skip_expired": False,
    }
    backoff = Backoff(Retry(first_s=1, most_s=8))
    return Following(after=after, kept=kept, backoff=backoff, **given | options)


def asked(step: object) -> dict[str, str]:
    assert isinstance(step, Ask)
    return dict(step.call.query)


def empty(token: str, *, more: bool = False) -> FeedPage:
    return FeedPage(events=[], next=token, more=more)


def test_now_is_asked_for_a_place_at_once_and_only_then_waited_behind() -> None:
    it = way("now")
    first = asked(it.step(0))
    assert (first["after"], first["wait"]) == ("now", "0")
    it.failed(ServerUnavailable("down"))
    assert isinstance(it.step(0), Pause)
    assert asked(it.step(0)) == first
    it.answered(empty("token"), 0)
    second = asked(it.step(0))
    assert (second["after"], second["wait"]) == ("token", "25")


def test_empty_answers_that_come_at_once_are_not_asked_for_without_pause() -> None:
    it = way("token")
    it.step(100)
    it.answered(empty("token"), 100.1)
    assert it.step(100.1) == Pause(0.5)
    it.step(100.6)
    it.answered(empty("token"), 125.6)
    assert isinstance(it.step(125.6), Ask)


def test_more_that_cannot_be_read_yet_is_not_asked_for_without_pause() -> None:
    it = way("token", until_caught_up=True)
    it.step(0)
    it.answered(empty("token", more=True), 30)
    assert it.step(30) == Pause(0.5)


def test_events_that_are_not_wanted_are_passed_by_without_pause() -> None:
    it = way("token")
    it.step(0)
    it.answered(empty("further", more=True), 0)
    assert asked(it.step(0))["after"] == "further"


def test_what_a_store_holds_wins_and_is_not_saved_again() -> None:
    it = way("beginning", kept="kept", keeps=True)
    assert asked(it.step(0))["after"] == "kept"
    it.answered(empty("further"), 25)
    assert it.step(25) == Keep("further")
    assert isinstance(it.step(25), Ask)
    assert it.unkept is None


def test_an_expired_place_that_is_the_oldest_is_not_skipped_to_again() -> None:
    it = way("old", skip_expired=True)
    it.step(0)
    it.failed(CursorExpired("too old", "oldest"))
    assert asked(it.step(0))["after"] == "oldest"
    with pytest.raises(CursorExpired):
        it.failed(CursorExpired("too old", "oldest"))


@pytest.mark.parametrize("option", [{"limit": 0}, {"limit": 1001}, {"wait_s": 0}, {"wait_s": 61}])
def test_bounds_are_named(option: dict[str, int]) -> None:
    given: dict[str, Any] = {
        "after": "now",
        "channels": None,
        "kinds": (),
        "limit": 1,
        "wait_s": 1,
        "until_caught_up": False,
        "skip_expired": False,
        "retry": Retry(),
    }
    with pytest.raises(ValueError, match=next(iter(option))):
        following(None, **given | option)
