"""`telewarden bench --only cache --json` measures every figure and says it in the promised shape."""

import pytest

from support.benches import measured
from telewarden.sandbox import bench_cache, bench_failover

pytestmark = pytest.mark.integration


def test_every_figure_is_measured_beside_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = bench_cache.Sizes(
        limits=(1, 10),
        polls=5,
        looks=5,
        applied=400,
        rounds=1,
        warmed=2_000,
        live_per_s=50,
        live_s=0.2,
        frozen_polls=5,
    )
    monkeypatch.setattr(bench_cache, "SIZES", tiny)
    monkeypatch.setattr(bench_failover, "SIZES", bench_failover.Sizes(kills=1, waiting=5))
    figures = measured("cache")
    units = {name: figure["unit"] for name, figure in figures.items()}
    assert units == {
        "cache_poll_1": "ms",
        "cache_poll_10": "ms",
        "seen_check": "ms",
        "seen_check_p95": "ms",
        "frozen_cache_costs": "ms",
        "applier_events": "events/s",
        "warm_2000": "s",
        "live_polls_p95_beside_a_warm": "ms",
        "kill_to_cache": "s",
        "polls_failed_meanwhile": "polls",
    }
    assert figures["polls_failed_meanwhile"]["value"] == 0
    counted = {"polls_failed_meanwhile", "frozen_cache_costs"}
    for figure in [figures[name] for name in units.keys() - counted]:
        assert figure["value"] > 0
        assert figure["floor"] > 0
