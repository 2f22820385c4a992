"""When watched channels are asked, on times that the test gives."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from telewarden.telegram.watch import WatchPlan


def plan(rate_per_s: float = 20.0, first: tuple[int, ...] = ()) -> WatchPlan:
    return WatchPlan(rate_per_s=rate_per_s, fastest_s=1.0, slowest_s=15.0, first=first)


def asked(watch: WatchPlan, seconds: float, news: frozenset[int] = frozenset()) -> dict[int, list[float]]:
    """When each channel is asked, if every answer comes at once; news: those that always have some."""
    found: dict[int, list[float]] = {}
    now_s = 0.0
    while now_s < seconds:
        while (channel_id := watch.take(now_s)) is not None:
            found.setdefault(channel_id, []).append(now_s)
            watch.answered(channel_id, now_s, has_news=channel_id in news)
        wait_s = watch.wait_s(now_s)
        now_s += max(wait_s if wait_s is not None else 1.0, 1e-6)
    return found


def longest_gap(times_s: list[float]) -> float:
    return max(later - earlier for earlier, later in pairwise(times_s))


def test_few_channels_are_each_asked_every_second() -> None:
    watch = plan()
    watch.watch(range(20), 0.0)
    found = asked(watch, 60)
    assert found.keys() == set(range(20))
    assert max(map(longest_gap, found.values())) < 1.2


def test_many_channels_share_the_rate_and_none_waits_longer_than_stated() -> None:
    watch = plan()
    watch.watch(range(300), 0.0)
    assert watch.interval_s == 15.0
    found = asked(watch, 120)
    assert len(found) == 300
    assert max(map(longest_gap, found.values())) <= 15.5
    assert sum(map(len, found.values())) / 120 < 21


def test_more_than_the_rate_allows_are_left_out_the_first_ones_last() -> None:
    watch = plan(rate_per_s=1.0, first=(7, 29))
    watch.watch(range(30), 0.0)
    assert watch.most == 15
    assert watch.channel_ids == {29, *range(14)}


def test_a_quiet_channel_is_asked_less_often_and_one_with_news_as_often_as_can_be() -> None:
    watch = plan(first=(3,))
    watch.watch((1, 2, 3), 0.0)
    found = asked(watch, 3600 * 3, news=frozenset({1}))
    assert longest_gap(found[1]) < 1.1
    assert longest_gap(found[3]) < 1.1
    assert 10 < longest_gap(found[2]) <= 15
    watch.has_news(2, 3600 * 3)
    again = asked_from(watch, 3600 * 3, 30)
    assert longest_gap(again[2][1:]) < 1.2


def asked_from(watch: WatchPlan, start_s: float, seconds: float) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    now_s = start_s
    while now_s < start_s + seconds:
        while (channel_id := watch.take(now_s)) is not None:
            found.setdefault(channel_id, []).append(now_s)
            watch.answered(channel_id, now_s, has_news=False)
        now_s += max(watch.wait_s(now_s) or 0.0, 1e-6)
    return found


def test_a_flood_wait_slows_watching_down_and_it_comes_back() -> None:
    watch = plan()
    watch.watch(range(20), 0.0)
    assert watch.interval_s == 1.0
    channel_id = watch.take(1.0)
    assert channel_id is not None
    watch.flooded(channel_id, 1.0, 40.0)
    assert watch.interval_s == 2.0
    found = asked_from(watch, 1.0, 100)
    assert found[channel_id][0] >= 41.0
    assert watch.interval_s == 1.0


def test_a_channel_that_is_no_longer_watched_is_not_asked() -> None:
    watch = plan()
    watch.watch((1, 2), 0.0)
    taken = watch.take(1.0)
    watch.watch((2,) if taken == 1 else (1,), 1.0)
    assert taken is not None
    watch.answered(taken, 1.0, has_news=True)
    assert taken not in asked_from(watch, 1.0, 10)


@given(st.lists(st.tuples(st.sampled_from("awfn"), st.integers(0, 5)), max_size=100))
def test_whatever_happens_no_channel_is_asked_twice_at_once_or_forgotten(
    steps: list[tuple[str, int]],
) -> None:
    watch, now_s, out = plan(), 0.0, set[int]()
    watch.watch(range(6), now_s)
    for step, channel_id in steps:
        now_s += 0.7
        while (taken := watch.take(now_s)) is not None:
            assert taken not in out
            out.add(taken)
        if channel_id in out:
            if step == "a":
                watch.answered(channel_id, now_s, has_news=False)
            elif step == "f":
                watch.flooded(channel_id, now_s, 3.0)
            elif step == "w":
                watch.put_off(channel_id, now_s, 0.0)
            if step != "n":
                out.discard(channel_id)
        elif step == "n":
            watch.has_news(channel_id, now_s)
    for channel_id in out:
        watch.answered(channel_id, now_s, has_news=False)
    assert asked_from(watch, now_s, 400).keys() == set(range(6))
