"""What the daemon tells its service manager, over a real notification socket, and what it takes from it."""

import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import httpx
import pytest

from support.operator import ask, tree, workers
from support.service_manager import ServiceManager, listening
from telewarden.sandbox.stack import Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with start_stack(tmp_path, channels=1, settings={"testing": {"worker_faults": True}}) as started:
        yield started


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[ServiceManager]:
    with listening(tmp_path / "notify") as manager:
        yield manager


async def start(stack: Stack, manager: ServiceManager, *options: str, watchdog_s: float = 0.6) -> None:
    watchdog = {"WATCHDOG_USEC": str(int(watchdog_s * 1_000_000))}
    stack.daemon.start(*options, environment={**manager.environment, **watchdog})
    await manager.until("READY=1")


def settings_file(stack: Stack) -> Path:
    return stack.folder / "telewarden.toml"


async def test_it_is_told_how_things_are(stack: Stack, manager: ServiceManager) -> None:
    await start(stack, manager)
    health = await stack.daemon.health()
    assert health is not None
    assert health["ready"] is True
    await manager.until("WATCHDOG=1", times=3)
    await stack.daemon.wait_ready()
    await stack.control.post_many(stack.channel_ids[0], [f"#{n}" for n in range(100)])
    with anyio.fail_after(10):
        while not re.search(r"STATUS=ingest [1-9]\d*/s · journal \d+", manager.text):
            await anyio.sleep(0.01)
    await stack.postgres.kill()
    with anyio.fail_after(10):
        while not re.search(r"database degraded since \d\d:\d\d\b", manager.text):
            await anyio.sleep(0.01)
    assert await stack.daemon.stop() == 0
    assert "STOPPING=1" in manager.messages[-1]


async def test_more_time_is_asked_for_until_it_is_ready(stack: Stack, manager: ServiceManager) -> None:
    await stack.postgres.kill()
    await stack.valkey.kill()
    stack.daemon.start(environment=manager.environment)
    await manager.until("EXTEND_TIMEOUT_USEC=15000000\nSTATUS=opening the journal")
    # Neither store answers: no poll could be answered right.
    await manager.until("EXTEND_TIMEOUT_USEC=15000000\nSTATUS=not ready yet · ")
    assert "READY=1" not in manager.text
    await stack.postgres.restart()
    await manager.until("READY=1")


async def test_a_reload_takes_what_can_change_and_names_the_rest(
    stack: Stack, manager: ServiceManager
) -> None:
    await start(stack, manager)
    new_key = "another-key-of-the-consumer"
    text = settings_file(stack).read_text()
    text = text.replace(stack.daemon.api_key, new_key)
    text = text.replace('format = "console"', 'format = "console"\nlevel = "debug"')
    text = text.replace("auto_migrate = true", "auto_migrate = true\nreader_pool = 3")
    settings_file(stack).write_text(text)
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    stack.daemon.send(signal.SIGHUP)
    await manager.until("READY=1", times=2)
    reloading = next(message for message in manager.messages if "RELOADING=1" in message)
    told_us = int(reloading.split("MONOTONIC_USEC=")[1].split("\n")[0])
    assert before_us <= told_us <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    status = next(message for message in manager.messages if "settings changed" in message)
    assert "log.level" in status
    assert "http.api_keys" in status
    assert "need a restart: database.reader_pool" in status
    assert "settings_need_a_restart" in stack.daemon.log
    assert new_key not in stack.daemon.log
    async with httpx.AsyncClient(base_url=stack.daemon.url, timeout=5, trust_env=False) as http:
        params = {"channel": str(stack.channel_ids[0])}
        answers = [
            (
                await http.get("/api/messages/unprocessed", params=params, headers={"X-API-Key": key})
            ).status_code
            for key in (new_key, stack.daemon.api_key)
        ]
    assert answers == [200, 403]
    await stack.postgres.kill()
    with anyio.fail_after(10):
        while "database_unavailable" not in stack.daemon.log:
            await anyio.sleep(0.01)
    assert all(worker["restarts"] == 0 for worker in (await workers(stack.daemon.state_dir)).values())


