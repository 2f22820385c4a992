"""The journal: an event is accepted when it is on disk. Group commit, and the tail that readers overlay.

A commit takes whatever has queued while the last one ran, so its cost is shared; `accept` and `append`
return when their events are durable. One task, started by `open_journal`, does all the writing in a thread.
"""

import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import anyio
import anyio.to_thread
import msgspec

from telewarden.messages import Edited, Event, Posted, key_of
from telewarden.storage.acceptance import Channel, Observation, Seen
from telewarden.storage.commit import Commit, accept_all, append, backfill, vouch
from telewarden.storage.free_space import FreeSpace
from telewarden.storage.journal_file import JournalDamaged, JournalError, JournalFile, Registered, is_damage
from telewarden.storage.salvage import Salvaged, finish, salvage
from telewarden.storage.signal import Signal
from telewarden.storage.tail import Record, Tail

_RESERVE = 1.1
_DISK_RESERVE = 0.5

T = TypeVar("T")


class JournalFull(JournalError):
    """The journal has reached journal.max_bytes because the database does not take its events."""


@dataclass
class _Job:
    run: Callable[["Commit"], object]
    result: object = None


@dataclass
class _Batch:
    """What goes into one commit, and whoever waits for it."""

    jobs: list[_Job] = field(default_factory=list)
    done: anyio.Event = field(default_factory=anyio.Event)
    error: JournalError | None = None


