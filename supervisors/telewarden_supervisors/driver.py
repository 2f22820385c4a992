"""The thin part with tasks and time: carries what happens to the state machine, and does what it answers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import replace

import anyio

from telewarden_supervisors.bus import Bus
from telewarden_supervisors.clock import Clock, LoopClock
from telewarden_supervisors.errors import SupervisorGaveUp
from telewarden_supervisors.events import BeatMissed, Event, Stuck, SupervisorReady
from telewarden_supervisors.instance import Instance, InstanceContext
from telewarden_supervisors.machine import decide
from telewarden_supervisors.occurrences import (
    Action,
    BecameReady,
    Begun,
    Cancel,
    Ended,
    Escalate,
    Launch,
    Occurrence,
    StopRequested,
    TimePassed,
)
from telewarden_supervisors.snapshot import Snapshot
from telewarden_supervisors.spec import ChildSpec
from telewarden_supervisors.state import Child, Ending, State, SupervisorState

Condition = Callable[[SupervisorState], bool]


class Driver:
    """Runs the children of one supervisor.

    Every decision is made and carried out in one synchronous step, in the task in which its occurrence
    happened: starting a task and cancelling a scope need no waiting. Only time needs a task, the one that
    called `run`.

    escalate: is called with the names of the children that are stuck, once everything else has stopped.
    """

    def __init__(
        self,
        state: SupervisorState,
        specs: Iterable[ChildSpec],
        *,
        clock: Clock | None,
        random: Callable[[], float],
        bus: Bus,
        escalate: Callable[[tuple[str, ...]], None],
    ) -> None:
        self.state = state
        self._specs = {spec.name: spec for spec in specs}
        self._given_clock = clock
        self._random = random
        self._bus = bus
        self._escalate = escalate
        self._instances: dict[str, Instance] = {}
        self._passing: list[BaseException] = []
        self._inbox: deque[Occurrence] = deque()
        self._is_feeding = False
        self._conditions: list[tuple[Condition, anyio.Event]] = []
        self._alarm: anyio.CancelScope | None = None
        self._alarm_at = math.inf
        self._on_ready: Callable[[], None] | None = None

    async def run(self, on_ready: Callable[[], None], first: Begun | StopRequested) -> None:
        """Starts the children and keeps them going until it is stopped or cancelled, or gives up.

        `on_ready` is called when the supervisor is; `first` is Begun, unless it is to stop before it starts.

        Raises SupervisorGaveUp, the cancellation, or what a worker raised that is no failure.
        """
        self._on_ready = on_ready
        self._clock = self._given_clock or LoopClock()
        async with anyio.create_task_group() as self._tasks:
            # Workers are started in whatever task made the decision; without this they would inherit the
            # context variables of the worker that happened to fail or become ready.
            self._context = copy_context()
            self.feed(first)
            await self._keep_time_until_the_end()
        self._raise_the_end()

    def feed(self, occurrence: Occurrence) -> None:
        """Decides what follows from an occurrence and does it, before it returns."""
        self._inbox.append(occurrence)
        if self._is_feeding:
            return
        self._is_feeding = True
        try:
            while self._inbox:
                self.state, actions = decide(
                    self.state, self._inbox.popleft(), self._clock.now(), self._random()
                )
                for action in actions:
                    self._perform(action)
                self._check_conditions()
        finally:
            self._is_feeding = False
        if self._alarm is not None and (
            self.state.state is State.STOPPED or self.state.wake_at < self._alarm_at
        ):
            self._alarm.cancel()

    async def until(self, condition: Condition) -> None:
        """Returns once the condition has held after a step; a moment is enough."""
        if condition(self.state):
            return
        entry = (condition, anyio.Event())
        self._conditions.append(entry)
        try:
            await entry[1].wait()
        finally:
            if entry in self._conditions:
                self._conditions.remove(entry)

    def snapshot(self) -> tuple[Snapshot, ...]:
        """The children in the order of their start."""
        now = self._clock.now() if self.state.state is not State.WAITING else 0.0
        return tuple(self._child_snapshot(child, now) for child in self.state.children.values())

    def _child_snapshot(self, child: Child, now: float) -> Snapshot:
        instance = self._instances.get(child.name)
        beat_at = instance.context.last_beat if instance else None
        backs_off = child.state is State.BACKING_OFF and child.deadline is not None
        return Snapshot(
            name=child.name,
            state=child.state,
            uptime_s=None if child.started_at is None else now - child.started_at,
            restarts=max(0, child.instance - 1),
            last_error=child.last_error,
            next_restart_in_s=max(0.0, child.deadline - now) if backs_off and child.deadline else None,
            status=instance.context.status_text if instance else "",
            last_beat_age_s=None if beat_at is None else now - beat_at,
        )

    async def _keep_time_until_the_end(self) -> None:
        try:
            await self._keep_time()
        except anyio.get_cancelled_exc_class():
            self.feed(StopRequested("it was cancelled"))
            # Bounded by the stop time-outs; a child that outlives its own is escalated.
            with anyio.CancelScope(shield=True):
                await self._keep_time()
            if not self._passing:
                raise
        finally:
            # Nothing is left to cancel, unless this very task was broken off: then the task group must not wait.
            for instance in self._instances.values():
                instance.cancel()

    async def _keep_time(self) -> None:
        while self.state.state is not State.STOPPED:
            self._alarm_at = self.state.wake_at
            delay_s = self._alarm_at - self._clock.now()
            if delay_s <= 0:
                self.feed(TimePassed(self._beats_due()))
                continue
            with anyio.CancelScope() as self._alarm:
                await (anyio.sleep_forever() if delay_s == math.inf else self._clock.sleep(delay_s))
            self._alarm = None

    def _beats_due(self) -> dict[str, float]:
        now = self._clock.now()
        return {
            name: beat_at
            for name, child in self.state.children.items()
            if child.state is State.RUNNING and child.deadline is not None and child.deadline <= now
            if (beat_at := self._instances[name].context.last_beat) is not None
        }

    def _perform(self, action: Action) -> None:
        match action:
            case Launch(name, number):
                self._launch(name, number)
            case Cancel(name):
                if name in self._instances:
                    self._instances[name].cancel()
            case Event():
                self._publish(action)
            case Escalate(names):
                self._escalate(names)

    def _launch(self, name: str, number: int) -> None:
        def on_ready() -> None:
            self.feed(BecameReady(name, number))

        path = f"{self.state.path}/{name}"
        context = InstanceContext(name, self._clock.now, on_ready)
        instance = Instance(path, number, self._specs[name].worker, context)
        self._instances[name] = instance
        self._context.run(self._start_task, instance)

    def _start_task(self, instance: Instance) -> None:
        self._tasks.start_soon(self._run_instance, instance, name=instance.path)

    async def _run_instance(self, instance: Instance) -> None:
        outcome = await instance.run()
        name = instance.context.name
        del self._instances[name]
        if outcome.passes is not None:
            self._passing.append(outcome.passes)
        self.feed(Ended(name, instance.number, outcome.cause, passes=outcome.passes is not None))

    def _publish(self, event: Event) -> None:
        if isinstance(event, (BeatMissed, Stuck)) and event.child in self._instances:
            event = replace(event, stack=self._instances[event.child].stack)
        self._bus.publish(event)
        if isinstance(event, SupervisorReady) and self._on_ready is not None:
            self._on_ready()

    def _check_conditions(self) -> None:
        for condition, event in tuple(self._conditions):
            if condition(self.state):
                event.set()

    def _raise_the_end(self) -> None:
        if len(self._passing) == 1:
            raise self._passing[0]
        if self._passing:
            raise BaseExceptionGroup(f"raised under {self.state.path}", self._passing)
        if self.state.ending is Ending.GAVE_UP:
            failures = self.state.failures
            error = SupervisorGaveUp(self.state.path, self.state.reason, failures)
            if not failures:
                raise error
            raise error from ExceptionGroup(
                f"failures under {self.state.path}", [failure.cause for failure in failures]
            )
