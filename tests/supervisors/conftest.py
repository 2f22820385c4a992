"""Both back-ends on virtual time, and a subscriber that tests can wait on."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import anyio
import pytest
import trio.testing

from telewarden_supervisors import ChildEvent, Event, Supervisor

E = TypeVar("E", bound=Event)


class JumpingSelector(selectors.DefaultSelector):
    """When nothing is ready the time jumps to the next timer, as on trio's autojump clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(None if timeout is None else 0)
        if not ready and timeout is not None and timeout > 0:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop in which waiting takes no time."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": VirtualTimeLoop}


class Seen:
    """The events of a supervisor, in order; to be given to it as a subscriber."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._waiting: list[tuple[Callable[[Event], bool], anyio.Event]] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        for matches, arrived in self._waiting:
            if matches(event):
                arrived.set()

    def all(self, kind: type[E], child: str | None = None) -> list[E]:
        """The events of one type, of one child if it is named."""
        return [event for event in self.events if isinstance(event, kind) and _is_about(event, child)]

    def lines(self, *kinds: type[Event]) -> list[str]:
        """The events in short, "ChildStarted a"; all or only some types."""
        return [
            f"{type(event).__name__} {event.child}" if isinstance(event, ChildEvent) else type(event).__name__
            for event in self.events
            if not kinds or isinstance(event, kinds)
        ]

    async def until(self, kind: type[E], child: str | None = None, count: int = 1) -> E:
        """The `count`-th event of a type; waits for it."""
        while len(self.all(kind, child)) < count:
            arrived = anyio.Event()
            entry = (lambda event: isinstance(event, kind) and _is_about(event, child), arrived)
            self._waiting.append(entry)
            await arrived.wait()
            self._waiting.remove(entry)
        return self.all(kind, child)[count - 1]


def _is_about(event: Event, child: str | None) -> bool:
    return child is None or (isinstance(event, ChildEvent) and event.child == child)


@pytest.fixture
def seen() -> Seen:
    return Seen()


Running = Callable[[Supervisor], AbstractAsyncContextManager[None]]


@pytest.fixture
def running() -> Running:
    """Runs a supervisor for the length of a block, from ready to stopped."""

    @asynccontextmanager
    async def run(supervisor: Supervisor) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            await tasks.start(supervisor.run)
            yield
            await supervisor.stop()

    return run
