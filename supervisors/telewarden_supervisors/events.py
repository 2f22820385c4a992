"""What can happen under a supervisor, one frozen type each.

`supervisor` is the path of the supervisor ("telewarden/storage"), `at` the time in seconds of its clock
(monotonic). The idea of one typed event for each is suture's (v4, `EventHook`); the transitions are OTP's
(progress, supervisor and error reports).
"""

from __future__ import annotations

from dataclasses import dataclass

from telewarden_supervisors.errors import Failure, leaves


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened at `at` under the supervisor with this path."""

    supervisor: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEvent(Event):
    """Something happened to one child; `instance` counts its starts, from 1."""

    child: str
    instance: int

    @property
    def path(self) -> str:
        """The child's own path."""
        return f"{self.supervisor}/{self.child}"


class ChildStarted(ChildEvent):
    """The first instance of a child was started; it is not ready yet."""


class ChildRestarted(ChildEvent):
    """A further instance of a child was started; it is not ready yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildReady(ChildEvent):
    """A worker said that it is ready, `after_s` seconds after its start."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatMissed(ChildEvent):
    """A worker hangs: its last beat is `age_s` seconds old. `stack` is where it waits, outermost call first."""

    age_s: float
    stack: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFailed(ChildEvent):
    """An instance of a child failed. It is over: nothing of it runs any more."""

    cause: Exception

    @property
    def leaves(self) -> tuple[BaseException, ...]:
        """Every exception of the cause, those in nested groups too."""
        return tuple(leaves(self.cause))


class ChildFinished(ChildEvent):
    """A transient or temporary worker returned: its normal end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackingOff(ChildEvent):
    """A failed child is started again after `delay_s` seconds."""

    delay_s: float


class Stopping(ChildEvent):
    """An instance of a child was cancelled; it has its stop time-out to end."""


class Stopped(ChildEvent):
    """An instance of a child that was being stopped has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck(ChildEvent):
    """A child has not ended within its stop time-out. `stack` is where it waits, outermost call first."""

    after_s: float | None
    stack: tuple[str, ...] = ()


class SupervisorReady(Event):
    """Those children that are waited for are ready; the others were started, or wait for what they depend on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp(Event):
    """The supervisor gave up; it stops all its children, then fails to its parent."""

    reason: str
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalated(Event):
    """Stuck children keep the supervisor from ending; everything else under it has been stopped."""

    stuck: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorStopping(Event):
    """The supervisor stops its children in the reverse of their order; `reason` says why."""

    reason: str


class SupervisorStopped(Event):
    """No child of the supervisor runs any more."""
