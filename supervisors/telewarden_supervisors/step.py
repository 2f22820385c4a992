"""One decision under way: a thawed copy of a supervisor's state, and the actions so far."""

from __future__ import annotations

from collections.abc import Callable

from telewarden_supervisors import events
from telewarden_supervisors.backoff import Intensity
from telewarden_supervisors.errors import Failure
from telewarden_supervisors.occurrences import Action
from telewarden_supervisors.spec import AutoShutdown, Strategy
from telewarden_supervisors.state import ALIVE, Child, Ending, State, SupervisorState

KEPT_FAILURES = 20
"""More of them in a history tell nothing new, and each keeps its traceback's frames alive."""


class Step:
    """What the rules read and change. Its fields are those of `SupervisorState`; `now` and `draw` are given."""

    def __init__(self, before: SupervisorState, now: float, draw: float) -> None:
        self.now = now
        self.draw = draw
        self.actions: list[Action] = []
        self.path: str = before.path
        self.strategy: Strategy = before.strategy
        self.intensity: Intensity = before.intensity
        self.auto_shutdown: AutoShutdown = before.auto_shutdown
        self.children: dict[str, Child] = dict(before.children)
        self.state: State = before.state
        self.ready: bool = before.ready
        self.all_started: bool = before.all_started
        self.stop_queue: tuple[str, ...] = before.stop_queue
        self.restarted_at: tuple[float, ...] = before.restarted_at
        self.failures: tuple[Failure, ...] = before.failures
        self.ending: Ending | None = before.ending
        self.reason: str = before.reason
        self.escalated: bool = before.escalated
        self.wake_at: float = before.wake_at

    def result(self) -> SupervisorState:
        """The state after the step."""
        return SupervisorState(
            path=self.path,
            children=self.children,
            strategy=self.strategy,
            intensity=self.intensity,
            auto_shutdown=self.auto_shutdown,
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
        """Sets the state of a child."""
        self.children[child.name] = child
        if child.deadline is not None and child.deadline < self.wake_at:
            self.wake_at = child.deadline

    def wait(self, child: Child) -> None:
        """Lets a child that does not run start when its turn comes."""
        self.put(child._replace(state=State.WAITING, deadline=None))
        self.all_started = False

    def emit(self, event: events.Event) -> None:
        """Publishes an event."""
        self.actions.append(event)

    def publish(self, kind: Callable[..., events.ChildEvent], child: Child, **details: object) -> None:
        """Publishes an event about a child."""
        self.emit(
            kind(supervisor=self.path, at=self.now, child=child.name, instance=child.instance, **details)
        )

    def stop_group(self, failed: Child) -> None:
        """Those who restart with the failed child are to be stopped in reverse order, then start in order.

        One that was stopped or has finished starts too, as in OTP.
        """
        names = list(self.children)
        if self.strategy is Strategy.REST_FOR_ONE:
            names = names[names.index(failed.name) + 1 :]
        queued = set()
        for child in [self.children[name] for name in names if name != failed.name]:
            self.put(child._replace(was_ready=False))
            if child.state in ALIVE:
                queued.add(child.name)
            else:
                self.wait(self.children[child.name])
        self.stop_queue = tuple(name for name in reversed(self.children) if name in queued)

    def stop_all(self, ending: Ending, reason: str) -> None:
        """All children are to be stopped in reverse order, and none starts any more."""
        if self.state in (State.STOPPING, State.STOPPED):
            # Asked to stop and then found a child stuck: the end is not the one that was asked for.
            if ending is Ending.GAVE_UP and self.ending is not Ending.GAVE_UP:
                self.ending, self.reason = ending, reason
            return
        if ending is Ending.GAVE_UP:
            self.emit(events.GaveUp(supervisor=self.path, at=self.now, reason=reason, failures=self.failures))
        self.state, self.ending, self.reason = State.STOPPING, ending, reason
        self.stop_queue = tuple(reversed(self.children))
        self.emit(events.SupervisorStopping(supervisor=self.path, at=self.now, reason=reason))
