"""Supervisors that each own their workers, for anyio programs; terms and semantics are OTP's."""

from telewarden_supervisors.backoff import Backoff, Intensity
from telewarden_supervisors.bus import EventStream
from telewarden_supervisors.clock import Clock
from telewarden_supervisors.context import WorkerContext
from telewarden_supervisors.errors import (
    CancelledFromInside,
    ChildNotFound,
    ChildStuck,
    Failure,
    HeartbeatMissed,
    NotRunning,
    StartFailed,
    StartTimedOut,
    SupervisionError,
    SupervisorGaveUp,
    WorkerReturned,
    leaves,
)
from telewarden_supervisors.events import (
    BackingOff,
    BeatMissed,
    ChildEvent,
    ChildFailed,
    ChildFinished,
    ChildReady,
    ChildRestarted,
    ChildStarted,
    Escalated,
    Event,
    GaveUp,
    Stopped,
    Stopping,
    Stuck,
    SupervisorReady,
    SupervisorStopped,
    SupervisorStopping,
)
from telewarden_supervisors.snapshot import Snapshot
from telewarden_supervisors.spec import ChildSpec, Restart, Strategy, Worker
from telewarden_supervisors.state import State
from telewarden_supervisors.stuck import end_process
from telewarden_supervisors.supervisor import Supervisor

__all__ = [
    "BackingOff",
    "Backoff",
    "BeatMissed",
    "CancelledFromInside",
    "ChildEvent",
    "ChildFailed",
    "ChildFinished",
    "ChildNotFound",
    "ChildReady",
    "ChildRestarted",
    "ChildSpec",
    "ChildStarted",
    "ChildStuck",
    "Clock",
    "Escalated",
    "Event",
    "EventStream",
    "Failure",
    "GaveUp",
    "HeartbeatMissed",
    "Intensity",
    "NotRunning",
    "Restart",
    "Snapshot",
    "StartFailed",
    "StartTimedOut",
    "State",
    "Stopped",
    "Stopping",
    "Strategy",
    "Stuck",
    "SupervisionError",
    "Supervisor",
    "SupervisorGaveUp",
    "SupervisorReady",
    "SupervisorStopped",
    "SupervisorStopping",
    "Worker",
    "WorkerContext",
    "WorkerReturned",
    "end_process",
    "leaves",
]
