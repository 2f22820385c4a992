"""What may be asked of a running supervisor for one child: start, restart, terminate, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from telewarden_supervisors import (
    BackingOff,
    Backoff,
    ChildAlive,
    ChildExists,
    ChildFailed,
    ChildNotFound,
    ChildReady,
    ChildRestarted,
    ChildSpec,
    Intensity,
    NotRunning,
    Restart,
    StartFailed,
    State,
    Stopped,
    Stopping,
    Strategy,
    Supervisor,
    SupervisorSpec,
    WorkerContext,
)

if TYPE_CHECKING:
    from supervisors.conftest import Running, Seen

pytestmark = pytest.mark.anyio

LONG = Backoff(initial_s=100, cap_s=100, jitter=0)


async def serve(ctx: WorkerContext) -> None:
    ctx.ready()
    await anyio.sleep_forever()


async def fails(ctx: WorkerContext) -> None:
    ctx.ready()
    raise RuntimeError("broken")


async def fails_to_start(ctx: WorkerContext) -> None:
    raise RuntimeError("no port")


async def slow_to_stop(ctx: WorkerContext) -> None:
    ctx.ready()
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(2)


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_restart_on_request_is_no_failure_and_leaves_the_siblings_alone(
    seen: Seen, running: Running, strategy: Strategy
) -> None:
    children = [ChildSpec("a", serve), ChildSpec("b", serve), ChildSpec("c", serve)]
    supervisor = Supervisor(
        "root", children, strategy=strategy, subscribers=[seen], intensity=Intensity(restarts=0)
    )
    async with running(supervisor):
        for _ in range(3):
            await supervisor.restart_child("b")
        assert seen.lines(ChildRestarted, ChildFailed) == ["ChildRestarted b"] * 3
        assert supervisor.snapshot().children[1].restarts == 3


async def test_a_restart_returns_when_the_new_instance_is_ready(seen: Seen, running: Running) -> None:
    async def slow(ctx: WorkerContext) -> None:
        await anyio.sleep(3)
        await serve(ctx)

    supervisor = Supervisor("root", [ChildSpec("a", slow)], subscribers=[seen])
    async with running(supervisor):
        await supervisor.restart_child("a")
        assert [event.at for event in seen.all(ChildReady)] == [3, 6]


async def test_a_restart_on_request_ends_the_backoff(seen: Seen, running: Running) -> None:
    broken = [True]

    async def fails_once(ctx: WorkerContext) -> None:
        await (fails if broken.pop() else serve)(ctx)

    broken.insert(0, False)
    supervisor = Supervisor("root", [ChildSpec("a", fails_once, backoff=LONG)], subscribers=[seen])
    async with running(supervisor):
        failed = await seen.until(BackingOff)
        await supervisor.restart_child("a")
        assert seen.all(ChildReady)[-1].at == failed.at


async def test_a_restart_whose_new_instance_fails_says_so_and_the_supervisor_goes_on(
    seen: Seen, running: Running
) -> None:
    workers = iter([serve, fails_to_start, serve])

    async def worker(ctx: WorkerContext) -> None:
        await next(workers)(ctx)

    supervisor = Supervisor("root", [ChildSpec("a", worker)], subscribers=[seen])
    async with running(supervisor):
        with pytest.raises(StartFailed, match="RuntimeError: no port"):
            await supervisor.restart_child("a")
        await seen.until(ChildReady, "a", count=2)


async def test_two_restarts_at_once_never_run_two_instances(seen: Seen, running: Running) -> None:
    alive = 0

    async def alone(ctx: WorkerContext) -> None:
        nonlocal alive
        alive += 1
        assert alive == 1
        try:
            await slow_to_stop(ctx)
        finally:
            alive -= 1

    supervisor = Supervisor("root", [ChildSpec("a", alone)], subscribers=[seen])
    async with running(supervisor):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(supervisor.restart_child, "a")
        assert seen.lines(ChildRestarted, ChildFailed) == ["ChildRestarted a"]


async def test_a_failure_while_a_restart_is_under_way_is_told_and_the_restart_goes_on(
    seen: Seen, running: Running
) -> None:
    async def fails_when_stopped(ctx: WorkerContext) -> None:
        try:
            await serve(ctx)
        finally:
            raise ValueError("cannot stop")

    supervisor = Supervisor("root", [ChildSpec("a", fails_when_stopped, backoff=LONG)], subscribers=[seen])
    async with running(supervisor):
        await supervisor.restart_child("a")
        assert seen.lines(ChildFailed, BackingOff, ChildRestarted) == ["ChildFailed a", "ChildRestarted a"]


async def test_a_restart_whose_new_instance_fails_at_once_says_so_though_the_next_one_runs(
    seen: Seen, running: Running
) -> None:
    workers = iter([serve, fails_to_start, serve])

    async def worker(ctx: WorkerContext) -> None:
        await next(workers)(ctx)

    supervisor = Supervisor("root", [ChildSpec("a", worker, backoff=Backoff(0))], subscribers=[seen])
    async with running(supervisor):
        with pytest.raises(StartFailed, match="RuntimeError: no port"):
            await supervisor.restart_child("a")


async def test_the_last_request_for_a_child_that_is_being_stopped_wins(seen: Seen, running: Running) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", slow_to_stop)], subscribers=[seen])
    async with running(supervisor):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor.terminate_child, "a")
            await seen.until(Stopping, "a")
            await supervisor.restart_child("a")
        assert supervisor.snapshot().children[0].state is State.RUNNING

        async def restart() -> None:
            with pytest.raises(StartFailed, match="it was stopped"):
                await supervisor.restart_child("a")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(restart)
            await seen.until(Stopping, "a", count=2)
            await supervisor.terminate_child("a")
        assert supervisor.snapshot().children[0].state is State.STOPPED


async def test_a_restart_of_a_hanging_child_that_is_being_stopped_has_no_delay(
    seen: Seen, running: Running
) -> None:
    child = ChildSpec("a", slow_to_stop, heartbeat_timeout_s=10, backoff=LONG)
    supervisor = Supervisor("root", [child], subscribers=[seen])
    async with running(supervisor):
        await seen.until(Stopping, "a")
        await supervisor.restart_child("a")
        assert [event.at for event in seen.all(ChildRestarted)] == [12]
        assert len(seen.all(ChildFailed)) == 1, "the hang counts"


async def test_a_child_that_is_terminated_while_its_group_restarts_stays_down(
    seen: Seen, running: Running
) -> None:
    async def fails_at_20_s(ctx: WorkerContext) -> None:
        ctx.ready()
        if not seen.all(ChildFailed):
            await anyio.sleep(20)
            raise RuntimeError("broken")
        await anyio.sleep_forever()

    children = [
        ChildSpec("a", fails_at_20_s, backoff=Backoff(0)),
        ChildSpec("b", slow_to_stop),
        ChildSpec("c", serve),
    ]
    supervisor = Supervisor("root", children, strategy=Strategy.ONE_FOR_ALL, subscribers=[seen])
    async with running(supervisor):
        await seen.until(Stopping, "b")
        await supervisor.terminate_child("b")
        await seen.until(ChildReady, "c", count=2)
        assert [child.state.value for child in supervisor.snapshot().children] == [
            "running",
            "stopped",
            "running",
        ]


async def test_a_temporary_child_can_be_restarted_and_leaves_when_it_is_terminated(
    seen: Seen, running: Running
) -> None:
    child = ChildSpec("a", serve, restart=Restart.TEMPORARY)
    supervisor = Supervisor("root", [child], subscribers=[seen])
    async with running(supervisor):
        await supervisor.restart_child("a")
        await supervisor.terminate_child("a")
        assert supervisor.snapshot().children == ()


async def test_a_stop_while_a_restart_is_under_way_wins(seen: Seen) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", slow_to_stop)], subscribers=[seen])

    async def restart() -> None:
        with pytest.raises(NotRunning):
            await supervisor.restart_child("a")

    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        tasks.start_soon(restart)
        await anyio.wait_all_tasks_blocked()
        await supervisor.stop()
    assert seen.all(ChildRestarted) == []


async def test_a_terminated_child_stays_down_until_it_is_asked_for(seen: Seen, running: Running) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", slow_to_stop), ChildSpec("b", serve)], subscribers=[seen])
    async with running(supervisor):
        await supervisor.terminate_child("a")
        assert seen.lines(Stopped) == ["Stopped a"]
        assert supervisor.snapshot().children[0].state is State.STOPPED
        await supervisor.terminate_child("a")
        await supervisor.restart_child("a")
        assert supervisor.snapshot().children[0].state is State.RUNNING


async def test_a_child_that_backs_off_can_be_terminated(seen: Seen, running: Running) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", fails, backoff=LONG)], subscribers=[seen])
    async with running(supervisor):
        await seen.until(BackingOff)
        await supervisor.terminate_child("a")
        await anyio.sleep(1000)
        assert seen.all(ChildRestarted) == []


async def test_terminating_a_child_lets_those_who_waited_for_it_start(seen: Seen) -> None:
    async def never_ready(ctx: WorkerContext) -> None:
        await anyio.sleep_forever()

    supervisor = Supervisor("root", [ChildSpec("a", never_ready), ChildSpec("b", serve)], subscribers=[seen])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run)
        await anyio.wait_all_tasks_blocked()
        await supervisor.terminate_child("a")
        await supervisor.wait_ready()
        await supervisor.stop()
    assert [event.child for event in seen.all(ChildReady)] == ["b"]


async def test_only_a_child_that_does_not_run_can_be_deleted(seen: Seen, running: Running) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", serve), ChildSpec("b", serve)], subscribers=[seen])
    async with running(supervisor):
        with pytest.raises(ChildAlive, match="root/a is running"):
            supervisor.delete_child("a")
        await supervisor.terminate_child("a")
        supervisor.delete_child("a")
        assert [child.name for child in supervisor.snapshot().children] == ["b"]
        with pytest.raises(ChildNotFound):
            supervisor.delete_child("a")
        await supervisor.start_child(ChildSpec("a", serve))
        assert [child.name for child in supervisor.snapshot().children] == ["b", "a"]


async def test_a_child_can_be_started_later_and_is_supervised_like_the_others(
    seen: Seen, running: Running
) -> None:
    async def slow(ctx: WorkerContext) -> None:
        await anyio.sleep(3)
        await serve(ctx)

    supervisor = Supervisor("root", [ChildSpec("a", serve)], subscribers=[seen])
    async with running(supervisor):
        await supervisor.start_child(ChildSpec("b", slow))
        assert seen.all(ChildReady, "b")[0].at == 3
        with pytest.raises(ChildExists, match="root has a child 'b' already"):
            await supervisor.start_child(ChildSpec("b", serve))
        with pytest.raises(StartFailed, match="no port") as raised:
            await supervisor.start_child(ChildSpec("c", fails_to_start, backoff=LONG))
        assert isinstance(raised.value.__cause__, RuntimeError)
        with pytest.raises(StartFailed, match="no port"):
            await supervisor.start_child(ChildSpec("d", fails_to_start, restart=Restart.TEMPORARY))
        assert supervisor.snapshot().children[2].state is State.BACKING_OFF
    assert seen.lines(Stopped) == ["Stopped b", "Stopped a"]


async def test_an_added_child_that_never_gets_ready_holds_up_no_sibling(seen: Seen, running: Running) -> None:
    async def fails_at_50_s(ctx: WorkerContext) -> None:
        ctx.ready()
        await anyio.sleep(50)
        raise RuntimeError("broken")

    supervisor = Supervisor("root", [ChildSpec("a", serve)], subscribers=[seen])
    async with running(supervisor):
        with pytest.raises(StartFailed):
            await supervisor.start_child(ChildSpec("broken", fails_to_start, backoff=LONG))
        await supervisor.start_child(ChildSpec("later", fails_at_50_s, backoff=Backoff(0)))
        assert (await seen.until(ChildReady, "later", count=2)).at == 50


async def test_a_child_can_be_started_under_a_supervisor_below(seen: Seen, running: Running) -> None:
    supervisor = Supervisor("root", [SupervisorSpec("links")], subscribers=[seen])
    async with running(supervisor):
        await supervisor.start_child(ChildSpec("a", serve), under="links")
        await supervisor.start_child(SupervisorSpec("more", [ChildSpec("x", serve)]), under="links")
        await supervisor.start_child(ChildSpec("y", serve), under="links/more")
        assert [event.path for event in seen.all(ChildReady)] == [
            "root/links",
            "root/links/a",
            "root/links/more/x",
            "root/links/more",
            "root/links/more/y",
        ]


async def test_a_request_before_the_run_or_after_it_is_refused(running: Running) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", serve)])
    with pytest.raises(NotRunning, match="waiting"):
        await supervisor.restart_child("a")
    async with running(supervisor):
        pass
    with pytest.raises(NotRunning, match="stopped"):
        await supervisor.terminate_child("a")
    with pytest.raises(NotRunning, match="stopped"):
        await supervisor.start_child(ChildSpec("b", serve))


async def test_a_worker_may_ask_for_its_own_restart(seen: Seen, running: Running) -> None:
    async def restarts_itself(ctx: WorkerContext) -> None:
        ctx.ready()
        if len(seen.all(ChildReady, "a")) == 1:
            await supervisor.restart_child("a")
        await anyio.sleep_forever()

    supervisor = Supervisor("root", [ChildSpec("a", restarts_itself)], subscribers=[seen])
    async with running(supervisor):
        await seen.until(ChildReady, "a", count=2)
        assert seen.all(ChildFailed) == []


async def test_a_worker_may_stop_the_supervisor(seen: Seen) -> None:
    async def stops_it(ctx: WorkerContext) -> None:
        ctx.ready()
        await supervisor.stop("the work is done")

    supervisor = Supervisor("root", [ChildSpec("a", serve), ChildSpec("b", stops_it)], subscribers=[seen])
    await supervisor.run()
    assert seen.lines(Stopped, ChildFailed) == ["Stopped b", "Stopped a"]
