"""Two cache servers in memory: what the scripts in storage/lua do to one, and replication between them.

A server's state is lost with its process. `history` stands for master_replid: new with each start and each promotion; a
replica has its master's.
"""

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar
from uuid import UUID

from telewarden.messages import Key
from telewarden.storage.cache import Distrusted, Listed, Operation, Turn, Waiting, Whole, Write, member_of

T = TypeVar("T")


@dataclass(frozen=True)
class Times:
    """How long keys live, in seconds, and how many messages of a channel may wait in its set."""

    body_s: float = 3600.0
    seen_s: float = 7200.0
    done_s: float = 7200.0
    bound: int = 10_000


@dataclass
class Keys:
    """What a server holds. Values with an end carry it: (value, virtual time)."""

    mark: tuple[str, float] | None = None
    turn: Turn | None = None
    counts: dict[int, int] = field(default_factory=dict)
    pending: dict[int, dict[str, int]] = field(default_factory=dict)
    overflow: set[int] = field(default_factory=set)
    body: dict[Key, tuple[bytes, float]] = field(default_factory=dict)
    done: dict[Key, float] = field(default_factory=dict)
    seen: dict[Key, float] = field(default_factory=dict)

    def copy(self) -> "Keys":
        """As a replica has it after a full resynchronisation."""
        return Keys(
            self.mark,
            self.turn,
            dict(self.counts),
            {channel: dict(members) for channel, members in self.pending.items()},
            set(self.overflow),
            dict(self.body),
            dict(self.done),
            dict(self.seen),
        )


class Server:
    """One server. Requests are functions of (server, virtual time), so that a replica can repeat them."""

    tombstones = True
    clears_mark = True
    one_history = False
    """Switches of the tests that break rules."""

    def __init__(self, name: str, histories: Iterable[int], times: Times) -> None:
        self.name, self.times, self._histories = name, times, iter(histories)
        self.up, self.master, self.frozen = True, False, False
        self.buffered: list[Callable[[], object]] = []
        self.start()

    def start(self) -> None:
        """A fresh process: empty."""
        self.up, self.frozen, self.keys = True, False, Keys()
        self.buffered = []
        self.promote(master=self.master)

    def promote(self, *, master: bool = True) -> None:
        """A history of its own begins."""
        self.master = master
        self.history = "1" if self.one_history else f"{next(self._histories):x}"

    def follow(self, master: "Server") -> None:
        """Become a replica that has everything which the master has at this moment."""
        self.master, self.history, self.keys = False, master.history, master.keys.copy()

    def flush(self) -> None:
        """FLUSHALL: everything goes but the history."""
        self.keys = Keys()

    def mark(self, now_s: float) -> str | None:
        """The mark that has not expired."""
        mark = self.keys.mark
        return mark[0] if mark is not None and mark[1] > now_s else None

    def is_done(self, key: Key, now_s: float) -> bool:
        """A tombstone is there."""
        return self.keys.done.get(key, -1.0) > now_s

    def body(self, key: Key, now_s: float) -> bytes | None:
        """A body that has not expired."""
        found = self.keys.body.get(key)
        return found[0] if found is not None and found[1] > now_s else None

    def apply(self, history: str, turn: Turn | None, writes: Sequence[Write], now_s: float) -> bool:
        """As apply.lua."""
        if not self._is_master_in(history):
            return False
        if turn is not None:
            if not self._is_next(turn):
                return False
            self.keys.turn = turn
        for write in writes:
            channel_id = write.state.channel_id
            before = len(self.keys.pending.get(channel_id, {}))
            self._apply(write, now_s)
            if channel_id in self.keys.counts:
                self.keys.counts[channel_id] += len(self.keys.pending[channel_id]) - before
        return True

    def _apply(self, write: Write, now_s: float) -> None:
        keys, times, state = self.keys, self.times, write.state
        key = state.key
        pending = keys.pending.setdefault(key.channel_id, {})
        body = (write.body, now_s + times.body_s)
        match write.operation:
            case Operation.PEND:
                if not self.is_done(key, now_s):
                    pending[member_of(state)] = state.received_at_us or 0
                    if len(pending) > times.bound:
                        keys.overflow.add(key.channel_id)
                    keys.body[key] = body
                keys.seen[key] = now_s + times.seen_s
            case Operation.BODY:
                if self.body(key, now_s) is not None:
                    keys.body[key] = body
            case Operation.SEEN:
                keys.seen[key] = now_s + times.seen_s
            case Operation.DROP:
                keys.body.pop(key, None)
            case Operation.DONE:
                if self.tombstones:
                    keys.done[key] = now_s + times.done_s
                gone = [member_of(state)] if write.certain else []
                gone = gone or [member for member in pending if member[37:] == str(key.message_id)]
                for member in gone:
                    pending.pop(member, None)
                if len(pending) <= times.bound:
                    keys.overflow.discard(key.channel_id)
                if not write.body:
                    keys.body.pop(key, None)
                elif self.body(key, now_s) is not None:
                    keys.body[key] = body

    def clear(self, mark: str, channel_ids: Collection[int]) -> bool:
        """As clear.lua."""
        if not self._is_master_in(mark.split(":")[0]):
            return False
        if self.clears_mark:
            self.keys.mark = None
        for channel in {*self.keys.counts, *channel_ids}:
            self.keys.pending.pop(channel, None)
            self.keys.overflow.discard(channel)
        self.keys.counts, self.keys.turn = dict.fromkeys(channel_ids, 0), Turn(mark, 0)
        return True

    def set_mark(self, mark: str, lease_s: float, now_s: float, *, renew: bool) -> bool:
        """As mark.lua."""
        if not self._is_master_in(mark.split(":")[0]):
            return False
        if self.keys.turn is None or self.keys.turn.warm != mark:
            return False
        if renew and self.mark(now_s) != mark:
            return False
        if not renew or lease_s > 0:
            self.keys.mark = (mark, now_s + lease_s)
        return True

    def drop_mark(self, history: str) -> bool:
        """As mark.lua with `drop`."""
        if not self._is_master_in(history) or self.keys.mark is None:
            return False
        self.keys.mark = None
        return True

    def read(
        self, mark: str, channel_id: int, limit: int, listed: bool, ask: Collection[int], now_s: float
    ) -> Whole | Listed | Distrusted:
        """As read.lua."""
        if not (self.master or self.one_history):
            return Distrusted("not a master")
        found = self.mark(now_s)
        if found is None:
            return Distrusted("no mark")
        history, generation, plain = mark.split(":")
        if generation != "*" and found != mark:
            return Distrusted("other mark")
        if not history == found.split(":")[0] == self.history:
            return Distrusted("other history")
        if generation == "*" and plain not in ("", found.split(":")[2]):
            return Distrusted("not only plain messages wait")
        if channel_id in self.keys.overflow:
            return Distrusted("overflow")
        pending = self.keys.pending.get(channel_id, {})
        if self.keys.counts.get(channel_id) != len(pending):
            if channel_id in self.keys.counts:
                self.keys.mark = None
            return Distrusted("incomplete")
        members = sorted(pending, key=lambda member: (pending[member], member))[:limit]
        ids = [int(member[37:]) for member in members]
        bodies = [self.body(Key(channel_id, message_id), now_s) for message_id in ids]
        whole = [body for body in bodies if body is not None]
        if not listed and len(whole) == len(bodies):
            return Whole(whole)
        waiting = [
            Waiting(message_id, pending[member], UUID(member[:36]), body)
            for message_id, member, body in zip(ids, members, bodies, strict=True)
        ]
        return Listed(waiting, frozenset(i for i in ask if self.is_done(Key(channel_id, i), now_s)))

    def has_seen(self, channel_id: int, message_ids: Sequence[int], now_s: float) -> set[int]:
        """As MGET of the keys `dedup`."""
        return {i for i in message_ids if self.keys.seen.get(Key(channel_id, i), -1.0) > now_s}

    def _is_next(self, turn: Turn) -> bool:
        found = self.keys.turn
        return found is not None and found.warm == turn.warm and found.number < turn.number

    def _is_master_in(self, history: str) -> bool:
        return self.master and history == self.history

    def __str__(self) -> str:
        role = ("master" if self.master else "replica") if self.up else "down"
        waits = sorted(member[37:] for members in self.keys.pending.values() for member in members)
        return f"{self.name}:{role}{'*' if self.frozen else ''}/{self.history} {','.join(waits)}"


