"""Each rule of the protocol is needed, and the simulation would notice if it were broken."""

import pytest

from simulation.rules import CRASHES, CUTS, FAIL_OVERS, FLUSHES, RULES, SLOW_APPLIER, SLOW_WARM, SPLIT, Stage
from simulation.world import run_schedule

pytestmark = pytest.mark.suite("simulation")

STAGES = {
    "fail-overs": FAIL_OVERS,
    "crashes": CRASHES,
    "flushes": FLUSHES,
    "cuts": CUTS,
    "slow applier": SLOW_APPLIER,
    "slow warm": SLOW_WARM,
    "split": SPLIT,
}
HELD = 20
"""Schedules a stage, with every rule in force."""


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


@pytest.mark.parametrize("stage", STAGES.values(), ids=list(STAGES))
def test_the_protocol_holds_also_where_a_rule_matters_most(stage: Stage, seed: int) -> None:
    for number in range(HELD):
        outcome = run_schedule(seed, number, stage.setup)
        assert outcome.violation is None, f"schedule {number} of seed {seed}: {outcome.violation}"
