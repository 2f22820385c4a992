"""The cache compared with the database and the journal, message by message, while all of them are written to.

What differs at the first look is only suspected: the stores are read one after the other, and each is behind the
journal by another bit. A suspect is looked at again when both have everything that was accepted before, with the
applier held; and once more a while later, since other processes tell the database first and the cache then.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from uuid import UUID

import anyio
import msgspec

from telewarden.messages import Key, State
from telewarden.storage.cache import member_of
from telewarden.storage.cache_keys import CacheKeys
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal
from telewarden.storage.render import render

PAGE = 200
SUSPECTS_AT_ONCE = 50
LOOKS = 10
"""How often a message that changes all the time is looked at before it is left."""
_CATCH_UP_S = 30.0
_LOOK_S = 1.0
_AGAIN_S = 1.0


class CacheDifference(StrEnum):
    """How the cache can differ from the truth. The values are words for operators."""

    MISSING = "waits, but not in the cache"
    DONE = "waits in the cache, but is done"
    NO_TOMBSTONE = "is done and waits in the cache, and no tombstone keeps it out"
    UNKNOWN = "waits in the cache, and no store knows it"
    TOMBSTONE = "waits, but a tombstone says that it is done"
    MEMBER = "is in the pending set under another id or time"
    STALE = "another text in the cache"
    BYTES = "the same content in the cache, written differently"


class Differs(msgspec.Struct, frozen=True):
    """One difference, of one message."""

    channel_id: int
    message_id: int
    kind: CacheDifference


class CannotCompare(Exception):
    """The cache or the database cannot be looked at now; the message says why."""


@dataclass(slots=True)
class CacheReport:
    """How far it is. differences: those that are new since the report before; changing: messages that were left since
    they changed at every look."""

    channels: int
    channels_done: int = 0
    compared: int = 0
    changing: int = 0
    differences: tuple[Differs, ...] = ()


@dataclass(slots=True)
class _Suspect:
    """members: under which it was found in the pending set."""

    members: set[str] = field(default_factory=set)
    looks: int = 0
    found: frozenset[CacheDifference] = frozenset()


class CacheVerifier:
    """Compares. channel_ids: of which channels; may change."""

    def __init__(
        self,
        keys: CacheKeys,
        sync: CacheSync,
        journal: Journal,
        database: Database,
        channel_ids: Callable[[], Collection[int]],
        *,
        again_s: float = _AGAIN_S,
    ) -> None:
        self._keys, self._sync, self._journal, self._database = keys, sync, journal, database
        self._channel_ids = channel_ids
        self._again_s = again_s

    async def verify(self) -> AsyncGenerator[CacheReport, None]:
        """Reports as it goes. Raises CannotCompare, CacheUnavailable, DatabaseUnavailable."""
        mark = self._sync.trusted
        if mark is None:
            raise CannotCompare(
                f"the cache is not complete ({self._sync.reason}), so there is nothing to compare yet"
            )
        channel_ids = sorted(self._channel_ids())
        report = CacheReport(len(channel_ids))
        for channel_id in channel_ids:
            suspects: dict[Key, _Suspect] = {}
            async for compared, more in self._first_look(channel_id):
                suspects |= more
                report.compared += compared
                report.differences = ()
                yield report
            async for differences in self._settle(suspects, report):
                report.differences = differences
                yield report
            report.channels_done += 1
            report.differences = ()
            if self._sync.trusted != mark:
                raise CannotCompare(
                    f"the cache was lost meanwhile ({self._sync.reason or 'it was warmed anew'})"
                )
            yield report

    async def _first_look(self, channel_id: int) -> AsyncGenerator[tuple[int, dict[Key, _Suspect]], None]:
        """The pending set, then the database: what differs may have changed in between."""
        held: dict[Key, list[tuple[str, int, bytes | None]]] = {}
        tombstones: set[Key] = set()
        after = (0, 0)
        while members := await self._keys.members(channel_id, after, PAGE):
            keys = [Key(channel_id, int(member[37:])) for member, _ in members]
            bodies = await self._keys.bodies(keys)
            tombstones |= await self._keys.done(keys)
            for key, (member, score), body in zip(keys, members, bodies, strict=True):
                held.setdefault(key, []).append((member, score, None if body is None else _digest(body)))
            last = members[-1][1]
            same = sum(1 for _, score in members if score == last)
            after = (last, same + (after[1] if after[0] == last else 0))
            yield 0, {}
        place: tuple[int, UUID] | None = (0, UUID(int=0))
        while place is not None:
            page = await self._database.pending_page(channel_id, place, PAGE)
            suspects = {}
            for state in page:
                found = held.pop(state.key, [])
                right = [(member_of(state), state.received_at_us or 0)]
                same_body = all(digest in (None, _digest(render(state))) for _, _, digest in found)
                if [(m, s) for m, s, _ in found] != right or not same_body or state.key in tombstones:
                    suspects[state.key] = _Suspect({member for member, _, _ in found})
            place = (page[-1].received_at_us or 0, page[-1].id or UUID(int=0)) if len(page) == PAGE else None
            yield len(page), suspects
        yield len(held), {key: _Suspect({member for member, _, _ in found}) for key, found in held.items()}

    async def _settle(
        self, suspects: dict[Key, _Suspect], report: CacheReport
    ) -> AsyncGenerator[tuple[Differs, ...], None]:
        """Look again until each suspect is cleared, differs twice in the same way, or was looked at often enough."""
        while suspects:
            await self._caught_up()
            certain: list[Differs] = []
            for some in _portions(suspects, SUSPECTS_AT_ONCE):
                seen = await self._look(some)
                for key, suspect in some.items():
                    differences = seen.get(key)
                    suspect.looks += 1
                    if differences is not None and (not differences or differences == suspect.found):
                        certain += [Differs(*key, kind) for kind in sorted(differences)]
                        del suspects[key]
                    elif suspect.looks >= LOOKS:
                        report.changing += 1
                        del suspects[key]
                    else:
                        suspect.found = differences or frozenset()
                yield ()
            yield tuple(certain)
            if suspects:
                await anyio.sleep(self._again_s)

    async def _caught_up(self) -> None:
        """Until cache and database have everything that is accepted by now."""
        head, mark = self._journal.head, self._sync.mark

        def has_caught_up() -> bool:
            return min(self._journal.flushed, self._sync.applied) >= head or self._sync.mark is not mark

        with anyio.move_on_after(_CATCH_UP_S):
            await self._journal.changed.wait_until(has_caught_up)
        if self._sync.trusted is None or self._sync.mark is not mark:
            raise CannotCompare(f"the cache was lost meanwhile ({self._sync.reason or 'it was warmed anew'})")
        if not has_caught_up():
            behind = "the database" if self._journal.flushed < head else "the cache"
            raise CannotCompare(f"{behind} has been behind the journal for {_CATCH_UP_S:g} s")

    async def _look(self, some: Mapping[Key, _Suspect]) -> dict[Key, frozenset[CacheDifference]]:
        """How some messages differ, while nothing is applied. Those of which an event is under way are left out."""
        keys = list(some)
        try:
            async with self._sync.lock:
                with anyio.fail_after(_LOOK_S):
                    shared = min(self._sync.applied, self._journal.flushed)
                    stored = await self._database.by_keys(keys)
                    done = await self._database.done(keys)
                    bodies = dict(zip(keys, await self._keys.bodies(keys), strict=True))
                    tombstones = await self._keys.done(keys)
                    asked = [(key, m) for key in keys for m in _members(some[key], stored.get(key))]
                    scores = await self._keys.scores([(key.channel_id, member) for key, member in asked])
                    tail = self._journal.tail
                    quiet = {k for k in keys if all(r.position <= shared for r in tail.of_message(k))}
        except TimeoutError as error:
            raise CannotCompare(f"the stores took longer than {_LOOK_S:g} s to be compared") from error
        held: dict[Key, list[tuple[str, int]]] = {}
        for (key, member), score in zip(asked, scores, strict=True):
            if score is not None:
                held.setdefault(key, []).append((member, score))
        return {
            key: frozenset(
                compare(
                    stored.get(key),
                    held.get(key, []),
                    bodies[key],
                    done=key in done,
                    tombstone=key in tombstones,
                )
            )
            for key in quiet
        }


def compare(
    stored: State | None,
    members: Sequence[tuple[str, int]],
    body: bytes | None,
    *,
    done: bool,
    tombstone: bool,
) -> Iterator[CacheDifference]:
    """How one message differs. members: (member, score) in the pending set. body: None if it has expired, which is no
    difference. done, stored: by the database; tombstone: by the cache."""
    if stored is None or not stored.pending or done:
        if members:
            yield CacheDifference.UNKNOWN if stored is None and not done else CacheDifference.DONE
            if not tombstone and (stored is not None or done):
                yield CacheDifference.NO_TOMBSTONE
        return
    if not members:
        yield CacheDifference.MISSING
    elif list(members) != [(member_of(stored), stored.received_at_us or 0)]:
        yield CacheDifference.MEMBER
    if tombstone:
        yield CacheDifference.TOMBSTONE
    expected = render(stored)
    if members and body is not None and body != expected:
        yield CacheDifference.BYTES if _same_json(body, expected) else CacheDifference.STALE


def _same_json(a: bytes, b: bytes) -> bool:
    try:
        return bool(msgspec.json.decode(a) == msgspec.json.decode(b))
    except msgspec.DecodeError:
        return False


def _members(suspect: _Suspect, stored: State | None) -> set[str]:
    return suspect.members | ({member_of(stored)} if stored is not None else set())


def _portions(suspects: Mapping[Key, _Suspect], size: int) -> Iterator[dict[Key, _Suspect]]:
    keys = list(suspects)
    for first in range(0, len(keys), size):
        yield {key: suspects[key] for key in keys[first : first + size]}


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()
