"""Which channel is read next."""

import pytest

from telewarden.telegram.reading_queue import ReadingQueue


def order(queue: ReadingQueue, count: int) -> list[tuple[int, bool]]:
    taken = []
    for _ in range(count):
        with queue.reading() as next_one:
            taken.append(next_one)
    return taken


def test_what_is_missing_comes_before_what_is_compared() -> None:
    queue = ReadingQueue()
    queue.compare([1, 2])
    queue.ask_for([3], window=True)
    queue.ask_for([4], window=False)
    assert order(queue, 4) == [(3, True), (4, False), (1, True), (2, True)]
    assert queue.is_idle
    assert not queue.is_comparing


def test_a_channel_that_is_missing_and_compared_is_read_once() -> None:
    queue = ReadingQueue()
    queue.compare([1])
    queue.ask_for([1], window=False)
    assert order(queue, 1) == [(1, True)]
    assert not queue.is_comparing


def test_a_window_that_was_asked_for_once_stays_asked_for() -> None:
    queue = ReadingQueue()
    queue.ask_for([1], window=True)
    queue.ask_for([1], window=False)
    assert order(queue, 1) == [(1, True)]


def test_a_channel_that_somebody_is_at_is_given_to_nobody_else() -> None:
    queue = ReadingQueue()
    queue.ask_for([1, 2], window=False)
    with queue.reading() as (first, _):
        assert (first, queue.is_busy(1), queue.is_reading(1), queue.is_idle) == (1, True, True, False)
        # Something more of it became missing meanwhile.
        queue.ask_for([1], window=False)
        assert order(queue, 1) == [(2, False)]
        with pytest.raises(LookupError), queue.reading():
            pass
    assert order(queue, 1) == [(1, False)]
    with queue.at(5):
        assert queue.is_busy(5)
        assert not queue.is_reading(5)
        assert queue.is_idle


def test_a_reader_that_fails_leaves_the_channel_free() -> None:
    queue = ReadingQueue()
    queue.ask_for([1], window=False)
    with pytest.raises(ZeroDivisionError), queue.reading():
        raise ZeroDivisionError
    assert (queue.is_busy(1), queue.is_reading(1)) == (False, False)
