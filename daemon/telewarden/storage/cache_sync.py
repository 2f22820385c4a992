"""How far the cache follows the journal, and whether it is known to be complete. State and decisions; no I/O.

One object, shared by the Redis worker (connection, applier), the warmer and the reader of one process.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

import anyio
import msgspec

from telewarden.messages import (
    Acknowledged,
    Deleted,
    Edited,
    Key,
    Posted,
    ReprocessRequested,
    State,
    key_of,
    lift,
    merge,
)
from telewarden.storage.cache import Operation, Turn, Write
from telewarden.storage.render import render
from telewarden.storage.signal import Signal
from telewarden.storage.tail import Record

DONE_REMEMBERED = 10_000
"""Messages that lately ceased to wait: a post of one that is applied afterwards does not make it wait again."""
MIRROR_BOUND = 200_000
"""Pending messages whose state is kept in memory; beyond it edits drop bodies and look-ups ask the database."""


class Mirror:
    """The states of the messages in the cache's pending sets, as far as they are applied."""

    def __init__(self, bound: int = MIRROR_BOUND) -> None:
        self._bound = bound
        self._states: dict[int, dict[Key, State]] = {}
        self._count = 0
        self._done: dict[Key, UUID | None] = {}
        self.complete = True
        """Nothing was left out for want of room."""

    def __len__(self) -> int:
        return self._count

    def memory(self, position: int, *, plain: bool) -> "Memory | None":
        """All of it as of a position of the journal; it goes on to follow the mirror until that is cleared. None when
        not all has had room."""
        return Memory(self._states, position, plain) if self.complete else None

    def waiting(self, channel_id: int) -> int:
        """How many of a channel's messages are in it."""
        return len(self._states.get(channel_id, ()))

    def get(self, key: Key) -> State | None:
        """A pending message's state."""
        return self._states.get(key.channel_id, {}).get(key)

    def put(self, state: State) -> None:
        """Keep a pending message's state."""
        key = state.key
        if key in self._done:
            return
        channel = self._states.setdefault(state.channel_id, {})
        if key not in channel:
            if self._count >= self._bound:
                self.complete = False
                return
            self._count += 1
        channel[key] = state

    def drop(self, key: Key) -> None:
        """The message no longer waits, and never will again."""
        state = self._states.get(key.channel_id, {}).pop(key, None)
        self._count -= state is not None
        if state is not None or key not in self._done:
            self._done[key] = None if state is None else state.id
        if len(self._done) > DONE_REMEMBERED:
            del self._done[next(iter(self._done))]

    def turn_over(self, count: int) -> list[Key]:
        """So many of the messages that wait, the next time others: those that were not turned over for the longest."""
        turned: list[Key] = []
        for channel_id in list(self._states):
            if len(turned) >= count:
                break
            # The channel, and what is taken of it, goes to the end.
            channel = self._states.pop(channel_id)
            self._states[channel_id] = channel
            keys = list(islice(channel, count - len(turned)))
            for key in keys:
                channel[key] = channel.pop(key)
            turned += keys
        return turned

    def is_done(self, key: Key) -> bool:
        """It is remembered that the message no longer waits."""
        return key in self._done

    def dropped_id(self, key: Key) -> UUID | None:
        """The id that a message had which was dropped: what was told to the cache of that may not have arrived."""
        return self._done.get(key)

    def clear(self) -> None:
        """Forget what waits: a warm begins. What is done stays done."""
        self._states, self._count = {}, 0
        self.complete = True


@dataclass(frozen=True, slots=True)
class Mark:
    """A completeness mark that this process set. plain: every waiting message is a plain one (see only_plain.sql)."""

    text: str
    history: str
    plain: bool

    @classmethod
    def of(cls, history: str, generation: UUID, *, plain: bool) -> "Mark":
        """A new mark; its text tells other processes all of it (see lua/read.lua)."""
        return cls(f"{history}:{generation.hex}:{'plain' if plain else 'mixed'}", history, plain)


