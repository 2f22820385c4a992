"""A worker that blocks the event loop is found and named. The only tests here that take real time."""

from __future__ import annotations

import time

import anyio
import pytest

from telewarden_supervisors import (
    ChildSpec,
    Intensity,
    LoopBlocked,
    LoopWatch,
    Restart,
    Supervisor,
    SupervisorGaveUp,
    SupervisorSpec,
    WorkerContext,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def test_the_worker_that_blocks_the_loop_is_named_once_with_its_stack() -> None:
    reports: list[LoopBlocked] = []

    async def blocks(ctx: WorkerContext) -> None:
        ctx.ready()
        deadline = time.monotonic() + 10
        while not reports and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        supervisor.request_stop()
        await anyio.sleep_forever()

    culprit = ChildSpec("culprit", blocks, restart=Restart.TEMPORARY)
    supervisor = Supervisor(
        "root", [ChildSpec("watch", LoopWatch(0.05, reports.append)), SupervisorSpec("inner", [culprit])]
    )
    await supervisor.run()
    [report] = reports
    assert report.worker == "root/inner/culprit"
    assert report.after_s > 0.05
    assert any("blocks" in call for call in report.stack)


async def test_a_loop_that_turns_is_not_reported() -> None:
    reports: list[LoopBlocked] = []

    async def gives_way(ctx: WorkerContext) -> None:
        ctx.ready()
        for _ in range(20):
            await anyio.sleep(0.005)
        supervisor.request_stop()

    supervisor = Supervisor(
        "root",
        [
            ChildSpec("watch", LoopWatch(5, reports.append)),
            ChildSpec("a", gives_way, restart=Restart.TEMPORARY),
        ],
    )
    await supervisor.run()
    assert reports == []


async def test_a_report_that_cannot_be_written_is_a_failure_of_the_watch() -> None:
    def broken(report: LoopBlocked) -> None:
        raise OSError("disk full")

    async def blocks(ctx: WorkerContext) -> None:
        ctx.ready()
        time.sleep(0.2)
        await anyio.sleep_forever()

    children = [ChildSpec("watch", LoopWatch(0.05, broken)), ChildSpec("a", blocks)]
    with pytest.raises(SupervisorGaveUp, match="OSError: disk full"):
        await Supervisor("root", children, intensity=Intensity(restarts=0)).run()


def test_the_time_must_be_positive() -> None:
    with pytest.raises(ValueError, match="timeout_s must be positive"):
        LoopWatch(0, lambda _: None)
