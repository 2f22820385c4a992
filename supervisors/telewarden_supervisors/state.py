"""The state of one supervisor and its children, as plain frozen values; `machine.decide` moves it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from telewarden_supervisors.backoff import Intensity
from telewarden_supervisors.errors import Failure
from telewarden_supervisors.spec import AutoShutdown, Policy, Strategy


class State(Enum):
    """Where a child, or a supervisor, is."""

    WAITING = "waiting"
    """not running; starts when its turn comes"""
    STARTING = "starting"
    """runs, has not reported ready"""
    RUNNING = "running"
    """runs and has reported ready"""
    STOPPING = "stopping"
    """cancelled, has not ended"""
    BACKING_OFF = "backing off"
    """failed; starts again at a set time"""
    STUCK = "stuck"
    """cancelled, did not end within its stop time-out, still runs"""
    STOPPED = "stopped"
    """not running, because it was stopped"""
    FINISHED = "finished"
    """not running, because it returned and was meant to"""


ALIVE = frozenset({State.STARTING, State.RUNNING, State.STOPPING, State.STUCK})
"""The states in which an instance of the child exists."""


class Then(Enum):
    """What follows the end of an instance that is being stopped."""

    FAIL = "fail"
    """it is treated as failed, with the cause that was noted"""
    RESTART = "restart"
    """it starts again at once"""
    REST = "rest"
    """it stays stopped"""
    REJOIN = "rejoin"
    """it starts again with the siblings that are restarted together, or after what it depends on"""


class Child(NamedTuple):
    """One child. Times are in seconds of the supervisor's clock.

    A tuple, since `_replace` takes a fifth of `dataclasses.replace` and is most of what a decision does.

    instance: how often it has been started; the running instance's number.
    deadline: what it means depends on the state: the start time-out ends, the next beat is due, the stop
        time-out ends, the back-off ends.
    was_ready: it has been ready once, so later siblings need not wait for it any more.
    attempt: failures in a row, for the back-off.
    restarted_at: restarts after failures, within its own intensity's period.
    cause: why it is being stopped, if that is a failure.
    then: what follows the end of the instance that is being stopped.
    leaves_with: it runs, and is to be stopped as soon as nothing that depends on it runs; what follows then.
    """

    name: str
    policy: Policy
    state: State = State.WAITING
    instance: int = 0
    deadline: float | None = None
    started_at: float | None = None
    ready_at: float | None = None
    was_ready: bool = False
    attempt: int = 0
    restarted_at: tuple[float, ...] = ()
    last_error: str | None = None
    cause: Exception | None = None
    then: Then = Then.FAIL
    leaves_with: Then | None = None


class Ending(Enum):
    """How a supervisor came to stop."""

    STOPPED = "stopped"
    """it was asked to, or cancelled"""
    SHUT_DOWN = "shut down"
    """a significant child ended by itself"""
    GAVE_UP = "gave up"
    """restarting did not help, or a child is stuck"""


class SupervisorState(NamedTuple):
    """One supervisor. A tuple, since each decision makes a new one, in a quarter of the time of a dataclass.

    path: its place in the tree, "root/…/name".
    ready: those that are waited for were ready, and none waits for its turn, only for a dependency. Stays true.
    all_started: no child can start before something else happens to another.
    children: in the order of their start.
    stop_queue: the children to be stopped one after the other, next one first.
    restarted_at: restarts after failures, within the intensity's period.
    failures: the latest ones, for the history that giving up tells.
    wake_at: no deadline lies before this time; it may be earlier than the first one.
    """

    path: str
    children: Mapping[str, Child]
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = Intensity()
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    state: State = State.WAITING
    ready: bool = False
    all_started: bool = False
    stop_queue: tuple[str, ...] = ()
    restarted_at: tuple[float, ...] = ()
    failures: tuple[Failure, ...] = ()
    ending: Ending | None = None
    reason: str = ""
    escalated: bool = False
    wake_at: float = math.inf
