"""A supervisor with one_for_one: start, failures, restarts, giving up, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from telewarden_supervisors import (
    BackingOff,
    Backoff,
    BeatMissed,
    ChildFailed,
    ChildFinished,
    ChildReady,
    ChildRestarted,
    ChildSpec,
    ChildStarted,
    GaveUp,
    HeartbeatMissed,
    Intensity,
    NotRunning,
    Restart,
    StartTimedOut,
    State,
    Stopped,
    Stopping,
    SupervisionError,
    Supervisor,
    SupervisorGaveUp,
    SupervisorReady,
    WorkerContext,
    WorkerReturned,
)

if TYPE_CHECKING:
    from supervisors.conftest import Running, Seen

pytestmark = pytest.mark.anyio

AT_ONCE = Backoff(initial_s=0)
NO_JITTER = Backoff(initial_s=1, factor=2, cap_s=5, jitter=0, reset_after_s=60)


async def serve(ctx: WorkerContext) -> None:
    ctx.ready()
    await anyio.sleep_forever()


async def never_ready(ctx: WorkerContext) -> None:
    await anyio.sleep_forever()


class Failing:
    """Raises at its first `times` runs, when it is ready; then serves."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.times = times
        self.error = error or RuntimeError("broken")

    async def __call__(self, ctx: WorkerContext) -> None:
        ctx.ready()
        self.times -= 1
        if self.times >= 0:
            raise self.error
        await anyio.sleep_forever()


async def test_each_child_starts_when_the_one_before_is_ready(seen: Seen, running: Running) -> None:
    async def slow(ctx: WorkerContext) -> None:
        await anyio.sleep(3)
        await serve(ctx)

    children = [ChildSpec("a", slow), ChildSpec("b", slow), ChildSpec("c", serve)]
    async with running(Supervisor("root", children, subscribers=[seen])):
        assert seen.lines() == [
            "ChildStarted a",
            "ChildReady a",
            "ChildStarted b",
            "ChildReady b",
            "ChildStarted c",
            "ChildReady c",
            "SupervisorReady",
        ]
        assert [event.after_s for event in seen.all(ChildReady)] == [3, 3, 0]


async def test_a_child_that_is_not_waited_for_holds_nobody_up(seen: Seen, running: Running) -> None:
    children = [ChildSpec("a", never_ready, wait_ready=False, start_timeout_s=None), ChildSpec("b", serve)]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with running(supervisor):
        assert [child.state for child in supervisor.snapshot().children] == [State.STARTING, State.RUNNING]


async def test_children_stop_in_reverse_order_one_after_the_other(seen: Seen, running: Running) -> None:
    async def slow_to_stop(ctx: WorkerContext) -> None:
        ctx.ready()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2)

    children = [ChildSpec(name, slow_to_stop) for name in "abc"]
    async with running(Supervisor("root", children, subscribers=[seen])):
        pass
    assert seen.lines(Stopping, Stopped) == [
        "Stopping c",
        "Stopped c",
        "Stopping b",
        "Stopped b",
        "Stopping a",
        "Stopped a",
    ]


async def test_a_failed_child_restarts_and_its_siblings_feel_nothing(seen: Seen, running: Running) -> None:
    children = [ChildSpec("a", serve), ChildSpec("b", Failing(1), backoff=AT_ONCE), ChildSpec("c", serve)]
    async with running(Supervisor("root", children, subscribers=[seen])):
        await seen.until(ChildReady, "b", count=2)
        assert seen.lines(ChildRestarted, Stopping) == ["ChildRestarted b"]


async def test_backoff_doubles_up_to_its_cap(seen: Seen, running: Running) -> None:
    children = [ChildSpec("a", Failing(5), backoff=NO_JITTER)]
    async with running(Supervisor("root", children, subscribers=[seen])):
        await seen.until(ChildReady, "a", count=6)
    assert [event.delay_s for event in seen.all(BackingOff)] == [1, 2, 4, 5, 5]
    restarts = [event.at for event in seen.all(ChildRestarted)]
    assert restarts == pytest.approx([1, 3, 7, 12, 17])


async def test_backoff_is_forgotten_after_a_stable_period(seen: Seen, running: Running) -> None:
    lives = iter([0, 59, 60, 0])

    async def mortal(ctx: WorkerContext) -> None:
        ctx.ready()
        await anyio.sleep(next(lives))
        raise RuntimeError("broken")

    children = [ChildSpec("a", mortal, backoff=NO_JITTER)]
    async with running(Supervisor("root", children, subscribers=[seen])):
        await seen.until(BackingOff, "a", count=4)
    assert [event.delay_s for event in seen.all(BackingOff)] == [1, 2, 1, 2]


async def test_jitter_comes_from_the_given_random_numbers(seen: Seen, running: Running) -> None:
    children = [ChildSpec("a", Failing(1), backoff=Backoff(initial_s=8, jitter=0.5))]
    async with running(Supervisor("root", children, subscribers=[seen], random=lambda: 0.5)):
        assert (await seen.until(BackingOff)).delay_s == 6


