"""`merge` and `join`: whatever the order, the repetition and the cut, the same state."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.histories import CHANNEL, events
from telewarden.messages import (
    Acknowledged,
    Content,
    Deleted,
    Edited,
    Event,
    Posted,
    ReprocessRequested,
    State,
    join,
    lift,
    merge,
    message_uuid,
)

one_message = st.lists(events(st.just(7)), min_size=1, max_size=12)


def merged(history: list[Event]) -> State | None:
    state = None
    for event in history:
        state = merge(state, event)
    return state


@given(one_message, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(history: list[Event], dice: random.Random) -> None:
    shuffled = history[:]
    dice.shuffle(shuffled)
    assert merged(shuffled) == merged(history)


@given(one_message)
def test_a_repeated_event_changes_nothing(history: list[Event]) -> None:
    assert merged(history + history) == merged(history)


@given(one_message, one_message, one_message)
def test_states_join_in_any_grouping(a: list[Event], b: list[Event], c: list[Event]) -> None:
    x, y, z = merged(a), merged(b), merged(c)
    assert x is not None
    assert y is not None
    assert z is not None
    assert join(join(x, y), z) == join(x, join(y, z))
    assert join(x, y) == join(y, x)
    assert join(x, x) == x


def posted(text: str = "BUY", version: int = 0, at: int = 10) -> Posted:
    return Posted(CHANNEL, 7, Content(text=text), version, at, True)


def test_an_older_edit_never_overwrites_a_newer_one() -> None:
    newer = Edited(CHANNEL, 7, Content(text="third"), 3, 30)
    older = Edited(CHANNEL, 7, Content(text="second"), 2, 40)
    state = merged([posted(), newer, older])
    assert state is not None
    assert state.content is not None
    assert state.content.text == "third"


def test_an_edit_never_changes_a_status() -> None:
    state = merged(
        [posted(), Acknowledged(CHANNEL, 7, "tp", 20), Edited(CHANNEL, 7, Content(text="new"), 9, 30)]
    )
    assert state is not None
    assert state.status == "published"


def test_a_deletion_is_final_and_keeps_the_text() -> None:
    history: list[Event] = [
        posted(),
        Deleted(CHANNEL, 7, 20, "gone"),
        ReprocessRequested(CHANNEL, 7, "ops", 30),
    ]
    state = merged(history)
    assert state is not None
    assert state.effective_status == "deleted"
    assert not state.pending
    assert state.content is not None
    assert state.content.text == "BUY"


def test_a_replayed_post_never_moves_a_status_back() -> None:
    state = merged([posted(), Acknowledged(CHANNEL, 7, "tp", 20), posted(at=99)])
    assert state is not None
    assert state.status == "published"
    assert state.received_at_us == 10


def test_a_message_asked_for_again_waits_again_and_can_be_acknowledged_again() -> None:
    again: list[Event] = [
        posted(),
        Acknowledged(CHANNEL, 7, "tp", 20),
        ReprocessRequested(CHANNEL, 7, "ops", 30),
    ]
    state = merged(again)
    assert state is not None
    assert state.status == "reprocess_pending"
    assert merge(state, Acknowledged(CHANNEL, 7, "tp", 40)).status == "published"


@pytest.mark.parametrize("event", [Deleted(CHANNEL, 7, 1), Acknowledged(CHANNEL, 7, "tp", 1)])
def test_an_event_for_a_message_that_has_not_arrived_makes_nothing_pending(event: Event) -> None:
    assert not lift(event).exists
    assert not merge(merge(None, event), posted()).pending


def test_the_id_is_the_same_in_every_process() -> None:
    assert str(message_uuid(-1001649127710, 123456)) == "2d8d16c3-bf99-5462-b5c4-eb035d765978"
