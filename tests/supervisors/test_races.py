"""Things that happen at the same time, on purpose."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import pytest

from telewarden_supervisors import (
    BackingOff,
    Backoff,
    CancelledFromInside,
    ChildFailed,
    ChildReady,
    ChildRestarted,
    ChildSpec,
    ChildStarted,
    Event,
    HeartbeatMissed,
    State,
    Stopped,
    Stopping,
    Supervisor,
    SupervisorSpec,
    WorkerContext,
)

if TYPE_CHECKING:
    from supervisors.conftest import Running, Seen

pytestmark = pytest.mark.anyio

LONG = Backoff(initial_s=100, cap_s=100, jitter=0)
AT_ONCE = Backoff(initial_s=0)


async def serve(ctx: WorkerContext) -> None:
    ctx.ready()
    await anyio.sleep_forever()


async def never_ready(ctx: WorkerContext) -> None:
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


@pytest.mark.parametrize(
    ("worker", "until"),
    [
        (never_ready, ChildStarted),
        (serve, ChildReady),
        (fails, BackingOff),
        (slow_to_stop, ChildReady),
    ],
    ids=["starting", "running", "backing off", "slow to stop"],
)
@pytest.mark.parametrize("how", ["cancel", "stop"])
@pytest.mark.parametrize("nested", [False, True])
async def test_cancellation_and_stop_end_it_in_each_state(
    seen: Seen, worker: Any, until: type[Event], how: str, nested: bool
) -> None:
    children = [ChildSpec("first", serve), ChildSpec("a", worker, backoff=LONG), ChildSpec("last", serve)]
    supervisor = Supervisor(
        "root", [SupervisorSpec("inner", children)] if nested else children, subscribers=[seen]
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run)
        await seen.until(until, "a")
        if how == "cancel":
            tasks.cancel_scope.cancel()
        else:
            await supervisor.stop()
    assert supervisor.snapshot().state is State.STOPPED
    assert len(seen.all(ChildRestarted)) == 0
    assert len(seen.all(ChildStarted)) == len(seen.all(Stopped)) + len(seen.all(ChildFailed))


async def test_cancellation_while_it_stops_already_waits_for_the_ordered_end(seen: Seen) -> None:
    supervisor = Supervisor(
        "root", [ChildSpec("a", slow_to_stop), ChildSpec("b", slow_to_stop)], subscribers=[seen]
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        supervisor.request_stop()
        await seen.until(Stopping, "b")
        tasks.cancel_scope.cancel()
    assert seen.lines(Stopped) == ["Stopped b", "Stopped a"]


async def test_cancellation_before_the_run_starts_nothing(seen: Seen) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", serve)], subscribers=[seen])
    with anyio.CancelScope() as scope:
        scope.cancel()
        await supervisor.run()
    assert scope.cancelled_caught
    assert seen.lines() == ["SupervisorStopping", "SupervisorStopped"]
    await supervisor.stop()


async def test_a_child_that_is_cancelled_before_its_first_step_never_runs(seen: Seen) -> None:
    ran: list[str] = []

    async def stops_it_at_once(ctx: WorkerContext) -> None:
        ctx.ready()
        supervisor.request_stop()
        await anyio.sleep_forever()

    async def notes(ctx: WorkerContext) -> None:
        ran.append(ctx.name)

    supervisor = Supervisor(
        "root", [ChildSpec("a", stops_it_at_once), ChildSpec("b", notes)], subscribers=[seen]
    )
    await supervisor.run()
    assert seen.lines(ChildStarted, Stopped) == ["ChildStarted a", "ChildStarted b", "Stopped b", "Stopped a"]
    assert ran == []


async def test_an_error_in_the_supervisor_itself_ends_the_children_and_is_raised(seen: Seen) -> None:
    class BrokenClock:
        def now(self) -> float:
            return 0.0

        async def sleep(self, delay_s: float) -> None:
            await seen.until(ChildReady, "b")
            raise OSError("no clock")

    children = [ChildSpec("a", serve), ChildSpec("b", slow_to_stop), ChildSpec("c", never_ready)]
    with pytest.raises(ExceptionGroup) as raised:
        await Supervisor("root", children, clock=BrokenClock(), subscribers=[seen]).run()
    assert raised.group_contains(OSError, match="no clock")


async def test_a_failure_during_the_stop_is_told_and_restarts_nothing(seen: Seen) -> None:
    async def fails_meanwhile(ctx: WorkerContext) -> None:
        ctx.ready()
        await seen.until(Stopping, "b")
        raise RuntimeError("broken")

    children = [ChildSpec("a", fails_meanwhile, backoff=AT_ONCE), ChildSpec("b", slow_to_stop)]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        await supervisor.stop()
    assert seen.lines(ChildFailed, ChildRestarted, Stopped) == ["ChildFailed a", "Stopped b"]


async def test_a_worker_that_ends_while_it_is_stopped_for_hanging_is_one_failure(
    seen: Seen, running: Running
) -> None:
    async def fails_when_stopped(ctx: WorkerContext) -> None:
        try:
            await serve(ctx)
        finally:
            if not seen.all(ChildFailed):
                raise ValueError("cannot stop")

    children = [ChildSpec("a", fails_when_stopped, heartbeat_timeout_s=5, backoff=AT_ONCE)]
    async with running(Supervisor("root", children, subscribers=[seen])):
        failed = await seen.until(ChildFailed)
        assert [type(leaf) for leaf in failed.leaves] == [HeartbeatMissed, ValueError]
        await seen.until(ChildReady, "a", count=2)
        assert len(seen.all(ChildFailed)) == 1


async def test_ready_after_the_start_timed_out_is_too_late(seen: Seen, running: Running) -> None:
    async def ready_when_stopped(ctx: WorkerContext) -> None:
        if seen.all(ChildFailed):
            await serve(ctx)
        try:
            await anyio.sleep_forever()
        finally:
            ctx.ready()

    children = [ChildSpec("a", ready_when_stopped, start_timeout_s=5, backoff=AT_ONCE), ChildSpec("b", serve)]
    async with running(Supervisor("root", children, subscribers=[seen])):
        assert [(event.child, event.instance) for event in seen.all(ChildReady)] == [("a", 2), ("b", 1)]


async def test_a_late_call_of_an_instance_that_is_over_does_nothing(seen: Seen, running: Running) -> None:
    kept: list[WorkerContext] = []

    async def leaves_its_context(ctx: WorkerContext) -> None:
        kept.append(ctx)
        if len(kept) == 1:
            raise RuntimeError("broken")
        kept[0].ready()
        await anyio.sleep(1)
        await serve(ctx)

    async with running(Supervisor("root", [ChildSpec("a", leaves_its_context)], subscribers=[seen])):
        assert [event.instance for event in seen.all(ChildReady)] == [2]


async def test_all_children_fail_at_the_same_moment(seen: Seen, running: Running) -> None:
    start = anyio.Event()

    async def fails_together(ctx: WorkerContext) -> None:
        ctx.ready()
        if not seen.all(ChildFailed, ctx.name):
            await start.wait()
            raise RuntimeError("broken")
        await anyio.sleep_forever()

    children = [ChildSpec(name, fails_together, backoff=AT_ONCE) for name in "abcd"]
    async with running(Supervisor("root", children, subscribers=[seen])):
        start.set()
        for name in "abcd":
            await seen.until(ChildReady, name, count=2)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_cancelled_future_that_a_worker_awaits_is_its_failure(seen: Seen, running: Running) -> None:
    async def awaits(ctx: WorkerContext) -> None:
        ctx.ready()
        if not seen.all(ChildFailed):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        await anyio.sleep_forever()

    async with running(Supervisor("root", [ChildSpec("a", awaits, backoff=AT_ONCE)], subscribers=[seen])):
        failed = await seen.until(ChildFailed)
        assert isinstance(failed.cause, CancelledFromInside)
        await seen.until(ChildReady, "a", count=2)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_native_cancellation_of_the_supervisors_task_stops_it_in_order(seen: Seen) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", slow_to_stop), ChildSpec("b", serve)], subscribers=[seen])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(supervisor.run())
        await supervisor.wait_ready()
        task.cancel()
    assert task.cancelled()
    assert seen.lines(Stopped) == ["Stopped b", "Stopped a"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_second_native_cancellation_stops_all_at_once(seen: Seen) -> None:
    supervisor = Supervisor(
        "root", [ChildSpec("a", slow_to_stop), ChildSpec("b", slow_to_stop)], subscribers=[seen]
    )
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(supervisor.run())
        await supervisor.wait_ready()
        task.cancel()
        await seen.until(Stopping, "b")
        task.cancel()
    assert task.cancelled()
    assert supervisor.snapshot().state is State.STOPPED


async def test_a_child_that_fails_while_a_sibling_backs_off_has_its_own_delay(
    seen: Seen, running: Running
) -> None:
    async def fails_at_4_s(ctx: WorkerContext) -> None:
        ctx.ready()
        if not seen.all(ChildFailed, "b"):
            await anyio.sleep(4)
            raise RuntimeError("broken")
        await anyio.sleep_forever()

    async def fails_once(ctx: WorkerContext) -> None:
        await (serve if seen.all(ChildFailed, "a") else fails)(ctx)

    ten_s = Backoff(initial_s=10, cap_s=10, jitter=0)
    children = [ChildSpec("a", fails_once, backoff=ten_s), ChildSpec("b", fails_at_4_s, backoff=ten_s)]
    async with running(Supervisor("root", children, subscribers=[seen])):
        await seen.until(ChildRestarted, "b")
        assert [(event.child, event.at) for event in seen.all(ChildRestarted)] == [("a", 10), ("b", 14)]


async def test_a_child_that_is_added_while_the_others_start_waits_for_its_turn(seen: Seen) -> None:
    async def slow(ctx: WorkerContext) -> None:
        await anyio.sleep(3)
        await serve(ctx)

    supervisor = Supervisor("root", [ChildSpec("a", slow), ChildSpec("b", slow)], subscribers=[seen])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run)
        await seen.until(ChildStarted, "a")
        await supervisor.start_child(ChildSpec("c", serve))
        assert [(event.child, event.at) for event in seen.all(ChildStarted)] == [("a", 0), ("b", 3), ("c", 6)]
        await supervisor.stop()
