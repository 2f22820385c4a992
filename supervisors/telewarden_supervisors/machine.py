"""The decisions of one supervisor: a pure step from a state and an occurrence to a state and actions.

No clock, task or I/O is in here. The rules are OTP's ("supervisor" reference page and "Supervisor Behaviour"
in the design principles); readiness, heartbeats, back-off and stuck children are added to them.
"""

from __future__ import annotations

import math

from telewarden_supervisors import child_rules, events
from telewarden_supervisors.dependencies import dependents, needed
from telewarden_supervisors.errors import StartTimedOut, WorkerReturned, describe
from telewarden_supervisors.occurrences import (
    Action,
    BecameReady,
    Begun,
    DeleteRequested,
    Ended,
    EscalatedFromBelow,
    Occurrence,
    RestartRequested,
    StartRequested,
    StopRequested,
    TerminateRequested,
    TimePassed,
)
from telewarden_supervisors.order import settle
from telewarden_supervisors.spec import Restart
from telewarden_supervisors.state import ALIVE, Child, Ending, State, SupervisorState, Then
from telewarden_supervisors.step import Step

UP = (State.STARTING, State.RUNNING)
"""A supervisor that is neither waiting to run nor stopping; a child with an instance that is not being stopped."""


def decide(
    state: SupervisorState, occurrence: Occurrence, now: float, draw: float
) -> tuple[SupervisorState, tuple[Action, ...]]:
    """What follows from an occurrence at the time `now`; `draw` is a random number in [0, 1) for the jitter.

    An occurrence about an instance that is over has no effect, nor has a request that cannot be met, so a
    driver may be late but not wrong.
    """
    step = Step(state, now, draw)
    match occurrence:
        case BecameReady(name, instance):
            child = step.children.get(name)
            if child is not None and child.instance == instance and child.state is State.STARTING:
                child_rules.became_ready(step, child)
        case Ended():
            _ended(step, occurrence)
        case TimePassed():
            _time_passed(step, occurrence)
        case EscalatedFromBelow(name, instance):
            child = step.children.get(name)
            if child is not None and child.instance == instance and child.state in ALIVE - {State.STUCK}:
                child_rules.stuck(step, child)
        case Begun():
            if step.state is State.WAITING:
                step.state = State.STARTING
        case StopRequested(reason):
            step.stop_all(Ending.STOPPED, reason)
        case _:
            if step.state in UP:
                _request(step, occurrence)
    settle(step)
    return step.result(), tuple(step.actions)


def _request(
    step: Step, request: StartRequested | RestartRequested | TerminateRequested | DeleteRequested
) -> None:
    child = step.children.get(request.name)
    if child is None:
        if isinstance(request, StartRequested) and step.children.keys() >= set(request.policy.dependencies):
            step.wait(Child(request.name, request.policy))
        return
    match request:
        case RestartRequested():
            if child.state in UP:
                _stop_after_dependents(step, child, Then.RESTART)
            elif child.state is State.STOPPING:
                step.put(child._replace(then=Then.RESTART))
            elif child.state is not State.STUCK:
                step.wait(child)
        case TerminateRequested():
            if child.state in UP:
                _stop_after_dependents(step, child, Then.REST)
            elif child.state is State.STOPPING:
                step.put(child._replace(then=Then.REST))
            elif child.state in (State.WAITING, State.BACKING_OFF):
                child = child._replace(state=State.STOPPED, deadline=None, then=Then.REST)
                step.put(child)
                child_rules.go_on_after_stop(step, child, rejoins=False)
        case DeleteRequested():
            if child.state in (State.STOPPED, State.FINISHED) and not dependents(step.children, child.name):
                del step.children[child.name]


def _stop_after_dependents(step: Step, child: Child, then: Then) -> None:
    if child.name in needed(step.children):
        step.put(child._replace(leaves_with=then))
    else:
        child_rules.stop(step, child, then)


def _ended(step: Step, occurrence: Ended) -> None:
    child = step.children.get(occurrence.name)
    if child is None or child.instance != occurrence.instance or child.state not in ALIVE:
        return
    was_stopped = child.state in (State.STOPPING, State.STUCK)
    was_asked_to = was_stopped or child.leaves_with is not None
    cause = _joined(child.cause, occurrence.cause)
    may_not_return = child.policy.restart is Restart.PERMANENT and step.state in UP and not occurrence.passes
    if cause is None and not was_stopped and may_not_return:
        cause = WorkerReturned(step.path, child.name)
    then = child.then if was_stopped else child.leaves_with or Then.FAIL
    child = child._replace(
        state=State.STOPPED,
        deadline=None,
        started_at=None,
        cause=None,
        then=then,
        leaves_with=None,
        last_error=child.last_error if cause is None else describe(cause),
    )
    step.put(child)
    if was_stopped:
        step.publish(events.Stopped, child)
    if occurrence.passes:
        step.stop_all(Ending.STOPPED, f"{child.name} raised what is no failure, to leave the tree")
    rejoins = then is Then.REJOIN or (child.name in step.stop_queue and then is not Then.REST)
    if step.state is State.STOPPING:
        if cause is not None:
            child_rules.record_failure(step, child, cause)
    elif rejoins or (was_asked_to and cause is None) or then is Then.REST:
        if cause is not None:
            child_rules.record_failure(step, child, cause)
        child_rules.go_on_after_stop(step, child, rejoins)
    elif cause is not None:
        child_rules.fail(step, child, cause, at_once=then is Then.RESTART)
    else:
        child_rules.finish(step, child)


def _time_passed(step: Step, occurrence: TimePassed) -> None:
    for child in tuple(step.children.values()):
        if child.deadline is None or child.deadline > step.now:
            continue
        if child.state is State.STARTING:
            timeout_s = child.policy.start_timeout_s or 0.0
            child_rules.stop(step, child, Then.FAIL, StartTimedOut(step.path, child.name, timeout_s))
        elif child.state is State.RUNNING:
            # Its beat became due after the driver had looked: it looks again at once.
            if child.name in occurrence.beats:
                child_rules.check_beat(step, child, occurrence.beats[child.name])
        elif child.state is State.STOPPING:
            child_rules.stuck(step, child)
        elif child.state is State.BACKING_OFF:
            step.wait(child)
    deadlines = (child.deadline for child in step.children.values() if child.deadline is not None)
    step.wake_at = min(deadlines, default=math.inf)


def _joined(noted: Exception | None, raised: Exception | None) -> Exception | None:
    """Why an instance was stopped and what it raised while it ended: both are kept."""
    if noted is None or raised is None:
        return noted or raised
    return ExceptionGroup("a failure, and what the worker raised when it was stopped for it", [noted, raised])