@dataclass(frozen=True, slots=True)
class Warm:
    """A warm under way. mark: what it sets in the end; since: the journal position that it began from;
    number: which warm it is."""

    history: str
    mark: Mark
    since: int
    number: int


@dataclass(slots=True)
class Progress:
    """How far a warm is. written: messages, of about total; step: what it does, in words; blips: how often it waited
    for a store and went on; began_s: monotonic; took_s: None until the mark is set."""

    number: int
    began_s: float
    total: int = 0
    written: int = 0
    step: str = "beginning"
    blips: int = 0
    took_s: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Every message that waited at a position of the journal, by channel: what was in the cache, in this process's
    memory. Some later events may be in it already. plain: see Mark."""

    states: Mapping[int, Mapping[Key, State]]
    position: int
    plain: bool


class CacheSync:
    """The cache's standing. lock: held while the applier or the warmer writes, so that a page and the events that
    are folded onto it meet in one order. changed: fires when any of it changes."""

    def __init__(self, changed: Signal) -> None:
        self.history: str | None = None
        """Replication history of the connected master; None while disconnected."""
        self.mark: Mark | None = None
        self.warm: Warm | None = None
        self.applied = 0
        self.mirror = Mirror()
        self._memory: Memory | None = None
        self.lock = anyio.Lock()
        self.changed = changed
        self.reason: str | None = "not connected yet"
        """Why polls are not answered from the cache; None when they are."""
        self.progress: Progress | None = None
        """Of the newest warm, also when it is over."""
        self._warms = 0
        self._turn_of, self._turns = "", 0
        self.writes = 0
        """How many events were applied, ever."""

    @property
    def trusted(self) -> Mark | None:
        """The mark to read under, if the cache may be asked at all."""
        return self.mark if self.history is not None else None

    @property
    def follows(self) -> bool:
        """The applier has to apply events: a mark stands or a warm is under way."""
        return self.history is not None and (self.mark is not None or self.warm is not None)

    @property
    def wants_warm(self) -> bool:
        """Connected, but neither trusted nor being warmed."""
        return self.history is not None and self.mark is None and self.warm is None

    @property
    def standing(self) -> str:
        """Why the cache is not trusted: one of a few fixed words."""
        if self.history is None:
            return "not connected yet" if self.reason == "not connected yet" else "down"
        return "being warmed" if self.warm is not None else "not warmed yet"

    @property
    def warms(self) -> int:
        """How many warms began, ever."""
        return self._warms

    def holds(self, flushed: int) -> int:
        """The journal's tail must be kept after this position."""
        if self.mark is not None:
            return self.applied
        held = flushed if self._memory is None else min(flushed, self._memory.position)
        return held if self.warm is None else min(held, self.warm.since, self.applied)

    @property
    def memory(self) -> Memory | None:
        """What is known of waiting messages without any store: as the cache has it, or had it when it was last proven.

        None before the first proof, and when not all of it had room.
        """
        return self._memory if self.mark is None else self.mirror.memory(self.applied, plain=self.mark.plain)

    def connected(self, history: str) -> None:
        """The master answered. Another history than the one that was warmed means that nothing is proven."""
        self.history = history
        followed = self.mark or self.warm
        if followed is not None and followed.history != history:
            self.distrust("the server is another one, or lost its data")
        elif self.mark is not None:
            self.reason = None
        else:
            self.reason = "not warmed yet" if self.warm is None else "being warmed"
        self.changed.fire()

    def disconnected(self, reason: str, history: str | None = None) -> None:
        """The cache does not answer. What was proven stays proven if the same history comes back.

        history: that of the server which did not answer, where another may be connected meanwhile.
        """
        if history is not None and history != self.history:
            return
        self.history, self.reason = None, reason
        self.changed.fire()

    def distrust(self, reason: str) -> None:
        """Nothing is known of the cache any more: it has to be warmed. What it held is remembered until then."""
        self._memory = self.memory
        self.mark, self.warm, self.reason = None, None, reason
        self.mirror.clear()
        self.changed.fire()

    def next_turn(self) -> Turn:
        """For the next write to the cache by this process's latest warm, and by the applier after it."""
        self._turns += 1
        return Turn(self._turn_of, self._turns)

    def begin_warm(self, flushed: int, generation: UUID, *, plain: bool, now_s: float) -> Warm:
        """Start over from the database's position. generation: what no other warm has; plain: see `Mark`; now_s:
        monotonic."""
        if self.history is None:
            raise RuntimeError("a warm needs a connected cache")
        self._warms += 1
        mark = Mark.of(self.history, generation, plain=plain)
        self.warm, self.mark = Warm(self.history, mark, flushed, self._warms), None
        self.progress = Progress(self._warms, now_s)
        self._turn_of, self._turns = mark.text, 0
        self.applied = flushed
        self.mirror.clear()
        self.reason = "being warmed"
        self.changed.fire()
        return self.warm

    def finish_warm(self, now_s: float) -> None:
        """The mark is set: the cache answers from now on."""
        if self.warm is None or self.progress is None:
            raise RuntimeError("no warm is under way")
        self.mark, self.warm, self.reason, self._memory = self.warm.mark, None, None, None
        self.progress.step, self.progress.took_s = "done", now_s - self.progress.began_s
        self.changed.fire()

    def moved(self, applied: int) -> None:
        """Everything up to a position is confirmed to be in the cache."""
        self.writes += applied - self.applied
        self.applied = applied
        self.changed.fire()


