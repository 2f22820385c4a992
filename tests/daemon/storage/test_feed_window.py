"""The newest events in memory: nothing left out, nothing twice, and only those wake who wait for what came."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telewarden.storage.feed_window import FeedWindow, Filter
from telewarden_http.v1.feed_protocols import KINDS, FeedEvent
from telewarden_http.v1.token import BEGINNING, Position

pytestmark = pytest.mark.anyio
ALL = Filter(None, frozenset(KINDS))


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


def event(number: int, channel: int = -1, kind: str = "posted", size: int = 1) -> FeedEvent:
    return FeedEvent(Position(1, number), channel, kind, b"x" * size)


def window_of(*events: FeedEvent, most_events: int = 100, most_bytes: int = 10_000) -> FeedWindow:
    window = FeedWindow(most_events=most_events, most_bytes=most_bytes)
    window.begin(BEGINNING)
    for each in events:
        window.extend([each], each.position)
    return window


def test_what_it_gives_goes_on_where_the_last_answer_ended() -> None:
    window = window_of(event(1), event(4), event(6))
    first = window.after(BEGINNING, ALL, 2)
    assert ([e.position.position for e in first.events], first.next, first.more) == ([1, 4], (1, 4), True)
    second = window.after(first.next, ALL, 2)
    assert ([e.position.position for e in second.events], second.next, second.more) == ([6], (1, 6), False)
    window.extend([], Position(1, 9))
    assert window.after(second.next, ALL, 2) == ([], (1, 9), False), "nothing happened up to there"


def test_a_place_beyond_its_head_stays_where_it_is() -> None:
    window = window_of(event(1))
    assert window.after(Position(1, 5), ALL, 10).next == (1, 5)
    window.extend([event(3), event(6)], Position(1, 7))
    assert [e.position.position for e in window.after(Position(1, 5), ALL, 10).events] == [6]


def test_it_says_so_where_it_does_not_reach_back() -> None:
    window = window_of(*(event(n) for n in range(1, 31)), most_events=10)
    assert len(window) <= 11
    assert not window.covers(BEGINNING)
    assert window.matches_after(BEGINNING, [-2], KINDS), "the database has to be asked"
    with pytest.raises(LookupError):
        window.after(BEGINNING, ALL, 10)
    start = window.start
    assert start is not None
    numbers = [e.position.position for e in window.after(start, ALL, 100).events]
    assert numbers == list(range(start.position + 1, 31))


def test_it_is_bounded_in_bytes() -> None:
    window = window_of(*(event(n, size=100) for n in range(1, 31)), most_bytes=1000)
    assert window.size_bytes <= 1000
    assert window.size_bytes == 100 * len(window) > 0


def test_what_does_not_follow_is_refused() -> None:
    window = window_of(event(1), event(4))
    for wrong in ([event(4)], [event(6), event(5)], [event(3)]):
        with pytest.raises(ValueError, match="does not follow"):
            window.extend(wrong, Position(1, 9))
    with pytest.raises(ValueError, match="cannot go on"):
        window.extend([event(6)], Position(1, 5))
    with pytest.raises(ValueError, match="go back"):
        window.begin(Position(1, 3))


def test_what_is_not_kept_any_more_is_forgotten() -> None:
    window = window_of(event(1), event(4), event(6))
    window.forget(Position(1, 5))
    assert (window.start, len(window)) == ((1, 5), 1)
    window.forget(Position(1, 2))
    assert window.start == (1, 5)
    window.forget(Position(2, 5))
    assert (window.start, window.head, len(window)) == ((1, 6), (1, 6), 0)


@given(
    st.lists(st.tuples(st.integers(-3, -1), st.sampled_from(KINDS), st.integers(1, 3)), max_size=40),
    st.sets(st.integers(-3, -1)),
    st.sets(st.sampled_from(KINDS)),
    st.integers(1, 5),
    st.integers(3, 15),
)
def test_reading_page_by_page_gives_each_event_that_matches_once(
    steps: list[tuple[int, str, int]], channels: set[int], kinds: set[str], limit: int, most: int
) -> None:
    window = FeedWindow(most_events=most)
    window.begin(BEGINNING)
    wanted = Filter(frozenset(channels), frozenset(kinds))
    number, cursor = 0, BEGINNING
    expected: list[FeedEvent] = []
    got: list[FeedEvent] = []
    for channel, kind, gap in steps:
        number += gap
        new = event(number, channel, kind)
        window.extend([new], new.position)
        expected += [new] if wanted.wants(new) else []
        assert window.matches_after(cursor, channels, kinds) == (got != expected)
        # A reader that pauses, though never for longer than memory lasts.
        if number % 2 or number - cursor.position > most // 2:
            while window.matches_after(cursor, channels, kinds):
                page = window.after(cursor, wanted, limit)
                got, cursor = got + list(page.events), page.next
            cursor = window.after(cursor, wanted, limit).next
    got += window.after(cursor, wanted, 100).events
    assert got == expected


async def test_only_those_wake_who_wait_for_what_came() -> None:
    window = window_of(event(1))
    woken: list[str] = []

    async def wait(name: str, wanted: Filter) -> None:
        with window.waiter(wanted) as signal:
            await signal.wait()
        woken.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "all", ALL)
        tasks.start_soon(wait, "other", Filter(frozenset([-2]), frozenset(KINDS)))
        tasks.start_soon(wait, "edits", Filter(None, frozenset(["edited"])))
        await anyio.wait_all_tasks_blocked()
        assert window.waiting == 3
        window.extend([], Position(1, 2))
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        window.extend([event(3)], Position(1, 3))
        await anyio.wait_all_tasks_blocked()
        assert woken == ["all"]
        window.extend([event(4, -2, "edited")], Position(1, 4))
    assert set(woken) == {"all", "other", "edits"}
    assert window.waiting == 0
