"""How the daemon is: live, ready, degraded; three questions, never mixed."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal
from telewarden.telegram.intake import TelegramState
from telewarden.tree import CACHE, INTAKE, SERVING, walk, workers
from telewarden_http.protocols import Degradation, HealthReport
from telewarden_supervisors import Snapshot, State, Supervisor

DAMPING_S = 1.0
"""Seconds that something has to be down, or up again, before it is told."""

_RATE_S = 10.0
_WITHOUT = {
    INTAKE: "no new messages come in, polls go on",
    "listener": "no new messages come in, polls go on",
    CACHE: "polls are answered by the database",
    "redis": "polls are answered by the database",
    "warmer": "a cache that was lost stays unused; polls are answered by the database",
    SERVING: "no poll is answered",
    "api": "no poll is answered",
    "upkeep": "polls that the database answers may grow slower",
    "writer": "new messages wait in the journal; polls go on",
}


@dataclass(slots=True)
class _Trouble:
    since: str
    effect: str
    is_down: bool
    turned_s: float
    told: bool


class Damping:
    """Keeps what comes and goes from flapping: a change is told when it has held for `hold_s` seconds.

    What is down when it looks for the first time is told at once: nothing is known that it could flap from.
    """

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._troubles: dict[str, _Trouble] = {}
        self._has_looked = False

    def look(self, down: Mapping[str, str], *, now_s: float, now: str) -> list[Degradation]:
        """What to tell. down: what is down at this moment, with its effect; now_s, now: this moment, as seconds and
        as text. An effect is the latest, and `since` the first moment of the trouble.
        """
        for what, effect in down.items():
            trouble = self._troubles.get(what)
            if trouble is None:
                self._troubles[what] = _Trouble(now, effect, True, now_s, told=not self._has_looked)
                continue
            trouble.effect = effect
            if not trouble.is_down:
                trouble.is_down, trouble.turned_s = True, now_s
        self._has_looked = True
        for what, trouble in list(self._troubles.items()):
            if what not in down and trouble.is_down:
                trouble.is_down, trouble.turned_s = False, now_s
            has_held = now_s - trouble.turned_s >= self._hold_s
            if trouble.is_down:
                trouble.told = trouble.told or has_held
            elif has_held or not trouble.told:
                del self._troubles[what]
        return [Degradation(what, t.since, t.effect) for what, t in self._troubles.items() if t.told]


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


class Health:
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
        self._journal, self._database, self._sync, self._telegram = journal, database, sync, telegram
        self._cached = cached
        self._clock = clock
        self._damping = Damping(DAMPING_S)
        self._started_s = time.monotonic()
        self._rate = Rate(_RATE_S)
        self.supervisor: Supervisor | None = None

    def report(self) -> HealthReport:
        """The present state. ready: the API listens, and the cache is proven complete or the database answers.

        Live and ready are told as they are at this moment; degraded is damped.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return HealthReport(
            live=self.live,
            ready=self._listens() and (self._sync.trusted is not None or self._database.breaker.works),
            degraded=self._damping.look(dict(self._down()), now_s=self._clock(), now=now),
            details=self._details(),
        )

    @property
    def live(self) -> bool:
        """The tree stands, and nothing in it is stuck: otherwise only a fresh process helps."""
        if self.supervisor is None:
            return False
        tree = self.supervisor.snapshot()
        return tree.state in (State.STARTING, State.RUNNING) and not any(
            node.state is State.STUCK for _, node in walk(tree)
        )

    def _workers(self) -> dict[str, Snapshot]:
        return {} if self.supervisor is None else workers(self.supervisor.snapshot())

    def _listens(self) -> bool:
        api = self._workers().get("api")
        return api is not None and api.state is State.RUNNING

    def _down(self) -> Iterable[tuple[str, str]]:
        if not self._telegram.connected:
            yield "telegram", f"no new messages come in, polls go on: {self._telegram.problem}"
        elif self._telegram.problem is not None:
            yield "intake", self._telegram.problem
        if self._database.breaker.failed:
            served = (
                "the cache"
                if self._sync.trusted is not None
                else "memory and the journal"
                if self._sync.memory is not None
                else "the journal alone (older ones may miss)"
            )
            problem = self._database.breaker.last_error
            yield "database", f"polls are answered by {served}, new messages wait in the journal: {problem}"
        if self._cached and self._sync.reason is not None:
            yield "redis", f"polls are answered by the database: {self._sync.reason}"
        for channel_id, reason in self._telegram.closed_channels.items():
            yield f"channel {channel_id}", f"it is not taken in: {reason}"
        for _, node in walk(self.supervisor.snapshot()) if self.supervisor is not None else ():
            if node.state in (State.BACKING_OFF, State.STUCK):
                effect = _WITHOUT.get(node.name, "it does nothing")
                yield f"worker {node.name}", f"{effect}; {node.state.value}: {node.last_error}"

    def _details(self) -> dict[str, object]:
        workers = {
            name: {
                "state": worker.state.value,
                "restarts": worker.restarts,
                "status": worker.status,
                "lastError": worker.last_error,
            }
            for name, worker in self._workers().items()
        }
        return {
            "uptimeSeconds": round(time.monotonic() - self._started_s, 1),
            "journal": {
                "backlogEvents": self._journal.backlog,
                "backlogBytes": self._journal.unflushed_bytes,
            },
            "cache": {"complete": self._sync.reason is None, "reason": self._sync.reason},
            "database": {"up": not self._database.breaker.failed},
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
            "workers": workers,
        }

    def summary(self, report: HealthReport) -> str:
        """One line for `systemctl status`: "ingest 12/s · journal 0 · redis degraded since 12:01" (local time)."""
        rate = self._rate.look(self._telegram.received, self._clock())
        parts = [f"ingest {rate:.0f}/s", f"journal {self._journal.backlog}"]
        for degradation in report.degraded:
            since = datetime.fromisoformat(degradation.since).astimezone()
            parts.append(f"{degradation.what} degraded since {since:%H:%M}")
        return " · ".join(parts)
