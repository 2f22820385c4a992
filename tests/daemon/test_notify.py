"""What a service manager is told."""

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from telewarden.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "socket.socket":
    path = tmp_path / "notify"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(path))
    listening.settimeout(2)
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    return listening


def test_any_text_arrives_as_utf8_on_one_line(manager: "socket.socket") -> None:
    with manager, closing(Notifier()) as notifier:
        notifier.ready("fällt aus · 数据库\nREADY=0")
        assert manager.recv(4096).decode() == "READY=1\nSTATUS=fällt aus · 数据库 READY=0"


def test_the_watchdog_is_that_of_this_process_only() -> None:
    def watchdog_s(**environment: str) -> float | None:
        with closing(Notifier(environment)) as notifier:
            return notifier.watchdog_s

    assert watchdog_s(WATCHDOG_USEC="3000000") == 3.0
    assert watchdog_s(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid())) == 3.0
    assert watchdog_s(WATCHDOG_USEC="3000000", WATCHDOG_PID="1") is None
    assert watchdog_s(WATCHDOG_USEC="soon") is None
    assert watchdog_s() is None


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with closing(Notifier()) as notifier:
        notifier.status("nobody listens")
