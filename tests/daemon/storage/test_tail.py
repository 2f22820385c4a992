"""The tail: order, forgetting, look-ups."""

import pytest

from support.histories import CHANNEL
from telewarden.messages import Acknowledged, Content, Key, Posted, message_uuid
from telewarden.storage.tail import Record, Tail


def post(position: int, message_id: int, channel_id: int = CHANNEL) -> Record:
    return Record(position, Posted(channel_id, message_id, Content(), 0, position, True), position, 10)


def test_records_come_back_in_order_after_a_position() -> None:
    tail = Tail(5)
    tail.extend([post(6, 1), post(7, 2), post(8, 3)])
    assert [r.position for r in tail.after(6)] == [7, 8]
    assert [r.position for r in tail.after(5, limit=2)] == [6, 7]
    assert tail.after(8) == []
    assert tail.size_bytes == 30


def test_a_gap_in_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="does not follow"):
        Tail(5).extend([post(7, 1)])


def test_what_is_forgotten_cannot_be_asked_for() -> None:
    tail = Tail()
    tail.extend([post(1, 1), post(2, 2), post(3, 3)])
    tail.forget(2)
    assert [r.position for r in tail.after(2)] == [3]
    assert tail.size_bytes == 10
    with pytest.raises(LookupError, match="forgotten up to 2"):
        tail.after(0)


def test_a_channel_and_a_message_are_found_until_they_are_forgotten() -> None:
    tail = Tail()
    tail.extend([post(1, 1), post(2, 1, -100), Record(3, Acknowledged(CHANNEL, 1, "tp", 3), 3, 5)])
    assert [r.position for r in tail.of_channel(CHANNEL, 0)] == [1, 3]
    assert [r.position for r in tail.of_channel(CHANNEL, 1)] == [3]
    assert tail.of_channel(-5, 0) == []
    assert tail.key(message_uuid(CHANNEL, 1)) == Key(CHANNEL, 1)
    assert [r.position for r in tail.of_message(Key(CHANNEL, 1))] == [1, 3]
    tail.forget(3)
    assert tail.of_message(Key(CHANNEL, 1)) == []
    assert tail.key(message_uuid(CHANNEL, 1)) is None
    assert tail.of_channel(CHANNEL, 0) == []


def test_an_empty_tail_knows_its_head() -> None:
    tail = Tail(41)
    assert tail.head == 41
    assert tail.after(41) == []
    assert tail.first == 42