def wall_clock_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class Journal:
    """Accepts events durably and keeps those that a store still lacks. Made by `open_journal`.

    waiting: the events in the file that the database has not got.
    tail: the events after min(flushed, applied). flushed: position up to which the database has everything.
    salvaged: what became of a damaged one, if this one replaces it. channels: each channel's place, by id.
    registered: what operators said of channels, by id. epoch: this journal's
    number, given by the database; None until then. knows_added: the channels that were added before this journal was
    made are in it too.
    changed: fires when events were accepted or flushed.
    """

    def __init__(
        self,
        file: JournalFile,
        waiting: Iterable[Record],
        *,
        max_bytes: int,
        retention_events: int,
        min_free_bytes: int = 0,
        free_bytes: Callable[[], int] = lambda: sys.maxsize,
        clock_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._file = file
        self._min_free_bytes, self._free_bytes = min_free_bytes, free_bytes
        self.salvaged: Salvaged | None = None
        self._max_bytes = max_bytes
        self._retention_events = retention_events
        self._clock_us = clock_us
        self._batch = _Batch()
        self._queued = Signal()
        self._limiter = anyio.CapacityLimiter(1)
        self.changed = Signal()
        self.flushed = file.meta("flushed") or 0
        self.epoch = file.meta("epoch")
        self.knows_added = file.meta("knows_added") is not None
        self.channels = {channel.channel_id: channel for channel in file.channels()}
        self.registered = {entry.channel_id: entry for entry in file.registered()}
        self.tail = Tail(self.flushed)
        self.tail.extend(waiting)
        self._last_us = max(
            [file.meta("clock") or 0, *(r.accepted_at_us for r in self.tail.after(self.flushed))]
        )
        self._unflushed_bytes = self.tail.size_bytes

    @property
    def head(self) -> int:
        """Position of the newest accepted event."""
        return self.tail.head

    @property
    def backlog(self) -> int:
        """How many events the database has not got yet."""
        return self.head - self.flushed

    @property
    def unflushed_bytes(self) -> int:
        """Size of those events."""
        return self._unflushed_bytes

    @property
    def room_bytes(self) -> int:
        """What may still be taken in before intake pauses: up to the journal's bound, or its disk's. Raises OSError."""
        of_journal = self._max_bytes - self._unflushed_bytes
        return max(0, min(of_journal, self._free_bytes() - self._min_free_bytes))

    @property
    def has_room(self) -> bool:
        """Intake may go on; otherwise it pauses, and Telegram keeps its history meanwhile."""
        return self._unflushed_bytes < self._max_bytes and self._free_bytes() >= self._min_free_bytes

    async def accept(
        self,
        observations: Sequence[Observation],
        checkpoint: tuple[int, int] | None = None,
        pts: Mapping[int, int] | None = None,
    ) -> list[Record]:
        """Turn what the listener saw into events and accept them, together with the places that they move.

        checkpoint: (channel id, message id up to which everything is accounted for), or None for pushes,
        which move it only where they leave no gap. pts: by channel id, the count of changes up to which all are
        accounted for with these; it never goes back (see `forget_pts`). Observations of channels without a place are
        refused with LookupError (see `open_channel`). Raises JournalFull, JournalError.
        """
        if not self.has_room:
            raise JournalFull(self._full_text())
        reached = pts or {}
        for channel_id in {*(observation.channel_id for observation in observations), *reached}:
            if channel_id not in self.channels:
                raise LookupError(f"channel {channel_id} has no place in the journal yet")

        def job(commit: Commit) -> list[Record]:
            return accept_all(commit, observations, checkpoint, reached)

        return await self._submit(job)

    async def append(self, events: Callable[[int], Sequence[Event]]) -> list[Record]:
        """Accept events that are certain by themselves, such as acknowledgements.

        events: makes them, given the time of acceptance in microseconds. They may use a reserve beyond
        journal.max_bytes. Raises JournalFull, JournalError.
        """
        if (
            self._unflushed_bytes >= self._max_bytes * _RESERVE
            or self._free_bytes() < self._min_free_bytes * _DISK_RESERVE
        ):
            raise JournalFull(self._full_text())

        def job(commit: Commit) -> list[Record]:
            at_us = commit.now_us()
            return append(commit, events(at_us), at_us)

        return await self._submit(job)

    async def vouch(self, events: Sequence[Posted | Edited], stored: int) -> list[Record]:
        """Accept the database's word that these posts were new after all and may be served.

        stored: the position up to which the word takes everything into account. What was accepted of these messages
        after that is repeated behind it: whoever follows the journal let it pass, not knowing them. Not bounded: a
        flush frees more than this adds. Raises JournalError.
        """
        keys = {key_of(event) for event in events}
        later = [r.event for key in keys for r in self.tail.of_message(key) if r.position > stored]
        seen = self.head
        return await self._submit(lambda commit: vouch(commit, events, later, seen))

    async def forget_pts(self, channel_id: int) -> None:
        """What changed in a channel cannot be told by its pts any more: history has to be compared."""

        def job(commit: Commit) -> None:
            place = msgspec.structs.replace(commit.channels[channel_id], pts=0)
            commit.channels[channel_id] = place
            commit.file.put_channel(place)

        await self._submit(job)

    async def open_channel(self, channel: Channel) -> None:
        """Give a channel its first place, by the database's word: top is what is stored there.

        A channel that has one keeps it. What a damaged journal held of it is accepted with that.
        """

        def job(commit: Commit) -> None:
            if channel.channel_id in commit.channels:
                return
            place = channel
            origin = commit.file.origin(channel.channel_id)
            if origin is not None:
                # A damaged journal knew it: its reading goes on from what the database has.
                place = msgspec.structs.replace(
                    channel, origin=origin, checkpoint=max(channel.top, origin), pts=0
                )
            commit.channels[channel.channel_id] = place
            commit.file.put_channel(place)
            held = commit.file.take_held(channel.channel_id)
            if held:
                commit.add(held, commit.now_us())

        await self._submit(job)

    async def register(self, entry: Registered) -> None:
        """Keep what an operator said of a channel."""
        await self._submit(lambda commit: commit.file.put_registered(entry))
        self.registered[entry.channel_id] = entry

    async def unregister(self, channel_id: int) -> None:
        """Forget it. The channel's place stays, so that it goes on from there if it comes back."""
        await self._submit(lambda commit: commit.file.drop_registered(channel_id))
        self.registered.pop(channel_id, None)

    async def backfill(
        self, channel_id: int, posts: Sequence[Seen], origin: int, acknowledged_by: str | None = None
    ) -> list[Record]:
        """Accept posts from before the channel's origin, which moves down to what they leave off at.

        acknowledged_by: who has processed them already; None has them served. Raises JournalFull, JournalError.
        """
        if not self.has_room:
            raise JournalFull(self._full_text())
        return await self._submit(lambda commit: backfill(commit, channel_id, posts, origin, acknowledged_by))

    async def set_epoch(self, epoch: int) -> None:
        """Keep the number that the database gave this journal."""

        def job(commit: Commit) -> None:
            commit.file.set_meta("epoch", epoch)

        await self._submit(job)
        self.epoch = epoch

    async def set_knows_added(self) -> None:
        """Keep that nothing which was added before is missing."""
        await self._submit(lambda commit: commit.file.set_meta("knows_added", 1))
        self.knows_added = True

    async def settle(self, flushed: int) -> None:
        """The database has everything up to `flushed`. The tail keeps it until `release`."""
        if flushed > self.flushed:

            def job(commit: Commit) -> None:
                commit.file.set_meta("flushed", flushed)
                commit.file.set_meta("clock", commit.last_us)
                commit.file.forget(flushed)

            await self._submit(job)
            settled = (r for r in self.tail.after(self.flushed, flushed - self.flushed))
            self._unflushed_bytes -= sum(record.size_bytes for record in settled)
            self.flushed = flushed
            self.changed.fire()

    def release(self, applied: int) -> None:
        """Drop from the tail what both stores have, and what an applier that is too far behind has missed."""
        self.tail.forget(max(min(self.flushed, applied), self.flushed - self._retention_events))

    async def known_between(self, channel_id: int, low: int, high: int) -> list[int]:
        """Ids from low to high, both included, that were accepted and are not known to be deleted."""

        def job(commit: Commit) -> list[int]:
            commit.write()
            return commit.file.known_between(channel_id, low, high)

        return await self._submit(job)

    async def write_commits(self) -> None:
        """Commit what is submitted, for ever."""
        while True:
            await self._queued.wait_until(lambda: bool(self._batch.jobs))
            batch, self._batch = self._batch, _Batch()
            commit = Commit(self._file, dict(self.channels), self.head + 1, self._last_us, self._clock_us)
            try:
                await anyio.to_thread.run_sync(_run_jobs, commit, batch.jobs, limiter=self._limiter)
            except (sqlite3.Error, OSError) as error:
                if is_damage(error):
                    # What is accepted now would be lost with the rest: a fresh process saves what is good.
                    raise JournalDamaged(f"the journal was damaged while in use: {error}") from error
                failure = JournalError(
                    f"the journal could not be written: {error}. Check the disk that holds journal.file; "
                    "nothing was accepted"
                )
                failure.__cause__ = error
                batch.error = failure
            else:
                self.channels = commit.channels
                self._last_us = commit.last_us
                self.tail.extend(commit.accepted)
                self._unflushed_bytes += sum(record.size_bytes for record in commit.accepted)
                if commit.accepted:
                    self.changed.fire()
            batch.done.set()

    async def _submit(self, run: Callable[[Commit], T]) -> T:
        job = _Job(run)
        batch = self._batch
        batch.jobs.append(job)
        self._queued.fire()
        await batch.done.wait()
        if batch.error is not None:
            raise batch.error
        return cast(T, job.result)

    def _full_text(self) -> str:
        free = self._free_bytes()
        if free < self._min_free_bytes:
            return (
                f"the disk that holds journal.file has {free} bytes left, less than journal.min_free_bytes "
                f"({self._min_free_bytes}); make room there"
            )
        return (
            f"the journal holds {self._unflushed_bytes} bytes that the database has not taken, which is the bound "
            "(journal.max_bytes); bring the database back, or raise the bound"
        )


def _run_jobs(commit: Commit, jobs: Sequence[_Job]) -> None:
    commit.file.begin()
    try:
        for job in jobs:
            job.result = job.run(commit)
        commit.write()
        commit.file.commit()
    except BaseException:
        # Whatever it was, no half of a commit may wait for the next one. The error goes on.
        commit.file.rollback()
        raise


def _waiting(file: JournalFile) -> list[Record]:
    return [
        Record(position, event, at, size)
        for position, at, event, size in file.events(file.meta("flushed") or 0)
    ]


def _open(path: Path) -> tuple[JournalFile, Salvaged | None]:
    if (aside := finish(path)) is not None:
        return JournalFile(path), Salvaged("a crash came while a damaged journal was replaced", aside)
    try:
        return JournalFile(path), None
    except JournalDamaged as error:
        salvaged = salvage(path, str(error))
        return JournalFile(path), salvaged


@asynccontextmanager
async def open_journal(
    path: Path,
    *,
    max_bytes: int = 256 * 1024 * 1024,
    retention_events: int = 50_000,
    min_free_bytes: int = 0,
    clock_us: Callable[[], int] = wall_clock_us,
) -> AsyncIterator[Journal]:
    """Open the journal and write its commits while the context lasts. Raises JournalError, JournalDamaged while in use.

    One that is damaged when it is opened is put aside, and what is good of it goes on: see `salvage` and
    `Journal.salvaged`. min_free_bytes: on its disk; with less, intake waits.
    """
    file, salvaged = await anyio.to_thread.run_sync(_open, path)
    try:
        # In the thread: what waits may be much, and the event loop has to turn meanwhile.
        waiting = await anyio.to_thread.run_sync(_waiting, file)
        journal = Journal(
            file,
            waiting,
            max_bytes=max_bytes,
            retention_events=retention_events,
            min_free_bytes=min_free_bytes,
            free_bytes=FreeSpace(path.parent),
            clock_us=clock_us,
        )
        journal.salvaged = salvaged
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(journal.write_commits)
            yield journal
            tasks.cancel_scope.cancel()
    finally:
        file.close()
