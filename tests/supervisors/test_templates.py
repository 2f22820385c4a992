"""Children of one kind that are started while the supervisor runs, each with arguments of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from telewarden_supervisors import (
    Backoff,
    ChildFinished,
    ChildReady,
    ChildSpec,
    ChildTemplate,
    NotRunning,
    Restart,
    StartFailed,
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


async def test_many_children_from_one_template_leave_nothing_behind(seen: Seen, running: Running) -> None:
    async def handle(ctx: WorkerContext, number: int) -> None:
        ctx.ready()
        await anyio.sleep(number)

    template = ChildTemplate("connection", handle, restart=Restart.TEMPORARY)
    supervisor = Supervisor("root", [ChildSpec("a", serve)], subscribers=[seen])
    async with running(supervisor):
        names = [await supervisor.start_child_from(template, number) for number in range(50)]
        assert names == [f"connection-{number}" for number in range(1, 51)]
        await seen.until(ChildFinished, "connection-50")
        assert [child.name for child in supervisor.snapshot().children] == ["a"]
        assert list(supervisor._driver.specs) == ["a"]


async def test_a_child_from_a_template_is_supervised_like_any_other_and_keeps_its_arguments(
    seen: Seen, running: Running
) -> None:
    got: list[tuple[str, str, int]] = []

    async def handle(ctx: WorkerContext, host: str, port: int) -> None:
        got.append((ctx.name, host, port))
        await serve(ctx)

    template = ChildTemplate("link", handle, stop_timeout_s=7, dependencies=["a"])
    children = [ChildSpec("a", serve), ChildSpec("link-2", serve)]
    supervisor = Supervisor("root", [SupervisorSpec("links", children)], subscribers=[seen])
    async with running(supervisor):
        first = await supervisor.start_child_from(template, "north", 1, under="links")
        second = await supervisor.start_child_from(template, "south", 2, under="links")
        assert (first, second) == ("links/link-1", "links/link-3")
        await supervisor.restart_child(second)
        await supervisor.restart_child("links/a")
        await seen.until(ChildReady, "link-3", count=3)
        await supervisor.terminate_child(second)
        supervisor.delete_child(second)
        assert await supervisor.start_child_from(template, "west", 3, under="links") == "links/link-4"
        assert sorted(set(got)) == [
            *(("link-1", "north", 1), ("link-3", "south", 2)),
            ("link-4", "west", 3),
        ]


async def test_children_from_a_template_are_started_from_several_tasks_at_once(
    seen: Seen, running: Running
) -> None:
    async def handle(ctx: WorkerContext, start_s: float) -> None:
        await anyio.sleep(start_s)
        await serve(ctx)

    names: list[str] = []
    template = ChildTemplate("link", handle)
    supervisor = Supervisor("root", subscribers=[seen])

    async def start(start_s: float) -> None:
        names.append(await supervisor.start_child_from(template, start_s))

    async with running(supervisor):
        async with anyio.create_task_group() as tasks:
            for start_s in (3, 2, 1):
                tasks.start_soon(start, start_s)
        assert sorted(names) == ["link-1", "link-2", "link-3"]
        assert [event.at for event in seen.all(ChildReady)] == [1, 2, 3]


async def test_a_child_from_a_template_that_fails_to_start_is_named(running: Running) -> None:
    async def handle(ctx: WorkerContext, port: int) -> None:
        raise OSError(f"port {port} is taken")

    supervisor = Supervisor("root")
    with pytest.raises(NotRunning):
        await supervisor.start_child_from(ChildTemplate("link", handle), 1)
    async with running(supervisor):
        with pytest.raises(StartFailed, match="port 80 is taken") as raised:
            await supervisor.start_child_from(ChildTemplate("link", handle, backoff=LONG), 80)
        assert raised.value.path == "root/link-1"
