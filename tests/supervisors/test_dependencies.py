"""Children that depend on siblings: when they start, and what happens to them with what they depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from telewarden_supervisors import (
    AnySpec,
    BackingOff,
    Backoff,
    ChildFailed,
    ChildReady,
    ChildRestarted,
    ChildSpec,
    ChildStarted,
    Restart,
    Stopped,
    Stopping,
    Supervisor,
    SupervisorReady,
    SupervisorSpec,
    WorkerContext,
)

if TYPE_CHECKING:
    from supervisors.conftest import Running, Seen

pytestmark = pytest.mark.anyio

AT_ONCE = Backoff(initial_s=0)
ONE_SECOND = Backoff(initial_s=1, jitter=0)


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


HAPPENS = (ChildStarted, ChildReady, ChildFailed, Stopping, Stopped, ChildRestarted)


async def test_a_child_starts_when_what_it_depends_on_is_ready_though_nobody_else_waits_for_that(
    seen: Seen, running: Running
) -> None:
    children = [
        ChildSpec("cache", slow, wait_ready=False),
        ChildSpec("reader", serve, dependencies=["cache"], wait_ready=False),
        ChildSpec("other", serve),
    ]
    async with running(Supervisor("root", children, subscribers=[seen])):
        await seen.until(ChildReady, "reader")
        assert seen.lines(ChildStarted, ChildReady, SupervisorReady) == [
            *("ChildStarted cache", "ChildStarted other", "ChildReady other", "SupervisorReady"),
            *("ChildReady cache", "ChildStarted reader", "ChildReady reader"),
        ]


async def test_a_child_that_waits_for_a_dependency_holds_up_who_waits_for_it(
    seen: Seen, running: Running
) -> None:
    children = [
        ChildSpec("cache", slow, wait_ready=False),
        ChildSpec("reader", serve, dependencies=["cache"]),
        ChildSpec("other", serve),
    ]
    async with running(Supervisor("root", children, subscribers=[seen])):
        assert seen.lines(ChildStarted) == [
            "ChildStarted cache",
            "ChildStarted reader",
            "ChildStarted other",
        ]
        assert seen.all(ChildStarted, "other")[0].at == 3


@pytest.mark.parametrize("backoff", [AT_ONCE, ONE_SECOND], ids=["at once", "backing off"])
async def test_dependents_stop_in_reverse_order_and_come_back_after_what_failed_is_ready(
    seen: Seen, running: Running, backoff: Backoff
) -> None:
    a = Mortal(start_s=1)
    children = [
        ChildSpec("a", a, backoff=backoff, wait_ready=False),
        ChildSpec("other", serve),
        ChildSpec("b", slow_to_stop, dependencies=["a"]),
        ChildSpec("last", serve),
        ChildSpec("c", slow_to_stop, dependencies=["b"]),
    ]
    async with running(Supervisor("root", children, subscribers=[seen])):
        mark = len(seen.lines(*HAPPENS))
        a.kill()
        await seen.until(ChildReady, "c", count=2)
        assert seen.lines(*HAPPENS)[mark:] == [
            "ChildFailed a",
            *("Stopping c", "Stopped c", "Stopping b", "Stopped b"),
            *("ChildRestarted a", "ChildReady a"),
            *("ChildRestarted b", "ChildReady b", "ChildRestarted c", "ChildReady c"),
        ]


async def test_dependents_that_do_not_need_each_other_stop_one_after_the_other_and_start_together(
    seen: Seen, running: Running
) -> None:
    a = Mortal()
    children = [
        ChildSpec("a", a, backoff=AT_ONCE),
        ChildSpec("b", slow_to_stop, dependencies=["a"]),
        ChildSpec("c", slow_to_stop, dependencies=["a"]),
    ]
    async with running(Supervisor("root", children, subscribers=[seen])):
        a.kill()
        await seen.until(ChildRestarted, "c")
        assert [(event.child, event.at) for event in seen.all(Stopped)] == [("c", 2), ("b", 4)]
        assert [(event.child, event.at) for event in seen.all(ChildRestarted)] == [
            ("a", 4),
            ("b", 4),
            ("c", 4),
        ]


async def test_a_dependents_own_failure_leaves_what_it_depends_on_alone(seen: Seen, running: Running) -> None:
    b = Mortal()
    children = [
        ChildSpec("a", serve),
        ChildSpec("b", b, dependencies=["a"], backoff=AT_ONCE),
        ChildSpec("c", serve),
    ]
    async with running(Supervisor("root", children, subscribers=[seen])):
        b.kill()
        await seen.until(ChildReady, "b", count=2)
        assert seen.lines(ChildRestarted, Stopping) == ["ChildRestarted b"]


async def test_a_hanging_dependency_takes_its_dependents_with_it(seen: Seen, running: Running) -> None:
    children = [
        ChildSpec("a", slow_to_stop, heartbeat_timeout_s=10, backoff=ONE_SECOND),
        ChildSpec("b", serve, dependencies=["a"]),
    ]
    async with running(Supervisor("root", children, subscribers=[seen])):
        assert (await seen.until(Stopping, "b")).at == 10
        assert (await seen.until(BackingOff, "a")).at == 12
        assert (await seen.until(ChildRestarted, "b")).at == 13


async def test_a_failure_while_the_dependents_stop_starts_nobody_before_they_ended(
    seen: Seen, running: Running
) -> None:
    a, b = Mortal(), Mortal()
    children = [
        ChildSpec("a", a, backoff=AT_ONCE),
        ChildSpec("b", b, backoff=AT_ONCE, dependencies=["a"]),
        ChildSpec("c", slow_to_stop, dependencies=["b"]),
    ]
    async with running(Supervisor("root", children, subscribers=[seen])):
        a.kill()
        await seen.until(Stopping, "c")
        b.kill()
        await seen.until(ChildReady, "c", count=2)
        assert seen.lines(ChildFailed, Stopped, ChildRestarted) == [
            *("ChildFailed a", "ChildFailed b", "Stopped c"),
            *("ChildRestarted a", "ChildRestarted b", "ChildRestarted c"),
        ]


async def test_slow_dependents_do_not_hold_up_the_restart_of_others(seen: Seen, running: Running) -> None:
    a, other = Mortal(), Mortal()
    children = [
        ChildSpec("a", a, backoff=AT_ONCE),
        ChildSpec("b", slow_to_stop, dependencies=["a"]),
        ChildSpec("other", other, backoff=AT_ONCE),
    ]
    async with running(Supervisor("root", children, subscribers=[seen])):
        a.kill()
        await seen.until(Stopping, "b")
        other.kill()
        assert (await seen.until(ChildReady, "other", count=2)).at == 0
        assert seen.all(Stopped) == []
        assert (await seen.until(ChildReady, "b", count=2)).at == 2


async def test_a_finished_dependency_is_enough_and_a_finished_dependent_stays_finished(
    seen: Seen, running: Running
) -> None:
    a = Mortal()

    async def once(ctx: WorkerContext) -> None:
        ctx.ready()

    children = [
        ChildSpec("a", a, backoff=AT_ONCE),
        ChildSpec("migration", once, restart=Restart.TRANSIENT, dependencies=["a"]),
        ChildSpec("writer", serve, dependencies=["migration"]),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with running(supervisor):
        a.kill()
        await seen.until(ChildReady, "writer", count=2)
        assert states(supervisor) == {"a": "running", "migration": "finished", "writer": "running"}
        assert seen.lines(ChildRestarted) == ["ChildRestarted a", "ChildRestarted writer"]


async def test_a_supervisor_depends_and_is_depended_on(seen: Seen, running: Running) -> None:
    children: list[AnySpec] = [
        SupervisorSpec("stores", [ChildSpec("x", slow)], wait_ready=False),
        SupervisorSpec("api", [ChildSpec("y", serve)], dependencies=["stores"]),
    ]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with running(supervisor):
        await supervisor.restart_child("stores")
        await seen.until(ChildReady, "api", count=2)
        assert [event.path for event in seen.all(Stopped)] == [
            *("root/api/y", "root/api"),
            *("root/stores/x", "root/stores"),
        ]
