"""The health worker: asks the database for signs of life, and tells systemd how things are."""

from collections.abc import Callable

import anyio
import structlog

from telewarden.notify import EXTENSION_S, Notifier
from telewarden.serving_health import ServingHealth
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.journal import Journal
from telewarden_http.protocols import HealthReport
from telewarden_supervisors import WorkerContext

log = structlog.get_logger(__name__)

_LOOK_S = 0.5
_STALLED_S = 60.0


class HealthWorker:
    """READY when polls can be answered right; WATCHDOG only while live, and while the writer progresses or has a reason
    not to.

    journal: None in a process without a writer. told_ready: the service manager knows that it is ready. on_look: called
    about twice a second.
    """

    def __init__(
        self,
        health: ServingHealth,
        database: Database,
        journal: Journal | None,
        notifier: Notifier,
        on_look: Callable[[], object] = lambda: None,
    ) -> None:
        self._on_look = on_look
        self._health, self._database, self._journal, self._notifier = health, database, journal, notifier
        self.told_ready = False
        self._extend_at_s = 0.0
        self._flushed = 0
        self._progressed_s = 0.0
        self._degraded: tuple[str, ...] = ()

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        ctx.status("looking at the others")
        self._progressed_s = anyio.current_time()
        pet_s = self._notifier.watchdog_s / 3 if self._notifier.watchdog_s is not None else None
        next_pet_s = 0.0
        while True:
            self._on_look()
            await self._ask_database()
            now_s = anyio.current_time()
            report = self._tell(now_s)
            writes = self._writer_is_well(now_s)
            if pet_s is not None and now_s >= next_pet_s and report.live and writes:
                self._notifier.alive()
                next_pet_s = now_s + pet_s
            ctx.beat()
            await anyio.sleep(min(_LOOK_S, pet_s or _LOOK_S))

    async def _ask_database(self) -> None:
        # Its failure is kept by the database's breaker, which the report shows.
        with anyio.move_on_after(5.0):
            try:
                await self._database.ping()
            except DatabaseUnavailable as error:
                log.debug("database_unavailable", error=str(error))

    def _tell(self, now_s: float) -> HealthReport:
        report = self._health.report()
        summary = self._health.summary(report)
        if report.ready and not self.told_ready:
            self.told_ready = True
            self._notifier.ready(summary)
            log.info("ready")
        elif not self.told_ready and now_s >= self._extend_at_s:
            # Whatever it waits for may be put right later: a service manager that gave up would only start over.
            self._extend_at_s = now_s + EXTENSION_S / 3
            self._notifier.extend_timeout(EXTENSION_S, f"not ready yet · {summary}")
        else:
            self._notifier.status(summary)
        degraded = tuple(degradation.what for degradation in report.degraded)
        if degraded != self._degraded:
            self._degraded = degraded
            for degradation in report.degraded:
                log.warning("degraded", what=degradation.what, effect=degradation.effect)
            if not degraded:
                log.info("all_well")
        return report

    def _writer_is_well(self, now_s: float) -> bool:
        """The writer has nothing to do, has moved lately, or waits for a database that is known to be down."""
        if self._journal is None:
            return True
        idle = self._journal.backlog == 0
        if idle or self._journal.flushed != self._flushed or self._database.breaker.failed:
            self._flushed, self._progressed_s = self._journal.flushed, now_s
        return now_s - self._progressed_s < _STALLED_S
