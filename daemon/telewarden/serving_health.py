"""How a process that serves is: live, ready, degraded; three questions, never mixed."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Protocol

from telewarden.damping import Damping
from telewarden.storage.database import Database
from telewarden.tree import CACHE, INTAKE, SERVING, walk, workers
from telewarden_http.protocols import HealthReport
from telewarden_supervisors import Snapshot, State, Supervisor

DAMPING_S = 1.0
"""Seconds that something has to be down, or up again, before it is told."""

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
    "channels": "which channels there are is not kept up to date",
}


class CacheStanding(Protocol):
    """What there is to tell of the cache. reason: why it does not answer polls; None when it does."""

    reason: str | None

    @property
    def trusted(self) -> object | None:
        """The proof by which it is read; None without one."""
        ...


class ServingHealth:
    """Reports from what the parts know of themselves. supervisor: set once the tree exists.

    cached: whether a cache is configured. clock: gives seconds, as the event loop's own does.
    """

    def __init__(
        self,
        database: Database,
        cache: CacheStanding,
        *,
        cached: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._cache = database, cache
        self._cached = cached
        self._clock = clock
        self._damping = Damping(DAMPING_S)
        self._started_s = time.monotonic()
        self.supervisor: Supervisor | None = None

    def report(self) -> HealthReport:
        """The present state. ready: the API listens, and the cache is proven complete or the database answers.

        Live and ready are told as they are at this moment; degraded is damped.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return HealthReport(
            live=self.live,
            ready=self._listens() and (self._cache.trusted is not None or self._database.breaker.works),
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
        if self._database.breaker.failed:
            yield "database", f"{self._without_database()}: {self._database.breaker.last_error}"
        if self._cached and self._cache.reason is not None:
            yield "redis", f"polls are answered by the database: {self._cache.reason}"
        for _, node in walk(self.supervisor.snapshot()) if self.supervisor is not None else ():
            if node.state in (State.BACKING_OFF, State.STUCK):
                effect = _WITHOUT.get(node.name, "it does nothing")
                yield f"worker {node.name}", f"{effect}; {node.state.value}: {node.last_error}"

    def _without_database(self) -> str:
        if self._cache.trusted is None:
            return "nothing is answered"
        return "polls are answered by the cache, acknowledgements are refused"

    def _details(self) -> dict[str, object]:
        return {
            "uptimeSeconds": round(time.monotonic() - self._started_s, 1),
            "cache": {"complete": self._cache.reason is None, "reason": self._cache.reason},
            "database": {"up": not self._database.breaker.failed},
            "workers": {
                name: {
                    "state": worker.state.value,
                    "restarts": worker.restarts,
                    "status": worker.status,
                    "lastError": worker.last_error,
                }
                for name, worker in self._workers().items()
            },
        }

    def summary(self, report: HealthReport) -> str:
        """One line for `systemctl status`: "serving · redis degraded since 12:01" (local time)."""
        return " · ".join(["serving", *degraded_since(report)])


def degraded_since(report: HealthReport) -> list[str]:
    """What is degraded, each in some words for one line."""
    return [
        f"{degradation.what} degraded since {datetime.fromisoformat(degradation.since).astimezone():%H:%M}"
        for degradation in report.degraded
    ]
