"""The worker that runs jobs: each in its one task group, a few at a time."""

import anyio
import anyio.lowlevel

from telewarden.jobs import Jobs
from telewarden_supervisors import WorkerContext

_BEAT_S = 1.0


class JobsWorker:
    """Runs what is queued. Stopped, it cancels what runs; what waits is run by the next instance."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        jobs = self._jobs
        async with anyio.create_task_group() as tasks:
            while True:
                ctx.beat()
                # What ends because this worker is stopped makes no room for another one.
                await anyio.lowlevel.checkpoint_if_cancelled()
                while (due := jobs.next_due()) is not None:
                    await tasks.start(jobs.run, due)
                ctx.status(f"{jobs.running} run, {jobs.queued} wait")
                with anyio.move_on_after(_BEAT_S):
                    await jobs.changed.wait()
