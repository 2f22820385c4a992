"""`telewarden bench --only storage --json` measures every figure and says it in the promised shape."""

import pytest

from support.benches import measured
from telewarden.sandbox import bench_storage

pytestmark = pytest.mark.integration


def test_every_figure_is_measured_beside_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = bench_storage.Sizes(
        written=100,
        rounds=1,
        drained=500,
        tables=(4_000, 8_000),
        polls=5,
        acknowledgements=20,
        at_once=(1, 4),
    )
    monkeypatch.setattr(bench_storage, "SIZES", tiny)
    figures = measured("storage")
    units = {name: figure["unit"] for name, figure in figures.items()}
    assert units == {
        "writer_rows": "rows/s",
        "acknowledge_p95_1": "ms",
        "acknowledge_p95_4": "ms",
        "drain_beside_live": "events/s",
        "live_accept_p95": "ms",
        "poll_4000_rows": "ms",
        "poll_8000_rows": "ms",
        "poll_flat": "ms",
    }
    for figure in figures.values():
        assert figure["value"] > 0
        assert figure["floor"] > 0
