"""Each rule of the protocol is needed, and the simulation would notice if it were broken."""

import pytest

from simulation.rules import RULES
from simulation.world import run_schedule

pytestmark = pytest.mark.suite("simulation")


@pytest.mark.parametrize("name", RULES)
def test_a_broken_rule_is_found(name: str, seed: int) -> None:
    rule = RULES[name]
    with rule.broken() as setup:
        for number in range(rule.within):
            outcome = run_schedule(seed, number, setup)
            if outcome.violation is not None:
                print(f"{name}: found in schedule {number} of seed {seed}: {outcome.violation}")
                return
    pytest.fail(
        f'nobody noticed in {rule.within} schedules of seed {seed} that this was broken: "{rule.text}"'
    )
