"""Supervisors below supervisors: start, failure, stop, snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from telewarden_supervisors import (
    AnySpec,
    Backoff,
    ChildFailed,
    ChildNotFound,
    ChildReady,
    ChildRestarted,
    ChildSpec,
    ChildStarted,
    Intensity,
    State,
    Stopped,
    Supervisor,
    SupervisorGaveUp,
    SupervisorReady,
    SupervisorSpec,
    WorkerContext,
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


async def test_a_supervisor_is_ready_when_its_children_are(seen: Seen, running: Running) -> None:
    async def slow(ctx: WorkerContext) -> None:
        await anyio.sleep(3)
        await serve(ctx)

    tree: list[AnySpec] = [
        SupervisorSpec("storage", [ChildSpec("a", slow), ChildSpec("b", serve)]),
        ChildSpec("api", serve),
    ]
    async with running(Supervisor("root", tree, subscribers=[seen])):
        assert [(event.supervisor, event.child) for event in seen.all(ChildReady)] == [
            ("root/storage", "a"),
            ("root/storage", "b"),
            ("root", "storage"),
            ("root", "api"),
        ]
        assert [event.supervisor for event in seen.all(SupervisorReady)] == ["root/storage", "root"]


async def test_the_whole_tree_stops_in_reverse(seen: Seen, running: Running) -> None:
    tree: list[AnySpec] = [
        ChildSpec("first", serve),
        SupervisorSpec("storage", [ChildSpec("a", serve), ChildSpec("b", serve)]),
        ChildSpec("last", serve),
    ]
    async with running(Supervisor("root", tree, subscribers=[seen])):
        pass
    assert [event.path for event in seen.all(Stopped)] == [
        "root/last",
        "root/storage/b",
        "root/storage/a",
        "root/storage",
        "root/first",
    ]


async def test_cancellation_stops_the_whole_tree_in_reverse(seen: Seen) -> None:
    tree: list[AnySpec] = [
        SupervisorSpec("storage", [ChildSpec("a", serve), ChildSpec("b", serve)]),
        ChildSpec("last", serve),
    ]
    async with anyio.create_task_group() as tasks:
        await tasks.start(Supervisor("root", tree, subscribers=[seen]).run)
        tasks.cancel_scope.cancel()
    assert [event.path for event in seen.all(Stopped)] == [
        "root/last",
        "root/storage/b",
        "root/storage/a",
        "root/storage",
    ]


async def test_giving_up_is_a_failure_that_the_parent_restarts(seen: Seen, running: Running) -> None:
    broken_times = 2

    async def fails_at_first(ctx: WorkerContext) -> None:
        nonlocal broken_times
        ctx.ready()
        await seen.until(ChildReady, "storage")
        broken_times -= 1
        if broken_times >= 0:
            raise RuntimeError("broken")
        await anyio.sleep_forever()

    storage = SupervisorSpec(
        "storage",
        [ChildSpec("a", fails_at_first, backoff=AT_ONCE), ChildSpec("b", serve)],
        intensity=Intensity(restarts=1, period_s=60),
        backoff=AT_ONCE,
    )
    async with running(Supervisor("root", [storage, ChildSpec("api", serve)], subscribers=[seen])):
        await seen.until(ChildReady, "storage", count=2)
        gave_up = seen.all(ChildFailed, "storage")[0].cause
        assert isinstance(gave_up, SupervisorGaveUp)
        assert [failure.child for failure in gave_up.failures] == ["a", "a"]
        assert len(seen.all(ChildStarted, "a")) == 2, "a fresh supervisor starts its children anew"
        assert seen.all(ChildRestarted, "api") == []


async def test_giving_up_goes_up_to_the_root_with_its_history() -> None:
    inner = SupervisorSpec("inner", [ChildSpec("a", fails, backoff=AT_ONCE)], intensity=Intensity(restarts=2))
    middle = SupervisorSpec("middle", [inner], intensity=Intensity(restarts=0))
    with pytest.raises(SupervisorGaveUp) as raised:
        await Supervisor("root", [middle], intensity=Intensity(restarts=0)).run()
    assert str(raised.value).count("RuntimeError: broken") == 3
    assert "the supervisor root/middle/inner gave up" in str(raised.value)


async def test_what_is_no_failure_passes_through_every_level(seen: Seen) -> None:
    async def quits(ctx: WorkerContext) -> None:
        ctx.ready()
        await anyio.sleep(1)
        raise SystemExit(3)

    tree: list[AnySpec] = [
        ChildSpec("first", serve),
        SupervisorSpec("inner", [ChildSpec("a", serve), ChildSpec("quits", quits)]),
    ]
    with pytest.raises(SystemExit, match="3"):
        await Supervisor("root", tree, subscribers=[seen]).run()
    assert [event.path for event in seen.all(Stopped)] == ["root/inner/a", "root/first"]


async def test_the_snapshot_is_the_whole_tree(running: Running) -> None:
    tree: list[AnySpec] = [SupervisorSpec("storage", [ChildSpec("a", serve)]), ChildSpec("api", serve)]
    supervisor = Supervisor("root", tree)
    async with running(supervisor):
        storage, api = supervisor.snapshot().children
        assert (storage.name, storage.state, [child.name for child in storage.children]) == (
            "storage",
            State.RUNNING,
            ["a"],
        )
        assert api.children == ()


async def test_a_child_far_below_is_named_by_its_path(seen: Seen, running: Running) -> None:
    tree: list[AnySpec] = [SupervisorSpec("storage", [ChildSpec("a", serve)])]
    supervisor = Supervisor("root", tree, subscribers=[seen])
    async with running(supervisor):
        await supervisor.restart_child("storage/a")
        assert len(seen.all(ChildReady, "a")) == 2
        with pytest.raises(ChildNotFound, match="root/storage has no child 'b'; its children are: a"):
            await supervisor.restart_child("storage/b")
        with pytest.raises(ChildNotFound, match="root has no child 'nowhere'"):
            await supervisor.restart_child("nowhere/a")


async def test_workers_do_not_inherit_each_others_context_variables(seen: Seen, running: Running) -> None:
    from contextvars import ContextVar

    mine: ContextVar[str] = ContextVar("mine", default="nothing")
    found: list[str] = []

    async def sets(ctx: WorkerContext) -> None:
        found.append(mine.get())
        mine.set(ctx.name)
        await fails(ctx)

    children = [ChildSpec("a", sets, backoff=AT_ONCE), ChildSpec("b", serve)]
    with pytest.raises(SupervisorGaveUp):
        await Supervisor("root", children).run()
    assert set(found) == {"nothing"}
