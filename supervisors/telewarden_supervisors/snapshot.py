"""A supervisor and its children at one moment, for people and dashboards to look at."""

from __future__ import annotations

from dataclasses import dataclass

from telewarden_supervisors.driver import Driver
from telewarden_supervisors.state import Child, State


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A node of the tree. Durations are in seconds; None where there is none.

    uptime_s: since the running instance was started.
    restarts: how often it has been started again, for whatever reason.
    last_error: the latest failure in one line.
    next_restart_in_s: while it backs off.
    status: what the worker last said with `ctx.status()`.
    last_beat_age_s: since its last beat.
    children: in the order of their start; empty for a worker, and for a supervisor that never ran.
    """

    name: str
    state: State
    uptime_s: float | None = None
    restarts: int = 0
    last_error: str | None = None
    next_restart_in_s: float | None = None
    status: str = ""
    last_beat_age_s: float | None = None
    children: tuple[Snapshot, ...] = ()


def children_snapshot(driver: Driver, now: float) -> tuple[Snapshot, ...]:
    """The children of a supervisor at the time `now`, with all that is below them."""
    return tuple(_child_snapshot(driver, child, now) for child in driver.state.children.values())


def _child_snapshot(driver: Driver, child: Child, now: float) -> Snapshot:
    instance = driver.instances.get(child.name)
    beat_at = instance.context.last_beat if instance else None
    restart_at = child.deadline if child.state is State.BACKING_OFF else None
    below = driver.below.get(child.name)
    return Snapshot(
        name=child.name,
        state=child.state,
        uptime_s=None if child.started_at is None else now - child.started_at,
        restarts=max(0, child.instance - 1),
        last_error=child.last_error,
        next_restart_in_s=None if restart_at is None else max(0.0, restart_at - now),
        status=instance.context.status_text if instance else "",
        last_beat_age_s=None if beat_at is None else now - beat_at,
        children=children_snapshot(below, now) if below else (),
    )
