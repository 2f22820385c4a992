"""Another process that reads the same cache: it trusts whichever mark is there, and lays nothing over what it reads."""

import trio

from simulation.cache import SimulatedCache
from simulation.process import LEASE_S, Outside
from simulation.truth import Truth, Violation, name_of
from telewarden.messages import Key
from telewarden.storage.cache import CacheUnavailable, Distrusted
from telewarden_http.protocols import Source

BOUND_S = LEASE_S + 2.5
"""What it reads is at most this old: the lease, and how late the request may come that gave it."""


class Onlooker:
    """Checks that what it gets is within the bounds of the lease."""

    def __init__(self, outside: Outside, truth: Truth, *, sentinels: bool) -> None:
        self._store, self._file, self._truth = outside.store, outside.file, truth
        self._cache = SimulatedCache(
            outside.servers, outside.weather, outside.spawn, lambda text: None, sentinels=sentinels
        )
        self._stored_at: dict[Key, float] = {}
        self._over_at: dict[Key, float] = {}
        self._excused_until = 0.0

    def note(self) -> None:
        """Look at what is true at this moment."""
        now_s = trio.current_time()
        for key in self._store.waiting() & self._truth.sure:
            self._stored_at.setdefault(key, now_s)
        for key, state in self._truth.states.items():
            if not state.pending:
                self._over_at.setdefault(key, now_s)

    def excuse(self) -> None:
        """A server goes on that was frozen: what was sent to it long ago may give it one more lease."""
        self._excused_until = trio.current_time() + BOUND_S

    async def poll(self, channel_id: int) -> bool:
        """One poll; False where the cache does not answer. Raises Violation."""
        began_s = trio.current_time()
        try:
            answer = await self._cache.read_any(channel_id, 1000)
        except CacheUnavailable:
            return False
        if isinstance(answer, Distrusted) or began_s < self._excused_until:
            return False
        served = {Key(channel_id, i) for i in getattr(answer, "message_ids", ())}
        later = self._truth.waiting_after(self._file.ever)
        for key, since_s in self._stored_at.items():
            old = key.channel_id == channel_id and since_s < began_s - BOUND_S
            if old and later[key].pending and key in self._store.waiting() and key not in served:
                raise Violation(f"{name_of(key)} omitted by {Source.CACHE} of another process")
        for key in served:
            if self._over_at.get(key, began_s) < began_s - BOUND_S:
                raise Violation(f"{name_of(key)} served by {Source.CACHE} of another process long after its end")
        return True
