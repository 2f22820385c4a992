"""What is told of troubles that come and go."""

import pytest

from telewarden.health import Damping

Look = tuple[float, str, str]
"""When it looked, what was down, what was told: each a space-separated list of names."""


def told(damping: Damping, now_s: float, down: str) -> str:
    found = damping.look(dict.fromkeys(down.split(), "its effect"), now_s=now_s, now=f"{now_s:g}")
    return " ".join(degradation.what for degradation in found)


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param([(0, "", ""), (1, "", "")], id="nothing is down"),
        pytest.param([(0, "redis", "redis")], id="what is down at the start is told at once"),
        pytest.param([(0, "", ""), (5, "redis", ""), (5.2, "", ""), (9, "", "")], id="a blip is never told"),
        pytest.param(
            [(0, "", ""), (5, "redis", ""), (5.9, "redis", ""), (6, "redis", "redis")],
            id="an outage is told when it has held",
        ),
        pytest.param(
            [(0, "redis", "redis"), (5, "", "redis"), (5.9, "", "redis"), (6, "", "")],
            id="coming back is told when it has held",
        ),
        pytest.param(
            [
                (0, "redis", "redis"),
                (5, "", "redis"),
                (5.5, "redis", "redis"),
                (6.4, "", "redis"),
                (7.3, "", "redis"),
                (7.4, "", ""),
            ],
            id="a blip of health inside an outage is never told",
        ),
        pytest.param(
            [(0, "", "")] + [(1 + n * 0.4, "redis" if n % 2 else "", "") for n in range(50)],
            id="what flaps all the time is not told as down",
        ),
        pytest.param(
            [(0, "redis", "redis")] + [(1 + n * 0.4, "redis" if n % 2 else "", "redis") for n in range(50)],
            id="what flaps all the time is not told as well either",
        ),
        pytest.param(
            [
                (0, "", ""),
                (5, "redis", ""),
                (5.5, "redis database", ""),
                (6, "redis database", "redis"),
                (6.5, "redis database", "redis database"),
                (7, "database", "redis database"),
                (8, "database", "database"),
            ],
            id="each for itself",
        ),
    ],
)
def test_a_change_is_told_when_it_has_held_for_a_moment(looks: list[Look]) -> None:
    damping = Damping(hold_s=1.0)
    assert [(now_s, down, told(damping, now_s, down)) for now_s, down, _ in looks] == looks


def test_since_is_when_it_began_and_the_effect_the_latest() -> None:
    damping = Damping(hold_s=1.0)
    damping.look({}, now_s=0, now="12:00")
    damping.look({"redis": "first"}, now_s=60, now="12:01")
    (degradation,) = damping.look({"redis": "then"}, now_s=120, now="12:02")
    assert (degradation.since, degradation.effect) == ("12:01", "then")
    (again,) = damping.look({"redis": "later"}, now_s=180, now="12:03")
    assert (again.since, again.effect) == ("12:01", "later")


def test_a_new_outage_begins_anew() -> None:
    damping = Damping(hold_s=1.0)
    damping.look({"redis": "x"}, now_s=0, now="12:00")
    damping.look({}, now_s=60, now="12:01")
    assert damping.look({}, now_s=61, now="12:01:01") == []
    damping.look({"redis": "x"}, now_s=120, now="12:02")
    (degradation,) = damping.look({"redis": "x"}, now_s=121, now="12:02:01")
    assert degradation.since == "12:02"
