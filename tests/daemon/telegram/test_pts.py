"""Which changes are accounted for, by Telegram's count."""

import random

import pytest

from telewarden.telegram.feed import Push
from telewarden.telegram.pts import PushedAhead, follow

NEWS, SIGNALS = -1001, -1002


def push(pts: int, count: int = 1, channel_id: int = NEWS) -> Push:
    return Push(channel_id, (), pts, count)


def test_pushes_that_follow_each_other_move_the_count() -> None:
    assert follow([push(11), push(13, 2), push(8, channel_id=SIGNALS)], {NEWS: 10, SIGNALS: 7}) == (
        {NEWS: 13, SIGNALS: 8},
        [],
    )


def test_a_repeated_or_old_push_moves_nothing() -> None:
    assert follow([push(10), push(4), push(11), push(11)], {NEWS: 10}) == ({NEWS: 11}, [])


def test_after_a_gap_nothing_moves_and_the_pushes_are_told() -> None:
    late = [push(12), push(13)]
    assert follow(late, {NEWS: 10}) == ({}, late)


def test_without_a_known_count_nothing_is_known() -> None:
    assert follow([push(12)], {NEWS: 0}) == ({}, [push(12)])


def test_what_came_ahead_counts_once_the_gap_is_read() -> None:
    ahead = PushedAhead()
    for pts in (13, 12, 15):
        ahead.keep(push(pts))
    ahead.keep(push(99, channel_id=SIGNALS))
    assert ahead.extend(NEWS, 10) == 10
    assert ahead.extend(NEWS, 11) == 13
    assert ahead.extend(NEWS, 14) == 15
    assert ahead.extend(NEWS, 15) == 15


@pytest.mark.parametrize("seed", range(20))
def test_the_count_never_passes_a_change_that_was_not_seen(seed: int) -> None:
    dice = random.Random(seed)
    ahead, known, seen = PushedAhead(), 1, {1}
    for top in range(2, 300):
        if dice.random() < 0.8:
            moved, late = follow([push(top)], {NEWS: known})
            seen.add(top)
            known = moved.get(NEWS, known)
            for one in late:
                ahead.keep(one)
        if dice.random() < 0.1:
            # A difference up to some change between what is known and what happened.
            reached = dice.randint(known, top)
            seen.update(range(known, reached + 1))
            known = max(known, ahead.extend(NEWS, reached))
        assert set(range(1, known + 1)) <= seen
