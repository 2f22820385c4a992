"""`telewarden bench --only supervision --json` measures every figure and says it in the promised shape."""

import pytest

from support.benches import measured
from telewarden.sandbox import bench_supervision
from telewarden.sandbox.figures import Figure


def test_every_figure_is_measured_beside_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = bench_supervision.Sizes(
        beats=50, rounds=3, crashes=5, crash_rounds=2, children=10, idle_s=0.05, idle_rounds=2
    )
    monkeypatch.setattr(bench_supervision, "SIZES", tiny)
    figures = measured("supervision")
    units = {name: figure["unit"] for name, figure in figures.items()}
    assert units == {
        "beat": "µs",
        "crash_to_ready": "µs",
        "idle_cpu": "ms/s",
        "idle_cpu_beating": "ms/s",
        "memory": "MB",
        "memory_per_child": "KB",
    }


def test_a_goal_can_be_set_for_the_ratio() -> None:
    twice = Figure(6.0, "µs", 3.0, "<=", 2.0, of="ratio")
    assert twice.met
    assert twice.as_json()["goal"] == "ratio <= 2"
    assert not Figure(6.1, "µs", 3.0, "<=", 2.0, of="ratio").met


def test_a_goal_for_the_ratio_is_not_met_without_a_floor() -> None:
    lost = Figure(6.0, "µs", 0.0, "<=", 2.0, of="ratio")
    assert not lost.met
    assert lost.as_json()["ratio"] is None
