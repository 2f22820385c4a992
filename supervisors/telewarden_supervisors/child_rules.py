"""What can be done with one child, and what follows when it fails or finishes."""

from __future__ import annotations

from telewarden_supervisors import events
from telewarden_supervisors.errors import Failure, HeartbeatMissed
from telewarden_supervisors.occurrences import Cancel, Launch
from telewarden_supervisors.spec import AutoShutdown, Restart, Strategy
from telewarden_supervisors.state import Child, Ending, State, Then
from telewarden_supervisors.step import KEPT_FAILURES, Step


def launch(step: Step, child: Child) -> None:
    """Starts the next instance."""
    child = child._replace(
        state=State.STARTING,
        instance=child.instance + 1,
        started_at=step.now,
        ready_at=None,
        deadline=_after(step, child.policy.start_timeout_s),
        cause=None,
    )
    step.put(child)
    step.publish(events.ChildStarted if child.instance == 1 else events.ChildRestarted, child)
    step.actions.append(Launch(child.name, child.instance))


def became_ready(step: Step, child: Child) -> None:
    """The running instance does its work now."""
    after_s = 0.0 if child.started_at is None else step.now - child.started_at
    deadline = _after(step, child.policy.heartbeat_timeout_s)
    step.put(child._replace(state=State.RUNNING, ready_at=step.now, was_ready=True, deadline=deadline))
    step.publish(events.ChildReady, child, after_s=after_s)


def check_beat(step: Step, child: Child, beat_at: float) -> None:
    """A beat is due; the last one was at `beat_at`."""
    timeout_s = child.policy.heartbeat_timeout_s or 0.0
    last = beat_at if child.ready_at is None else max(beat_at, child.ready_at)
    if last + timeout_s > step.now:
        step.put(child._replace(deadline=last + timeout_s))
        return
    age_s = step.now - last
    step.publish(events.BeatMissed, child, age_s=age_s)
    stop(step, child, Then.FAIL, HeartbeatMissed(step.path, child.name, age_s, timeout_s))


def stop(step: Step, child: Child, then: Then, cause: Exception | None = None) -> None:
    """Cancels the running instance; `then` says what follows its end, unless somebody has asked for something."""
    deadline = _after(step, child.policy.stop_timeout_s)
    child = child._replace(
        state=State.STOPPING, deadline=deadline, then=child.leaves_with or then, leaves_with=None, cause=cause
    )
    step.put(child)
    step.publish(events.Stopping, child)
    step.actions.append(Cancel(child.name, child.instance))


def stuck(step: Step, child: Child) -> None:
    """The cancelled instance does not end. It cannot be replaced either, so the supervisor gives up."""
    after_s = child.policy.stop_timeout_s if child.state is State.STOPPING else None
    child = child._replace(state=State.STUCK, deadline=None)
    step.put(child)
    step.publish(events.Stuck, child, after_s=after_s)
    step.stop_all(Ending.GAVE_UP, f"{child.name} is stuck: it does not end when it is cancelled")


def finish(step: Step, child: Child) -> None:
    """A child that is not permanent returned."""
    step.publish(events.ChildFinished, child)
    if child.policy.restart is Restart.TEMPORARY:
        del step.children[child.name]
    else:
        step.put(child._replace(state=State.FINISHED))
    _shut_down_with(step, child)


def fail(step: Step, child: Child, cause: Exception, at_once: bool = False) -> None:
    """An instance failed and is over. `at_once`: somebody asked for a restart meanwhile, so it has no delay."""
    stable = child.ready_at is not None and step.now - child.ready_at >= child.policy.backoff.reset_after_s
    record_failure(step, child, cause)
    if child.policy.restart is Restart.TEMPORARY:
        del step.children[child.name]
        _shut_down_with(step, child)
        return
    child, reason = _count_restart(step, child)
    if reason is not None:
        step.stop_all(Ending.GAVE_UP, reason)
        return
    attempt = 0 if stable else child.attempt
    delay_s = 0.0 if at_once else child.policy.backoff.delay_s(attempt, step.draw)
    was_ready = child.was_ready
    if step.strategy is not Strategy.ONE_FOR_ONE:
        was_ready = False
        step.stop_group(child)
    if delay_s > 0:
        step.publish(events.BackingOff, child, delay_s=delay_s)
        state, deadline = State.BACKING_OFF, step.now + delay_s
    else:
        state, deadline = State.WAITING, None
        step.all_started = False
    step.put(child._replace(state=state, deadline=deadline, attempt=attempt + 1, was_ready=was_ready))


def record_failure(step: Step, child: Child, cause: Exception) -> None:
    """Notes a failure for events and history; nothing else follows from it."""
    step.publish(events.ChildFailed, child, cause=cause)
    own = child.policy.intensity
    period_s = max(step.intensity.period_s, own.period_s if own is not None else 0.0)
    recent = [failure for failure in step.failures if failure.at >= step.now - period_s]
    step.failures = (*recent, Failure(child.name, step.now, cause))[-KEPT_FAILURES:]


def go_on_after_stop(step: Step, child: Child, rejoins: bool) -> None:
    """An instance ended as it was told to. `rejoins`: it was stopped for a sibling and starts after it."""
    starts = rejoins or child.then is Then.RESTART
    if child.policy.restart is Restart.TEMPORARY and child.then is not Then.RESTART:
        del step.children[child.name]
    elif starts:
        step.wait(child)


def _after(step: Step, timeout_s: float | None) -> float | None:
    return None if timeout_s is None else step.now + timeout_s


def _count_restart(step: Step, child: Child) -> tuple[Child, str | None]:
    """Counts one more restart; says why it is one too many, if it is."""
    limit, own = step.intensity, child.policy.intensity
    step.restarted_at = limit.counted(step.restarted_at, step.now)
    if own is not None:
        child = child._replace(restarted_at=own.counted(child.restarted_at, step.now))
        step.put(child)
        if len(child.restarted_at) > own.restarts:
            return (
                child,
                f"{child.name} would restart more than {own.restarts} times within {own.period_s:g} s",
            )
    if len(step.restarted_at) > limit.restarts:
        return (
            child,
            f"its children would restart more than {limit.restarts} times within {limit.period_s:g} s",
        )
    return child, None


def _shut_down_with(step: Step, ended: Child) -> None:
    """Stops the supervisor if this end of a significant child, by itself, says so."""
    if not ended.policy.significant or step.auto_shutdown is AutoShutdown.NEVER:
        return
    over = (State.FINISHED, State.STOPPED)
    others = any(
        child.policy.significant and child.state not in over
        for child in step.children.values()
        if child.name != ended.name
    )
    if step.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT or not others:
        step.stop_all(Ending.SHUT_DOWN, f"{ended.name} is significant and has ended")
