"""How fast a warm goes, on times that the test gives it."""

import pytest

from telewarden.storage.pace import (
    BUSY_S,
    FIRST,
    FIRST_SHARE,
    LARGEST,
    LATE_S,
    LEAST_SHARE,
    LONGEST_PAGE_S,
    LONGEST_REST_S,
    MOST_SHARE,
    SMALLEST,
    WarmPace,
)


def test_without_traffic_it_never_rests_and_pages_grow() -> None:
    pace = WarmPace()
    rests = [pace.wrote(0.005, 0.002, traffic=7, now_s=turn) for turn in range(20)]
    assert set(rests) == {0.0}
    assert pace.size == LARGEST


def test_with_traffic_it_rests_and_pages_are_small() -> None:
    pace = WarmPace()
    for turn in range(20):
        pace.wrote(0.005, 0.002, traffic=7, now_s=turn / 100)
    rest_s = pace.wrote(0.02, 0.01, traffic=8, now_s=1.0)
    assert rest_s == pytest.approx(0.02 * (1 - FIRST_SHARE) / FIRST_SHARE)
    assert pace.size == FIRST
    # A page later no poll has come; the traffic is not over for that.
    assert pace.wrote(0.02, 0.01, traffic=8, now_s=1.0 + BUSY_S / 2) == pytest.approx(rest_s)
    assert pace.wrote(0.02, 0.01, traffic=8, now_s=1.0 + BUSY_S) == 0.0


def test_where_rests_end_late_it_works_less_and_never_not_at_all() -> None:
    pace = WarmPace()
    pace.wrote(0.01, 0.01, traffic=0, now_s=0.0)
    for _ in range(100):
        pace.rested(0.01, 0.01 + 2 * LATE_S)
    assert pace.share == LEAST_SHARE
    assert pace.wrote(0.01, 0.01, traffic=1, now_s=0.1) == pytest.approx(0.09)
    assert pace.wrote(9.0, 0.01, traffic=2, now_s=0.2) == LONGEST_REST_S


def test_where_rests_end_in_time_it_works_more_and_never_without_a_rest() -> None:
    pace = WarmPace()
    pace.rested(0.01, 0.01 + LATE_S / 2)
    assert FIRST_SHARE < pace.share < MOST_SHARE
    for _ in range(100):
        pace.rested(0.01, 0.01)
    assert pace.share == MOST_SHARE
    pace.wrote(0.009, 0.01, traffic=0, now_s=0.0)
    assert pace.wrote(0.009, 0.01, traffic=1, now_s=0.1) == pytest.approx(0.00225)
    pace.rested(0.01, 1.0)
    assert pace.share < MOST_SHARE


def test_a_page_that_took_long_or_did_not_get_through_is_followed_by_smaller_ones() -> None:
    pace = WarmPace()
    pace.wrote(1.0, LONGEST_PAGE_S * 2, traffic=0, now_s=0.0)
    assert pace.size == FIRST // 2
    for _ in range(10):
        pace.failed()
    assert pace.size == SMALLEST
    # One that takes neither long nor little changes nothing.
    pace.wrote(1.0, LONGEST_PAGE_S * 0.75, traffic=0, now_s=1.0)
    assert pace.size == SMALLEST
