"""How the daemon is: live, ready, degraded; three questions, never mixed."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal
from telewarden.workers.listener import TelegramState
from telewarden_http.protocols import Degradation, HealthReport
from telewarden_supervisors import State, Supervisor


class Health:
    """Reports from what the parts know of themselves. supervisor: set once the tree exists."""

    def __init__(
        self, journal: Journal, database: Database, sync: CacheSync, telegram: TelegramState, *, cached: bool
    ) -> None:
        self._journal, self._database, self._sync, self._telegram = journal, database, sync, telegram
        self._cached = cached
        self._since: dict[str, str] = {}
        self._started_s = time.monotonic()
        self.supervisor: Supervisor | None = None

    def report(self) -> HealthReport:
        """The present state. ready: the API listens, and the cache is proven complete or the database answers."""
        down = dict(self._down())
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._since = {what: self._since.get(what, now) for what in down}
        return HealthReport(
            live=True,
            ready=self._listens() and (self._sync.trusted is not None or not self._database.breaker.failed),
            degraded=[Degradation(what, self._since[what], effect) for what, effect in down.items()],
            details=self._details(),
        )

    def _listens(self) -> bool:
        if self.supervisor is None:
            return False
        return any(
            child.name == "api" and child.state is State.RUNNING
            for child in self.supervisor.snapshot().children
        )

    def _down(self) -> Iterable[tuple[str, str]]:
        if not self._telegram.connected:
            yield "telegram", f"no new messages come in, polls go on: {self._telegram.problem}"
        elif self._telegram.problem is not None:
            yield "intake", self._telegram.problem
        if self._database.breaker.failed:
            served = (
                "the cache" if self._sync.trusted is not None else "the journal alone (older ones may miss)"
            )
            problem = self._database.breaker.last_error
            yield "database", f"polls are answered by {served}, new messages wait in the journal: {problem}"
        if self._cached and self._sync.reason is not None:
            yield "redis", f"polls are answered by the database: {self._sync.reason}"
        for channel_id, reason in self._telegram.closed_channels.items():
            yield f"channel {channel_id}", f"it is not taken in: {reason}"

    def _details(self) -> dict[str, object]:
        workers = {}
        if self.supervisor is not None:
            for child in self.supervisor.snapshot().children:
                workers[child.name] = {
                    "state": child.state.value,
                    "restarts": child.restarts,
                    "status": child.status,
                    "lastError": child.last_error,
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
                "eventsReceived": self._telegram.received,
            },
            "workers": workers,
        }

    def summary(self) -> str:
        """One line for `systemctl status`."""
        report = self.report()
        parts = [f"journal {self._journal.backlog}", f"events {self._telegram.received}"]
        parts += [f"{degradation.what} degraded since {degradation.since}" for degradation in report.degraded]
        return " · ".join(parts)
