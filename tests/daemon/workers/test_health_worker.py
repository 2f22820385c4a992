"""When the service manager gets a sign of life, on virtual time."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
import trio
from trio.testing import MockClock

from telewarden.workers.health import HealthWorker
from telewarden_http.protocols import HealthReport


class Told:
    """A notifier that remembers at which second each sign of life was given."""

    watchdog_s = 30.0

    def __init__(self) -> None:
        self.alive_at_s: list[float] = []
        self.said: list[str] = []

    def alive(self) -> None:
        self.alive_at_s.append(anyio.current_time())

    def ready(self, status: str) -> None:
        self.said.append("ready")

    def status(self, text: str) -> None:
        self.said.append("status")

    def extend_timeout(self, seconds: float, status: str) -> None:
        self.said.append("extend")


class World:
    """What the health worker looks at; each part can be changed while it looks."""

    def __init__(self) -> None:
        self.live = self.ready = True
        self.journal = SimpleNamespace(backlog=0, flushed=0)
        self.database = SimpleNamespace(breaker=SimpleNamespace(failed=False), ping=self.ping)
        self.told = Told()

    async def ping(self) -> None:
        await anyio.lowlevel.checkpoint()

    def report(self) -> HealthReport:
        return HealthReport(live=self.live, ready=self.ready)

    def summary(self, report: HealthReport) -> str:
        return "fine"

    def run(self, for_s: float, *changes: tuple[float, Callable[[], object]]) -> list[float]:
        """Look for so long; change something at given seconds. Returns when signs of life were given."""
        worker = HealthWorker(
            cast(Any, self), cast(Any, self.database), cast(Any, self.journal), cast(Any, self.told)
        )
        ctx = SimpleNamespace(ready=lambda: None, beat=lambda: None, status=lambda text: None)

        async def main() -> None:
            began_s = anyio.current_time()
            with anyio.move_on_after(for_s):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(worker.run, cast(Any, ctx))
                    for at_s, change in changes:
                        await anyio.sleep_until(began_s + at_s)
                        change()
            self.told.alive_at_s = [at_s - began_s for at_s in self.told.alive_at_s]

        trio.run(main, clock=MockClock(autojump_threshold=0))
        return self.told.alive_at_s


def test_a_sign_of_life_is_given_at_a_third_of_the_time_allowed() -> None:
    assert World().run(65) == pytest.approx([0, 10, 20, 30, 40, 50, 60], abs=0.6)


def test_a_writer_that_has_work_and_moves_is_alive() -> None:
    world = World()
    world.journal.backlog = 5
    moves = [
        (float(at_s), lambda: setattr(world.journal, "flushed", world.journal.flushed + 1))
        for at_s in range(0, 300, 50)
    ]
    assert len(world.run(300, *moves)) == 30


def test_a_writer_that_has_work_and_does_not_move_for_a_minute_is_not() -> None:
    world = World()
    alive = world.run(300, (100.0, lambda: setattr(world.journal, "backlog", 5)))
    assert 150 <= alive[-1] <= 161


def test_a_writer_that_waits_for_a_database_that_is_down_is_alive() -> None:
    world = World()
    world.journal.backlog = 5
    world.database.breaker.failed = True
    assert len(world.run(300)) == 30


def test_what_is_not_live_gives_no_sign_of_life() -> None:
    world = World()
    alive = world.run(100, (45.0, lambda: setattr(world, "live", False)))
    assert alive == pytest.approx([0, 10, 20, 30, 40], abs=0.6)


def test_more_time_is_asked_for_until_it_is_ready_and_then_never_again() -> None:
    world = World()
    world.ready = False
    world.run(
        30, (20.0, lambda: setattr(world, "ready", True)), (25.0, lambda: setattr(world, "ready", False))
    )
    ready = world.told.said.index("ready")
    assert world.told.said[:ready].count("extend") == 4
    assert "extend" not in world.told.said[ready:]