async def test_a_permanent_worker_that_returns_has_failed(seen: Seen, running: Running) -> None:
    async def returns(ctx: WorkerContext) -> None:
        ctx.ready()

    async with running(Supervisor("root", [ChildSpec("a", returns)], subscribers=[seen])):
        failed = await seen.until(ChildFailed)
        assert isinstance(failed.cause, WorkerReturned)
        assert "root/a returned" in str(failed.cause)


async def test_a_transient_worker_may_return_but_not_fail(seen: Seen, running: Running) -> None:
    failing = Failing(1)

    async def once(ctx: WorkerContext) -> None:
        if failing.times > 0:
            await failing(ctx)

    children = [ChildSpec("a", once, restart=Restart.TRANSIENT), ChildSpec("b", serve)]
    supervisor = Supervisor("root", children, subscribers=[seen])
    async with running(supervisor):
        await seen.until(ChildFinished, "a")
        assert supervisor.snapshot().children[0].state is State.FINISHED
    assert seen.lines(ChildFailed, ChildRestarted, ChildFinished) == [
        "ChildFailed a",
        "ChildRestarted a",
        "ChildFinished a",
    ]


async def test_a_temporary_worker_is_never_restarted_and_leaves_the_tree(
    seen: Seen, running: Running
) -> None:
    children = [ChildSpec("a", Failing(1), restart=Restart.TEMPORARY), ChildSpec("b", serve)]
    supervisor = Supervisor("root", children, subscribers=[seen], intensity=Intensity(restarts=0))
    async with running(supervisor):
        await seen.until(ChildFailed, "a")
        assert [child.name for child in supervisor.snapshot().children] == ["b"]


async def test_a_start_that_takes_too_long_is_a_failure(seen: Seen, running: Running) -> None:
    starts = iter([100, 1])

    async def slow(ctx: WorkerContext) -> None:
        await anyio.sleep(next(starts))
        await serve(ctx)

    children = [ChildSpec("a", slow, start_timeout_s=10, backoff=AT_ONCE)]
    async with running(Supervisor("root", children, subscribers=[seen])):
        [failed] = seen.all(ChildFailed)
        assert isinstance(failed.cause, StartTimedOut)
        assert failed.at == 10


async def test_a_worker_that_stops_beating_is_stopped_and_restarted(seen: Seen, running: Running) -> None:
    async def hangs(ctx: WorkerContext) -> None:
        ctx.ready()
        for _ in range(7):
            await anyio.sleep(1)
            ctx.beat()
        await anyio.sleep_forever()

    children = [ChildSpec("a", hangs, heartbeat_timeout_s=5, backoff=AT_ONCE)]
    async with running(Supervisor("root", children, subscribers=[seen])):
        missed = await seen.until(BeatMissed)
        assert (missed.at, missed.age_s) == (12, 5)
        assert "hangs" in missed.stack[0]
        failed = await seen.until(ChildFailed)
        assert isinstance(failed.cause, HeartbeatMissed)
        await seen.until(ChildReady, "a", count=2)


async def test_a_worker_that_beats_in_time_is_left_alone(seen: Seen, running: Running) -> None:
    done = anyio.Event()

    async def beats(ctx: WorkerContext) -> None:
        ctx.ready()
        for _ in range(100):
            await anyio.sleep(4.9)
            ctx.beat()
        done.set()
        await anyio.sleep_forever()

    async with running(
        Supervisor("root", [ChildSpec("a", beats, heartbeat_timeout_s=5)], subscribers=[seen])
    ):
        await done.wait()
    assert seen.all(BeatMissed) == []


async def test_every_leaf_of_an_exception_group_is_kept(seen: Seen, running: Running) -> None:
    group = ExceptionGroup("both", [ValueError("left"), ExceptionGroup("inner", [KeyError("right")])])
    supervisor = Supervisor("root", [ChildSpec("a", Failing(1, group))], subscribers=[seen])
    async with running(supervisor):
        failed = await seen.until(ChildFailed)
        assert [type(leaf) for leaf in failed.leaves] == [ValueError, KeyError]
        assert supervisor.snapshot().children[0].last_error == "ValueError: left; KeyError: 'right'"


async def test_too_many_restarts_end_the_supervisor_with_their_history(seen: Seen) -> None:
    children = [ChildSpec("a", serve), ChildSpec("b", Failing(100), backoff=NO_JITTER)]
    supervisor = Supervisor(
        "root", children, subscribers=[seen], intensity=Intensity(restarts=2, period_s=60)
    )
    with pytest.raises(SupervisorGaveUp, match="more than 2 times within 60 s") as raised:
        await supervisor.run()
    assert str(raised.value).count("RuntimeError: broken") == 3
    assert [failure.at for failure in raised.value.failures] == [0, 1, 3]
    assert isinstance(raised.value.__cause__, ExceptionGroup)
    assert len(raised.value.__cause__.exceptions) == 3
    assert seen.lines()[-4:] == ["SupervisorStopping", "Stopping a", "Stopped a", "SupervisorStopped"]
    assert len(seen.all(GaveUp)) == 1


