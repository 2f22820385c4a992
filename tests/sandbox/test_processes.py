import os
import socket
import sys
from pathlib import Path

import anyio
import pytest

from sandbox.leftovers import processes_in
from telewarden.sandbox import ports
from telewarden.sandbox.accounts import Account, server_account
from telewarden.sandbox.postgres import EmbeddedPostgres, embedded_bin
from telewarden.sandbox.processes import ServerFailed, ServerProcess

pytestmark = pytest.mark.anyio


def python(folder: Path, code: str) -> ServerProcess:
    """A server that is some lines of Python."""
    program = Path(sys.executable).resolve()
    return ServerProcess(
        "Snake", [program, "-I", "-c", code], folder=folder, log_file=folder / "log", account=None
    )


async def never() -> bool:
    return False


async def at_once() -> bool:
    return True


async def test_an_early_end_is_told_with_its_status_and_last_lines(tmp_path: Path) -> None:
    snake = python(tmp_path, "import sys; print('out'); sys.exit('no teeth')")
    with pytest.raises(ServerFailed, match=r"(?s)Snake ended while starting, with status 1.*no teeth"):
        await snake.start(never, 10)
    assert not snake.running


async def test_only_lines_of_the_last_start_are_told(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("of yesterday\n")
    with pytest.raises(ServerFailed) as failed:
        await python(tmp_path, "raise SystemExit('of today')").start(never, 10)
    assert "of today" in str(failed.value)
    assert "of yesterday" not in str(failed.value)


async def test_one_that_never_answers_is_killed_at_the_deadline(tmp_path: Path) -> None:
    snake = python(tmp_path, "import signal; signal.pause()")
    with pytest.raises(ServerFailed, match=r"did not answer within 0\.3 s"):
        await snake.start(never, 0.3)
    assert not snake.running
    assert processes_in(tmp_path) == []


async def test_one_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    snake = python(
        tmp_path,
        "import pathlib, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(ready)!r}).touch()\nwhile True: signal.pause()",
    )

    async def is_ready() -> bool:
        return ready.exists()

    await snake.start(is_ready, 10)
    await snake.stop(0.2)
    assert processes_in(tmp_path) == []


async def test_it_is_not_started_twice(tmp_path: Path) -> None:
    snake = python(tmp_path, "import signal; signal.pause()")
    await snake.start(at_once, 10)
    with pytest.raises(ServerFailed, match="runs already"):
        await snake.start(at_once, 10)
    await snake.kill()


async def test_a_kill_right_after_the_start_works(tmp_path: Path) -> None:
    snake = python(tmp_path, "import signal; signal.pause()")
    await snake.start(at_once, 10)
    with anyio.fail_after(5):
        await snake.kill()
    assert processes_in(tmp_path) == []


async def test_a_missing_program_is_told(tmp_path: Path) -> None:
    server = ServerProcess(
        "Ghost", ["/nonexistent/ghost"], folder=tmp_path, log_file=tmp_path / "log", account=None
    )
    with pytest.raises(ServerFailed, match="cannot start /nonexistent/ghost"):
        await server.start(never, 10)


async def test_a_server_gets_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    snake = python(tmp_path, "import os, sys; sys.exit(str(sorted(os.environ)))")
    with pytest.raises(ServerFailed, match=r"\['LC_ALL', 'PATH', 'TZ'\]"):
        await snake.start(never, 10)


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
async def test_programs_and_data_may_be_where_the_other_user_cannot_go(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "bin").symlink_to(embedded_bin())
    account = server_account()
    assert account is not None
    assert not account.may_pass(closed / "bin")
    async with EmbeddedPostgres.start(closed / "postgres", bin_folder=closed / "bin") as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == account.uid


def test_permission_bits_decide_who_may_pass(tmp_path: Path) -> None:
    somebody, owner = Account(54321, 54321), Account(tmp_path.stat().st_uid, tmp_path.stat().st_gid)
    tmp_path.chmod(0o700)
    assert not somebody.may_pass(tmp_path / "file")
    tmp_path.chmod(0o077)
    assert not owner.may_pass(tmp_path / "file")
    tmp_path.chmod(0o700)


def test_a_free_port_is_not_one_that_outgoing_connections_get() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if lowest < 11_000:
        pytest.skip("this machine leaves no room below that range")
    assert all(10_000 <= ports.free_port() < lowest for _ in range(50))


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        number = taken.getsockname()[1]
        offered = iter([number, number, 12_345, 12_346, 12_347])
        monkeypatch.setattr("random.randint", lambda low, high: next(offered))
        assert ports.free_port() != number
