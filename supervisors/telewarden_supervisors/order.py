"""What can be done next among the children: one stop after the other, one start after the other, the end."""

from __future__ import annotations

from telewarden_supervisors import events
from telewarden_supervisors.child_rules import launch, stop
from telewarden_supervisors.dependencies import held_down, needed, reliable
from telewarden_supervisors.occurrences import Escalate, Finish
from telewarden_supervisors.spec import Strategy
from telewarden_supervisors.state import ALIVE, State, Then
from telewarden_supervisors.step import Step


def settle(step: Step) -> None:
    """Does what has become possible. Nobody starts while somebody has to stop."""
    _advance_stops(step)
    if step.stop_queue:
        return
    if step.state in (State.STARTING, State.RUNNING):
        has_dependents = any(child.policy.dependencies for child in step.children.values())
        if has_dependents:
            _stop_dependents(step)
        if not step.all_started:
            _advance_starts(step, has_dependents)
    elif step.state is State.STOPPING:
        _advance_end(step)


def _advance_stops(step: Step) -> None:
    while step.stop_queue:
        child = step.children.get(step.stop_queue[0])
        if child is not None and child.state in (State.STARTING, State.RUNNING):
            stop(step, child, Then.REST if step.state is State.STOPPING else Then.REJOIN)
            return
        if child is not None and child.state is State.STOPPING:
            return
        step.stop_queue = step.stop_queue[1:]


def _stop_dependents(step: Step) -> None:
    """Stops who lacks a dependency, one after the other, last first; and who had to wait for that to be stopped."""
    ready = reliable(step.children)
    in_use: set[str] = set()
    one_stops = False
    for child in reversed(tuple(step.children.values())):
        if child.state is State.STOPPING and child.then is Then.REJOIN:
            one_stops = True
        elif child.state in (State.STARTING, State.RUNNING) and child.name not in in_use:
            if child.leaves_with is not None:
                stop(step, child, child.leaves_with)
            elif not one_stops and not ready.issuperset(child.policy.dependencies):
                stop(step, child, Then.REJOIN)
                one_stops = True
        if child.state in ALIVE or child.name in in_use:
            in_use.update(child.policy.dependencies)


def _advance_starts(step: Step, has_dependents: bool) -> None:
    children = tuple(step.children.values())
    if step.strategy is Strategy.ONE_FOR_ALL and any(child.state is State.BACKING_OFF for child in children):
        return
    # Once all have been up, those under one_for_one come back independently of each other: a child that was
    # added later and never gets ready must not hold up a sibling's restart.
    in_order = not step.ready or step.strategy is not Strategy.ONE_FOR_ONE
    ready: set[str] = set()
    in_use: set[str] = set()
    down: dict[str, str] = {}
    if has_dependents:
        ready, in_use, down = reliable(step.children), needed(step.children), held_down(step.children)
    all_started = True
    for child in children:
        if child.state is State.WAITING:
            if child.name not in in_use and ready.issuperset(child.policy.dependencies):
                launch(step, child)
            elif child.name not in down:
                all_started = False
        if step.strategy is Strategy.REST_FOR_ONE and child.state is State.BACKING_OFF:
            return
        passed = child.was_ready or child.state in (State.FINISHED, State.STOPPED) or child.name in down
        if in_order and child.policy.wait_ready and not passed:
            return
    step.all_started = all_started
    if not step.ready:
        step.ready, step.state = True, State.RUNNING
        step.emit(events.SupervisorReady(supervisor=step.path, at=step.now))


def _advance_end(step: Step) -> None:
    alive = tuple(child.name for child in step.children.values() if child.state in ALIVE)
    if not alive:
        step.state = State.STOPPED
        step.emit(events.SupervisorStopped(supervisor=step.path, at=step.now))
        step.actions.append(Finish())
    elif not step.escalated:
        step.escalated = True
        step.emit(events.Escalated(supervisor=step.path, at=step.now, stuck=alive))
        step.actions.append(Escalate(alive))