async def test_a_childs_own_intensity_is_a_limit_too_with_the_history_of_its_own_period() -> None:
    own = Intensity(restarts=2, period_s=60)
    children = [ChildSpec("a", Failing(100), intensity=own, backoff=NO_JITTER)]
    with pytest.raises(SupervisorGaveUp, match="a would restart more than 2 times within 60 s") as raised:
        await Supervisor("root", children, intensity=Intensity(restarts=1, period_s=0.5)).run()
    assert [failure.at for failure in raised.value.failures] == [0, 1, 3]


async def test_restarts_that_are_spread_out_are_not_too_many(seen: Seen, running: Running) -> None:
    async def dies_each_minute(ctx: WorkerContext) -> None:
        ctx.ready()
        await anyio.sleep(60)
        raise RuntimeError("broken")

    children = [ChildSpec("a", dies_each_minute, backoff=NO_JITTER)]
    supervisor = Supervisor(
        "root", children, subscribers=[seen], intensity=Intensity(restarts=1, period_s=60)
    )
    async with running(supervisor):
        await seen.until(ChildRestarted, "a", count=20)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_is_no_failure_leaves_the_tree_after_an_ordered_stop(
    seen: Seen, error: type[BaseException]
) -> None:
    async def quits(ctx: WorkerContext) -> None:
        ctx.ready()
        await anyio.sleep(1)
        raise error

    children = [ChildSpec("a", serve), ChildSpec("b", quits), ChildSpec("c", serve)]
    with pytest.raises(error):
        await Supervisor("root", children, subscribers=[seen]).run()
    assert seen.lines(Stopped, ChildFailed, ChildRestarted) == ["Stopped c", "Stopped a"]


async def test_cancellation_from_outside_stops_in_order_and_passes_through(seen: Seen) -> None:
    children = [ChildSpec("a", serve), ChildSpec("b", serve)]
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            await tasks.start(Supervisor("root", children, subscribers=[seen]).run)
            scope.cancel()
    assert scope.cancelled_caught
    assert seen.lines(Stopped, ChildFailed, GaveUp) == ["Stopped b", "Stopped a"]


async def test_a_stop_before_the_run_starts_nothing(seen: Seen) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", serve)], subscribers=[seen])
    await supervisor.stop()
    await supervisor.run()
    assert seen.all(ChildStarted) == []
    with pytest.raises(NotRunning, match="stopped"):
        await supervisor.wait_ready()


async def test_a_supervisor_runs_once(running: Running) -> None:
    supervisor = Supervisor("root")
    async with running(supervisor):
        pass
    with pytest.raises(SupervisionError, match="make another"):
        await supervisor.run()


async def test_waiting_for_ready_ends_when_the_supervisor_gives_up() -> None:
    supervisor = Supervisor("root", [ChildSpec("a", never_ready)], intensity=Intensity(restarts=0))

    async def run() -> None:
        with pytest.raises(SupervisorGaveUp):
            await supervisor.run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        with pytest.raises(NotRunning):
            await supervisor.wait_ready()


async def test_the_snapshot_shows_what_each_child_does(seen: Seen, running: Running) -> None:
    async def busy(ctx: WorkerContext) -> None:
        assert ctx.name == "a"
        ctx.ready()
        ctx.status("writes")
        await anyio.sleep_forever()

    children = [ChildSpec("a", busy), ChildSpec("b", Failing(1), backoff=NO_JITTER)]
    supervisor = Supervisor("root", children, subscribers=[seen])
    assert [child.state for child in supervisor.snapshot().children] == [State.WAITING, State.WAITING]
    async with running(supervisor):
        await anyio.sleep(0.25)
        root = supervisor.snapshot()
        assert (root.name, root.state) == ("root", State.RUNNING)
        a, b = root.children
        assert (a.state, a.uptime_s, a.restarts, a.status, a.last_beat_age_s) == (
            State.RUNNING,
            0.25,
            0,
            "writes",
            0.25,
        )
        assert (b.state, b.uptime_s, b.next_restart_in_s) == (State.BACKING_OFF, None, 0.75)
        assert b.last_error == "RuntimeError: broken"
        await seen.until(ChildReady, "b", count=2)
        assert supervisor.snapshot().children[1].restarts == 1


async def test_a_child_that_fails_while_another_starts_restarts_meanwhile(
    seen: Seen, running: Running
) -> None:
    starts = anyio.Event()

    async def slow(ctx: WorkerContext) -> None:
        starts.set()
        await anyio.sleep(20)
        await serve(ctx)

    fails = Failing(1)

    async def fails_while_the_other_starts(ctx: WorkerContext) -> None:
        if fails.times > 0:
            ctx.ready()
            await starts.wait()
        await fails(ctx)

    children = [ChildSpec("a", fails_while_the_other_starts, backoff=NO_JITTER), ChildSpec("b", slow)]
    async with running(Supervisor("root", children, subscribers=[seen])):
        assert seen.lines(ChildStarted, ChildFailed, ChildRestarted, SupervisorReady) == [
            "ChildStarted a",
            "ChildStarted b",
            "ChildFailed a",
            "ChildRestarted a",
            "SupervisorReady",
        ]
