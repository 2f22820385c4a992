"""Workers that do not end when they are cancelled."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from telewarden_supervisors import (
    AnySpec,
    Backoff,
    ChildSpec,
    ChildStuck,
    Escalated,
    NotRunning,
    State,
    Stopped,
    Stuck,
    Supervisor,
    SupervisorGaveUp,
    SupervisorSpec,
    WorkerContext,
)

if TYPE_CHECKING:
    from supervisors.conftest import Seen

pytestmark = pytest.mark.anyio


async def serve(ctx: WorkerContext) -> None:
    ctx.ready()
    await anyio.sleep_forever()


async def give_up(supervisor: Supervisor, reason: str) -> None:
    with pytest.raises(SupervisorGaveUp, match=reason):
        await supervisor.run()


class Deaf:
    """Ignores its cancellation until it is released."""

    def __init__(self) -> None:
        self.released = anyio.Event()

    async def __call__(self, ctx: WorkerContext) -> None:
        ctx.ready()
        with anyio.CancelScope(shield=True):
            await self.released.wait()


async def test_a_stuck_worker_is_reported_and_the_others_are_stopped_before_it_escalates(seen: Seen) -> None:
    deaf = Deaf()
    reports: list[ChildStuck] = []

    def on_stuck(error: ChildStuck) -> None:
        reports.append(error)
        deaf.released.set()

    children = [ChildSpec("a", serve), ChildSpec("deaf", deaf, stop_timeout_s=3), ChildSpec("c", serve)]
    supervisor = Supervisor("root", children, subscribers=[seen], on_stuck=on_stuck)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give_up, supervisor, "deaf is stuck")
        await supervisor.wait_ready()
        supervisor.request_stop()
    stuck = seen.all(Stuck)[0]
    assert (stuck.at, stuck.after_s) == (3, 3)
    assert "__call__" in stuck.stack[0]
    assert seen.lines(Stopped, Stuck, Escalated) == [
        "Stopped c",
        "Stuck deaf",
        "Stopped a",
        "Escalated",
        "Stopped deaf",
    ]
    assert [list(report.stacks) for report in reports] == [["root/deaf"]]
    assert "root/deaf waits in" in str(reports[0])


async def test_a_hanging_worker_that_is_stuck_too_is_never_run_twice(seen: Seen) -> None:
    deaf = Deaf()
    children = [
        ChildSpec("a", serve),
        ChildSpec("deaf", deaf, stop_timeout_s=3, heartbeat_timeout_s=10, backoff=Backoff(initial_s=0)),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen], on_stuck=lambda _: deaf.released.set())
    with pytest.raises(SupervisorGaveUp, match="HeartbeatMissed"):
        await supervisor.run()
    assert seen.all(Stuck)[0].at == 13
    assert seen.lines()[-1] == "SupervisorStopped"
    assert "ChildRestarted deaf" not in seen.lines()


async def test_being_stuck_goes_up_to_the_root(seen: Seen) -> None:
    deaf = Deaf()
    reports: list[ChildStuck] = []

    def on_stuck(error: ChildStuck) -> None:
        reports.append(error)
        deaf.released.set()

    tree: list[AnySpec] = [
        ChildSpec("first", serve),
        SupervisorSpec("inner", [ChildSpec("a", serve), ChildSpec("deaf", deaf, stop_timeout_s=3)]),
    ]
    supervisor = Supervisor("root", tree, subscribers=[seen], on_stuck=on_stuck)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give_up, supervisor, "inner is stuck")
        await supervisor.wait_ready()
        with pytest.raises(ChildStuck, match="root/inner/deaf"):
            await supervisor.restart_child("inner/deaf")
    assert [event.supervisor for event in seen.all(Escalated)] == ["root/inner", "root"]
    assert [event.path for event in seen.all(Stuck)] == ["root/inner/deaf", "root/inner"]
    assert [event.path for event in seen.all(Stopped)][:2] == ["root/inner/a", "root/first"]
    assert [list(report.stacks) for report in reports] == [["root/inner/deaf"]]


async def test_a_cancellation_does_not_hide_a_stuck_worker(seen: Seen) -> None:
    deaf = Deaf()
    tree: list[AnySpec] = [SupervisorSpec("inner", [ChildSpec("deaf", deaf, stop_timeout_s=3)])]
    supervisor = Supervisor("root", tree, subscribers=[seen], on_stuck=lambda _: deaf.released.set())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give_up, supervisor, "deaf is stuck")
        await supervisor.wait_ready()
        tasks.cancel_scope.cancel()
    assert [event.path for event in seen.all(Stuck)] == ["root/inner/deaf", "root/inner"]


async def test_requests_are_refused_while_a_stuck_worker_holds_the_end_up(seen: Seen) -> None:
    deaf = Deaf()
    children = [ChildSpec("deaf", deaf, stop_timeout_s=3)]
    supervisor = Supervisor("root", children, subscribers=[seen], on_stuck=lambda _: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give_up, supervisor, "deaf is stuck")
        await supervisor.wait_ready()
        supervisor.request_stop()
        await seen.until(Escalated)
        assert supervisor.snapshot().children[0].state is State.STUCK
        with pytest.raises(NotRunning, match="stopping"):
            await supervisor.restart_child("deaf")
        deaf.released.set()


PROGRAM = """
import sys, time, anyio
from telewarden_supervisors import ChildSpec, Supervisor

async def blocked_in_a_thread(ctx):
    ctx.ready()
    await anyio.to_thread.run_sync(time.sleep, 60)

async def main():
    supervisor = Supervisor("root", [ChildSpec("blocked", blocked_in_a_thread, stop_timeout_s=0.1)])
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        tasks.cancel_scope.cancel()

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_root_ends_the_process_with_the_stacks_of_what_is_stuck(backend: str) -> None:
    command = [sys.executable, "-c", PROGRAM, backend]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 70
    assert "root/blocked did not end when cancelled" in ended.stderr
    assert "blocked_in_a_thread" in ended.stderr
    assert "most recent call first" in ended.stderr, "the threads' stacks"
