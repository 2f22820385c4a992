"""Events to subscribers that are slow, broken, late or gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from telewarden_supervisors import ChildReady, ChildSpec, Event, Supervisor, WorkerContext

if TYPE_CHECKING:
    from supervisors.conftest import Running, Seen

pytestmark = pytest.mark.anyio


async def serve(ctx: WorkerContext) -> None:
    ctx.ready()
    await anyio.sleep_forever()


async def test_a_stream_has_every_event_and_ends_with_the_supervisor(seen: Seen, running: Running) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", serve)], subscribers=[seen])
    got: list[Event] = []

    async def read() -> None:
        with supervisor.subscribe() as stream:
            async for event in stream:
                got.append(event)  # noqa: PERF401 - what was read before a failure counts

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        async with running(supervisor):
            pass
    assert got == seen.events


async def test_a_slow_subscriber_loses_the_oldest_events_and_knows_how_many(running: Running) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", serve)])
    with supervisor.subscribe(buffered=3) as stream:
        async with running(supervisor):
            await supervisor.restart_child("a")
        got = [type(event).__name__ async for event in stream]
    assert got == ["Stopping", "Stopped", "SupervisorStopped"]
    assert stream.dropped == 8


async def test_a_failing_subscriber_is_counted_and_harms_nobody(seen: Seen, running: Running) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("broken subscriber")

    supervisor = Supervisor("root", [ChildSpec("a", serve)], subscribers=[broken, seen])
    async with running(supervisor):
        assert supervisor.subscriber_errors == len(seen.events) == 3


async def test_a_closed_stream_gets_nothing_more(running: Running) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", serve)])
    stream = supervisor.subscribe()
    async with running(supervisor):
        stream.close()
        stream.close()
    assert [type(event).__name__ async for event in stream] == [
        "ChildStarted",
        "ChildReady",
        "SupervisorReady",
    ]


async def test_a_stream_of_an_ended_supervisor_is_at_its_end(running: Running) -> None:
    supervisor = Supervisor("root")
    async with running(supervisor):
        pass
    with supervisor.subscribe() as stream:
        assert [event async for event in stream] == []


async def test_a_reader_that_is_cancelled_loses_no_event(running: Running) -> None:
    supervisor = Supervisor("root", [ChildSpec("a", serve)])
    with supervisor.subscribe() as stream:
        with anyio.move_on_after(5) as scope:
            await anext(stream)
        assert scope.cancelled_caught
        async with running(supervisor):
            await anext(stream)
            assert isinstance(await anext(stream), ChildReady)


def test_a_stream_must_hold_something() -> None:
    with pytest.raises(ValueError, match="at least one event"):
        Supervisor("root").subscribe(buffered=0)
