"""What the driver tells the state machine, and what the machine answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from telewarden_supervisors.events import Event
from telewarden_supervisors.spec import Policy


@dataclass(frozen=True, slots=True)
class Begun:
    """The supervisor runs."""


@dataclass(frozen=True, slots=True)
class BecameReady:
    """A worker called `ready()`."""

    name: str
    instance: int


@dataclass(frozen=True, slots=True)
class Ended:
    """An instance is over: it returned, or was cancelled as asked (`cause` is None), or raised.

    passes: it raised what is no failure and must leave the tree (KeyboardInterrupt, SystemExit).
    """

    name: str
    instance: int
    cause: Exception | None = None
    passes: bool = False


@dataclass(frozen=True, slots=True)
class TimePassed:
    """`wake_at` was reached. `beats` holds the time of the last beat of each worker whose beat is due."""

    beats: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Somebody wants the supervisor to stop."""

    reason: str


@dataclass(frozen=True, slots=True)
class StartRequested:
    """Somebody wants a further child, after the others."""

    name: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class TerminateRequested:
    """Somebody wants a child stopped, and not started again until it is asked for."""

    name: str


@dataclass(frozen=True, slots=True)
class DeleteRequested:
    """Somebody wants a child that does not run forgotten."""

    name: str


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """Somebody wants a fresh instance of a child; if it runs it is stopped first."""

    name: str


@dataclass(frozen=True, slots=True)
class EscalatedFromBelow:
    """A child that is a supervisor cannot end, because something under it is stuck."""

    name: str
    instance: int


Occurrence: TypeAlias = (
    Begun
    | BecameReady
    | Ended
    | TimePassed
    | EscalatedFromBelow
    | StopRequested
    | StartRequested
    | RestartRequested
    | TerminateRequested
    | DeleteRequested
)


@dataclass(frozen=True, slots=True)
class Launch:
    """Start this instance of the child."""

    name: str
    instance: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel this instance of the child."""

    name: str
    instance: int


@dataclass(frozen=True, slots=True)
class Escalate:
    """Everything but these stuck children has been stopped: tell the parent, or end the process."""

    stuck: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """No child runs any more and none will be started: the supervisor is over."""


Action: TypeAlias = Launch | Cancel | Escalate | Finish | Event
