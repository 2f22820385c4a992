"""The daemon's tree: what is given up on alone, and what is told of it."""

import anyio
import pytest

from telewarden.fault_injection import FaultKind, InjectedFault, WorkerFaults
from telewarden.health import Rate
from telewarden.tree import TreeShape, walk, workers
from telewarden_supervisors import Backoff, ChildSpec, Intensity, State, Supervisor, WorkerContext


async def well(ctx: WorkerContext) -> None:
    ctx.ready()
    await anyio.sleep_forever()


async def fails(ctx: WorkerContext) -> None:
    ctx.ready()
    raise RuntimeError("it always does")


def at_once(spec: ChildSpec) -> ChildSpec:
    return ChildSpec(spec.name, spec.worker, wait_ready=False, backoff=Backoff(initial_s=0.0))


@pytest.mark.anyio
async def test_a_part_that_is_given_up_on_leaves_the_others_alone() -> None:
    shape = TreeShape(restarts=3)
    part = shape.part("intake", [at_once(shape.worker("listener", fails, heartbeat_s=1.0))])
    supervisor = Supervisor(
        "root", [shape.worker("api", well, heartbeat_s=1e6), part], intensity=shape.intensity
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run)
        with anyio.fail_after(10):
            while dict(walk(supervisor.snapshot()))["intake"].state is not State.BACKING_OFF:
                await anyio.lowlevel.checkpoint()
        found = workers(supervisor.snapshot())
        assert (found["api"].state, found["api"].restarts) == (State.RUNNING, 0)
        assert (found["listener"].state, found["listener"].restarts) == (State.STOPPED, 3)
        await supervisor.stop()


def test_nodes_are_named_by_their_path() -> None:
    shape = TreeShape()
    parts = [shape.part("cache", [shape.worker("redis", well, heartbeat_s=30.0)])]
    supervisor = Supervisor("root", [*parts, shape.worker("writer", well, heartbeat_s=60.0)])
    assert {path for path, _ in walk(supervisor.snapshot())} >= {"cache", "writer"}


def test_tests_may_shorten_heartbeats_and_never_lengthen_them() -> None:
    shape = TreeShape(heartbeat_s=4.0)
    assert shape.worker("a", well, heartbeat_s=60.0).heartbeat_timeout_s == 4.0
    assert shape.worker("a", well, heartbeat_s=1.0).heartbeat_timeout_s == 1.0
    assert TreeShape().intensity == Intensity(10, 60.0)


@pytest.mark.anyio
async def test_an_injected_exception_is_the_workers_own() -> None:
    faults = WorkerFaults()
    ready = anyio.Event()

    class Context:
        name = "writer"

        def ready(self) -> None:
            ready.set()

        def beat(self) -> None: ...

        def status(self, text: str) -> None: ...

    async def run() -> None:
        with pytest.raises(InjectedFault, match="writer"):
            await faults.wrap("writer", well)(Context())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await ready.wait()
        assert not faults.inject("listener", FaultKind.EXCEPTION)
        assert faults.inject("writer", FaultKind.EXCEPTION)
    assert not faults.inject("writer", FaultKind.EXCEPTION)


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate(10.0)
    assert rate.look(100, 0.0) == 0.0
    assert rate.look(110, 1.0) == 10.0
    assert [rate.look(110, float(now_s)) for now_s in range(2, 9)][-1] == 10 / 8
    assert rate.look(110, 20.0) == 0.0