Request = Callable[[Server, float], T]


class Servers:
    """A master, a replica, and what is not replicated yet. `primary` is whom fail-over made the master; another that
    still takes itself for one is cut off, though clients may reach it."""

    def __init__(self, rng: random.Random, times: Times, server: type[Server] = Server) -> None:
        self._rng = rng
        histories = count(1)
        self.primary, self.other = (server(name, histories, times) for name in "AB")
        self.primary.promote()
        self.other.follow(self.primary)
        self.unreplicated: list[tuple[Request[object], float]] = []

    @property
    def all(self) -> tuple[Server, Server]:
        """Both."""
        return self.primary, self.other

    @property
    def masters(self) -> list[Server]:
        """Who would be taken for the master by a client that asks."""
        return [server for server in self.all if server.up and server.master]

    def execute(self, server: Server, request: Request[T], now_s: float, *, writes: bool) -> T:
        """Carry a request out, and leave it to be replicated."""
        answer = request(server, now_s)
        if writes and server is self.primary:
            self.unreplicated.append((request, now_s))
        return answer

    def replicate(self, most: int | None = None) -> None:
        """The replica gets some of what it lacks."""
        n = (
            len(self.unreplicated)
            if most is None
            else self._rng.randint(0, min(most, len(self.unreplicated)))
        )
        gone, self.unreplicated = self.unreplicated[:n], self.unreplicated[n:]
        if self.other.up and not self.other.master and not self.other.frozen:
            for request, at_s in gone:
                request(self.other, at_s)

    def fail_over(self) -> bool:
        """The master dies, or is cut off while clients still reach it; the replica takes over without what it lacks."""
        old, new = self.all
        if not new.up or new.master or new.frozen:
            return False
        self.unreplicated = []
        new.promote()
        self.primary, self.other = new, old
        if self._rng.random() < 0.5:
            self.stop(old)
        return True

    def stop(self, server: Server) -> None:
        """Its process ends, and what it held goes with it."""
        server.up, server.keys, server.buffered = False, Keys(), []

    def restart(self) -> None:
        """The master comes back empty; its replica follows."""
        self.primary.start()
        self._resynchronise()

    def flush(self, now_s: float) -> None:
        """FLUSHALL on the master."""
        if self.primary.up and self.primary.master:
            self.execute(self.primary, lambda server, _: server.flush(), now_s, writes=True)

    def rejoin(self) -> None:
        """Whatever is down or cut off comes back, and follows the master."""
        if not self.primary.up:
            self.primary.start()
            if not self.primary.master:
                self.primary.promote()
        if not self.other.up:
            self.other.start()
        self._resynchronise()

    def _resynchronise(self) -> None:
        self.unreplicated = []
        if self.other.up:
            self.other.follow(self.primary)

    def thaw(self) -> None:
        """Frozen servers go on, first with what was sent to them meanwhile, in any order."""
        for server in self.all:
            server.frozen = False
            waiting, server.buffered = server.buffered, []
            self._rng.shuffle(waiting)
            for request in waiting:
                request()
