"""What a process that only serves knows of the cache, and what it still has to tell it."""

from collections.abc import Callable
from uuid import UUID

import pytest

from telewarden.messages import Key
from telewarden.storage.cache import Operation
from telewarden.storage.shared_cache import NOT_PROVEN, SharedCache, Told
from telewarden.storage.signal import Signal


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def told(message_id: int, at_s: float = 100.0) -> Told:
    return Told(Key(-1001, message_id), UUID(int=message_id), at_s)


def shared(clock: Clock, bound: int = 100) -> SharedCache:
    return SharedCache(Signal(), remember_s=60, clock_s=clock, bound=bound)


def test_it_is_asked_while_connected_and_nothing_is_owed(clock: Clock) -> None:
    cache = shared(clock)
    seen = [cache.readable]
    cache.connected("a")
    seen.append(cache.readable)
    cache.owe([told(1)])
    seen.append(cache.readable)  # it may still serve what was acknowledged
    cache.paid(cache.next_owed(10), "a")
    seen.append(cache.readable)
    cache.disconnected("down")
    seen.append(cache.readable)
    assert seen == [None, "a", None, "a", None]


def test_another_history_is_told_everything_again_oldest_first(clock: Clock) -> None:
    cache = shared(clock)
    cache.connected("a")
    cache.told([told(1), told(2)], "a")
    cache.owe([told(3)])
    cache.connected("a")
    assert cache.next_owed(10) == [told(3)], "the same history has heard of the first two"
    cache.connected("b")
    assert cache.next_owed(10) == [told(1), told(2), told(3)]
    cache.paid(cache.next_owed(2), "b")
    assert cache.next_owed(10) == [told(3)]
    assert cache.readable is None


def test_what_another_history_has_heard_is_owed_to_this_one(clock: Clock) -> None:
    cache = shared(clock)
    cache.connected("a")
    cache.connected("b")
    cache.told([told(1)], "a")
    assert cache.next_owed(10) == [told(1)]


def test_the_failure_of_an_old_connection_says_nothing_of_the_new_one(clock: Clock) -> None:
    cache = shared(clock)
    cache.connected("b")
    cache.disconnected("the old one broke", "a")
    assert cache.readable == "b"


def test_what_is_old_is_forgotten(clock: Clock) -> None:
    cache = shared(clock)
    cache.connected("a")
    cache.told([told(1)], "a")
    clock.now += 61
    cache.told([told(2, clock.now)], "a")
    cache.connected("b")
    assert [t.key.message_id for t in cache.next_owed(10)] == [2]
    assert not cache.needs_warm


def test_forgotten_for_want_of_room_a_new_history_is_read_after_a_warm_only(clock: Clock) -> None:
    cache = shared(clock, bound=2)
    cache.connected("a")
    cache.told([told(1), told(2), told(3)], "a")
    assert cache.readable == "a", "this history has heard of all"
    cache.connected("b")
    cache.paid(cache.next_owed(10), "b")
    seen = [cache.readable]
    assert cache.needs_warm
    cache.warms_anew()
    seen.append(cache.readable)
    assert seen == [None, "b"]


def test_owed_for_want_of_room_is_forgotten_and_a_warm_makes_it_good(clock: Clock) -> None:
    cache = shared(clock, bound=2)
    cache.connected("a")
    cache.owe([told(1), told(2), told(3)])
    taken = cache.next_owed(10)
    assert [t.key.message_id for t in taken] == [2, 3]
    cache.owe([told(4)])
    cache.paid(taken, "a")
    assert cache.needs_warm
    assert cache.readable is None


def test_the_cache_is_told_whose_row_it_was_where_that_is_known() -> None:
    write = told(1).write
    assert (write.operation, write.certain, write.state.id) == (Operation.DONE, True, UUID(int=1))
    assert not Told(Key(-1001, 1), None, 0).write.certain


def test_it_is_trusted_while_somebody_proves_it_complete(clock: Clock) -> None:
    cache = shared(clock)
    seen = [(cache.trusted, cache.readable)]
    steps: list[Callable[[], None]] = [
        lambda: cache.connected("a"),
        lambda: cache.proven(True),
        lambda: cache.owe([told(1)]),
        lambda: cache.paid(cache.next_owed(1), "a"),
        lambda: cache.proven(False),
    ]
    for step in steps:
        step()
        seen.append((cache.trusted, cache.readable))
    assert seen == [(None, None), (None, "a"), ("a", "a"), (None, None), ("a", "a"), (None, "a")]
    assert cache.reason == NOT_PROVEN
