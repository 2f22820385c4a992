"""The pure machine under random sequences of occurrences: what must hold whatever happens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import dropwhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telewarden_supervisors import (
    AutoShutdown,
    BackingOff,
    Backoff,
    ChildFailed,
    ChildSpec,
    Event,
    GaveUp,
    Intensity,
    Restart,
    State,
    Strategy,
    SupervisorStopping,
    WorkerContext,
)
from telewarden_supervisors.machine import decide
from telewarden_supervisors.occurrences import (
    BecameReady,
    Begun,
    Cancel,
    DeleteRequested,
    Ended,
    Escalate,
    EscalatedFromBelow,
    Finish,
    Launch,
    Occurrence,
    RestartRequested,
    StartRequested,
    StopRequested,
    TerminateRequested,
    TimePassed,
)
from telewarden_supervisors.state import ALIVE, Child, Ending, SupervisorState

NAMES = "abcd"


async def unused(ctx: WorkerContext) -> None:
    raise NotImplementedError


backoffs = st.builds(
    Backoff,
    initial_s=st.sampled_from([0.0, 0.5, 2.0]),
    factor=st.sampled_from([1.0, 2.0]),
    cap_s=st.just(5.0),
    jitter=st.sampled_from([0.0, 0.5, 1.0]),
    reset_after_s=st.sampled_from([0.0, 10.0, 1000.0]),
)
intensities = st.builds(Intensity, restarts=st.integers(0, 4), period_s=st.sampled_from([1.0, 5.0, 30.0]))


def children(auto_shutdown: AutoShutdown) -> st.SearchStrategy[list[ChildSpec]]:
    def specs(name: str) -> st.SearchStrategy[ChildSpec]:
        def spec(restart: Restart) -> st.SearchStrategy[ChildSpec]:
            may_be_significant = auto_shutdown is not AutoShutdown.NEVER and restart is not Restart.PERMANENT
            return st.builds(
                ChildSpec,
                name=st.just(name),
                worker=st.just(unused),
                restart=st.just(restart),
                start_timeout_s=st.sampled_from([None, 4.0]),
                stop_timeout_s=st.sampled_from([None, 3.0]),
                heartbeat_timeout_s=st.sampled_from([None, 6.0]),
                backoff=backoffs,
                intensity=st.none() | intensities,
                wait_ready=st.booleans(),
                significant=st.booleans() if may_be_significant else st.just(False),
            )

        return st.sampled_from(Restart).flatmap(spec)

    return st.integers(1, len(NAMES)).flatmap(lambda count: st.tuples(*map(specs, NAMES[:count])).map(list))


def with_dependencies(draw: st.DrawFn, specs: list[ChildSpec]) -> list[ChildSpec]:
    possible: list[str] = []
    for place, spec in enumerate(specs):
        if possible:
            specs[place] = replace(spec, dependencies=draw(st.lists(st.sampled_from(possible), unique=True)))
        if spec.restart is not Restart.TEMPORARY:
            possible.append(spec.name)
    return specs


@st.composite
def states(draw: st.DrawFn) -> SupervisorState:
    auto_shutdown = draw(st.sampled_from(AutoShutdown))
    specs = with_dependencies(draw, draw(children(auto_shutdown)))
    return SupervisorState(
        path="root",
        children={spec.name: Child(spec.name, spec.policy) for spec in specs},
        strategy=draw(st.sampled_from(Strategy)),
        intensity=draw(intensities),
        auto_shutdown=auto_shutdown,
    )


names = st.sampled_from(NAMES)
late = st.integers(0, 1)
"""0: about the running instance; 1: about the one before it, so too late."""
orders = st.lists(
    st.one_of(
        st.tuples(st.just("ready"), names, late),
        st.tuples(st.just("ready"), names, st.just(0)),
        st.tuples(st.just("return"), names, late),
        st.tuples(st.just("raise"), names, late),
        st.tuples(st.just("raise"), names, st.just(0)),
        st.tuples(st.just("quit"), names, late),
        st.tuples(st.just("obey"), names, st.just(0)),
        st.tuples(st.just("obey"), names, st.just(0)),
        st.tuples(st.just("beat"), names, st.just(0)),
        st.tuples(st.just("wake"), st.just(""), st.just(0)),
        st.tuples(st.just("wake"), st.just(""), st.just(0)),
        st.tuples(st.just("pass time"), st.just(""), st.sampled_from([0.25, 1.0, 7.0])),
        st.tuples(st.sampled_from(["restart", "terminate", "delete", "start", "escalate"]), names, late),
        st.tuples(st.just("stop"), st.just(""), st.just(0)),
    ),
    max_size=60,
)


@dataclass
class World:
    """A driver without tasks: it believes nothing, and checks every action against what it knows itself."""

    state: SupervisorState
    draw: float = 0.0
    now: float = 0.0
    alive: dict[str, int] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    beats: dict[str, float] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    is_finished: bool = False
    has_escalated: bool = False
    stuck: set[str] = field(default_factory=set)

    def feed(self, occurrence: Occurrence) -> None:
        before = self.state
        self.state, actions = decide(before, occurrence, self.now, self.draw)
        assert not (self.is_finished and actions), f"after the end: {actions}"
        for action in actions:
            match action:
                case Launch(name, instance):
                    assert name not in self.alive, "two instances of one child"
                    assert before.state is not State.STOPPING, "a start while it stops"
                    if not before.ready or before.strategy is not Strategy.ONE_FOR_ONE:
                        self.check_start(name)
                    self.check_dependencies(name)
                    self.alive[name] = instance
                    self.beats.pop(name, None)
                case Cancel(name, instance):
                    assert self.alive[name] == instance
                    assert name not in self.cancelled, "cancelled twice"
                    self.check_stop(name)
                    self.cancelled.add(name)
                case Escalate(stuck):
                    assert set(stuck) == set(self.alive)
                    assert stuck
                    assert not self.has_escalated, "escalated twice"
                    self.has_escalated = True
                case Finish():
                    assert not self.alive
                    self.is_finished = True
                case Event():
                    assert action.at == self.now
                    self.events.append(action)
        self.check_state()

    def check_start(self, name: str) -> None:
        for earlier in self.state.children.values():
            if earlier.name == name:
                return
            passed = earlier.was_ready or earlier.state in (State.FINISHED, State.STOPPED)
            passed = passed or self.is_held_down(earlier)
            assert passed or not earlier.policy.wait_ready, f"{name} did not wait for {earlier.name}"

    def check_dependencies(self, name: str) -> None:
        for dependency in self.state.children[name].policy.dependencies:
            state = self.state.children[dependency].state
            assert state in (State.RUNNING, State.FINISHED), f"{name} starts while {dependency} is {state}"
        assert not self.running_dependents(name), f"{name} starts before its dependents have stopped"

    def running_dependents(self, name: str) -> list[str]:
        """Those that run and depend on a child, directly or through any others."""
        depending = {name}
        for child in self.state.children.values():
            if depending.intersection(child.policy.dependencies):
                depending.add(child.name)
        return sorted(depending.intersection(self.alive) - {name})

    def is_held_down(self, child: Child) -> bool:
        """It does not run, and cannot while a child that somebody stopped does not."""
        needs = [self.state.children[name] for name in child.policy.dependencies]
        return child.state not in ALIVE and any(
            need.state is State.STOPPED or self.is_held_down(need) for need in needs
        )

    def check_stop(self, name: str) -> None:
        if self.state.children[name].cause is None and State.STUCK not in {
            child.state for child in self.state.children.values()
        }:
            assert not self.running_dependents(name), f"{name} is stopped before its dependents, without need"
        if self.state.state is State.STOPPING and self.state.stop_queue[:1] == (name,):
            later = dropwhile(lambda child: child.name != name, self.state.children.values())
            still = [
                child.name for child in later if child.name != name and child.state in ALIVE - {State.STUCK}
            ]
            assert not still, f"{name} is stopped before {still}"

    def check_state(self) -> None:
        state = self.state
        for child in state.children.values():
            assert (child.state in ALIVE) == (child.name in self.alive), child
            if child.deadline is not None:
                assert state.wake_at <= child.deadline
            if child.name in self.alive:
                assert (child.state in (State.STOPPING, State.STUCK)) == (child.name in self.cancelled) or (
                    child.state is State.STUCK
                )
        self.stuck = {child.name for child in state.children.values() if child.state is State.STUCK}
        assert (state.state is State.STOPPED) == self.is_finished
        if state.state is State.RUNNING:
            assert state.ready
        if not state.stop_queue and state.state in (State.STARTING, State.RUNNING):
            self.check_progress()

    def check_progress(self) -> None:
        """Nobody runs without what it depends on unless a stop is under way, and nobody waits for nothing."""
        stopping = False
        for child in reversed(tuple(self.state.children.values())):
            needs = [self.state.children[name].state for name in child.policy.dependencies]
            are_ready = all(need in (State.RUNNING, State.FINISHED) for need in needs)
            stopping = stopping or child.state is State.STOPPING
            assert are_ready or stopping or child.name not in self.alive, (
                f"{child.name} runs without its needs"
            )
            if child.state is State.WAITING and not self.is_held_down(child):
                assert not self.state.all_started
                independent = self.state.strategy is Strategy.ONE_FOR_ONE and self.state.ready
                through_others = any(need is State.FINISHED for need in needs)
                if independent and are_ready and not through_others:
                    assert self.running_dependents(child.name), f"{child.name} waits for nothing"

    def end(self, name: str, cause: Exception | None, *, passes: bool = False, late: int = 0) -> None:
        if name in self.alive:
            instance = self.alive[name] - late
            if not late:
                del self.alive[name]
                self.cancelled.discard(name)
            self.feed(Ended(name, instance, cause, passes))

    def wake(self) -> None:
        """What the driver does when `wake_at` is reached."""
        if self.state.wake_at < math.inf and not self.is_finished:
            self.now = max(self.now, self.state.wake_at)
            self.feed(TimePassed({name: self.beats.get(name, -math.inf) for name in self.alive}))
            assert self.state.wake_at > self.now, "the driver would spin"

    def carry_out(self, what: str, name: str, more: float) -> None:
        late = int(more)
        match what:
            case "ready" if name in self.alive:
                self.feed(BecameReady(name, self.alive[name] - late))
            case "return":
                self.end(name, None, late=late)
            case "raise":
                self.end(name, RuntimeError("broken"), late=late)
            case "quit":
                self.end(name, None, passes=True, late=late)
            case "obey" if name in self.cancelled:
                self.end(name, None)
            case "beat" if name in self.alive:
                self.beats[name] = self.now
            case "wake":
                self.wake()
            case "pass time":
                until = self.now + more
                while self.state.wake_at <= until and not self.is_finished:
                    self.wake()
                self.now = max(self.now, until)
            case "restart":
                self.feed(RestartRequested(name))
            case "terminate":
                self.feed(TerminateRequested(name))
            case "delete":
                self.feed(DeleteRequested(name))
            case "start":
                self.feed(StartRequested(name, ChildSpec(name, unused).policy))
            case "escalate" if name in self.alive:
                self.feed(EscalatedFromBelow(name, self.alive[name] - late))
            case "stop":
                self.feed(StopRequested("asked"))


def run(state: SupervisorState, orders: Sequence[tuple[str, str, float]], draw: float = 0.0) -> World:
    world = World(state, draw)
    world.feed(Begun())
    for order in orders:
        world.carry_out(*order)
    return world


@settings(max_examples=400, deadline=None)
@given(states(), orders)
def test_whatever_happens_no_rule_is_broken_and_a_stop_ends_it(
    state: SupervisorState, orders: list[tuple[str, str, float]]
) -> None:
    world = run(state, orders)
    world.feed(StopRequested("the end of the test"))
    for _ in range(3 * len(NAMES)):
        for name in tuple(world.alive):
            world.carry_out("obey", name, 0)
    for name in world.stuck:
        world.end(name, None)
    assert world.is_finished


@settings(max_examples=400, deadline=None)
@given(states(), orders)
def test_when_all_goes_well_again_every_child_runs_that_nobody_stopped(
    state: SupervisorState, orders: list[tuple[str, str, float]]
) -> None:
    world = run(state, [order for order in orders if order[0] not in ("quit", "stop", "escalate")])
    for _ in range(10 * len(NAMES)):
        for name in tuple(world.alive):
            world.carry_out("obey", name, 0)
            world.carry_out("beat", name, 0)
            world.carry_out("ready", name, 0)
        if any(child.state is State.BACKING_OFF for child in world.state.children.values()):
            world.wake()
    for child in world.state.children.values():
        is_up = child.state in (State.RUNNING, State.FINISHED, State.STOPPED)
        assert is_up or world.is_held_down(child) or world.state.state in (State.STOPPING, State.STOPPED), (
            child
        )


@settings(max_examples=200, deadline=None)
@given(states(), orders, st.floats(0, 1, exclude_max=True))
def test_every_delay_is_within_the_bounds_of_its_backoff(
    state: SupervisorState, orders: list[tuple[str, str, float]], draw: float
) -> None:
    policies = {name: child.policy for name, child in state.children.items()}
    world = run(state, orders, draw)
    for event in world.events:
        if isinstance(event, BackingOff) and event.child in policies:
            backoff = policies[event.child].backoff
            assert 0 < event.delay_s <= backoff.cap_s
            assert event.delay_s >= min(backoff.initial_s, backoff.cap_s) * (1 - backoff.jitter)


failing_orders = st.lists(
    st.one_of(
        st.tuples(st.just("raise"), names, st.just(0)),
        st.tuples(st.just("ready"), names, st.just(0)),
        st.tuples(st.just("wake"), st.just(""), st.just(0)),
        st.tuples(st.just("pass time"), st.just(""), st.sampled_from([0.5, 1.0, 4.0, 5.0])),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(intensities, st.integers(1, 4), failing_orders, st.sampled_from([0.0, 0.5]))
def test_it_gives_up_exactly_when_one_restart_too_many_lies_within_the_closed_period(
    intensity: Intensity, count: int, orders: list[tuple[str, str, float]], delay_s: float
) -> None:
    specs = [
        ChildSpec(name, unused, backoff=Backoff(delay_s, jitter=0), wait_ready=False, start_timeout_s=None)
        for name in NAMES[:count]
    ]
    state = SupervisorState(
        path="root",
        children={spec.name: Child(spec.name, spec.policy) for spec in specs},
        intensity=intensity,
    )
    world = run(state, orders)
    failed_at: list[float] = []
    expected: float | None = None
    for event in world.events:
        if isinstance(event, ChildFailed) and expected is None:
            failed_at.append(event.at)
            if sum(event.at - at <= intensity.period_s for at in failed_at) > intensity.restarts:
                expected = event.at
    gave_up = [event.at for event in world.events if isinstance(event, GaveUp)]
    assert gave_up == ([] if expected is None else [expected])


@pytest.mark.parametrize(("apart_s", "gives_up"), [(9.999, True), (10.0, True), (10.001, False)])
def test_a_restart_exactly_one_period_ago_still_counts(apart_s: float, gives_up: bool) -> None:
    spec = ChildSpec("a", unused, backoff=Backoff(0))
    state = SupervisorState(
        path="root", children={"a": Child("a", spec.policy)}, intensity=Intensity(restarts=1, period_s=10)
    )
    world = run(state, [])
    world.end("a", RuntimeError())
    world.now += apart_s
    world.end("a", RuntimeError())
    assert (world.state.ending is Ending.GAVE_UP) is gives_up


def test_a_beat_that_became_due_after_the_driver_looked_is_looked_at_again() -> None:
    spec = ChildSpec("a", unused, heartbeat_timeout_s=5)
    world = run(SupervisorState(path="root", children={"a": Child("a", spec.policy)}), [("ready", "a", 0)])
    world.now = 5.0
    world.feed(TimePassed({}))
    assert world.state.children["a"].state is State.RUNNING
    assert world.state.wake_at == 5.0
    world.feed(TimePassed({"a": 4.0}))
    assert world.state.wake_at == 9.0


@settings(max_examples=200, deadline=None)
@given(states(), orders)
def test_a_stop_without_stuck_children_cancels_in_reverse_order(
    state: SupervisorState, orders: list[tuple[str, str, float]]
) -> None:
    world = run(state, [order for order in orders if order[0] not in ("escalate", "wake", "pass time")])
    world.feed(StopRequested("the end of the test"))
    cancelled: list[str] = []
    while world.alive:
        order = list(world.state.children)
        waiting = [name for name in order if name in world.alive]
        assert waiting[-1] in world.cancelled
        cancelled.append(waiting[-1])
        world.carry_out("obey", waiting[-1], 0)
    assert world.is_finished
    assert sum(isinstance(event, SupervisorStopping) for event in world.events) == 1
