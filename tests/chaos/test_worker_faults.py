"""Each worker fails, hangs and gets stuck while messages come in and are consumed: what the others do, and that nothing
is lost."""

import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from support.operator import WORKERS, ask, workers
from telewarden.sandbox.exercise import Exercise, Fault, Result
from telewarden.sandbox.stack import Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(300)]

SETTINGS = {
    # A hang is to be noticed within the test's patience; Telegram is asked often enough for that.
    "testing": {"worker_faults": True, "heartbeat_s": 4.0},
    "telegram": {"liveness_interval_s": 0.5},
}


async def exercise(folder: Path, break_each: Callable[[Stack], Awaitable[None]]) -> Result:
    """Faults under load; the load ends when the last fault is over."""
    async with start_stack(folder, channels=2, settings=SETTINGS) as stack:
        stack.daemon.start()
        await stack.daemon.wait_ready()
        running = Exercise(stack, seconds=600, rate=20)

        async def break_all(stack: Stack) -> None:
            await break_each(stack)
            running.poster.stop()

        running.faults = [Fault("faults", 0.0, break_all, blind=True)]
        result = await running.run()
        assert await stack.daemon.stop() == 0
    assert result.verdict.clean, "\n".join(result.verdict.lines())
    assert result.posted > 0
    assert result.acknowledged == result.polled
    return result


async def until_more_is_posted(stack: Stack) -> None:
    """So that each fault meets work under way."""
    posted = len(await stack.truth())
    with anyio.fail_after(10):
        while len(await stack.truth()) < posted + 10:
            await anyio.sleep(0.01)


@pytest.mark.parametrize("kind", ["exception", "hang"])
async def test_a_worker_that_fails_or_hangs_is_restarted_and_the_others_go_on(
    tmp_path: Path, kind: str
) -> None:
    ready_after_s: dict[str, float] = {}

    async def break_each(stack: Stack) -> None:
        state_dir, pid = stack.daemon.state_dir, stack.daemon.pid
        for worker in WORKERS:
            await until_more_is_posted(stack)
            before = {name: node["restarts"] for name, node in (await workers(state_dir)).items()}
            began_s = time.monotonic()
            await inject(state_dir, worker, kind)
            with anyio.fail_after(30):
                while not (now := await tree_or_none(state_dir)) or not (
                    now[worker]["restarts"] == before[worker] + 1 and now[worker]["state"] == "running"
                ):
                    await anyio.sleep(0.02)
            ready_after_s[worker] = round(time.monotonic() - began_s, 2)
            others = {name: node["restarts"] for name, node in now.items() if name != worker}
            assert others == {name: restarts for name, restarts in before.items() if name != worker}
            assert stack.daemon.pid == pid
            await stack.daemon.wait_ready()

    result = await exercise(tmp_path, break_each)
    print(kind, "ready again after s:", ready_after_s, "errors:", result.errors)
    assert ready_after_s.keys() == set(WORKERS)


async def test_a_worker_that_is_stuck_ends_the_process_and_the_next_one_goes_on(
    tmp_path: Path, full: bool, whole: bool
) -> None:
    ready_after_s: dict[str, float] = {}
    stuck = WORKERS if whole else ("writer", "redis", "api", "listener") if full else ("writer", "listener")

    async def break_each(stack: Stack) -> None:
        for worker in stuck:
            await until_more_is_posted(stack)
            seen = len(stack.daemon.log)
            began_s = time.monotonic()
            await inject(stack.daemon.state_dir, worker, "stuck")
            with anyio.fail_after(30):
                assert await stack.daemon.ended() == 70
            # What a service manager does.
            stack.daemon.start()
            await stack.daemon.wait_ready()
            ready_after_s[worker] = round(time.monotonic() - began_s, 2)
            log = stack.daemon.log[seen:]
            assert re.search(rf"worker_stuck.*worker=telewarden/(\w+/)?{worker}\b", log)
            # Where it is stuck, and every thread's stack.
            assert "fault_injection.py" in log
            assert re.search(r"(Current thread|Thread) 0x[0-9a-f]+ .*\(most recent call first\)", log)

    result = await exercise(tmp_path, break_each)
    print("stuck, ready again after s:", ready_after_s, "errors:", result.errors)
    assert ready_after_s.keys() == set(stuck)


async def inject(state_dir: Path, worker: str, kind: str) -> None:
    try:
        answer = await ask(state_dir, command="fault", worker=worker, kind=kind)
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        assert worker == "control", "whom the fault takes its connections from"
    else:
        assert answer["ok"], answer


async def tree_or_none(state_dir: Path) -> dict[str, dict[str, object]] | None:
    """The workers; None while the control worker is the one that is broken."""
    try:
        return await workers(state_dir)
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
        return None
