"""The room on the journal's disk."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from telewarden.storage.free_space import LOOK_S, FreeSpace


def test_it_is_what_the_disk_says(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    assert FreeSpace(tmp_path)() == pytest.approx(found.f_bavail * found.f_frsize, rel=0.1)


def test_it_is_looked_at_again_only_when_the_last_answer_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: Iterator[int] = iter((10, 5, 0))
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=next(blocks), f_frsize=4096))
    times = iter((0.0, LOOK_S / 2, LOOK_S, LOOK_S * 1.5, LOOK_S * 9))
    free = FreeSpace(tmp_path, clock_s=lambda: next(times))
    assert [free() for _ in range(5)] == [40_960, 40_960, 20_480, 20_480, 0]
