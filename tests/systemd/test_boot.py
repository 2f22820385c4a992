"""The unit at work, in a systemd that is booted for it."""

import os
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio
import msgspec
import pytest

from support.boot_servers import FACTS, SETTINGS, STATE, USER, Facts
from support.booted import HIERARCHIES, PROGRAM, REPOSITORY, UNIT, CannotBoot, Machine, boot, obstacle
from telewarden.sandbox.telegram.control import Control

pytestmark = pytest.mark.anyio

SERVERS = f"""
[Service]
Type=notify
ExecStart={PROGRAM}/bin/python3 -m support.boot_servers
TimeoutStartSec=60
"""
SHORTER = "[Service]\nWatchdogSec=5\nRestartSec=100ms\n"
"""What the tests would else wait for; the rest of the unit is as it is, confinement and all. The watchdog comes late
enough for the daemon to say by itself, after 2 s, that its event loop is blocked."""


@dataclass
class Booted:
    """The machine, and what runs there beside the daemon."""

    machine: Machine
    facts: Facts

    async def get(self, path: str) -> int | None:
        """The status of an answer of the daemon's API; None while there is none."""
        answer = await self.machine.get(self.facts.port, path)
        return None if answer is None else answer[0]

    async def until_polled(self, text: str) -> None:
        """Until a poll brings a message."""
        path = f"/api/messages/unprocessed?channel={self.facts.channel}"
        with anyio.fail_after(15):
            while True:
                answer = await self.machine.get(self.facts.port, path, {"X-API-Key": self.facts.key})
                if answer is not None and answer[0] == 200 and text.encode() in answer[1]:
                    return
                await anyio.sleep(0.02)

    async def post(self, text: str) -> None:
        """A message in the channel."""
        async with Control.connect(self.machine.path(self.facts.control)) as control:
            await control.post(self.facts.channel, text)

    async def fault(self, worker: str, kind: str) -> None:
        """Break a worker. The one that freezes all of it may do so before the answer is out."""
        try:
            answer = await self.machine.control(command="fault", worker=worker, kind=kind)
        except anyio.EndOfStream:
            assert kind == "freeze"
        else:
            assert answer["ok"], answer

    @asynccontextmanager
    async def database_frozen(self) -> AsyncIterator[None]:
        """In this context the database takes no connections."""
        postmaster = str(self.facts.postmaster)
        await self.machine.run("kill", "-STOP", postmaster)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await self.machine.run("kill", "-CONT", postmaster)

    @asynccontextmanager
    async def restarted(self) -> AsyncIterator[str]:
        """What is done in this context makes systemd start a fresh process, which becomes ready.

        Gives an option for the journal: what it wrote since.
        """
        before = await self.machine.show("MainPID", "NRestarts")
        cursor = await self.machine.cursor()
        yield cursor
        await self.machine.until(
            NRestarts=str(int(before["NRestarts"]) + 1), ActiveState="active", SubState="running"
        )
        assert (await self.machine.show("MainPID"))["MainPID"] not in (before["MainPID"], "0")
        assert await self.get("/health/ready") == 200


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module: the machine is shared."""
    return "asyncio"


@pytest.fixture(scope="module")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Machine]:
    """A booted systemd with the unit installed, and not started."""
    if shutil.which("systemd-nspawn") is None:
        reason = "there is no systemd-nspawn (Debian package systemd-container)"
        if os.environ.get("TELEWARDEN_REQUIRE") == "all":
            pytest.fail(reason)
        pytest.skip(reason)
    # Even where everything is required: what a kernel or a container forbids cannot be installed.
    if (reason_here := obstacle()) is not None:
        pytest.skip(f"no systemd can be booted here: {reason_here}")
    text = (REPOSITORY / "systemd" / UNIT).read_text(encoding="utf-8")
    units = {
        UNIT: re.sub("^#LoadCredential", "LoadCredential", text, flags=re.MULTILINE),
        f"{UNIT}.d/test.conf": SHORTER,
        "servers.service": SERVERS,
    }
    async with AsyncExitStack() as stack:
        try:
            booted = await stack.enter_async_context(boot(tmp_path_factory.mktemp("boot"), units))
        except CannotBoot as why:
            pytest.skip(f"no systemd can be booted here: {why}")
        yield booted


@pytest.fixture(scope="module")
async def installed(machine: Machine) -> Booted:
    """It, with the servers that the daemon needs."""
    await machine.run("systemd-sysusers")
    await machine.start("servers.service")
    return Booted(machine, msgspec.json.decode(machine.path(str(FACTS)).read_bytes(), type=Facts))


@pytest.fixture
async def running(installed: Booted) -> Booted:
    """It, with the daemon started."""
    await installed.machine.start()
    return installed


async def test_start_returns_once_polls_are_answered_and_not_before(installed: Booted) -> None:
    machine = installed.machine
    returned = anyio.Event()

    async def start() -> None:
        await machine.start()
        returned.set()

    async with anyio.create_task_group() as tasks:
        async with installed.database_frozen():
            tasks.start_soon(start)
            with anyio.fail_after(15):
                while await installed.get("/health/ready") != 503:
                    await anyio.sleep(0.02)
            assert await installed.get("/health/live") == 200
            await machine.until(ActiveState="activating", SubState="start")
            with anyio.fail_after(15):
                while "not ready yet" not in (await machine.show("StatusText"))["StatusText"]:
                    await anyio.sleep(0.02)
            assert not returned.is_set()
        with anyio.fail_after(15):
            await returned.wait()
        assert await installed.get("/health/ready") == 200
    shown = await machine.show("ActiveState", "StatusText", "User", "NRestarts")
    assert "journal 0" in shown.pop("StatusText")
    assert shown == {"ActiveState": "active", "User": USER, "NRestarts": "0"}
    await installed.post("posted to a service")
    await installed.until_polled("posted to a service")


async def test_the_process_is_confined_and_shows_no_secret(running: Booted) -> None:
    pid = (await running.machine.show("MainPID"))["MainPID"]
    process = running.machine.path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0
    assert list((process / "root" / "root").iterdir()) == []
    assert running.machine.path(str(STATE)).stat().st_mode & 0o777 == 0o700
    shown = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    assert b"--config" in shown
    assert running.facts.key.encode() not in shown + (await running.machine.journal()).encode()


async def test_a_frozen_event_loop_is_ended_by_the_watchdog_and_a_fresh_process_is_ready(
    running: Booted,
) -> None:
    async with running.restarted() as since:
        await running.fault("writer", "freeze")
    written = await running.machine.journal(since)
    assert f"{UNIT}: Watchdog timeout" in written
    assert f"{UNIT}: Failed with result 'watchdog'." in written
    # The daemon itself told who was at it.
    told = [line for line in written.splitlines() if "event_loop_blocked" in line]
    assert any("writer" in line for line in told), written


async def test_a_killed_process_is_followed_by_a_fresh_one_and_nothing_is_lost(running: Booted) -> None:
    await running.post("before the kill")
    await running.until_polled("before the kill")
    async with running.restarted() as since:
        await running.machine.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT)
        await running.post("while nobody listens")
    assert "Failed with result 'signal'." in await running.machine.journal(since)
    for text in ("before the kill", "while nobody listens"):
        await running.until_polled(text)


async def test_reload_takes_what_changed_without_a_restart(running: Booted) -> None:
    machine = running.machine
    before = await machine.show("MainPID", "NRestarts")
    settings = machine.path(str(SETTINGS))
    text = settings.read_text()
    since = await machine.cursor()
    # systemd tells of its states when it is asked to be exact.
    await machine.run("systemctl", "log-level", "debug")
    try:
        settings.write_text(text.replace('level = "info"', 'level = "debug"'))
        await machine.run("systemctl", "reload", UNIT)
        written = await machine.until_journal("settings_reloaded", since)
        await machine.until(ActiveState="active", SubState="running")
        written = await machine.journal(since)
    finally:
        settings.write_text(text)
        await machine.run("systemctl", "log-level", "info")
    states = re.findall(r"Changed (\S+) -> (\S+)", written)
    assert ("running", "reload") in states
    assert states[-1][1] == "running"
    assert "log.level" in written
    assert await machine.show("MainPID", "NRestarts") == before
    assert await running.get("/health/ready") == 200


async def test_a_worker_that_cannot_be_stopped_ends_the_process_with_its_stacks_and_a_fresh_one_is_ready(
    running: Booted,
) -> None:
    async with running.restarted() as since:
        await running.fault("writer", "stuck")
        # A worker that is asked to end and does not; nobody is left to answer.
        with pytest.raises(anyio.EndOfStream):
            await running.machine.control(command="restart", worker="writer")
    written = await running.machine.journal(since)
    assert "code=exited, status=70/SOFTWARE" in written
    assert f"{UNIT}: Failed with result 'exit-code'." in written
    assert "fault_injection.py" in written


async def test_stop_ends_it_in_time_and_leaves_nothing_over(running: Booted) -> None:
    machine = running.machine
    group = (await machine.show("ControlGroup"))["ControlGroup"]
    places = [machine.path(f"{hierarchy}{group}") for hierarchy in HIERARCHIES]
    assert any(place.exists() for place in places)
    began = time.monotonic()
    await machine.run("systemctl", "stop", UNIT)
    assert time.monotonic() - began < 10
    shown = await machine.show("ActiveState", "SubState", "Result", "ExecMainStatus", "MainPID")
    assert shown == {
        "ActiveState": "inactive",
        "SubState": "dead",
        "Result": "success",
        "ExecMainStatus": "0",
        "MainPID": "0",
    }
    assert not any(place.exists() for place in places)
    assert (await machine.try_("pgrep", "--uid", USER))[0] == 1
    assert (await machine.run("find", "/tmp", "/var/tmp", "-name", f"systemd-private-*{UNIT}*")) == ""
    left = {file.name for file in machine.path(str(STATE)).iterdir()}
    assert left == {"telewarden.session", "telewarden.session.lock", "journal.sqlite", "journal.sqlite.head"}
