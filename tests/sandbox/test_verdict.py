"""The comparison that every exercise ends with: what counts as lost, doubled and stale."""

from dataclasses import dataclass
from typing import cast

from telewarden.sandbox.consumer import Consumption, Received
from telewarden.sandbox.exercise import Exercise, Outage
from telewarden.sandbox.poster import Posted
from telewarden.sandbox.verdict import Id, Stored, Truth, Verdict, judge

KEY: Id = (-1001, 7)


def judged(
    truth: Truth,
    *rows: Stored,
    got: Consumption | None = None,
    never_shown: frozenset[Id] = frozenset(),
    shown_texts: dict[Id, set[str]] | None = None,
) -> Verdict:
    return judge({KEY: truth}, [(KEY, row) for row in rows], got or polled(), never_shown, shown_texts)


def polled(text: str = "new") -> Consumption:
    got = Consumption()
    got.received[KEY] = Received(text, 0.0)
    return got


def test_what_agrees_is_clean() -> None:
    assert judged(Truth("new", False), Stored("new", "published")).clean


def test_what_is_not_stored_or_not_served_is_lost() -> None:
    assert KEY in judged(Truth("new", False)).lost
    assert KEY in judged(Truth("new", False), Stored("new", "received"), got=Consumption()).lost


def test_two_rows_and_an_unknown_row_are_doubled() -> None:
    assert KEY in judged(Truth("new", False), Stored("new", "received"), Stored("new", "received")).duplicated
    assert (-1001, 8) in judge({}, [((-1001, 8), Stored("x", "received"))], Consumption()).duplicated


def test_an_older_text_is_stale_also_of_a_deleted_message() -> None:
    assert KEY in judged(Truth("new", False), Stored("old", "published")).stale
    assert KEY in judged(Truth("new", True), Stored("old", "deleted")).stale


def test_a_message_that_a_later_poll_left_out_is_omitted_unless_it_was_deleted() -> None:
    got = polled()
    got.left_out[KEY] = 2000.0
    assert KEY in judged(Truth("new", False), Stored("new", "published"), got=got).omitted
    assert judged(Truth("new", True), Stored("new", "deleted"), got=got).clean
    rows = [(KEY, Stored("new", "published"))]
    for allowed_ms, clean in ((3000.0, True), (1000.0, False)):
        assert judge({KEY: Truth("new", False)}, rows, got, omits_ms=allowed_ms).clean is clean


def test_polls_that_go_back_to_an_older_text_are_stale() -> None:
    got = polled("old")
    rows = [(KEY, Stored("new", "published"))]
    for served, clean in ((["old", "new"], True), (["old", "newest", "new"], False)):
        got.received[KEY].texts[:] = served
        texts = {KEY: ["old", "new", "newest"]}
        assert judge({KEY: Truth("new", False)}, rows, got, texts=texts).clean is clean


def test_a_deletion_that_was_missed_is_stale() -> None:
    assert KEY in judged(Truth("new", True), Stored("new", "published")).stale


def test_a_text_that_was_followed_by_a_deletion_unseen_cannot_be_known() -> None:
    shown = {KEY: {"old"}}
    assert judged(Truth("new", True), Stored("old", "deleted"), shown_texts=shown).clean
    assert KEY in judged(Truth("new", True), Stored("older", "deleted"), shown_texts=shown).stale
    # What is still there can be read.
    assert KEY in judged(Truth("new", False), Stored("old", "published"), shown_texts=shown).stale


def test_a_message_nobody_was_shown_may_be_missing_only_if_it_is_deleted() -> None:
    assert judged(Truth("new", True), never_shown=frozenset({KEY})).clean
    assert KEY in judged(Truth("new", False), never_shown=frozenset({KEY})).lost


@dataclass
class _Poster:
    done: Posted


def shown(deleted_ms: float, *texts: tuple[float, str]) -> dict[Id, set[str]]:
    """What was shown last, of a message with such texts, where the daemon was down from 1000 to 3000 ms."""
    exercise = object.__new__(Exercise)
    exercise.outages = [Outage("kill", 1000.0, 3000.0, blind=True)]
    exercise.poster = cast(
        "object", _Poster(Posted(deleted_at_ms={KEY: deleted_ms}, texts={KEY: list(texts)}))
    )  # type: ignore[assignment]
    return exercise.shown_texts()


def test_the_last_text_before_a_kill_was_shown_and_those_around_it_may_have_been() -> None:
    assert shown(2000, (100, "a"), (500, "b"), (1500, "c")) == {KEY: {"b"}}
    assert shown(2000, (100, "a"), (900, "b"), (1100, "c"), (1500, "d")) == {KEY: {"a", "b", "c"}}


def test_where_the_daemon_saw_the_deletion_every_text_had_to_be_seen() -> None:
    assert shown(500, (100, "a"), (300, "b")) == {}
    assert shown(3500, (100, "a"), (2000, "b")) == {}