async def test_unusable_settings_are_named_and_the_old_ones_stay(
    stack: Stack, manager: ServiceManager
) -> None:
    await start(stack, manager)
    usable = settings_file(stack).read_text()
    settings_file(stack).write_text(usable.replace("[cache]", "[cache]\nlease_s = -1\nno_such = 2"))
    stack.daemon.send(signal.SIGHUP)
    await manager.until("settings are unusable, the old ones stay")
    assert "cache.lease_s" in stack.daemon.log
    assert "cache.no_such" in stack.daemon.log
    assert (await stack.daemon.health() or {})["ready"] is True
    settings_file(stack).write_text(usable)
    stack.daemon.send(signal.SIGHUP)
    await manager.until("settings changed: none")


async def test_a_frozen_event_loop_gives_no_sign_of_life_and_names_who_blocks_it(
    stack: Stack, manager: ServiceManager
) -> None:
    await start(stack, manager)
    await manager.until("WATCHDOG=1", times=2)
    with pytest.raises(TimeoutError), anyio.fail_after(1):
        # The daemon is frozen before it can answer.
        await ask(stack.daemon.state_dir, command="fault", worker="writer", kind="freeze")
    signs = manager.text.count("WATCHDOG=1")
    with anyio.fail_after(15):
        while "event_loop_blocked" not in stack.daemon.log:
            await anyio.sleep(0.01)
    # That took ten times as long as a sign of life may be late.
    assert manager.text.count("WATCHDOG=1") == signs
    blocked = stack.daemon.log.split("event_loop_blocked")[1]
    assert "telewarden/writer" in blocked
    assert "_freeze" in blocked


async def test_what_the_root_gives_up_on_ends_the_process_with_status_70(stack: Stack) -> None:
    stack.daemon.start("--set", "testing.restarts=1")
    await stack.daemon.wait_ready()
    await fail_until_given_up(stack, "writer")
    with anyio.fail_after(20):
        assert await stack.daemon.ended() == 70
    assert "supervisor_gave_up" in stack.daemon.log
    assert "writer was made to fail by a test" in stack.daemon.log


async def test_a_listener_that_is_given_up_on_ends_nothing_else(stack: Stack) -> None:
    channel = stack.channel_ids[0]
    stack.daemon.start("--set", "testing.restarts=1")
    await stack.daemon.wait_ready()
    pid, state_dir = stack.daemon.pid, stack.daemon.state_dir
    await fail_until_given_up(stack, "listener")
    with anyio.fail_after(20):
        while {"intake": "backing off"}.items() - {
            child["name"]: child["state"] for child in (await tree(state_dir))["children"]
        }.items():
            await anyio.sleep(0.01)
    await stack.control.post(channel, "meanwhile")
    with anyio.fail_after(20):
        while True:
            health = await stack.daemon.health() or {}
            told = {str(d["what"]): d for d in health["degraded"]}  # type: ignore[attr-defined]
            if "worker intake" in told:
                break
            await anyio.sleep(0.01)
    assert "no new messages come in, polls go on" in str(told["worker intake"])
    assert health["ready"] is True
    assert (await ask(state_dir, command="restart", worker="intake"))["ok"] is True
    with anyio.fail_after(20):
        while [stored.text for _, stored in await stack.rows()] != ["meanwhile"]:
            await anyio.sleep(0.01)
    assert stack.daemon.pid == pid
    assert await stack.daemon.stop() == 0


async def fail_until_given_up(stack: Stack, worker: str) -> None:
    """Make a worker fail twice; its supervisor takes one restart."""
    state_dir = stack.daemon.state_dir
    await ask(state_dir, command="fault", worker=worker, kind="exception")
    with anyio.fail_after(20):
        while (now := (await workers(state_dir))[worker])["restarts"] == 0 or now["state"] != "running":
            await anyio.sleep(0.01)
    # The process may end before it can answer.
    with suppress(anyio.EndOfStream):
        await ask(state_dir, command="fault", worker=worker, kind="exception")
