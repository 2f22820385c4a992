"""Jobs that an administrator asked for over HTTP: which there are, which may run, how each goes.

They are kept in memory: a restart forgets them, and whatever they did is durable.
"""

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import anyio
import structlog
from anyio.abc import TaskStatus

from telewarden.storage.journal import wall_clock_us
from telewarden.storage.signal import Signal
from telewarden_http.v1.administration_protocols import NotThere, OnlyServes, TooMany
from telewarden_http.v1.jobs_protocols import AnyJob, AnyResult, Job, JobProgress, JobState
from telewarden_http.wire import iso_ms

log = structlog.get_logger(__name__)

RUNNING = 2
"""How many run at a time: each asks Telegram or the database for much."""
QUEUED = 20
"""How many may wait."""
ENDED = 50
"""How many are remembered after their end."""


class JobFailed(Exception):
    """It cannot go on; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far a job is, and what came of it so far."""

    progress: JobProgress
    result: AnyResult


Carried = AsyncGenerator[Step, None]
CarryOut = Callable[[AnyJob], Carried]
"""Does what a job asks for. Raises BadRequest at once for what cannot be meant, JobFailed on the way."""


@dataclass(slots=True)
class _Entry:
    id: str
    request: AnyJob
    by: str
    steps: Carried
    created_us: int
    state: JobState = JobState.QUEUED
    started_us: int | None = None
    ended_us: int | None = None
    step: Step | None = None
    error: str | None = None
    scope: anyio.CancelScope | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)


class Jobs:
    """Implements JobKeeper; the worker of that name runs them. changed: fires when one is in another state."""

    def __init__(self, carry_out: CarryOut, clock_us: Callable[[], int] = wall_clock_us) -> None:
        self._carry_out, self._clock_us = carry_out, clock_us
        self._entries: dict[str, _Entry] = {}
        self.changed = Signal()

    @property
    def running(self) -> int:
        """How many run."""
        return self._count(JobState.RUNNING)

    @property
    def queued(self) -> int:
        """How many wait."""
        return self._count(JobState.QUEUED)

    def submit(self, request: AnyJob, by: str) -> Job:
        """See the protocol."""
        if self.queued >= QUEUED:
            raise TooMany(
                f"{QUEUED} jobs wait already; cancel one (DELETE /v1/admin/jobs/ID), or try again later"
            )
        entry = _Entry(
            f"{self._clock_us() // 1000:x}{secrets.token_hex(4)}",
            request,
            by,
            self._carry_out(request),
            self._clock_us(),
        )
        self._entries[entry.id] = entry
        log.info("job_asked_for", job=entry.id, kind=_kind(request), by=by)
        self.changed.fire()
        return _shown(entry)

    def jobs(self) -> list[Job]:
        """See the protocol."""
        return [_shown(entry) for entry in reversed(self._entries.values())]

    def job(self, id_: str) -> Job:
        """See the protocol."""
        return _shown(self._entry(id_))

    async def cancel(self, id_: str) -> Job:
        """See the protocol."""
        entry = self._entry(id_)
        if entry.state is JobState.QUEUED:
            self._end(entry, JobState.CANCELLED)
        elif entry.scope is not None:
            entry.scope.cancel()
            await entry.ended.wait()
        return _shown(entry)

    def next_due(self) -> str | None:
        """The job that is to be run now; None while as many run as may, or none waits."""
        if self.running >= RUNNING:
            return None
        return next((e.id for e in self._entries.values() if e.state is JobState.QUEUED), None)

    async def run(self, id_: str, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run one to its end. Whatever happens to it is its state; only being cancelled from outside goes on.

        task_status: told once it counts as running.
        """
        entry = self._entry(id_)
        entry.state, entry.started_us = JobState.RUNNING, self._clock_us()
        task_status.started()
        self.changed.fire()
        outcome, error = JobState.CANCELLED, None
        try:
            with anyio.CancelScope() as entry.scope:
                async with aclosing(entry.steps) as steps:
                    async for entry.step in steps:
                        pass
                outcome = JobState.DONE
        except JobFailed as failure:
            outcome, error = JobState.FAILED, str(failure)
        except Exception as failure:
            log.exception("job_failed_unexpectedly", job=id_, kind=_kind(entry.request))
            outcome, error = JobState.FAILED, f"internal error ({type(failure).__name__}); see the log"
        except BaseException:
            # The worker itself is being stopped.
            error = "the daemon, or its worker jobs, was stopped; ask for it again"
            raise
        finally:
            self._end(entry, outcome, error)

    def _end(self, entry: _Entry, state: JobState, error: str | None = None) -> None:
        entry.state, entry.error, entry.ended_us = state, error, self._clock_us()
        entry.scope = None
        log.info("job_ended", job=entry.id, kind=_kind(entry.request), state=state.value, error=error)
        entry.ended.set()
        over = [each.id for each in self._entries.values() if each.ended_us is not None]
        for id_ in over[: max(0, len(over) - ENDED)]:
            del self._entries[id_]
        self.changed.fire()

    def _entry(self, id_: str) -> _Entry:
        entry = self._entries.get(id_)
        if entry is None:
            raise NotThere(
                f"There is no job {id_[:40]!r}; GET /v1/admin/jobs lists those that are remembered, "
                "and a restart of the daemon forgets them"
            )
        return entry

    def _count(self, state: JobState) -> int:
        return sum(entry.state is state for entry in self._entries.values())


class NoJobs:
    """Implements JobKeeper in a process that only serves."""

    def submit(self, request: AnyJob, by: str) -> Job:
        """Raises OnlyServes."""
        raise _elsewhere()

    def jobs(self) -> list[Job]:
        """Raises OnlyServes."""
        raise _elsewhere()

    def job(self, id_: str) -> Job:
        """Raises OnlyServes."""
        raise _elsewhere()

    async def cancel(self, id_: str) -> Job:
        """Raises OnlyServes."""
        raise _elsewhere()


def _elsewhere() -> OnlyServes:
    return OnlyServes("Jobs run where the session and the journal are")


def _kind(request: AnyJob) -> str:
    return str(request.__struct_config__.tag)


def _shown(entry: _Entry) -> Job:
    step = entry.step
    return Job(
        id=entry.id,
        kind=_kind(entry.request),
        state=entry.state,
        request=entry.request,
        by=entry.by,
        created_at=iso_ms(entry.created_us),
        started_at=None if entry.started_us is None else iso_ms(entry.started_us),
        ended_at=None if entry.ended_us is None else iso_ms(entry.ended_us),
        progress=None if step is None else step.progress,
        result=None if step is None else step.result,
        error=entry.error,
    )
