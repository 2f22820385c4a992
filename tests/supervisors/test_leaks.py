"""Nothing of a supervisor is left when it has ended: no task, no scope, no waiting request, no subscriber."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING

import anyio
import pytest

from telewarden_supervisors import (
    AnySpec,
    BackingOff,
    Backoff,
    ChildNotFound,
    ChildReady,
    ChildSpec,
    ChildStarted,
    ChildTemplate,
    Event,
    LoopWatch,
    Restart,
    Strategy,
    Supervisor,
    SupervisorGaveUp,
    SupervisorSpec,
    WorkerContext,
)
from telewarden_supervisors.instance import Instance, InstanceContext

if TYPE_CHECKING:
    from supervisors.conftest import Seen

pytestmark = pytest.mark.anyio

LONG = Backoff(initial_s=100, cap_s=100, jitter=0)


async def serve(ctx: WorkerContext) -> None:
    ctx.ready()
    await anyio.sleep_forever()


async def fails(ctx: WorkerContext) -> None:
    ctx.ready()
    raise RuntimeError("broken")


async def never_ready(ctx: WorkerContext) -> None:
    await anyio.sleep_forever()


def alive(kind: type[object]) -> int:
    gc.collect()
    return sum(type(thing) is kind for thing in gc.get_objects())


async def live(seen: Seen, how: str) -> weakref.ref[Supervisor]:
    """A supervisor's whole life, with a bit of everything in it."""
    tree: list[AnySpec] = [
        ChildSpec("a", serve),
        SupervisorSpec("inner", [ChildSpec("x", serve), ChildSpec("y", serve, dependencies=["x"])]),
        ChildSpec("broken", fails, backoff=LONG),
        ChildSpec("late", never_ready, wait_ready=False, start_timeout_s=None),
    ]
    supervisor = Supervisor("root", tree, strategy=Strategy.ONE_FOR_ONE, subscribers=[seen])
    stream = supervisor.subscribe()
    template = ChildTemplate("link", lambda ctx, _number: serve(ctx), restart=Restart.TEMPORARY)
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        await seen.until(BackingOff, "broken")
        for number in range(10):
            path = await supervisor.start_child_from(template, number, under="inner")
            await supervisor.restart_child("inner/x")
            await supervisor.terminate_child(path)
        with anyio.move_on_after(1) as asked:
            await supervisor.restart_child("late")
        assert asked.cancelled_caught
        assert supervisor._driver._conditions == []
        if how == "cancel":
            tasks.cancel_scope.cancel()
        else:
            await supervisor.stop()
    assert [event async for event in stream] == seen.events
    assert supervisor._bus._streams == []
    return weakref.ref(supervisor)


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_no_task_no_scope_and_no_instance_outlives_the_supervisor(seen: Seen, how: str) -> None:
    tasks = {task.id for task in anyio.get_running_tasks()}
    kinds = (Instance, InstanceContext, type(anyio.CancelScope()), Supervisor)
    before = [alive(kind) for kind in kinds]
    gone = await live(seen, how)
    seen.events.clear()
    await anyio.wait_all_tasks_blocked()  # asyncio's loop lets go of what it ran last
    assert {task.id for task in anyio.get_running_tasks()} == tasks
    assert [alive(kind) for kind in kinds] == before
    assert gone() is None


async def test_a_request_that_is_cancelled_goes_on_without_its_asker(seen: Seen) -> None:
    supervisor = Supervisor("root", subscribers=[seen])

    async def slow(ctx: WorkerContext) -> None:
        await anyio.sleep(5)
        await serve(ctx)

    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        with anyio.move_on_after(1):
            await supervisor.start_child(ChildSpec("a", slow))
        assert supervisor._driver._conditions == []
        assert (await seen.until(ChildReady, "a")).at == 5
        await supervisor.stop()


async def test_a_deleted_supervisor_is_forgotten_with_all_that_was_below_it() -> None:
    supervisor = Supervisor("root", [SupervisorSpec("inner", [ChildSpec("x", serve)])])
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        await supervisor.terminate_child("inner")
        supervisor.delete_child("inner")
        with pytest.raises(ChildNotFound, match="root has no child 'inner'"):
            await supervisor.restart_child("inner/x")
        assert supervisor._driver.below == {}
        await supervisor.stop()


async def test_giving_up_leaves_nothing_running(seen: Seen) -> None:
    tasks = {task.id for task in anyio.get_running_tasks()}
    children = [ChildSpec("a", serve), ChildSpec("b", fails, backoff=Backoff(0))]
    with pytest.raises(SupervisorGaveUp):
        await Supervisor("root", children, subscribers=[seen]).run()
    assert {task.id for task in anyio.get_running_tasks()} == tasks


async def test_every_stream_ends_with_the_supervisor_and_a_closed_one_is_forgotten_at_once() -> None:
    supervisor = Supervisor("root", [ChildSpec("a", serve)])
    got: list[list[Event]] = []

    async def read() -> None:
        with supervisor.subscribe() as stream:
            got.append([event async for event in stream])

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        with supervisor.subscribe():
            assert len(supervisor._bus._streams) == 4
        assert len(supervisor._bus._streams) == 3
        await tasks.start(supervisor.run)
        await supervisor.stop()
    assert len(got) == 3
    assert all(isinstance(events[0], ChildStarted) for events in got)
    assert supervisor._bus._streams == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_thread_of_a_loop_watch_ends_with_it() -> None:
    supervisor = Supervisor("root", [ChildSpec("loop watch", LoopWatch(0.2, lambda _: None))])
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        [thread] = [thread for thread in threading.enumerate() if thread.name == "loop watch"]
        await supervisor.stop()
    thread.join(timeout=10)
    assert not thread.is_alive()
