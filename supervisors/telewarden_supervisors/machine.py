"""The decisions of one supervisor: a pure step from a state and an occurrence to a state and actions.

No clock, task or I/O is in here. The rules are OTP's ("supervisor" reference page and "Supervisor Behaviour"
in the design principles); readiness, heartbeats, back-off and stuck children are added to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from telewarden_supervisors import events
from telewarden_supervisors.errors import Failure, HeartbeatMissed, StartTimedOut, WorkerReturned, describe
from telewarden_supervisors.occurrences import (
    Action,
    BecameReady,
    Begun,
    Cancel,
    Ended,
    Escalate,
    EscalatedFromBelow,
    Finish,
    Launch,
    Occurrence,
    RestartRequested,
    StopRequested,
    TimePassed,
)
from telewarden_supervisors.spec import Restart, Strategy
from telewarden_supervisors.state import ALIVE, Child, Ending, State, SupervisorState, Then

KEPT_FAILURES = 20
"""More of them in a history tell nothing new, and each keeps its traceback's frames alive."""


def decide(
    state: SupervisorState, occurrence: Occurrence, now: float, draw: float
) -> tuple[SupervisorState, tuple[Action, ...]]:
    """What follows from an occurrence at the time `now`; `draw` is a random number in [0, 1) for the jitter.

    An occurrence about an instance that is over has no effect, so a driver may be late but not wrong.
    """
    step = _Step(state, now, draw)
    match occurrence:
        case BecameReady(name, instance):
            step.became_ready(name, instance)
        case Ended():
            step.ended(occurrence)
        case TimePassed():
            step.time_passed(occurrence)
        case Begun():
            if step.state is State.WAITING:
                step.state = State.STARTING
        case StopRequested(reason):
            step.stop_all(Ending.STOPPED, reason)
        case RestartRequested(name):
            step.restart_requested(name)
        case EscalatedFromBelow(name, instance):
            step.escalated_from_below(name, instance)
    step.settle()
    return step.result(), tuple(step.actions)


