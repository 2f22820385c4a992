"""Jobs: what takes longer than a request. What may be asked for, how it goes, what came of it.

A restart of the process forgets them. That costs nothing but the list: whatever a job did is durable, and each kind may
be asked for again.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Protocol

import msgspec

from telewarden_http.v1.overview_protocols import Shape

ChannelId = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,19}$", description="a channel's id")]


Since = Annotated[
    str, msgspec.Meta(extra_json_schema={"anyOf": [{"format": "date"}, {"format": "date-time"}]})
]


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of the kinds."""


class VerifyJob(JobRequest, frozen=True, kw_only=True, tag="verify"):
    """Compare Telegram's history with the database. channels: all if left out. since: an ISO date or time; only
    messages from then on. repair: bring what is missing or differs."""

    channels: list[ChannelId] | None = None
    since: Since | None = None
    repair: bool = False


class BackfillJob(JobRequest, frozen=True, kw_only=True, tag="backfill"):
    """Bring a channel's older posts. since: only from that ISO date or time on. limit: so many at most. serve: polls
    serve them; else they are stored as processed."""

    channel: ChannelId
    since: Since | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] | None = None
    serve: bool = False


class SyncJob(JobRequest, frozen=True, kw_only=True, tag="sync"):
    """Read the newest messages again. channels: all if left out. limit: of each channel."""

    channels: list[ChannelId] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500


class WarmJob(JobRequest, frozen=True, kw_only=True, tag="warm"):
    """Fill the cache anew; polls are answered by the database meanwhile."""


AnyJob = VerifyJob | BackfillJob | SyncJob | WarmJob


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobProgress(Shape, frozen=True, kw_only=True):
    """How far it is: so many of so many (None if unknown), and in words."""

    done: int
    total: int | None
    text: str


class Differs(Shape, frozen=True, kw_only=True):
    """A message that differs. how: missing (Telegram has it, the database does not), extra, text differs, deleted here
    only."""

    channel: str
    message_id: str
    how: str


class VerifyResult(Shape, frozen=True, kw_only=True, tag_field="kind", tag="verify"):
    """compared: ids looked at. different: what is left of them; differences: the first 200. repaired: how many were
    mended."""

    compared: int
    repaired: int
    different: int
    differences: list[Differs]


class BackfillResult(Shape, frozen=True, kw_only=True, tag_field="kind", tag="backfill"):
    """posts: taken in. reached: the message id down to which all is there. oldest_at: date of the oldest one."""

    posts: int
    reached: str
    oldest_at: str | None


class ChannelSynced(Shape, frozen=True, kw_only=True):
    """read: messages that Telegram showed. saved: how many of them were news."""

    channel: str
    label: str
    read: int
    saved: int


class SyncResult(Shape, frozen=True, kw_only=True, tag_field="kind", tag="sync"):
    """What reading again brought."""

    read: int
    saved: int
    channels: list[ChannelSynced]


class WarmResult(Shape, frozen=True, kw_only=True, tag_field="kind", tag="warm"):
    """written: messages. took_s: seconds."""

    written: int
    took_s: float


AnyResult = VerifyResult | BackfillResult | SyncResult | WarmResult


class Job(Shape, frozen=True, kw_only=True):
    """A job. request: what was asked for, by the key of that name. result: what came of it, as far as it got, also of a
    job that failed or was cancelled. error: why it failed, or who ended it."""

    id: str
    kind: str
    state: JobState
    request: AnyJob
    by: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    progress: JobProgress | None
    result: AnyResult | None
    error: str | None


class JobKeeper(Protocol):
    """Keeps the jobs of one process."""

    def submit(self, request: AnyJob, by: str) -> Job:
        """Queue one. Raises TooMany; BadRequest for a date that is none; OnlyServes."""
        ...

    def jobs(self) -> Sequence[Job]:
        """All that are remembered, the newest first: what waits and runs, and the last 50 that ended."""
        ...

    def job(self, id_: str) -> Job:
        """One of them. Raises NotThere."""
        ...

    async def cancel(self, id_: str) -> Job:
        """End it, and wait until it has ended. One that has ended stays as it is. Raises NotThere."""
        ...
