"""The thin part with tasks and time: carries what happens to the state machine, and does what it answers."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, replace

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from telewarden_supervisors.bus import Bus
from telewarden_supervisors.clock import Clock
from telewarden_supervisors.context import WorkerContext
from telewarden_supervisors.errors import SupervisorGaveUp
from telewarden_supervisors.events import BeatMissed, Event, Stuck, SupervisorReady
from telewarden_supervisors.instance import Instance, InstanceContext
from telewarden_supervisors.machine import decide
from telewarden_supervisors.occurrences import (
    Action,
    BecameReady,
    Begun,
    Cancel,
    DeleteRequested,
    Ended,
    Escalate,
    EscalatedFromBelow,
    Launch,
    Occurrence,
    StopRequested,
    TerminateRequested,
    TimePassed,
)
from telewarden_supervisors.spec import AnySpec, ChildSpec, SupervisorSpec, Worker
from telewarden_supervisors.state import Child, Ending, State, SupervisorState

Condition = Callable[[SupervisorState], bool]
Stacks = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all supervisors of a tree share: where time, chance and events come from and go to."""

    clock: Clock
    random: Callable[[], float]
    bus: Bus


class Driver:
    """Runs the children of one supervisor.

    Every decision is made and carried out in one synchronous step, in the task in which its occurrence
    happened: starting a task and cancelling a scope need no waiting. Only time needs a task, the one that
    called `run`.

    escalate: is called with the paths and stacks of what is stuck, once everything else has stopped.
    """

    def __init__(self, path: str, spec: SupervisorSpec, escalate: Callable[[Stacks], None]) -> None:
        self.state = SupervisorState(
            path=path,
            children={child.name: Child(child.name, child.policy) for child in spec.children},
            strategy=spec.strategy,
            intensity=spec.intensity,
            auto_shutdown=spec.auto_shutdown,
        )
        self.specs: dict[str, AnySpec] = {child.name: child for child in spec.children}
        self.template_children: Counter[str] = Counter()
        self.below: dict[str, Driver] = {}
        self.instances: dict[str, Instance] = {}
        self._escalate = escalate
        self._stuck_below: dict[str, Stacks] = {}
        self._passing: list[BaseException] = []
        self._inbox: deque[Occurrence] = deque()
        self._is_feeding = False
        self._conditions: list[tuple[Condition, anyio.Event]] = []
        self._alarm: anyio.CancelScope | None = None
        self._alarm_at = math.inf

    async def run(
        self, surroundings: Surroundings, on_ready: Callable[[], None], first: Begun | StopRequested
    ) -> None:
        """Starts the children and keeps them going until it is stopped or cancelled, or gives up.

        `on_ready` is called when the supervisor is; `first` is Begun, unless it is to stop before it starts.

        Raises SupervisorGaveUp, the cancellation, or what a worker raised that is no failure.
        """
        self._surroundings = surroundings
        self._clock = surroundings.clock
        self._on_ready = on_ready
        try:
            await checkpoint_if_cancelled()
        except anyio.get_cancelled_exc_class():
            self.feed(StopRequested("it was cancelled before it started"))
            raise
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
                occurrence = self._inbox.popleft()
                self.state, actions = decide(
                    self.state, occurrence, self._clock.now(), self._surroundings.random()
                )
                for action in actions:
                    self._perform(action)
                self._forget_removed(occurrence)
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
            self._conditions.remove(entry)

    def stacks(self, name: str) -> Stacks:
        """The paths and stacks of what keeps a child from ending: the worker, or what is stuck below it."""
        if name in self._stuck_below:
            return self._stuck_below[name]
        instance = self.instances.get(name)
        return {f"{self.state.path}/{name}": instance.stack if instance else ()}

    async def _keep_time_until_the_end(self) -> None:
        try:
            await self._keep_time()
        except anyio.get_cancelled_exc_class():
            self.feed(StopRequested("it was cancelled"))
            # Bounded by the stop time-outs; a child that outlives its own is escalated.
            with anyio.CancelScope(shield=True):
                await self._keep_time()
            if not self._passing and self.state.ending is not Ending.GAVE_UP:
                raise
        finally:
            # Nothing is left to cancel, unless this very task was broken off: the task group must not wait then.
            for instance in self.instances.values():
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
            if (beat_at := self.instances[name].context.last_beat) is not None
        }

    def _perform(self, action: Action) -> None:
        match action:
            case Launch(name, number):
                self._launch(name, number)
            case Cancel(name):
                if name in self.instances:
                    self.instances[name].cancel()
            case Event():
                self._publish(action)
            case Escalate(names):
                self._escalate({path: stack for name in names for path, stack in self.stacks(name).items()})

    def _launch(self, name: str, number: int) -> None:
        def on_ready() -> None:
            self.feed(BecameReady(name, number))

        path = f"{self.state.path}/{name}"
        spec = self.specs[name]
        worker = spec.worker if isinstance(spec, ChildSpec) else self._supervisor_below(path, spec, number)
        instance = Instance(path, number, worker, InstanceContext(name, self._clock.now, on_ready))
        self.instances[name] = instance
        self._context.run(self._start_task, instance)

    def _supervisor_below(self, path: str, spec: SupervisorSpec, number: int) -> Worker:
        def escalate(stacks: Stacks) -> None:
            self._stuck_below[spec.name] = stacks
            self.feed(EscalatedFromBelow(spec.name, number))

        driver = self.below[spec.name] = Driver(path, spec, escalate)

        async def supervise(ctx: WorkerContext) -> None:
            await driver.run(self._surroundings, ctx.ready, Begun())

        return supervise

    def _start_task(self, instance: Instance) -> None:
        self._tasks.start_soon(self._run_instance, instance, name=instance.path)

    async def _run_instance(self, instance: Instance) -> None:
        outcome = await instance.run()
        name = instance.context.name
        del self.instances[name]
        self._stuck_below.pop(name, None)
        if outcome.passes is not None:
            self._passing.append(outcome.passes)
        self.feed(Ended(name, instance.number, outcome.cause, passes=outcome.passes is not None))

    def _publish(self, event: Event) -> None:
        if isinstance(event, (BeatMissed, Stuck)) and event.child in self.instances:
            event = replace(event, stack=self.instances[event.child].stack)
        self._surroundings.bus.publish(event)
        if isinstance(event, SupervisorReady):
            self._on_ready()

    def _forget_removed(self, occurrence: Occurrence) -> None:
        if isinstance(occurrence, (Ended, TerminateRequested, DeleteRequested)):
            name = occurrence.name
            if name not in self.state.children:
                self.specs.pop(name, None)
                self.below.pop(name, None)

    def _check_conditions(self) -> None:
        for condition, event in self._conditions:
            if condition(self.state):
                event.set()

    def _raise_the_end(self) -> None:
        if len(self._passing) == 1:
            raise self._passing[0]
        if self._passing:
            raise BaseExceptionGroup(f"raised under {self.state.path}", self._passing)
        if self.state.ending is not Ending.GAVE_UP:
            return
        failures = self.state.failures
        error = SupervisorGaveUp(self.state.path, self.state.reason, failures)
        if failures:
            causes = [failure.cause for failure in failures]
            raise error from ExceptionGroup(f"failures under {self.state.path}", causes)
        raise error
