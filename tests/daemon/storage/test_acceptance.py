"""What an observation means, by table."""

import msgspec

from support.histories import CHANNEL
from telewarden.messages import Content, Deleted, Edited, Posted
from telewarden.storage.acceptance import Channel, Gone, Known, Seen, accept, digest_of

PLACE = Channel(CHANNEL, checkpoint=100, top=100, floor=50, origin=20)
BUY, SELL = Content(text="BUY"), Content(text="SELL")


def known(content: Content = BUY, version: int = 0, at: int = 1) -> Known:
    return Known(version, digest_of(content), at)


def test_a_post_above_the_floor_is_certainly_new() -> None:
    events, after, place = accept(Seen(CHANNEL, 101, BUY), None, PLACE, 7)
    assert events == (Posted(CHANNEL, 101, BUY, 0, 7, True),)
    assert place.top == 101
    assert after is not None


def test_a_post_that_fills_a_gap_is_certainly_new_too() -> None:
    events, _, place = accept(Seen(CHANNEL, 60, BUY), None, PLACE, 7)
    assert events == (Posted(CHANNEL, 60, BUY, 0, 7, True),)
    assert place.top == 100


def test_of_a_post_below_the_floor_only_the_database_can_say_whether_it_is_new() -> None:
    events, _, _ = accept(Seen(CHANNEL, 50, BUY), None, PLACE, 7)
    assert events == (Posted(CHANNEL, 50, BUY, 0, 7, False),)


def test_what_is_from_before_this_gateway_is_left_out() -> None:
    assert accept(Seen(CHANNEL, 20, BUY), None, PLACE, 7) == ((), None, PLACE)
    assert accept(Gone(CHANNEL, 20), None, PLACE, 7) == ((), None, PLACE)


def test_reading_the_same_again_makes_no_event() -> None:
    before = known()
    assert accept(Seen(CHANNEL, 60, BUY), before, PLACE, 7) == ((), before, PLACE)


def test_counters_that_change_by_themselves_are_no_edit() -> None:
    few, many = Content(metadata=b'{"views":3}'), Content(metadata=b'{"views":4000,"forwards":2}')
    assert digest_of(few) == digest_of(many)


def test_another_text_is_an_edit_with_telegrams_date_as_its_version() -> None:
    events, after, _ = accept(Seen(CHANNEL, 60, SELL, edit_date_s=5), known(), PLACE, 7)
    assert events == (Edited(CHANNEL, 60, SELL, 5 << 20, 7),)
    assert after == Known(5 << 20, digest_of(SELL), 7)


def test_of_two_edits_within_one_second_the_one_pushed_later_wins() -> None:
    events, after, _ = accept(Seen(CHANNEL, 60, SELL, edit_date_s=5), known(version=5 << 20), PLACE, 7)
    assert events == (Edited(CHANNEL, 60, SELL, (5 << 20) + 1, 7),)
    assert after is not None
    assert after.version == (5 << 20) + 1


def test_an_answer_asked_for_before_the_known_edit_came_does_not_undo_it() -> None:
    before = known(version=5 << 20, at=9)
    stale = Seen(CHANNEL, 60, SELL, edit_date_s=5, asked_at_us=8)
    assert accept(stale, before, PLACE, 10) == ((), before, PLACE)


def test_an_older_edit_is_ignored() -> None:
    before = known(version=9 << 20)
    assert accept(Seen(CHANNEL, 60, SELL, edit_date_s=5), before, PLACE, 7) == ((), before, PLACE)


def test_a_deletion_is_told_once() -> None:
    events, after, _ = accept(Gone(CHANNEL, 60), known(), PLACE, 7)
    assert events == (Deleted(CHANNEL, 60, 7, "deleted on Telegram"),)
    assert after is not None
    assert after.deleted
    assert accept(Gone(CHANNEL, 60), after, PLACE, 8) == ((), after, PLACE)
    assert accept(Seen(CHANNEL, 60, SELL, edit_date_s=99), after, PLACE, 8) == ((), after, PLACE)


def test_a_post_read_after_its_deletion_is_stored_as_deleted() -> None:
    _, after, _ = accept(Gone(CHANNEL, 101), None, PLACE, 7)
    events, final, place = accept(Seen(CHANNEL, 101, BUY), after, PLACE, 8)
    assert [type(event) for event in events] == [Posted, Deleted]
    assert isinstance(events[0], Posted)
    assert not events[0].new
    assert final is not None
    assert final.deleted
    assert place == msgspec.structs.replace(PLACE, top=101)
