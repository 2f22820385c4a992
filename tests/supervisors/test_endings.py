"""The end of a supervisor, asked for or not, in the middle of something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.abc
import pytest

from telewarden_supervisors import (
    Backoff,
    ChildFailed,
    ChildRestarted,
    ChildSpec,
    ChildStuck,
    Escalated,
    Event,
    Intensity,
    NotRunning,
    State,
    Stopped,
    Stopping,
    Strategy,
    Supervisor,
    SupervisorGaveUp,
    WorkerContext,
    leaves,
)

if TYPE_CHECKING:
    from supervisors.conftest import Running, Seen

pytestmark = pytest.mark.anyio

AT_ONCE = Backoff(initial_s=0)


async def serve(ctx: WorkerContext) -> None:
    ctx.ready()
    await anyio.sleep_forever()


async def fails(ctx: WorkerContext) -> None:
    ctx.ready()
    raise RuntimeError("broken")


async def slow_to_stop(ctx: WorkerContext) -> None:
    ctx.ready()
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(2)


@pytest.mark.parametrize("how", ["cancel", "stop"])
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_an_end_while_a_group_is_being_restarted_starts_nobody(
    seen: Seen, how: str, strategy: Strategy
) -> None:
    fail = anyio.Event()

    async def fails_when_told(ctx: WorkerContext) -> None:
        ctx.ready()
        await fail.wait()
        raise RuntimeError("broken")

    children = [
        ChildSpec("first", serve),
        ChildSpec("a", fails_when_told, backoff=AT_ONCE),
        ChildSpec("b", slow_to_stop),
        ChildSpec("c", slow_to_stop),
    ]
    supervisor = Supervisor("root", children, strategy=strategy, subscribers=[seen])
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        fail.set()
        await seen.until(Stopping, "c")
        await end(supervisor, tasks, how)
    assert seen.lines(Stopped, ChildRestarted) == ["Stopped c", "Stopped b", "Stopped first"]


async def end(supervisor: Supervisor, tasks: anyio.abc.TaskGroup, how: str) -> None:
    if how == "cancel":
        tasks.cancel_scope.cancel()
    else:
        await supervisor.stop()


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_an_end_while_a_restart_on_request_is_under_way_tells_who_asked(seen: Seen, how: str) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", slow_to_stop)], subscribers=[seen])
    told: list[str] = []

    async def restart() -> None:
        with anyio.CancelScope(shield=True):
            try:
                await supervisor.restart_child("a")
            except NotRunning as error:
                told.append(str(error))

    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        tasks.start_soon(restart)
        await seen.until(Stopping, "a")
        await end(supervisor, tasks, how)
    assert len(told) == 1
    assert seen.lines(Stopped, ChildRestarted) == ["Stopped a"]


async def test_a_cancellation_while_it_gives_up_does_not_hide_why(seen: Seen) -> None:
    children = [ChildSpec("slow", slow_to_stop), ChildSpec("a", fails, backoff=AT_ONCE)]
    supervisor = Supervisor("root", children, intensity=Intensity(restarts=0), subscribers=[seen])

    async def run() -> None:
        with pytest.raises(SupervisorGaveUp, match="RuntimeError: broken"):
            await supervisor.run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await seen.until(Stopping, "slow")
        tasks.cancel_scope.cancel()
    assert seen.lines(Stopped) == ["Stopped slow"]


async def test_a_cancellation_while_a_child_is_stuck_waits_for_it_and_is_told_once(seen: Seen) -> None:
    release = anyio.Event()

    async def deaf(ctx: WorkerContext) -> None:
        ctx.ready()
        with anyio.CancelScope(shield=True):
            await release.wait()

    escalations: list[ChildStuck] = []
    children = [ChildSpec("deaf", deaf, stop_timeout_s=3)]
    supervisor = Supervisor("root", children, subscribers=[seen], on_stuck=escalations.append)

    async def run() -> None:
        with pytest.raises(SupervisorGaveUp, match="deaf is stuck"):
            await supervisor.run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await supervisor.wait_ready()
        supervisor.request_stop()
        await seen.until(Escalated)
        tasks.cancel_scope.cancel()
        release.set()
    assert len(escalations) == 1
    assert supervisor.snapshot().state is State.STOPPED


async def test_a_subscriber_may_ask_for_the_stop(seen: Seen) -> None:
    def stop_at_the_first_failure(event: Event) -> None:
        if isinstance(event, ChildFailed):
            supervisor.request_stop("a child failed")

    children = [ChildSpec("a", serve), ChildSpec("b", fails, backoff=AT_ONCE)]
    supervisor = Supervisor("root", children, subscribers=[stop_at_the_first_failure, seen])
    await supervisor.run()
    assert len(seen.all(ChildFailed)) == 1
    assert seen.lines()[-1] == "SupervisorStopped"


async def test_what_is_no_failure_passes_with_everything_that_was_raised_beside_it(seen: Seen) -> None:
    async def quits_in_a_group(ctx: WorkerContext) -> None:
        ctx.ready()
        raise BaseExceptionGroup("both", [SystemExit(3), ValueError("beside it")])

    children = [ChildSpec("a", serve), ChildSpec("b", quits_in_a_group)]
    with pytest.raises(BaseExceptionGroup) as raised:
        await Supervisor("root", children, subscribers=[seen]).run()
    assert [type(leaf) for leaf in leaves(raised.value)] == [SystemExit, ValueError]
    assert seen.lines(Stopped, ChildRestarted) == ["Stopped a"]


async def test_two_workers_that_leave_the_tree_at_once_are_both_kept(seen: Seen) -> None:
    async def quits_when_stopped(ctx: WorkerContext) -> None:
        try:
            await serve(ctx)
        finally:
            raise SystemExit(4)

    async def quits(ctx: WorkerContext) -> None:
        ctx.ready()
        raise SystemExit(3)

    children = [ChildSpec("a", quits_when_stopped), ChildSpec("b", quits)]
    with pytest.raises(BaseExceptionGroup) as raised:
        await Supervisor("root", children, subscribers=[seen]).run()
    assert [str(leaf) for leaf in leaves(raised.value)] == ["3", "4"]


async def test_an_error_beside_the_cancellation_of_a_stop_is_kept(seen: Seen, running: Running) -> None:
    async def fails_beside_it(ctx: WorkerContext) -> None:
        try:
            await serve(ctx)
        except anyio.get_cancelled_exc_class() as cancelled:
            raise BaseExceptionGroup("both", [cancelled, ValueError("cannot stop")]) from None

    async with running(Supervisor("root", [ChildSpec("a", fails_beside_it)], subscribers=[seen])):
        pass
    [failed] = seen.all(ChildFailed)
    assert [type(leaf) for leaf in failed.leaves] == [ValueError]


async def test_a_permanent_worker_that_returns_while_the_supervisor_stops_has_not_failed(
    seen: Seen, running: Running
) -> None:
    async def returns_meanwhile(ctx: WorkerContext) -> None:
        ctx.ready()
        await seen.until(Stopping, "b")

    children = [ChildSpec("a", returns_meanwhile), ChildSpec("b", slow_to_stop)]
    async with running(Supervisor("root", children, subscribers=[seen])):
        pass
    assert seen.lines(ChildFailed, ChildRestarted, Stopped) == ["Stopped b"]
