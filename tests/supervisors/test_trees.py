"""Random trees with random workers: the driver on trio against the machine in a discrete-event simulation.

All durations of a tree differ, so no two things happen at one moment unless one causes the other, and the
two must agree on every event of every supervisor, and on its time.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import pytest
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from telewarden_supervisors import (
    AnySpec,
    Backoff,
    ChildEvent,
    ChildSpec,
    Event,
    Intensity,
    Restart,
    Strategy,
    Supervisor,
    SupervisorGaveUp,
    SupervisorSpec,
    Worker,
    WorkerContext,
)
from telewarden_supervisors.driver import Driver
from telewarden_supervisors.machine import decide
from telewarden_supervisors.occurrences import (
    BecameReady,
    Begun,
    Cancel,
    Ended,
    Escalate,
    EscalatedFromBelow,
    Finish,
    Launch,
    Occurrence,
    StopRequested,
    TimePassed,
)
from telewarden_supervisors.state import Child, Ending, State, SupervisorState

HORIZON_S = 60.0


@dataclass(frozen=True)
class Life:
    """What one instance of a worker does: seconds to ready, seconds from there to its end, seconds to stop."""

    start_s: float
    work_s: float | None
    raises: bool
    stop_s: float


Lives = dict[str, list[Life]]


class Forest:
    """A random tree and the lives of its workers."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._durations = itertools.count(1)
        self.lives: Lives = {}
        self.root = self._supervisor("root", "root", depth=0)

    def _duration(self, most_s: float) -> float:
        # The added part is different for each, and too small to matter.
        return self._random.uniform(0.01, most_s) + next(self._durations) * 1e-5

    def _supervisor(self, name: str, path: str, depth: int) -> SupervisorSpec:
        children: list[AnySpec] = []
        may_be_needed: list[str] = []
        for child in "abcd"[: self._random.randint(1, 4 - depth)]:
            below = f"{path}/{child}"
            is_supervisor = depth < 2 and self._random.random() < 0.3
            # Of supervisors none has dependencies: two that start at one moment may be ready at one moment.
            needs = [needed for needed in may_be_needed if self._random.random() < 0.3]
            children.append(
                self._supervisor(child, below, depth + 1)
                if is_supervisor
                else self._worker(child, below, needs)
            )
            if children[-1].restart is not Restart.TEMPORARY:
                may_be_needed.append(child)
        return SupervisorSpec(
            name,
            children,
            strategy=self._random.choice(list(Strategy)),
            intensity=Intensity(self._random.randint(0, 4), self._random.choice([5.0, 30.0])),
            restart=self._random.choice([Restart.PERMANENT, Restart.TRANSIENT]),
            backoff=self._backoff(),
            # Two supervisors that start at one moment would be ready at one moment, in an order that trio draws.
            wait_ready=True,
        )

    def _worker(self, name: str, path: str, dependencies: list[str]) -> ChildSpec:
        self.lives[path] = [
            Life(
                start_s=self._duration(4),
                work_s=self._duration(20) if self._random.random() < 0.7 else None,
                raises=self._random.random() < 0.7,
                stop_s=self._duration(2),
            )
            for _ in range(self._random.randint(1, 4))
        ]
        return ChildSpec(
            name,
            self._play(path),
            restart=self._random.choice([Restart.PERMANENT, Restart.PERMANENT, *Restart]),
            start_timeout_s=3.5 + self._duration(1),
            stop_timeout_s=1.8 + self._duration(1),
            heartbeat_timeout_s=self._duration(30) if self._random.random() < 0.3 else None,
            backoff=self._backoff(),
            intensity=Intensity(2, 10.0) if self._random.random() < 0.2 else None,
            wait_ready=self._random.random() < 0.7,
            dependencies=dependencies,
        )

    def _backoff(self) -> Backoff:
        return Backoff(initial_s=self._duration(1), cap_s=5, jitter=0, reset_after_s=10)

    def _play(self, path: str) -> Worker:
        alive = 0
        runs = itertools.count()

        async def worker(ctx: WorkerContext) -> None:
            nonlocal alive
            assert alive == 0, "two instances at once"
            alive += 1
            life = self.life(path, next(runs))
            try:
                await anyio.sleep(life.start_s)
                ctx.ready()
                await (anyio.sleep_forever() if life.work_s is None else anyio.sleep(life.work_s))
                if life.raises:
                    raise RuntimeError(path)
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(life.stop_s)
                raise
            finally:
                alive -= 1

        return worker

    def life(self, path: str, run: int) -> Life:
        """The life of the given run; the last one is repeated."""
        lives = self.lives[path]
        return lives[min(run, len(lives) - 1)]


class Simulation:
    """Machines in a queue of timed calls."""

    def __init__(self, forest: Forest) -> None:
        self.forest = forest
        self.now = 0.0
        self.events: list[Event] = []
        self.escalations: list[float] = []
        self.runs: dict[str, int] = defaultdict(int)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, time: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (time, next(self._numbers), call))

    def run(self) -> Ending | None:
        root = SimulatedSupervisor(
            self, "root", self.forest.root, lambda: None, lambda: self.escalations.append(self.now)
        )
        root.feed(Begun())
        self.at(HORIZON_S, lambda: root.feed(StopRequested("the horizon")))
        while self._queue and root.state.state is not State.STOPPED:
            self.now, _, call = heapq.heappop(self._queue)
            call()
        return root.state.ending


