"""The overlay, by table."""

from support.histories import CHANNEL
from telewarden.messages import Acknowledged, Content, Deleted, Edited, Event, Key, Posted, State, merge
from telewarden.storage.overlay import overlay, removals, sure_posts
from telewarden.storage.tail import Record


def records(*events: Event) -> list[Record]:
    return [Record(n, event, n, 1) for n, event in enumerate(events, 1)]


def post(message_id: int, *, new: bool = True) -> Posted:
    return Posted(CHANNEL, message_id, Content(text=f"#{message_id}"), 0, message_id, new)


def stored(message_id: int) -> dict[Key, State]:
    return {Key(CHANNEL, message_id): merge(None, post(message_id))}


def pending(states: dict[Key, State]) -> list[int]:
    return [key.message_id for key, state in states.items() if state.pending]


def test_what_the_source_lacks_is_added() -> None:
    assert pending(overlay(stored(1), records(post(2)), set())) == [1, 2]


def test_what_may_be_old_waits_for_the_databases_word() -> None:
    assert pending(overlay(stored(1), records(post(2, new=False)), set())) == [1]


def test_what_the_source_calls_done_is_not_served_again() -> None:
    assert pending(overlay(stored(1), records(post(2)), {Key(CHANNEL, 2)})) == [1]


def test_an_acknowledgement_takes_a_message_out() -> None:
    taken = records(Acknowledged(CHANNEL, 1, "tp", 5), Deleted(CHANNEL, 2, 6))
    assert pending(overlay(stored(1) | stored(2) | stored(3), taken, set())) == [3]
    assert removals(taken) == {Key(CHANNEL, 1), Key(CHANNEL, 2)}


def test_an_edit_changes_a_message_that_is_there_and_adds_none() -> None:
    edited = overlay(
        stored(1),
        records(Edited(CHANNEL, 1, Content(text="new"), 9, 9), Edited(CHANNEL, 5, Content(), 9, 9)),
        set(),
    )
    assert list(edited) == [Key(CHANNEL, 1)]
    content = edited[Key(CHANNEL, 1)].content
    assert content is not None
    assert content.text == "new"


def test_the_databases_word_after_an_acknowledgement_serves_nothing_again() -> None:
    late = records(post(2, new=False), Acknowledged(CHANNEL, 2, "tp", 5), post(2))
    assert pending(overlay(stored(1), late, set())) == [1]


def test_only_certainly_new_posts_are_asked_about() -> None:
    assert sure_posts(records(post(1), post(2, new=False), post(1))) == [Key(CHANNEL, 1)]
