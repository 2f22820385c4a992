"""No server outlives the process that started it, however that ends."""

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.leftovers import nothing_runs_in, processes_in
from telewarden.sandbox import processes
from telewarden.sandbox.accounts import Account

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SCRIPT = Path(__file__).with_name("start_servers.py")
LAUNCHER = Path(processes.__file__).with_name("launcher.py")
# initdb asks for its user's name, so it has to be one that exists.
SOMEBODY = Account(pwd.getpwnam("daemon").pw_uid, pwd.getpwnam("daemon").pw_gid)


@contextmanager
def parent(
    folder: Path, *, loop: str = "asyncio", state: str = "running", before: Sequence[str] = ()
) -> Iterator[tuple["subprocess.Popen[str]", dict[str, int]]]:
    """A process that has started both servers, and what it tells of them."""
    command = [*before, sys.executable, str(SCRIPT), str(folder), loop, state]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("state", ["running", "busy", "suspended"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_servers_end_when_their_parent_is_killed(tmp_path: Path, loop: str, state: str) -> None:
    with parent(tmp_path, loop=loop, state=state) as (process, pids):
        assert {pids["postgres"], pids["valkey"]} < set(processes_in(tmp_path))
        process.kill()
        process.wait()
        await nothing_runs_in(tmp_path)


async def test_a_terminals_interrupt_does_not_reach_them_past_their_parent(tmp_path: Path) -> None:
    with parent(tmp_path) as (process, pids):
        groups = {os.getpgid(pid) for pid in (pids["postgres"], pids["valkey"])}
        assert os.getpgid(process.pid) not in groups
        assert len(groups) == 2


async def test_an_interrupted_parent_stops_them(tmp_path: Path) -> None:
    with parent(tmp_path) as (process, _):
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_root_starts_them_as_another_user(tmp_path: Path) -> None:
    with parent(tmp_path) as (_, facts):
        assert facts["answer"] == 1
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in processes_in(tmp_path)}
        assert 0 not in owners
        assert len(owners) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_any_user_starts_them_as_itself(tmp_path: Path) -> None:
    SOMEBODY.own(tmp_path)
    become = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), "9"]
    # "search": the interpreter and the folder may be where other users cannot go.
    as_somebody = [*become, f"{SOMEBODY.uid}:{SOMEBODY.gid}", "search"]
    with parent(tmp_path, before=as_somebody) as (process, facts):
        assert facts["answer"] == 1
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in (facts["postgres"], facts["valkey"])}
        assert owners == {SOMEBODY.uid}
        process.kill()
        process.wait()
        await nothing_runs_in(tmp_path)
