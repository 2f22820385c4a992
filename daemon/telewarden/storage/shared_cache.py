"""How a process of the role `api` stands to the cache: which history it knows, and what it still has to tell it.

It sets no marks: the ingest process proves the cache, this one believes the proof. Of its own it has acknowledgements.
They are committed in the database, then told to the cache, and told again to every history that has not heard of them:
a warm there may have read the database just before. State and decisions; no I/O.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple
from uuid import UUID

from telewarden.messages import Key, State
from telewarden.storage.cache import Operation, Write
from telewarden.storage.signal import Signal

NOT_CONNECTED = "not connected yet"
NOT_PROVEN = "nobody proves it complete at present"
OWED = "it has not heard of all acknowledgements yet"
BOUND = 100_000
"""Acknowledgements that are remembered for a new history."""


class Told(NamedTuple):
    """An acknowledged message. id: its row's; None where it was acknowledged before it was stored. at_s: when."""

    key: Key
    id: UUID | None
    at_s: float

    @property
    def write(self) -> Write:
        """What the cache is told."""
        return Write(Operation.DONE, State(*self.key, id=self.id), certain=self.id is not None)


class SharedCache:
    """The cache's standing in a process that serves.

    remember_s: how long an acknowledgement may matter to a new history; clock_s: seconds. changed: fires when any of
    it changes.
    """

    def __init__(
        self, changed: Signal, *, remember_s: float, clock_s: Callable[[], float], bound: int = BOUND
    ) -> None:
        self.history: str | None = None
        """Replication history of the connected master; None while disconnected."""
        self.reason: str | None = NOT_CONNECTED
        """Why polls are not answered from the cache; None when they are, if a proof is found there."""
        self.changed = changed
        self._remember_s, self._clock_s, self._bound = remember_s, clock_s, bound
        self._told_to: str | None = None
        self._told: deque[Told] = deque()
        self._owed: deque[Told] = deque()
        self._forgot_at_s = float("-inf")
        self._is_proven = False
        self.needs_warm = False
        """More was acknowledged than is remembered: only a warm that begins from now on is right in this history."""

    @property
    def trusted(self) -> str | None:
        """The history to read in, if the cache may be asked, and was proven complete when it was last looked at."""
        return self.history if self.reason is None else None

    @property
    def readable(self) -> str | None:
        """The history to read in, if the cache may be asked: the answer tells whether it is proven complete."""
        return None if self._owed or self.needs_warm else self.history

    @property
    def standing(self) -> str:
        """Why the cache is not read: one of a few fixed words."""
        if self.history is None:
            return NOT_CONNECTED if self.reason == NOT_CONNECTED else "down"
        return OWED

    @property
    def owed(self) -> int:
        """How many acknowledgements the cache has not heard of."""
        return len(self._owed)

    def proven(self, is_proven: bool) -> None:
        """Somebody's mark was found there, or none."""
        if is_proven != self._is_proven:
            self._is_proven = is_proven
            self._look()

    def connected(self, history: str) -> None:
        """The master answered. To another history than before everything has to be told again."""
        self.history = history
        if history != self._told_to:
            self._owed.extendleft(reversed(self._told))
            self._told.clear()
            self._told_to = history
            self.needs_warm = self._clock_s() - self._forgot_at_s < self._remember_s
        self._look()

    def disconnected(self, reason: str, history: str | None = None) -> None:
        """The cache does not answer. history: that of the server which did not, where another may be connected."""
        if history is None or history == self.history:
            self.history, self.reason = None, reason
            self.changed.fire()

    def distrust(self, reason: str) -> None:
        """The server's history changed."""
        self.disconnected(reason)

    def told(self, told: Iterable[Told], history: str) -> None:
        """A history has heard of some acknowledgements, whichever is connected meanwhile."""
        if history != self._told_to:
            self.owe(told)
            return
        self._told.extend(told)
        while len(self._told) > self._bound:
            self._forgot_at_s = self._told.popleft().at_s
        while self._told and self._clock_s() - self._told[0].at_s > self._remember_s:
            self._told.popleft()

    def owe(self, told: Iterable[Told]) -> None:
        """The cache could not be told, or it is not known whether it was: it is not read until it has been."""
        self._owed.extend(told)
        while len(self._owed) > self._bound:
            self._forgot_at_s = self._owed.popleft().at_s
            self.needs_warm = True
        self._look()

    def next_owed(self, limit: int) -> list[Told]:
        """What to tell it next, oldest first."""
        return [told for told, _ in zip(self._owed, range(limit), strict=False)]

    def paid(self, told: Iterable[Told], history: str) -> None:
        """The oldest were told."""
        if history == self._told_to:
            for each in told:
                # Some may have been forgotten meanwhile, for want of room.
                if self._owed and self._owed[0] is each:
                    self.told([self._owed.popleft()], history)
        self._look()

    def warms_anew(self) -> None:
        """The proof was taken away; the next one is of a warm that begins now."""
        self.needs_warm = False
        self._look()

    def _look(self) -> None:
        if self.history is not None:
            waits = bool(self._owed) or self.needs_warm
            self.reason = OWED if waits else None if self._is_proven else NOT_PROVEN
        self.changed.fire()
