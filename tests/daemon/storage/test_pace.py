"""How fast a warm goes, on times that the test gives it."""

import pytest

from telewarden.storage.pace import (
    BUSY_S,
    FIRST,
    LARGEST,
    LONGEST_PAGE_S,
    LONGEST_PAUSE_S,
    SMALLEST,
    WarmPace,
)


def test_without_traffic_it_never_rests_and_pages_grow() -> None:
    pace = WarmPace()
    rests = [pace.wrote(0.005, 0.002, traffic=7, now_s=turn) for turn in range(20)]
    assert set(rests) == {0.0}
    assert pace.size == LARGEST


def test_with_traffic_it_rests_as_long_as_it_works_and_pages_are_small() -> None:
    pace = WarmPace(share=0.5)
    for turn in range(20):
        pace.wrote(0.005, 0.002, traffic=7, now_s=turn / 100)
    assert pace.wrote(0.02, 0.01, traffic=8, now_s=1.0) == pytest.approx(0.02)
    assert pace.size == FIRST
    # A page later no poll has come; the traffic is not over for that.
    assert pace.wrote(0.02, 0.01, traffic=8, now_s=1.0 + BUSY_S / 2) == pytest.approx(0.02)
    assert pace.wrote(0.02, 0.01, traffic=8, now_s=1.0 + BUSY_S) == 0.0


def test_a_smaller_share_rests_longer_and_never_too_long() -> None:
    pace = WarmPace(share=0.25)
    pace.wrote(0.01, 0.01, traffic=0, now_s=0.0)
    assert pace.wrote(0.01, 0.01, traffic=1, now_s=0.1) == pytest.approx(0.03)
    assert pace.wrote(9.0, 0.01, traffic=2, now_s=0.2) == LONGEST_PAUSE_S
    with pytest.raises(ValueError, match="share"):
        WarmPace(share=0)


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
