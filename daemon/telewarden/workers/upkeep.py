"""Upkeep of the database: days made ahead, old ones dropped, roll-ups refreshed, the time that polls begin from moved.

Nothing depends on it at once: without it polls grow slower, and days that nobody made share one default partition.
"""

import anyio
import structlog

from telewarden.storage.database import REFUSED, Database, DatabaseUnavailable
from telewarden_supervisors import WorkerContext

log = structlog.get_logger(__name__)

UPKEEP_S = 900.0
"""Heartbeat time-out: the longest that dropping old days and refreshing the roll-ups may take."""
_RETRY_S = 30.0
_BEAT_S = 1.0


class Upkeep:
    """interval_s: seconds between two passes. keep_days: how many days of messages are kept."""

    def __init__(self, database: Database, *, interval_s: float, keep_days: int) -> None:
        self._database = database
        self._interval_s, self._keep_days = interval_s, keep_days

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        while True:
            try:
                made, dropped, floor = await self._database.upkeep(self._keep_days)
                ctx.beat()
                await self._database.refresh_rollups()
            except REFUSED as error:
                await self._failed(ctx, f"upkeep failed: {type(error).__name__}: {error}")
            except DatabaseUnavailable as error:
                await self._failed(ctx, f"waiting for the database: {error}")
            else:
                if made or dropped:
                    log.info("upkeep_done", days_made=made, dropped=dropped, poll_floor=floor.isoformat())
                ctx.status(f"polls begin from {floor:%Y-%m-%d}")
                await _wait(ctx, self._interval_s)

    async def _failed(self, ctx: WorkerContext, why: str) -> None:
        log.warning("upkeep_not_done", why=why, effect="polls may grow slower; it is tried again")
        ctx.status(why)
        await _wait(ctx, min(_RETRY_S, self._interval_s))


async def _wait(ctx: WorkerContext, seconds: float) -> None:
    until_s = anyio.current_time() + seconds
    while (left_s := until_s - anyio.current_time()) > 0:
        ctx.beat()
        await anyio.sleep(min(left_s, _BEAT_S))
