"""How the daemon is: what every process that serves tells, and the journal and Telegram besides."""

import time
from collections import deque
from collections.abc import Callable, Iterable

from telewarden.serving_health import ServingHealth, degraded_since
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal
from telewarden.telegram.intake import TelegramState
from telewarden_http.protocols import HealthReport

_RATE_S = 10.0


class Rate:
    """How fast a counter grows, over the last seconds."""

    def __init__(self, over_s: float) -> None:
        self._over_s = over_s
        self._looks: deque[tuple[float, int]] = deque()

    def look(self, count: int, now_s: float) -> float:
        """Growth a second. count: the counter at the moment `now_s`."""
        self._looks.append((now_s, count))
        while len(self._looks) > 2 and self._looks[1][0] <= now_s - self._over_s:
            self._looks.popleft()
        then_s, before = self._looks[0]
        return (count - before) / (now_s - then_s) if now_s > then_s else 0.0


class Health(ServingHealth):
    """Reports from what the parts know of themselves. supervisor: set once the tree exists.

    clock: gives seconds, as the event loop's own does: damping, and the waits that Telegram asked for, go by it.
    """

    def __init__(
        self,
        journal: Journal,
        database: Database,
        sync: CacheSync,
        telegram: TelegramState,
        *,
        cached: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(database, sync, cached=cached, clock=clock)
        self._journal, self._sync, self._telegram = journal, sync, telegram
        self._rate = Rate(_RATE_S)

    def _down(self) -> Iterable[tuple[str, str]]:
        if not self._telegram.connected:
            yield "telegram", f"no new messages come in, polls go on: {self._telegram.problem}"
        elif self._telegram.problem is not None:
            yield "intake", self._telegram.problem
        for channel_id, reason in self._telegram.closed_channels.items():
            yield f"channel {channel_id}", f"it is not taken in: {reason}"
        yield from super()._down()

    def _without_database(self) -> str:
        served = "the cache"
        if self._sync.trusted is None:
            memory = self._sync.memory
            # Without the events that followed on it, it is not served; see `Reader`.
            remembered = memory is not None and self._journal.tail.first <= memory.position + 1
            served = "memory and the journal" if remembered else "the journal alone (older ones may miss)"
        return f"polls are answered by {served}, new messages wait in the journal"

    def _details(self) -> dict[str, object]:
        return super()._details() | {
            "journal": {
                "backlogEvents": self._journal.backlog,
                "backlogBytes": self._journal.unflushed_bytes,
            },
            "telegram": {
                "connected": self._telegram.connected,
                "problem": self._telegram.problem,
                "caughtUp": self._telegram.caught_up,
                "eventsReceived": self._telegram.received,
                "floodWaits": [
                    {
                        "method": method,
                        "channelId": channel_id and str(channel_id),
                        "seconds": round(left_s, 1),
                    }
                    for (method, channel_id), left_s in self._telegram.floods.waiting(self._clock()).items()
                ],
            },
        }

    def summary(self, report: HealthReport) -> str:
        """One line for `systemctl status`: "ingest 12/s · journal 0 · redis degraded since 12:01" (local time)."""
        rate = self._rate.look(self._telegram.received, self._clock())
        return " · ".join(
            [f"ingest {rate:.0f}/s", f"journal {self._journal.backlog}", *degraded_since(report)]
        )