class _Step:
    """One decision under way: a thawed copy of the state, and the actions so far."""

    def __init__(self, before: SupervisorState, now: float, draw: float) -> None:
        self.before = before
        self.now = now
        self.draw = draw
        self.actions: list[Action] = []
        self.children = dict(before.children)
        self.state = before.state
        self.ready = before.ready
        self.all_started = before.all_started
        self.stop_queue = before.stop_queue
        self.restarted_at = before.restarted_at
        self.failures = before.failures
        self.ending = before.ending
        self.reason = before.reason
        self.escalated = before.escalated
        self.wake_at = before.wake_at

    def result(self) -> SupervisorState:
        return SupervisorState(
            path=self.before.path,
            children=self.children,
            strategy=self.before.strategy,
            intensity=self.before.intensity,
            state=self.state,
            ready=self.ready,
            all_started=self.all_started,
            stop_queue=self.stop_queue,
            restarted_at=self.restarted_at,
            failures=self.failures,
            ending=self.ending,
            reason=self.reason,
            escalated=self.escalated,
            wake_at=self.wake_at,
        )

    def put(self, child: Child) -> None:
        self.children[child.name] = child
        if child.deadline is not None and child.deadline < self.wake_at:
            self.wake_at = child.deadline

    def emit(self, event: events.Event) -> None:
        self.actions.append(event)

    def publish(self, kind: Callable[..., events.ChildEvent], child: Child, **details: object) -> None:
        self.emit(
            kind(
                supervisor=self.before.path, at=self.now, child=child.name, instance=child.instance, **details
            )
        )

    # What occurred

    def became_ready(self, name: str, instance: int) -> None:
        child = self.children.get(name)
        if child is None or child.instance != instance or child.state is not State.STARTING:
            return
        timeout_s = child.policy.heartbeat_timeout_s
        deadline = None if timeout_s is None else self.now + timeout_s
        after_s = self.now - (self.now if child.started_at is None else child.started_at)
        self.put(replace(child, state=State.RUNNING, ready_at=self.now, was_ready=True, deadline=deadline))
        self.publish(events.ChildReady, child, after_s=after_s)

    def ended(self, occurrence: Ended) -> None:
        child = self.children.get(occurrence.name)
        if child is None or child.instance != occurrence.instance or child.state not in ALIVE:
            return
        was_stopped = child.state in (State.STOPPING, State.STUCK)
        cause = _joined(child.cause, occurrence.cause)
        child = replace(child, state=State.STOPPED, deadline=None, started_at=None, cause=None)
        self.put(child)
        if was_stopped:
            self.publish(events.Stopped, child)
        if occurrence.passes:
            self.stop_all(Ending.STOPPED, f"{child.name} raised what is no failure of its own")
        elif self.state is State.STOPPING:
            if cause is not None:
                self.publish_failure(child, cause)
        elif was_stopped and cause is None:
            self.go_on_after_stop(child)
        elif child.name in self.stop_queue or (was_stopped and child.then is Then.REST):
            if cause is not None:
                child = self.publish_failure(child, cause)
            self.go_on_after_stop(child)
        elif cause is not None:
            self.fail(child, cause, at_once=was_stopped and child.then is Then.RESTART)
        elif child.policy.restart is Restart.PERMANENT:
            self.fail(child, WorkerReturned(self.before.path, child.name))
        else:
            self.finish(child)

    def time_passed(self, occurrence: TimePassed) -> None:
        for child in tuple(self.children.values()):
            if child.deadline is None or child.deadline > self.now:
                continue
            if child.state is State.STARTING:
                timeout_s = child.policy.start_timeout_s or 0.0
                self.stop(child, Then.FAIL, StartTimedOut(self.before.path, child.name, timeout_s))
            elif child.state is State.RUNNING:
                self.check_beat(child, occurrence.beats.get(child.name, -math.inf))
            elif child.state is State.STOPPING:
                self.stuck(child)
            elif child.state is State.BACKING_OFF:
                self.wait(child)
        deadlines = (child.deadline for child in self.children.values() if child.deadline is not None)
        self.wake_at = min(deadlines, default=math.inf)

    def restart_requested(self, name: str) -> None:
        child = self.children.get(name)
        if child is None or self.state not in (State.STARTING, State.RUNNING):
            return
        if child.state in (State.STARTING, State.RUNNING):
            self.stop(child, Then.RESTART)
        elif child.state is State.STOPPING:
            self.put(replace(child, then=Then.RESTART))
        elif child.state is not State.STUCK:
            self.wait(child)

    def escalated_from_below(self, name: str, instance: int) -> None:
        child = self.children.get(name)
        if child is not None and child.instance == instance and child.state in ALIVE - {State.STUCK}:
            self.stuck(child)

    # What happens to one child

    def launch(self, child: Child) -> None:
        timeout_s = child.policy.start_timeout_s
        child = replace(
            child,
            state=State.STARTING,
            instance=child.instance + 1,
            started_at=self.now,
            ready_at=None,
            deadline=None if timeout_s is None else self.now + timeout_s,
            cause=None,
        )
        self.put(child)
        self.actions.append(Launch(child.name, child.instance))
        self.publish(events.ChildStarted if child.instance == 1 else events.ChildRestarted, child)

    def check_beat(self, child: Child, beat_at: float) -> None:
        timeout_s = child.policy.heartbeat_timeout_s or 0.0
        last = max(beat_at, child.ready_at or 0.0)
        if last + timeout_s > self.now:
            self.put(replace(child, deadline=last + timeout_s))
            return
        age_s = self.now - last
        self.publish(events.BeatMissed, child, age_s=age_s)
        self.stop(child, Then.FAIL, HeartbeatMissed(self.before.path, child.name, age_s, timeout_s))

    def stop(self, child: Child, then: Then, cause: Exception | None = None) -> None:
        timeout_s = child.policy.stop_timeout_s
        deadline = None if timeout_s is None else self.now + timeout_s
        child = replace(child, state=State.STOPPING, deadline=deadline, then=then, cause=cause)
        self.put(child)
        self.actions.append(Cancel(child.name, child.instance))
        self.publish(events.Stopping, child)

    def stuck(self, child: Child) -> None:
        after_s = child.policy.stop_timeout_s if child.state is State.STOPPING else None
        child = replace(child, state=State.STUCK, deadline=None)
        self.put(child)
        self.publish(events.Stuck, child, after_s=after_s)
        self.stop_all(Ending.GAVE_UP, f"{child.name} is stuck: it does not end when it is cancelled")

    def wait(self, child: Child) -> None:
        self.put(replace(child, state=State.WAITING, deadline=None))
        self.all_started = False

    def finish(self, child: Child) -> None:
        self.publish(events.ChildFinished, child)
        if child.policy.restart is Restart.TEMPORARY:
            del self.children[child.name]
        else:
            self.put(replace(child, state=State.FINISHED))

    def fail(self, child: Child, cause: Exception, at_once: bool = False) -> None:
        stable = (
            child.ready_at is not None and self.now - child.ready_at >= child.policy.backoff.reset_after_s
        )
        child = self.publish_failure(child, cause)
        if child.policy.restart is Restart.TEMPORARY:
            del self.children[child.name]
            return
        child = replace(child, attempt=0 if stable else child.attempt)
        reason = self.count_restart(child)
        if reason is not None:
            self.give_up(reason)
            return
        child = self.children[child.name]
        delay_s = 0.0 if at_once else child.policy.backoff.delay_s(child.attempt, self.draw)
        child = replace(child, attempt=child.attempt + 1)
        if self.before.strategy is not Strategy.ONE_FOR_ONE:
            child = replace(child, was_ready=False)
            self.stop_group(child)
        if delay_s > 0:
            self.put(replace(child, state=State.BACKING_OFF, deadline=self.now + delay_s))
            self.publish(events.BackingOff, child, delay_s=delay_s)
        else:
            self.wait(child)

    def publish_failure(self, child: Child, cause: Exception) -> Child:
        child = replace(child, last_error=describe(cause))
        self.put(child)
        self.publish(events.ChildFailed, child, cause=cause)
        period_s = max(
            self.before.intensity.period_s, child.policy.intensity.period_s if child.policy.intensity else 0
        )
        recent = [failure for failure in self.failures if failure.at >= self.now - period_s]
        self.failures = (*recent, Failure(child.name, self.now, cause))[-KEPT_FAILURES:]
        return child

    def count_restart(self, child: Child) -> str | None:
        """Counts one more restart; says why it is one too many, if it is."""
        limit = self.before.intensity
        self.restarted_at = (*limit.within_period(self.restarted_at, self.now), self.now)
        own = child.policy.intensity
        if own is not None:
            child = replace(child, restarted_at=(*own.within_period(child.restarted_at, self.now), self.now))
        self.put(child)
        if own is not None and len(child.restarted_at) > own.restarts:
            return f"{child.name} would restart more than {own.restarts} times within {own.period_s:g} s"
        if len(self.restarted_at) > limit.restarts:
            return f"its children would restart more than {limit.restarts} times within {limit.period_s:g} s"
        return None

    def go_on_after_stop(self, child: Child) -> None:
        rejoins = child.name in self.stop_queue
        if rejoins and child.policy.restart is Restart.TEMPORARY:
            del self.children[child.name]
        elif rejoins:
            self.wait(replace(child, was_ready=False))
        elif child.then is Then.RESTART:
            self.wait(child)

    # What happens to all of them

    def stop_group(self, failed: Child) -> None:
        """Stops, in reverse order, those who restart with the failed child."""
        names = list(self.children)
        if self.before.strategy is Strategy.REST_FOR_ONE:
            names = names[names.index(failed.name) :]
        queued = {*self.stop_queue, *names} - {failed.name}
        self.stop_queue = tuple(name for name in reversed(self.children) if name in queued)

    def give_up(self, reason: str) -> None:
        self.stop_all(Ending.GAVE_UP, reason)

    def stop_all(self, ending: Ending, reason: str) -> None:
        if self.state in (State.STOPPING, State.STOPPED):
            # Asked to stop and then found a child stuck: the end is not the one that was asked for.
            if ending is Ending.GAVE_UP and self.ending is Ending.STOPPED:
                self.ending, self.reason = ending, reason
            return
        if ending is Ending.GAVE_UP:
            self.emit(
                events.GaveUp(supervisor=self.before.path, at=self.now, reason=reason, failures=self.failures)
            )
        self.state, self.ending, self.reason = State.STOPPING, ending, reason
        self.stop_queue = tuple(reversed(self.children))
        self.emit(events.SupervisorStopping(supervisor=self.before.path, at=self.now, reason=reason))

    def settle(self) -> None:
        """Does what can be done now: the next stop, the next start, the end."""
        self.advance_stops()
        if self.stop_queue:
            return
        if self.state in (State.STARTING, State.RUNNING) and not self.all_started:
            self.advance_starts()
        elif self.state is State.STOPPING:
            self.advance_end()

    def advance_stops(self) -> None:
        while self.stop_queue:
            child = self.children.get(self.stop_queue[0])
            if child is not None and child.state in (State.STARTING, State.RUNNING):
                self.stop(child, Then.REJOIN if self.state is not State.STOPPING else Then.REST)
            if child is not None and self.children[child.name].state is State.STOPPING:
                return
            if child is not None and child.state is not State.STUCK:
                if self.state is State.STOPPING:
                    self.put(replace(child, state=State.STOPPED, deadline=None))
                else:
                    self.go_on_after_stop(child)
            self.stop_queue = self.stop_queue[1:]

    def advance_starts(self) -> None:
        strategy = self.before.strategy
        if strategy is Strategy.ONE_FOR_ALL and any(
            child.state is State.BACKING_OFF for child in self.children.values()
        ):
            return
        for name in tuple(self.children):
            if self.children[name].state is State.WAITING:
                self.launch(self.children[name])
            child = self.children[name]
            if strategy is Strategy.REST_FOR_ONE and child.state is State.BACKING_OFF:
                return
            passed = child.was_ready or child.state in (State.FINISHED, State.STOPPED)
            if child.policy.wait_ready and not passed:
                return
        self.all_started = True
        if not self.ready:
            self.ready, self.state = True, State.RUNNING
            self.emit(events.SupervisorReady(supervisor=self.before.path, at=self.now))

    def advance_end(self) -> None:
        alive = tuple(child.name for child in self.children.values() if child.state in ALIVE)
        if not alive:
            self.state = State.STOPPED
            self.emit(events.SupervisorStopped(supervisor=self.before.path, at=self.now))
            self.actions.append(Finish())
        elif not self.escalated:
            self.escalated = True
            self.emit(events.Escalated(supervisor=self.before.path, at=self.now, stuck=alive))
            self.actions.append(Escalate(alive))


def _joined(noted: Exception | None, raised: Exception | None) -> Exception | None:
    """Why an instance was stopped and what it raised while it ended: both are kept."""
    if noted is None or raised is None:
        return noted or raised
    return ExceptionGroup("a failure, and what the worker raised when it was stopped for it", [noted, raised])
