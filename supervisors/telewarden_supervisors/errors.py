"""Every error that a supervisor raises, or names as the cause of a failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass


class SupervisionError(Exception):
    """The root of this package's errors."""


class ChildNotFound(SupervisionError):
    """No child of that name is under this supervisor."""

    def __init__(self, path: str, name: str, known: Iterable[str]) -> None:
        names = ", ".join(known) or "none"
        super().__init__(f"{path} has no child {name!r}; its children are: {names}")


class ChildExists(SupervisionError):
    """A child of that name is under this supervisor already."""

    def __init__(self, path: str, name: str) -> None:
        super().__init__(
            f"{path} has a child {name!r} already; terminate and delete it, or choose another name"
        )


class ChildAlive(SupervisionError):
    """The child runs, or is about to; it must be terminated before it can be deleted."""

    def __init__(self, path: str, name: str, state: str) -> None:
        super().__init__(f"{path}/{name} is {state}: terminate it before deleting it")


class ChildNeeded(SupervisionError):
    """Other children depend on this one; they must be deleted before it."""

    def __init__(self, path: str, name: str, dependents: Iterable[str]) -> None:
        names = ", ".join(dependents)
        super().__init__(
            f"{path}/{name} cannot be deleted: {names} depend on it; terminate and delete those first"
        )


class DependencyStopped(SupervisionError):
    """A child cannot start because one that it depends on, directly or not, was stopped by somebody."""

    def __init__(self, path: str, name: str, dependency: str) -> None:
        super().__init__(
            f"{path}/{name} cannot start: it depends on {dependency}, which is stopped; "
            f"restart {dependency} first, and those that depend on it will follow"
        )


class NotRunning(SupervisionError):
    """The supervisor has not been started, is stopping, or has ended."""

    def __init__(self, path: str, state: str) -> None:
        super().__init__(f"the supervisor {path} is {state}; it takes this request only while it runs")


class StartFailed(SupervisionError):
    """A child that was asked to start ended before it was ready; the cause is chained.

    `path` names it, with the root supervisor's name first. The supervisor goes on with it as its
    specification says.
    """

    def __init__(self, path: str, name: str, failure: Failure | None) -> None:
        self.path = f"{path}/{name}"
        why = "it was stopped" if failure is None else failure.text
        super().__init__(f"{path}/{name} ended before it was ready: {why}")


class WorkerReturned(SupervisionError):
    """A permanent worker returned; it is meant to run until it is cancelled."""

    def __init__(self, path: str, name: str) -> None:
        super().__init__(f"{path}/{name} returned, but a permanent worker runs until it is cancelled")


class StartTimedOut(SupervisionError):
    """A worker did not call `ready()` within its start time-out."""

    def __init__(self, path: str, name: str, timeout_s: float) -> None:
        super().__init__(f"{path}/{name} was not ready within {timeout_s:g} s of its start")


class HeartbeatMissed(SupervisionError):
    """A worker was ready and did not call `beat()` within its heartbeat time-out."""

    def __init__(self, path: str, name: str, age_s: float, timeout_s: float) -> None:
        super().__init__(
            f"{path}/{name} hangs: no beat for {age_s:.3g} s, at most {timeout_s:g} s are allowed"
        )


class CancelledFromInside(SupervisionError):
    """A worker ended by a cancellation that its supervisor had not asked for.

    On asyncio this is what awaiting a cancelled future or a natively cancelled task gives.
    """

    def __init__(self, path: str, name: str) -> None:
        super().__init__(f"{path}/{name} ended by a cancellation that its supervisor had not asked for")


class ChildStuck(SupervisionError):
    """Workers did not end within their stop time-outs after they had been cancelled.

    `stacks` has for each one's path where it waits, outermost call first; a call that blocks a thread ends it.
    """

    def __init__(self, stacks: Mapping[str, tuple[str, ...]]) -> None:
        self.stacks = dict(stacks)
        lines = [
            f"{', '.join(stacks)} did not end when cancelled; a task cannot be killed, so only the end of the "
            "process helps"
        ]
        for path, stack in stacks.items():
            lines += [f"  {path} waits in:", *(f"    {call}" for call in stack)]
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure of one child: which, when (seconds of the supervisor's clock) and why."""

    child: str
    at: float
    cause: Exception

    @property
    def text(self) -> str:
        """The cause in one line, with the leaves of an exception group spelled out."""
        return describe(self.cause)


class SupervisorGaveUp(SupervisionError):
    """A supervisor stopped all its children because restarting them does not help.

    `failures` are the ones that led to it, oldest first; their exceptions are also chained as one
    `ExceptionGroup` (`__cause__`), so that a traceback shows every one. To the parent it is the failure
    of one child. After OTP, "supervisor", section "Maximum Restart Intensity".
    """

    def __init__(self, path: str, reason: str, failures: Sequence[Failure]) -> None:
        self.path = path
        self.reason = reason
        self.failures = tuple(failures)
        last = failures[-1].at if failures else 0.0
        lines = [f"the supervisor {path} gave up: {reason}"]
        for failure in failures:
            # What gave up below brings its own history, one line for each failure.
            is_history = isinstance(failure.cause, SupervisorGaveUp)
            first, *more = str(failure.cause).splitlines() if is_history else [failure.text]
            lines += [f"{failure.at - last:+.3f} s  {failure.child}: {first}", *more]
        super().__init__("\n  ".join(lines))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that an arbitrarily nested exception group consists of; `error` itself if it is none."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def describe(error: BaseException) -> str:
    """An exception's leaves in one line."""
    texts = [(type(leaf).__name__, " ".join(str(leaf).split())) for leaf in leaves(error)]
    return "; ".join(f"{name}: {text}" if text else name for name, text in texts)
