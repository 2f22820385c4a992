"""A supervisor as its users see it."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskStatus

from telewarden_supervisors import commands
from telewarden_supervisors.backoff import Intensity
from telewarden_supervisors.bus import Bus, EventStream
from telewarden_supervisors.clock import Clock, LoopClock
from telewarden_supervisors.driver import Driver, Stacks, Surroundings
from telewarden_supervisors.errors import ChildStuck, NotRunning, SupervisionError
from telewarden_supervisors.events import Event
from telewarden_supervisors.occurrences import Begun, StopRequested
from telewarden_supervisors.snapshot import Snapshot, children_snapshot
from telewarden_supervisors.spec import (
    AnySpec,
    Arguments,
    AutoShutdown,
    ChildTemplate,
    Strategy,
    SupervisorSpec,
)
from telewarden_supervisors.state import State
from telewarden_supervisors.stuck import end_process


class Supervisor:
    """Starts workers in order, keeps them running, and stops them in reverse order (OTP "supervisor").

    name: the first part of the paths in events.
    children: in the order of their start; a `SupervisorSpec` among them is a supervisor below this one.
    strategy: who is restarted with a failed child.
    intensity: how many restarts are too many; then it gives up.
    auto_shutdown: whether it stops when significant children end by themselves.
    clock: time in seconds; the event loop's own by default.
    random: gives numbers in [0, 1) for the jitter.
    subscribers: are called with each event of the whole tree, on the event loop; they must be quick. What
        they raise is counted in `subscriber_errors` and goes no further. For anything slower use `subscribe()`.
    on_stuck: is called once when stuck children keep it from ending, after everything else was stopped.
        By default it ends the process with status 70 and the stacks on standard error. If it returns, `run`
        waits for the stuck children.

    It runs once. All methods are to be called on the event loop that runs it, from any task. A child is
    named by its path below this supervisor: "writer", or "storage/writer".

    Raises ValueError for a bad name, children with one name, significant children without auto_shutdown, or
    dependencies that are no siblings before the one that has them.
    """

    def __init__(
        self,
        name: str,
        children: Sequence[AnySpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: Intensity = Intensity(),  # noqa: B008 - a frozen value
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
        clock: Clock | None = None,
        random: Callable[[], float] = random_module.random,
        subscribers: Sequence[Callable[[Event], None]] = (),
        on_stuck: Callable[[ChildStuck], None] = end_process,
    ) -> None:
        self.name = name
        self._clock = clock
        self._random = random
        self._on_stuck = on_stuck
        self._bus = Bus(subscribers)
        self._was_run = False
        self._started_at: float | None = None
        self._stop_reason: str | None = None
        spec = SupervisorSpec(
            name, tuple(children), strategy=strategy, intensity=intensity, auto_shutdown=auto_shutdown
        )
        self._driver = Driver(name, spec, self._escalate)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Runs until it is stopped, or shuts down with a significant child (then it returns), is cancelled,
        or gives up.

        `task_status` is told when it is ready (see `wait_ready`). However it ends, the children are stopped
        in reverse order first, each with its stop time-out, also when it is cancelled. A cancellation passes
        through, unless it met a supervisor that was giving up, or a child that is stuck: then that is raised.

        Raises SupervisorGaveUp when restarting does not help; KeyboardInterrupt, SystemExit and the like
        when a worker raised them; SupervisionError when it has been run before.
        """
        if self._was_run:
            raise SupervisionError(f"the supervisor {self.name} has been run; make another one")
        self._was_run = True
        self._clock = self._clock or LoopClock()
        self._started_at = self._clock.now()
        first = Begun() if self._stop_reason is None else StopRequested(self._stop_reason)
        try:
            await self._driver.run(
                Surroundings(self._clock, self._random, self._bus), task_status.started, first
            )
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
        over = (State.STOPPING, State.STOPPED)
        await self._driver.until(lambda state: state.ready or state.state in over)
        if not self._driver.state.ready:
            raise NotRunning(self.name, self._driver.state.state.value)

    async def start_child(self, spec: AnySpec, *, under: str = "") -> None:
        """Adds a child after the others and waits until it is ready; `under` is the path of its supervisor.

        It starts at once, unless its turn has not come: its siblings are being started in order, or one that
        it depends on is not ready.

        It stays if its start fails, and is treated as its specification says.

        Raises ChildExists; DependencyStopped; StartFailed if its first instance ends before it is ready;
        ChildStuck; NotRunning if the supervisor does not run, or stops meanwhile; ChildNotFound for `under`;
        ValueError if it is significant and the supervisor has no auto_shutdown, or for a dependency that is
        no child of that supervisor, or a temporary one.
        """
        await commands.start_child(commands.supervisor_below(self._driver, under), spec)

    async def start_child_from(
        self, template: ChildTemplate[*Arguments], *arguments: *Arguments, under: str = ""
    ) -> str:
        """Adds a child made from a template, with arguments for its worker, and waits until it is ready.

        Returns the path that `restart_child` and its kin take: its name, which no other child made from the
        template under that supervisor had, after `under`. `under` and what is raised are as in `start_child`;
        `StartFailed.path` names a child that failed to start.
        """
        driver = commands.supervisor_below(self._driver, under)
        name = await commands.start_child_from(driver, template, *arguments)
        return f"{under}/{name}" if under else name

    async def restart_child(self, path: str) -> None:
        """Stops a child if it runs, starts a fresh instance without a delay, and waits until that is ready.

        It is no failure, counts against no intensity and leaves the siblings alone, whatever the strategy,
        except those that depend on it: they are stopped before it and start again once it is ready, which is
        not waited for. A finished or stopped child is started, one that backs off is started at once. One
        that waits for a dependency starts when that is ready.

        Raises ChildNotFound; DependencyStopped if it depends on a child that was terminated; ChildStuck if it
        does not stop; StartFailed if the new instance ends before it is ready; NotRunning if the supervisor
        does not run, or stops meanwhile.
        """
        driver, name = self._place(path)
        await commands.restart_child(driver, name)

    async def terminate_child(self, path: str) -> None:
        """Stops a child and waits until it has ended. It stays specified, unless it is temporary.

        Those that depend on it are stopped before it, and wait: they start again after it. It starts again
        with `restart_child`, or, as in OTP, with its siblings when they restart together. The failure of a
        child that it depends on does not start it.

        Raises ChildNotFound; ChildStuck; NotRunning.
        """
        driver, name = self._place(path)
        await commands.terminate_child(driver, name)

    def delete_child(self, path: str) -> None:
        """Forgets a child that was terminated or has finished.

        Raises ChildNotFound; ChildAlive if it runs or is about to; ChildNeeded if others depend on it; NotRunning.
        """
        driver, name = self._place(path)
        commands.delete_child(driver, name)

    def snapshot(self) -> Snapshot:
        """The tree as it is now."""
        now = self._clock.now() if self._clock is not None and self._started_at is not None else 0.0
        state = self._driver.state
        return Snapshot(
            name=self.name,
            state=state.state,
            uptime_s=None
            if self._started_at is None or state.state is State.STOPPED
            else now - self._started_at,
            last_error=state.failures[-1].text if state.failures else None,
            children=children_snapshot(self._driver, now),
        )

    def subscribe(self, buffered: int = 1000) -> EventStream:
        """A stream of all events of the tree from now on, holding at most `buffered` unread ones.

        Close it after use; it is a context manager. Raises ValueError unless `buffered` is positive.
        """
        return self._bus.subscribe(buffered)

    @property
    def subscriber_errors(self) -> int:
        """How often a subscriber raised."""
        return self._bus.callback_errors

    def _place(self, path: str) -> tuple[Driver, str]:
        above, _, name = path.rpartition("/")
        return commands.supervisor_below(self._driver, above), name

    def _escalate(self, stacks: Stacks) -> None:
        self._on_stuck(ChildStuck(stacks))
