"""`telewarden bench --only api --json` measures every figure and says it in the promised shape."""

import pytest

from support.benches import measured
from telewarden.sandbox import bench_api

pytestmark = pytest.mark.integration


def test_every_figure_is_measured_beside_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = bench_api.Sizes(
        polls=5,
        connections=2,
        rounds=1,
        round_s=0.1,
        looks=5,
        acknowledged=5,
        waiting=5,
        slow=5,
        slow_polls=5,
        slow_rounds=1,
        settle_s=0.1,
    )
    monkeypatch.setattr(bench_api, "SIZES", tiny)
    figures = measured("api")
    units = {name: figure["unit"] for name, figure in figures.items()}
    assert units == {
        "api_poll_100_p50": "ms",
        "api_poll_100_p95": "ms",
        "api_polls_at_2": "polls/s",
        "api_polls_by_2_processes": "polls/s",
        "api_seen_p95_above_floor": "ms",
        "api_poll_p95_beside_10_slow": "ms",
        "api_ack_p95_above_floor": "ms",
        "api_memory_of_one_of_5_waiting": "KiB",
        "api_post_to_the_last_of_5": "ms",
    }
    for name in units.keys() - {"api_memory_of_one_of_5_waiting"}:
        assert figures[name]["floor"] > 0