def writes_for(records: Iterable[Record], mirror: Mirror) -> list[Write]:
    """What the cache must be told of some events, in order; the mirror follows."""
    return [write for record in records for write in _writes(record, mirror)]


def _writes(record: Record, mirror: Mirror) -> Iterator[Write]:
    event = record.event
    key = key_of(event)
    before = mirror.get(key)
    match event:
        case Posted(new=False):
            yield Write(Operation.SEEN, lift(event))
            if before is not None or not mirror.complete:
                # It waits, or may wait, and was read again: maybe it was edited while nobody looked.
                yield _changed(before, event, mirror)
        case Posted() if mirror.is_done(key):
            # It was acknowledged before it came; a tombstone may be lost with the server that had it.
            yield Write(Operation.SEEN, lift(event))
        case Posted():
            state = merge(before, event)
            mirror.put(state)
            yield Write(Operation.PEND, state, render(state))
        case Edited():
            yield _changed(before, event, mirror)
        case Acknowledged() | Deleted() | ReprocessRequested():
            state = merge(before, event)
            if before is None and (known := mirror.dropped_id(key)) is not None:
                state = msgspec.structs.replace(state, id=known)
            certain = state.id is not None or mirror.complete
            mirror.drop(key)
            yield Write(Operation.DONE, state, render(state) if state.exists else b"", certain)


def _changed(before: State | None, event: Posted | Edited, mirror: Mirror) -> Write:
    """Another content of a message that waits, or of one of which that is not known."""
    if before is None:
        return Write(Operation.DROP, lift(event))
    state = merge(before, event)
    mirror.put(state)
    return Write(Operation.BODY, state, render(state))


def page_writes(page: Sequence[State], since: Sequence[Record], mirror: Mirror) -> list[Write]:
    """What the cache must be told of a page of the database, after the events applied since the warm began."""
    events: dict[Key, list[Record]] = {}
    for record in since:
        events.setdefault(key_of(record.event), []).append(record)
    writes = []
    for row in page:
        state = row
        for record in events.get(row.key, ()):
            state = merge(state, record.event)
        if state.pending:
            mirror.put(state)
            writes.append(Write(Operation.PEND, state, render(state)))
    return writes
