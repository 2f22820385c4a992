"""The cache's protocol under random schedules: the real parts on stand-ins for their servers, on virtual time.

`make test` runs 1,000 schedules; `make chaos ARGS="--suite simulation --schedules 20000 --seed 7"` any number. A
failure names the options that replay its schedule and print each of its steps.
"""

from collections import Counter

import pytest

from simulation.rules import RULES
from simulation.world import Outcome, run_schedule
from telewarden_http.protocols import Source

pytestmark = pytest.mark.suite("simulation")

CACHE_SHARE = 0.15
"""Of all polls, amid the faults: with less, the cache would not be tried much."""


def _run(request: pytest.FixtureRequest, seed: int, number: int) -> Outcome:
    alone, without = request.config.getoption("--replay") is not None, request.config.getoption("--without")
    if without is None:
        return run_schedule(seed, number, log=alone)
    with RULES[without].broken() as setup:
        return run_schedule(seed, number, setup, log=alone)


def test_the_protocol_holds(
    block: range, seed: int, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    polls: Counter[str] = Counter()
    for number in block:
        outcome = _run(request, seed, number)
        if outcome.log:
            with capsys.disabled():
                print("", *outcome.log, sep="\n")
        assert outcome.violation is None, (
            f"schedule {number} of seed {seed}: {outcome.violation}\n"
            f'replay it: make chaos ARGS="--suite simulation --seed {seed} --replay {number}"'
        )
        polls += outcome.polls
    answered = sum(polls[source] for source in Source)
    print(f"seed {seed}: {dict(polls)}")
    if len(block) > 1:
        assert polls[Source.CACHE] > CACHE_SHARE * answered, f"the cache hardly ever answers: {polls}"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_schedule_is_the_same_each_time(number: int, seed: int) -> None:
    first, second = (run_schedule(seed, number, log=True) for _ in range(2))
    assert first.log == second.log
    assert len(first.log) > 100
