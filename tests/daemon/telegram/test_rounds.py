"""Which channels are compared in which round."""

import random

from telewarden.telegram.rounds import ROUNDS, CompareRounds


def test_those_that_changed_come_first_and_once() -> None:
    rounds = CompareRounds()
    counts = dict.fromkeys(range(30), 5)
    for channel_id in counts:
        rounds.compared(channel_id, 5)
    counts[17] = 6
    assert rounds.choose(counts, 100)[0] == 17
    rounds.compared(17, 6)
    assert 17 not in rounds.choose(counts, 100)


def test_every_channel_has_its_turn_within_the_rounds() -> None:
    rounds, counts = CompareRounds(), dict.fromkeys(range(100), 5)
    for channel_id in rounds.choose(counts, 1000):
        rounds.compared(channel_id, 5)
    seen: set[int] = set()
    for _ in range(ROUNDS):
        for channel_id in rounds.choose(counts, 1000):
            rounds.compared(channel_id, 5)
            seen.add(channel_id)
    assert seen == set(counts)


def test_the_budget_bounds_each_round_and_starves_nobody() -> None:
    rounds, dice = CompareRounds(), random.Random(1)
    counts = dict.fromkeys(range(50), 1)
    last_seen = dict.fromkeys(counts, 0)
    for number in range(1, 200):
        # Three busy channels change all the time.
        for busy in (1, 2, 3):
            counts[busy] += dice.randrange(2)
        chosen = rounds.choose(counts, 5)
        assert len(chosen) <= 5
        for channel_id in chosen:
            rounds.compared(channel_id, counts[channel_id])
            last_seen[channel_id] = number
        assert number - min(last_seen.values()) <= 50


def test_something_is_compared_however_small_the_budget() -> None:
    assert len(CompareRounds().choose({1: 1, 2: 1}, 0)) == 1
