"""What each kind of job does: the daemon's own verifying, backfilling, reading again and warming, step by step."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from telewarden.backfill import Backfiller, BackfillRefused
from telewarden.cache_admin import CacheAdmin, CacheRefused
from telewarden.channels import date_of
from telewarden.control_cache import NO_CACHE
from telewarden.jobs import Carried, JobFailed, Step
from telewarden.storage.cache import CacheUnavailable
from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.journal_file import JournalError
from telewarden.telegram.feed import (
    ChannelClosed,
    Flooded,
    SessionUnusable,
    TelegramUnavailable,
    Unreadable,
)
from telewarden.verify import CannotLook, Report, Verifier
from telewarden_http.errors import BadRequest
from telewarden_http.protocols import RequestRefused, SyncedChannel, Synchroniser, SyncRequest
from telewarden_http.v1.jobs_protocols import (
    AnyJob,
    BackfillJob,
    BackfillResult,
    ChannelSynced,
    Differs,
    JobProgress,
    SyncJob,
    SyncResult,
    VerifyJob,
    VerifyResult,
    WarmJob,
    WarmResult,
)
from telewarden_http.wire import iso_ms

SHOWN = 200
"""Differences that a result names."""
_AT_ONCE = 4
_FAILURES = (
    BackfillRefused,
    CacheRefused,
    CacheUnavailable,
    CannotLook,
    ChannelClosed,
    DatabaseUnavailable,
    JournalError,
    RequestRefused,
    SessionUnusable,
    TelegramUnavailable,
    Unreadable,
)


class JobKinds:
    """Carries jobs out. channel_ids: those that are taken in. cache: None where none is configured."""

    def __init__(
        self,
        verifier: Verifier,
        backfiller: Backfiller,
        synchroniser: Synchroniser,
        cache: CacheAdmin | None,
        channel_ids: Callable[[], Sequence[int]],
    ) -> None:
        self._verifier, self._backfiller = verifier, backfiller
        self._synchroniser, self._cache = synchroniser, cache
        self._channel_ids = channel_ids

    def carry_out(self, request: AnyJob) -> Carried:
        """See `telewarden.jobs.CarryOut`."""
        return _telling(self._steps(request))

    def _steps(self, request: AnyJob) -> Carried:
        match request:
            case VerifyJob():
                channels = [int(channel) for channel in request.channels or ()]
                return self._verify(channels, since_s(request.since), repair=request.repair)
            case BackfillJob():
                return self._backfill(request, since_s(request.since))
            case SyncJob():
                return self._sync(request)
            case WarmJob():
                return self._warm()

    async def _verify(self, channel_ids: Sequence[int], since: float, *, repair: bool) -> Carried:
        found = self._verifier.verify(channel_ids, since_s=since, repair=repair)
        async with aclosing(found) as reports:
            async for report in reports:
                yield _verified(report)

    async def _backfill(self, request: BackfillJob, since: float) -> Carried:
        progress = self._backfiller.backfill(
            int(request.channel), since_s=since, limit=request.limit, serve=request.serve
        )
        async with aclosing(progress) as steps:
            async for step in steps:
                text = f"{step.posts} older posts, down to message {step.reached}"
                yield Step(
                    JobProgress(
                        done=step.posts,
                        total=request.limit,
                        text=f"{text}; waits: {step.waits}" if step.waits else text,
                    ),
                    BackfillResult(
                        posts=step.posts,
                        reached=str(step.reached),
                        oldest_at=None if step.oldest_us is None else iso_ms(step.oldest_us),
                    ),
                )

    async def _sync(self, request: SyncJob) -> Carried:
        known = [str(channel_id) for channel_id in self._channel_ids()]
        wanted = known if request.channels is None else request.channels
        synced: list[SyncedChannel] = []
        yield _synced(synced, len(wanted))
        for first in range(0, len(wanted), _AT_ONCE):
            some = tuple(wanted[first : first + _AT_ONCE])
            synced += await self._synchroniser.sync(SyncRequest(some, request.limit, _AT_ONCE))
            yield _synced(synced, len(wanted))

    async def _warm(self) -> Carried:
        if self._cache is None:
            raise JobFailed(NO_CACHE)
        async with aclosing(self._cache.warm()) as steps:
            async for step in steps:
                yield Step(
                    JobProgress(done=step.written, total=step.total, text=step.step),
                    WarmResult(written=step.written, took_s=round(step.took_s or 0.0, 3)),
                )


def since_s(text: str | None) -> float:
    """The moment that a job's `since` names, in seconds since the epoch; 0 without. Raises BadRequest."""
    if text is None:
        return 0.0
    try:
        return date_of(text)
    except (ValueError, OverflowError):
        raise BadRequest(f'"since" is {text[:40]!r}; it must be a date or time such as 2026-01-31') from None


async def _telling(steps: Carried) -> AsyncGenerator[Step, None]:
    """The same, with what can go wrong in words."""
    try:
        async with aclosing(steps):
            async for step in steps:
                yield step
    except Flooded as error:
        raise JobFailed(f"{error}; ask for it again after that") from error
    except _FAILURES as error:
        raise JobFailed(str(error)) from error


def _verified(report: Report) -> Step:
    differences = report.differences
    text = f"{report.compared} ids compared, {len(differences)} differ"
    return Step(
        JobProgress(
            done=report.compared,
            total=None,
            text=f"{text}, {report.repaired} mended" if report.repaired else text,
        ),
        VerifyResult(
            compared=report.compared,
            repaired=report.repaired,
            different=len(differences),
            differences=[
                Differs(channel=str(d.channel_id), message_id=str(d.message_id), how=d.kind.value)
                for d in differences[:SHOWN]
            ],
        ),
    )


def _synced(synced: Sequence[SyncedChannel], total: int) -> Step:
    read, saved = sum(each.read for each in synced), sum(each.saved for each in synced)
    return Step(
        JobProgress(
            done=len(synced), total=total, text=f"{len(synced)} of {total} channels, {saved} messages are new"
        ),
        SyncResult(
            read=read,
            saved=saved,
            channels=[
                ChannelSynced(channel=each.channel, label=each.label, read=each.read, saved=each.saved)
                for each in synced
            ],
        ),
    )
