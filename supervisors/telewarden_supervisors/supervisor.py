"""A supervisor as its users see it."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskStatus

from telewarden_supervisors.backoff import Intensity
from telewarden_supervisors.bus import Bus, EventStream
from telewarden_supervisors.clock import Clock
from telewarden_supervisors.driver import Driver
from telewarden_supervisors.errors import ChildNotFound, ChildStuck, NotRunning, StartFailed, SupervisionError
from telewarden_supervisors.events import Event
from telewarden_supervisors.occurrences import Begun, RestartRequested, StopRequested
from telewarden_supervisors.snapshot import Snapshot
from telewarden_supervisors.spec import ChildSpec, Strategy, check_name, check_unique
from telewarden_supervisors.state import Child, State, SupervisorState
from telewarden_supervisors.stuck import end_process

RUNS = frozenset({State.STARTING, State.RUNNING})


class Supervisor:
    """Starts workers in order, keeps them running, and stops them in reverse order (OTP "supervisor").

    name: the first part of the paths in events.
    children: in the order of their start.
    strategy: who is restarted with a failed child.
    intensity: how many restarts are too many; then it gives up.
    clock: time in seconds; the event loop's own by default.
    random: gives numbers in [0, 1) for the jitter.
    subscribers: are called with each event, on the event loop; they must be quick. What they raise is
        counted in `subscriber_errors` and goes no further. For anything slower use `subscribe()`.
    on_stuck: is called once when stuck children keep it from ending, after everything else was stopped.
        By default it ends the process with status 70 and every thread's stack on standard error. If it
        returns, `run` waits for the stuck children.

    It runs once. All methods are to be called on the event loop that runs it. Raises ValueError for a bad
    name or for children with one name.
    """

    def __init__(
        self,
        name: str,
        children: Sequence[ChildSpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: Intensity = Intensity(),  # noqa: B008 - a frozen value
        clock: Clock | None = None,
        random: Callable[[], float] = random_module.random,
        subscribers: Sequence[Callable[[Event], None]] = (),
        on_stuck: Callable[[ChildStuck], None] = end_process,
    ) -> None:
        check_name(name)
        check_unique([child.name for child in children])
        self.name = name
        self._on_stuck = on_stuck
        self._bus = Bus(subscribers)
        self._was_run = False
        self._stop_reason: str | None = None
        state = SupervisorState(
            path=name,
            children={child.name: Child(child.name, child.policy) for child in children},
            strategy=strategy,
            intensity=intensity,
        )
        self._driver = Driver(
            state, children, clock=clock, random=random, bus=self._bus, escalate=self._end_with_stuck_children
        )

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Runs until it is stopped (then it returns), cancelled, or gives up.

        `task_status` is told when it is ready (see `wait_ready`). However it ends, the children are stopped
        in reverse order first, each with its stop time-out, also when it is cancelled.

        Raises SupervisorGaveUp when restarting does not help; KeyboardInterrupt, SystemExit and the like
        when a worker raised them; SupervisionError when it has been run before.
        """
        if self._was_run:
            raise SupervisionError(f"the supervisor {self.name} has been run; make another one")
        self._was_run = True
        try:
            first = Begun() if self._stop_reason is None else StopRequested(self._stop_reason)
            await self._driver.run(task_status.started, first)
        finally:
            self._bus.end()

    def request_stop(self, reason: str = "it was asked to") -> None:
        """Begins to stop it; has no effect if it stops already. Before `run`, `run` will return at once."""
        if self._driver.state.state is State.WAITING:
            self._stop_reason = reason
        else:
            self._driver.feed(StopRequested(reason))

    async def stop(self, reason: str = "it was asked to") -> None:
        """Stops it and waits until no child runs any more. Before `run` there is nothing to wait for."""
        self.request_stop(reason)
        if self._stop_reason is None:
            await self._driver.until(lambda state: state.state is State.STOPPED)

    async def wait_ready(self) -> None:
        """Waits until every child has been started and those with `wait_ready` have been ready.

        Raises NotRunning if it stops before that.
        """
        await self._driver.until(lambda state: state.ready or state.state in (State.STOPPING, State.STOPPED))
        if not self._driver.state.ready:
            raise self._not_running()

    async def restart_child(self, name: str) -> None:
        """Stops a child if it runs, starts a fresh instance without a delay, and waits until that is ready.

        It is no failure and counts against no intensity. A finished or stopped child is started, one that
        backs off is started at once.

        Raises ChildNotFound; ChildStuck if it does not stop; StartFailed if the new instance ends before it
        is ready; NotRunning if the supervisor does not run, or stops meanwhile.
        """
        before = self._child(name)
        if self._driver.state.state not in RUNS:
            raise self._not_running()
        self._driver.feed(RestartRequested(name))
        number = before.instance + 1
        await self._driver.until(
            lambda state: state.state not in RUNS or _is_decided(state.children.get(name), number)
        )
        child = self._driver.state.children.get(name)
        if child is not None and child.state is State.STUCK:
            raise ChildStuck(self.name, [name])
        if self._driver.state.state not in RUNS:
            raise self._not_running()
        if child is None or child.instance > number or child.state not in (State.RUNNING, State.FINISHED):
            raise StartFailed(self.name, name, child.last_error if child else None)

    def snapshot(self) -> Snapshot:
        """The tree as it is now."""
        return Snapshot(name=self.name, state=self._driver.state.state, children=self._driver.snapshot())

    def subscribe(self, buffered: int = 1000) -> EventStream:
        """A stream of all events from now on, holding at most `buffered` unread ones. Close it after use."""
        return self._bus.subscribe(buffered)

    @property
    def subscriber_errors(self) -> int:
        """How often a subscriber raised."""
        return self._bus.callback_errors

    def _child(self, name: str) -> Child:
        children = self._driver.state.children
        if name not in children:
            raise ChildNotFound(self.name, name, children)
        return children[name]

    def _not_running(self) -> NotRunning:
        return NotRunning(self.name, self._driver.state.state.value)

    def _end_with_stuck_children(self, names: tuple[str, ...]) -> None:
        self._on_stuck(ChildStuck(self.name, names))


def _is_decided(child: Child | None, number: int) -> bool:
    """Whether instance `number` of a child is ready or will never be."""
    if child is None or child.state is State.STUCK or child.instance > number:
        return True
    return child.instance == number and child.state is not State.STARTING
