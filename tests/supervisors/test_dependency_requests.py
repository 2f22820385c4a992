"""What is asked for by hand of children that others depend on, and of those that depend on others."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import anyio
import pytest

from telewarden_supervisors import (
    BackingOff,
    Backoff,
    ChildFailed,
    ChildNeeded,
    ChildReady,
    ChildRestarted,
    ChildSpec,
    ChildStarted,
    DependencyStopped,
    NotRunning,
    Restart,
    StartFailed,
    State,
    Stopped,
    Stopping,
    Strategy,
    Supervisor,
    WorkerContext,
)

if TYPE_CHECKING:
    from supervisors.conftest import Running, Seen

pytestmark = pytest.mark.anyio

AT_ONCE = Backoff(initial_s=0)


async def serve(ctx: WorkerContext) -> None:
    ctx.ready()
    await anyio.sleep_forever()


async def slow(ctx: WorkerContext) -> None:
    await anyio.sleep(3)  # of virtual time: that is how slow it is
    await serve(ctx)


async def slow_to_stop(ctx: WorkerContext) -> None:
    ctx.ready()
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(2)  # of virtual time: that is how slow it is


class Mortal:
    """Serves until `kill` is called, then raises; served again at its next start."""

    def __init__(self, start_s: float = 0) -> None:
        self._start_s = start_s
        self._killed = anyio.Event()

    def kill(self) -> None:
        self._killed.set()

    async def __call__(self, ctx: WorkerContext) -> None:
        if self._start_s:
            await anyio.sleep(self._start_s)
        ctx.ready()
        await self._killed.wait()
        self._killed = anyio.Event()
        raise RuntimeError("killed")


def states(supervisor: Supervisor) -> dict[str, str]:
    return {child.name: child.state.value for child in supervisor.snapshot().children}


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_restart_on_request_takes_the_dependents_along_and_nobody_else(
    seen: Seen, running: Running, strategy: Strategy
) -> None:
    children = [
        ChildSpec("a", slow),
        ChildSpec("other", serve),
        ChildSpec("b", serve, dependencies=["a"]),
        ChildSpec("c", serve, dependencies=["b"]),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen], strategy=strategy)
    async with running(supervisor):
        await supervisor.restart_child("a")
        assert seen.all(ChildReady)[-1].at == 6
        await seen.until(ChildReady, "c", count=2)
        assert seen.lines(Stopped, ChildRestarted, ChildFailed) == [
            *("Stopped c", "Stopped b", "Stopped a"),
            *("ChildRestarted a", "ChildRestarted b", "ChildRestarted c"),
        ]


async def test_a_failure_while_a_restart_waits_for_the_dependents_has_no_delay(
    seen: Seen, running: Running
) -> None:
    a = Mortal()
    children = [
        ChildSpec("a", a, backoff=Backoff(initial_s=100, cap_s=100)),
        ChildSpec("b", slow_to_stop, dependencies=["a"]),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with running(supervisor):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor.restart_child, "a")
            await seen.until(Stopping, "b")
            a.kill()
        assert seen.all(ChildReady, "a")[-1].at == 2
        assert seen.lines(BackingOff) == []


async def test_a_terminated_dependency_holds_its_dependents_down_until_it_is_restarted(
    seen: Seen, running: Running
) -> None:
    children = [
        ChildSpec("a", serve),
        ChildSpec("b", slow_to_stop, dependencies=["a"]),
        ChildSpec("c", serve, dependencies=["b"]),
        ChildSpec("other", serve),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with running(supervisor):
        await supervisor.terminate_child("a")
        assert seen.lines(Stopped) == ["Stopped c", "Stopped b", "Stopped a"]
        assert states(supervisor) == {"a": "stopped", "b": "waiting", "c": "waiting", "other": "running"}
        with pytest.raises(DependencyStopped, match="root/c cannot start: it depends on a, which is stopped"):
            await supervisor.restart_child("c")
        with pytest.raises(DependencyStopped, match="root/d cannot start"):
            await supervisor.start_child(ChildSpec("d", serve, dependencies=["other", "c"]))
        assert "d" not in states(supervisor)
        await supervisor.restart_child("a")
        await seen.until(ChildReady, "c", count=2)


async def test_a_restart_that_waits_for_a_dependency_ends_when_that_is_terminated(
    seen: Seen, running: Running
) -> None:
    a = Mortal()
    children = [
        ChildSpec("a", a, backoff=Backoff(initial_s=100, cap_s=100)),
        ChildSpec("b", serve, dependencies=["a"]),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen])

    async def restart() -> None:
        with pytest.raises(DependencyStopped):
            await supervisor.restart_child("b")

    async with running(supervisor):
        a.kill()
        await seen.until(Stopped, "b")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(restart)
            await anyio.wait_all_tasks_blocked()
            await supervisor.terminate_child("a")


async def test_a_terminated_dependent_stays_down_when_what_it_depends_on_restarts(
    seen: Seen, running: Running
) -> None:
    a = Mortal()
    children = [
        ChildSpec("a", a, backoff=AT_ONCE),
        ChildSpec("b", serve, dependencies=["a"]),
        ChildSpec("c", serve, dependencies=["a"]),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with running(supervisor):
        await supervisor.terminate_child("b")
        a.kill()
        await seen.until(ChildReady, "c", count=2)
        await supervisor.restart_child("a")
        await seen.until(ChildReady, "c", count=3)
        assert states(supervisor)["b"] == "stopped"


async def test_the_last_request_for_a_child_that_waits_for_its_dependents_wins(
    seen: Seen, running: Running
) -> None:
    children = [ChildSpec("a", serve), ChildSpec("b", slow_to_stop, dependencies=["a"])]
    supervisor = Supervisor("root", children, subscribers=[seen])

    async def restart() -> None:
        with pytest.raises(StartFailed, match="it was stopped"):
            await supervisor.restart_child("a")

    async with running(supervisor):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(restart)
            await seen.until(Stopping, "b")
            await supervisor.terminate_child("a")
        assert states(supervisor) == {"a": "stopped", "b": "waiting"}


async def test_a_terminated_dependency_does_not_keep_the_supervisor_from_being_ready(seen: Seen) -> None:
    async def never_ready(ctx: WorkerContext) -> None:
        await anyio.sleep_forever()

    children = [
        ChildSpec("a", never_ready),
        ChildSpec("b", serve, dependencies=["a"]),
        ChildSpec("c", serve),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run)
        await seen.until(ChildStarted, "a")
        await supervisor.terminate_child("a")
        await supervisor.wait_ready()
        await supervisor.stop()
    assert seen.lines(ChildReady) == ["ChildReady c"]


async def test_a_child_that_others_depend_on_cannot_be_deleted(running: Running) -> None:
    children = [
        ChildSpec("a", serve),
        ChildSpec("b", serve, dependencies=["a"]),
        ChildSpec("c", serve, dependencies=["a"]),
    ]
    supervisor = Supervisor("root", children)
    async with running(supervisor):
        await supervisor.terminate_child("a")
        with pytest.raises(ChildNeeded, match="root/a cannot be deleted: b, c depend on it"):
            supervisor.delete_child("a")
        for name in ("b", "c"):
            await supervisor.terminate_child(name)
            supervisor.delete_child(name)
        supervisor.delete_child("a")
        assert states(supervisor) == {}


async def test_a_child_that_is_added_may_depend_on_those_that_are_there(seen: Seen, running: Running) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", slow, wait_ready=False)], subscribers=[seen])
    async with running(supervisor):
        with pytest.raises(ValueError, match="b depends on 'x', which is no sibling"):
            await supervisor.start_child(ChildSpec("b", serve, dependencies=["x"]))
        await supervisor.start_child(ChildSpec("b", serve, dependencies=["a"]))
        assert seen.all(ChildReady, "b")[0].at == 3
        await supervisor.restart_child("a")
        await seen.until(ChildReady, "b", count=2)


@pytest.mark.parametrize("how", ["cancel", "stop"])
@pytest.mark.parametrize("request_for", ["restart_child", "terminate_child"])
async def test_a_stop_while_dependents_are_being_stopped_ends_all_in_reverse(
    seen: Seen, how: str, request_for: str
) -> None:
    children = [
        ChildSpec("a", serve),
        ChildSpec("b", slow_to_stop, dependencies=["a"]),
        ChildSpec("c", slow_to_stop, dependencies=["b"]),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)

        async def ask() -> None:
            with contextlib.suppress(NotRunning):
                await getattr(supervisor, request_for)("a")

        tasks.start_soon(ask)
        await seen.until(Stopping, "c")
        if how == "cancel":
            tasks.cancel_scope.cancel()
        else:
            await supervisor.stop()
    assert supervisor.snapshot().state is State.STOPPED
    assert seen.lines(Stopped, ChildRestarted) == ["Stopped c", "Stopped b", "Stopped a"]


async def test_a_transient_child_that_returns_while_its_restart_waits_for_the_dependents_starts_again(
    seen: Seen, running: Running
) -> None:
    async def returns_meanwhile(ctx: WorkerContext) -> None:
        ctx.ready()
        if len(seen.all(ChildReady, "a")) == 1:
            await seen.until(Stopping, "b")
        else:
            await anyio.sleep_forever()

    children = [
        ChildSpec("a", returns_meanwhile, restart=Restart.TRANSIENT),
        ChildSpec("b", slow_to_stop, dependencies=["a"]),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with running(supervisor):
        await supervisor.restart_child("a")
        assert seen.lines(ChildFailed, Stopped, ChildRestarted)[:2] == ["Stopped b", "ChildRestarted a"]


async def test_a_child_that_hangs_while_its_termination_waits_for_the_dependents_stays_down(
    seen: Seen, running: Running
) -> None:
    children = [
        ChildSpec("a", serve, heartbeat_timeout_s=10, backoff=AT_ONCE),
        ChildSpec("b", slow_to_stop, dependencies=["a"]),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with running(supervisor):
        await anyio.sleep(9)  # of virtual time: the beat is missed while b stops
        await supervisor.terminate_child("a")
        await seen.until(Stopped, "b")
        assert seen.lines(ChildFailed) == ["ChildFailed a"], "the hang is told"
        assert states(supervisor) == {"a": "stopped", "b": "waiting"}
