"""one_for_all and rest_for_one: who stops and starts with a failed child, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import pytest

from telewarden_supervisors import (
    AutoShutdown,
    Backoff,
    ChildFailed,
    ChildReady,
    ChildRestarted,
    ChildSpec,
    ChildStarted,
    Intensity,
    Restart,
    State,
    Stopped,
    Stopping,
    Strategy,
    Supervisor,
    SupervisorGaveUp,
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


class Mortal:
    """Serves until `kill` is called, then raises; served again at its next start."""

    def __init__(self) -> None:
        self._killed = anyio.Event()

    def kill(self) -> None:
        self._killed.set()

    async def __call__(self, ctx: WorkerContext) -> None:
        ctx.ready()
        await self._killed.wait()
        self._killed = anyio.Event()
        raise RuntimeError("killed")


def after(seen: Seen, mark: int) -> list[str]:
    kinds = (ChildStarted, ChildRestarted, ChildFailed, Stopping, Stopped, ChildReady)
    return [line for line in seen.lines(*kinds)[mark:] if not line.startswith("Stopping")]


def marked(seen: Seen) -> int:
    return len(seen.lines(ChildStarted, ChildRestarted, ChildFailed, Stopping, Stopped, ChildReady))


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, ["ChildFailed b", "ChildRestarted b", "ChildReady b"]),
        (
            Strategy.REST_FOR_ONE,
            [
                "ChildFailed b",
                *("Stopped d", "Stopped c"),
                *("ChildRestarted b", "ChildReady b", "ChildRestarted c", "ChildReady c"),
                *("ChildRestarted d", "ChildReady d"),
            ],
        ),
        (
            Strategy.ONE_FOR_ALL,
            [
                "ChildFailed b",
                *("Stopped d", "Stopped c", "Stopped a"),
                *("ChildRestarted a", "ChildReady a", "ChildRestarted b", "ChildReady b"),
                *("ChildRestarted c", "ChildReady c", "ChildRestarted d", "ChildReady d"),
            ],
        ),
    ],
)
@pytest.mark.parametrize("backoff", [AT_ONCE, ONE_SECOND], ids=["at once", "backing off"])
async def test_the_strategy_says_who_restarts_and_in_which_order(
    seen: Seen, running: Running, strategy: Strategy, expected: list[str], backoff: Backoff
) -> None:
    b = Mortal()
    children = [
        ChildSpec("a", serve),
        ChildSpec("b", b, backoff=backoff),
        ChildSpec("c", serve),
        ChildSpec("d", serve),
    ]
    async with running(Supervisor("root", children, strategy=strategy, subscribers=[seen])):
        mark = marked(seen)
        b.kill()
        await seen.until(ChildReady, expected[-1][-1], count=2)
        assert after(seen, mark) == expected


@pytest.mark.parametrize("wait_ready", [True, False])
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_a_group_restart_waits_out_the_backoff_with_the_others_stopped(
    seen: Seen, running: Running, strategy: Strategy, wait_ready: bool
) -> None:
    a = Mortal()
    supervisor = Supervisor(
        "root",
        [ChildSpec("a", a, backoff=ONE_SECOND, wait_ready=wait_ready), ChildSpec("b", serve)],
        strategy=strategy,
        subscribers=[seen],
    )
    async with running(supervisor):
        a.kill()
        await seen.until(Stopped, "b")
        assert [child.state for child in supervisor.snapshot().children] == [State.BACKING_OFF, State.WAITING]
        failed = seen.all(ChildFailed)[0].at
        assert (await seen.until(ChildRestarted, "a")).at == failed + 1
        await seen.until(ChildReady, "b", count=2)


async def test_one_restart_of_the_group_counts_once(seen: Seen, running: Running) -> None:
    a = Mortal()
    children = [ChildSpec("a", a, backoff=AT_ONCE), ChildSpec("b", serve), ChildSpec("c", serve)]
    supervisor = Supervisor(
        "root",
        children,
        strategy=Strategy.ONE_FOR_ALL,
        subscribers=[seen],
        intensity=Intensity(restarts=2, period_s=60),
    )
    async with running(supervisor):
        for count in (2, 3):
            a.kill()
            await seen.until(ChildReady, "c", count=count)


async def test_a_sibling_that_fails_while_the_group_stops_joins_its_restart(
    seen: Seen, running: Running
) -> None:
    a = Mortal()

    async def fails_when_stopped(ctx: WorkerContext) -> None:
        ctx.ready()
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("cannot stop")

    children = [ChildSpec("a", a, backoff=AT_ONCE), ChildSpec("b", fails_when_stopped)]
    supervisor = Supervisor(
        "root",
        children,
        strategy=Strategy.ONE_FOR_ALL,
        subscribers=[seen],
        intensity=Intensity(restarts=1, period_s=60),
    )
    async with running(supervisor):
        a.kill()
        await seen.until(ChildReady, "b", count=2)
        assert [event.child for event in seen.all(ChildFailed)] == ["a", "b"]


async def test_an_earlier_child_that_fails_during_a_group_restart_widens_the_group(
    seen: Seen, running: Running
) -> None:
    a, b = Mortal(), Mortal()

    async def slow_to_stop(ctx: WorkerContext) -> None:
        ctx.ready()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                a.kill()
                await anyio.sleep(2)

    children = [
        ChildSpec("a", a, backoff=AT_ONCE),
        ChildSpec("b", b, backoff=ONE_SECOND),
        ChildSpec("c", slow_to_stop),
    ]
    async with running(Supervisor("root", children, strategy=Strategy.REST_FOR_ONE, subscribers=[seen])):
        mark = marked(seen)
        b.kill()
        await seen.until(ChildReady, "c", count=2)
        assert after(seen, mark) == [
            *("ChildFailed b", "ChildFailed a", "Stopped c"),
            *("ChildRestarted a", "ChildReady a", "ChildRestarted b", "ChildReady b"),
            *("ChildRestarted c", "ChildReady c"),
        ]


async def test_a_temporary_sibling_is_stopped_with_the_group_and_not_started_again(
    seen: Seen, running: Running
) -> None:
    a = Mortal()
    children = [
        ChildSpec("a", a, backoff=AT_ONCE),
        ChildSpec("b", serve, restart=Restart.TEMPORARY),
        ChildSpec("c", serve),
    ]
    supervisor = Supervisor("root", children, strategy=Strategy.ONE_FOR_ALL, subscribers=[seen])
    async with running(supervisor):
        a.kill()
        await seen.until(ChildReady, "c", count=2)
        assert [child.name for child in supervisor.snapshot().children] == ["a", "c"]


async def test_a_failing_temporary_child_restarts_nobody(seen: Seen, running: Running) -> None:
    a = Mortal()
    children = [ChildSpec("a", a, restart=Restart.TEMPORARY), ChildSpec("b", serve)]
    async with running(Supervisor("root", children, strategy=Strategy.ONE_FOR_ALL, subscribers=[seen])):
        a.kill()
        await seen.until(ChildFailed, "a")
        assert seen.lines(Stopping, ChildRestarted) == []


async def test_a_finished_transient_sibling_starts_with_the_group_as_in_otp(
    seen: Seen, running: Running
) -> None:
    a = Mortal()

    async def once(ctx: WorkerContext) -> None:
        ctx.ready()

    children = [ChildSpec("a", a, backoff=AT_ONCE), ChildSpec("b", once, restart=Restart.TRANSIENT)]
    async with running(Supervisor("root", children, strategy=Strategy.ONE_FOR_ALL, subscribers=[seen])):
        a.kill()
        await seen.until(ChildRestarted, "b")


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_too_many_restarts_of_a_group_stop_everything(seen: Seen, strategy: Strategy) -> None:
    async def fails(ctx: WorkerContext) -> None:
        ctx.ready()
        raise RuntimeError("broken")

    children = [ChildSpec("a", serve), ChildSpec("b", fails, backoff=AT_ONCE), ChildSpec("c", serve)]
    supervisor = Supervisor(
        "root", children, strategy=strategy, subscribers=[seen], intensity=Intensity(restarts=3, period_s=60)
    )
    with pytest.raises(SupervisorGaveUp):
        await supervisor.run()
    assert len(seen.all(ChildFailed)) == 4
    assert {child.state for child in supervisor.snapshot().children} == {State.STOPPED}


Kill = Callable[[], None]


@pytest.mark.parametrize(
    ("auto_shutdown", "ends", "runs_on"),
    [
        (AutoShutdown.ANY_SIGNIFICANT, ["a"], False),
        (AutoShutdown.ALL_SIGNIFICANT, ["a"], True),
        (AutoShutdown.ALL_SIGNIFICANT, ["a", "b"], False),
        (AutoShutdown.ANY_SIGNIFICANT, ["plain"], True),
        (AutoShutdown.ALL_SIGNIFICANT, ["plain"], True),
    ],
)
async def test_significant_children_that_end_by_themselves_end_the_supervisor(
    seen: Seen, auto_shutdown: AutoShutdown, ends: list[str], runs_on: bool
) -> None:
    end = {name: anyio.Event() for name in ("a", "b", "plain")}

    async def until_told(ctx: WorkerContext) -> None:
        ctx.ready()
        await end[ctx.name].wait()

    children = [
        ChildSpec("a", until_told, restart=Restart.TRANSIENT, significant=True),
        ChildSpec("b", until_told, restart=Restart.TEMPORARY, significant=True),
        ChildSpec("plain", until_told, restart=Restart.TRANSIENT),
        ChildSpec("serve", serve),
    ]
    supervisor = Supervisor("root", children, auto_shutdown=auto_shutdown, subscribers=[seen])
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        for name in ends:
            end[name].set()
            await anyio.wait_all_tasks_blocked()
        assert (supervisor.snapshot().state is State.RUNNING) is runs_on
        tasks.cancel_scope.cancel()


async def test_a_significant_child_that_is_terminated_or_restarts_ends_nothing(
    seen: Seen, running: Running
) -> None:
    a = Mortal()
    children = [
        ChildSpec("a", a, restart=Restart.TRANSIENT, significant=True, backoff=AT_ONCE),
        ChildSpec("b", serve, restart=Restart.TRANSIENT, significant=True),
    ]
    supervisor = Supervisor("root", children, auto_shutdown=AutoShutdown.ANY_SIGNIFICANT, subscribers=[seen])
    async with running(supervisor):
        a.kill()
        await seen.until(ChildReady, "a", count=2)
        await supervisor.terminate_child("b")
        assert supervisor.snapshot().state is State.RUNNING
