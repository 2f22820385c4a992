"""A supervisor and its children at one moment, for people and dashboards to look at."""

from __future__ import annotations

from dataclasses import dataclass

from telewarden_supervisors.state import State


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A node of the tree. Durations are in seconds; None where there is none.

    uptime_s: since the running instance was started.
    restarts: how often it has been started again, for whatever reason.
    last_error: the latest failure in one line.
    next_restart_in_s: while it backs off.
    status: what the worker last said with `ctx.status()`.
    last_beat_age_s: since its last beat.
    children: in the order of their start; empty for a worker.
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
