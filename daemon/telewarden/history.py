"""What happened in the supervision tree lately: the newest transitions, of the tree and of each worker."""

from collections import deque
from collections.abc import Callable

from telewarden.storage.journal import wall_clock_us
from telewarden.storage.signal import Signal
from telewarden_http.v1.overview_protocols import Transition
from telewarden_http.wire import iso_ms
from telewarden_supervisors import (
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
)

TRANSITIONS = 200
"""How many are kept of the whole tree."""
OF_A_WORKER = 20
"""How many are kept of one worker, so that one that fails again and again does not push out the others'."""
_TEXT_CHARS = 300


class History:
    """A subscriber of the root supervisor. clock_us: the wall clock, in microseconds. changed: fires with each one."""

    def __init__(self, clock_us: Callable[[], int] = wall_clock_us) -> None:
        self._clock_us = clock_us
        self._newest: deque[Transition] = deque(maxlen=TRANSITIONS)
        self._by_path: dict[str, deque[Transition]] = {}
        self.changed = Signal()
        self.count = 0
        """How many there were, ever."""

    def note(self, event: Event) -> None:
        """Keep it, if an operator wants to know."""
        told = _told(event)
        if told is None:
            return
        kind, text = told
        path = _below_root(event.path if isinstance(event, ChildEvent) else event.supervisor)
        transition = Transition(
            at=iso_ms(self._clock_us()),
            worker=path.rpartition("/")[2],
            path=path,
            kind=kind,
            text=text[:_TEXT_CHARS],
        )
        self._newest.appendleft(transition)
        # As many as the tree has nodes: its children are fixed.
        self._by_path.setdefault(path, deque(maxlen=OF_A_WORKER)).appendleft(transition)
        self.count += 1
        self.changed.fire()

    def newest(self) -> list[Transition]:
        """Of the whole tree, the newest first."""
        return list(self._newest)

    def of(self, path: str) -> list[Transition]:
        """Of the node with a path below the root, the newest first."""
        return list(self._by_path.get(path, ()))


def _below_root(path: str) -> str:
    """As operators write paths: without the root, which stands for itself where nothing else is left."""
    root, _, below = path.partition("/")
    return below or root


def _told(event: Event) -> tuple[str, str] | None:
    """(kind, text) of an event; None for those that say nothing to an operator."""
    match event:
        case ChildStarted():
            return "started", ""
        case ChildRestarted():
            return "restarted", f"instance {event.instance}"
        case ChildReady():
            return "ready", f"after {event.after_s:.2f} s"
        case BeatMissed():
            return "hangs", f"no progress for {event.age_s:.1f} s"
        case ChildFailed():
            return "failed", "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in event.leaves)
        case ChildFinished():
            return "finished", ""
        case BackingOff():
            return "backing off", f"for {event.delay_s:.2f} s"
        case Stopping():
            return "stopping", ""
        case Stopped():
            return "stopped", ""
        case Stuck():
            return "stuck", "it was cancelled and does not end"
        case GaveUp():
            return "gave up", event.reason
        case Escalated():
            return "escalated", f"stuck: {', '.join(event.stuck)}"
        case _:
            return None