class SimulatedSupervisor:
    """One machine, and what its actions come to after how long."""

    def __init__(
        self,
        simulation: Simulation,
        path: str,
        spec: SupervisorSpec,
        on_end: Callable[[], None],
        on_escalation: Callable[[], None],
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self.simulation = simulation
        self.specs = {child.name: child for child in spec.children}
        self.on_end = on_end
        self.on_escalation = on_escalation
        self.on_ready = on_ready
        self.below: dict[str, SimulatedSupervisor] = {}
        self.state = SupervisorState(
            path=path,
            children={child.name: Child(child.name, child.policy) for child in spec.children},
            strategy=spec.strategy,
            intensity=spec.intensity,
        )

    def feed(self, occurrence: Occurrence) -> None:
        was_ready = self.state.ready
        self.state, actions = decide(self.state, occurrence, self.simulation.now, 0.0)
        for action in actions:
            match action:
                case Event():
                    self.simulation.events.append(action)
                case Launch(name, instance):
                    self.launch(name, instance)
                case Cancel(name, instance):
                    self.cancel(name, instance)
                case Escalate():
                    self.on_escalation()
                case Finish():
                    self.later(0, self.on_end)
        if self.state.ready and not was_ready:
            self.on_ready()
        if self.state.wake_at < float("inf"):
            self.simulation.at(self.state.wake_at, self.wake)

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        self.simulation.at(self.simulation.now + delay_s, call)

    def wake(self) -> None:
        if self.state.wake_at <= self.simulation.now and self.state.state is not State.STOPPED:
            beats = {name: child.ready_at or 0.0 for name, child in self.state.children.items()}
            self.feed(TimePassed(beats))

    def launch(self, name: str, instance: int) -> None:
        spec = self.specs[name]
        path = f"{self.state.path}/{name}"
        if isinstance(spec, SupervisorSpec):

            def ended() -> None:
                gave_up = below.state.ending is Ending.GAVE_UP
                error = SupervisorGaveUp(path, below.state.reason, below.state.failures) if gave_up else None
                self.feed(Ended(name, instance, error))

            below = self.below[name] = SimulatedSupervisor(
                self.simulation,
                path,
                spec,
                on_end=ended,
                on_escalation=lambda: self.feed(EscalatedFromBelow(name, instance)),
                on_ready=lambda: self.feed(BecameReady(name, instance)),
            )
            self.later(0, lambda: below.feed(Begun()))
            return
        life = self.life(path)
        self.simulation.runs[path] += 1
        self.later(life.start_s, lambda: self.feed(BecameReady(name, instance)))
        if life.work_s is not None:
            error = RuntimeError(path) if life.raises else None
            self.later(life.start_s + life.work_s, lambda: self.end_by_itself(name, instance, error))

    def life(self, path: str) -> Life:
        return self.simulation.forest.life(path, self.simulation.runs[path])

    def end_by_itself(self, name: str, instance: int, error: Exception | None) -> None:
        child = self.state.children.get(name)
        if (
            child is not None
            and child.instance == instance
            and child.state in (State.STARTING, State.RUNNING)
        ):
            self.feed(Ended(name, instance, error))

    def cancel(self, name: str, instance: int) -> None:
        if name in self.below:
            below = self.below[name]
            self.later(0, lambda: below.feed(StopRequested("it was cancelled")))
            return
        path = f"{self.state.path}/{name}"
        stop_s = self.simulation.forest.life(path, self.simulation.runs[path] - 1).stop_s
        self.later(stop_s, lambda: self.feed(Ended(name, instance)))


def by_supervisor(events: list[Event]) -> dict[str, list[tuple[object, ...]]]:
    """Each supervisor's events in order, with times rounded to what two ways of adding floats agree on."""
    lists: dict[str, list[tuple[object, ...]]] = defaultdict(list)
    for event in events:
        child = (event.child, event.instance) if isinstance(event, ChildEvent) else ()
        lists[event.supervisor].append((type(event).__name__, *child, round(event.at, 6)))
    return dict(lists)


def check_nothing_is_left(driver: Driver) -> None:
    assert driver.instances == {}
    assert driver._conditions == []
    for below in driver.below.values():
        check_nothing_is_left(below)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_driver_and_machine_agree_on_every_event_of_a_random_tree(seed: int) -> None:
    simulation = Simulation(Forest(seed))
    ending = simulation.run()

    forest = Forest(seed)
    events: list[Event] = []
    escalations: list[float] = []
    supervisor = Supervisor(
        "root",
        forest.root.children,
        strategy=forest.root.strategy,
        intensity=forest.root.intensity,
        subscribers=[events.append],
        on_stuck=lambda _: escalations.append(anyio.current_time()),
        random=lambda: 0.0,
    )

    async def main() -> Ending:
        start = anyio.current_time()
        assert start == 0
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                await anyio.sleep_until(HORIZON_S)
                supervisor.request_stop("the horizon")

            tasks.start_soon(stop)
            try:
                await supervisor.run()
            except SupervisorGaveUp:
                return Ending.GAVE_UP
            finally:
                tasks.cancel_scope.cancel()
        return Ending.STOPPED

    clock = trio.testing.MockClock(autojump_threshold=0)
    assert anyio.run(main, backend="trio", backend_options={"clock": clock}) is ending
    assert by_supervisor(events) == by_supervisor(simulation.events)
    assert escalations == pytest.approx(simulation.escalations)
    check_nothing_is_left(supervisor._driver)
