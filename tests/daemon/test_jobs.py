"""Jobs: what waits, what runs, how they end, what is remembered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from telewarden.jobs import ENDED, QUEUED, RUNNING, Carried, JobFailed, Jobs, Step
from telewarden.sandbox.alone import AloneContext
from telewarden.workers.jobs import JobsWorker
from telewarden_http.v1.administration_protocols import NotThere, TooMany
from telewarden_http.v1.jobs_protocols import AnyJob, Job, JobProgress, JobState, SyncJob, WarmJob, WarmResult

pytestmark = pytest.mark.anyio
OVER = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class Work:
    """What jobs do: a step, then whatever the test says. Sync jobs wait until they are let go on."""

    def __init__(self) -> None:
        self.go_on = anyio.Event()
        self.error: Exception | None = None

    async def carry_out(self, request: AnyJob) -> Carried:
        yield Step(JobProgress(done=1, total=2, text="half"), WarmResult(written=1, took_s=0.0))
        if isinstance(request, SyncJob):
            await self.go_on.wait()
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def at_work(jobs: Jobs) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(JobsWorker(jobs).run, AloneContext())
        yield
        tasks.cancel_scope.cancel()


async def until(jobs: Jobs, id_: str, *states: JobState) -> Job:
    with anyio.fail_after(10):
        while jobs.job(id_).state not in states:
            await jobs.changed.wait()
    return jobs.job(id_)


async def test_a_job_is_done_with_its_last_step_as_result() -> None:
    jobs = Jobs(Work().carry_out)
    async with at_work(jobs):
        asked = jobs.submit(WarmJob(), "operator")
        assert (asked.state, asked.by, asked.kind, asked.progress) == (
            JobState.QUEUED,
            "operator",
            "warm",
            None,
        )
        over = await until(jobs, asked.id, *OVER)
    assert (over.state, over.error, over.result) == (JobState.DONE, None, WarmResult(written=1, took_s=0.0))
    assert over.created_at <= (over.started_at or "") <= (over.ended_at or "")


async def test_so_many_run_so_many_wait_and_no_more() -> None:
    work = Work()
    jobs = Jobs(work.carry_out)
    async with at_work(jobs):
        first = [jobs.submit(SyncJob(), "operator") for _ in range(RUNNING)]
        for job in first:
            await until(jobs, job.id, JobState.RUNNING)
        waiting = [jobs.submit(SyncJob(), "operator") for _ in range(QUEUED)]
        with pytest.raises(TooMany, match="wait already"):
            jobs.submit(SyncJob(), "operator")
        assert (jobs.running, jobs.queued) == (RUNNING, QUEUED)
        work.go_on.set()
        for job in waiting:
            assert (await until(jobs, job.id, *OVER)).state is JobState.DONE


async def test_what_fails_is_a_state_and_never_the_workers_end() -> None:
    work = Work()
    jobs = Jobs(work.carry_out)
    async with at_work(jobs):
        work.error = JobFailed("Telegram is not connected")
        over = await until(jobs, jobs.submit(WarmJob(), "operator").id, *OVER)
        assert (over.state, over.error) == (JobState.FAILED, "Telegram is not connected")
        assert over.progress is not None
        work.error = ZeroDivisionError("secret")
        over = await until(jobs, jobs.submit(WarmJob(), "operator").id, *OVER)
        assert over.error == "internal error (ZeroDivisionError); see the log"
        work.error = None
        over = await until(jobs, jobs.submit(WarmJob(), "operator").id, *OVER)
        assert over.state is JobState.DONE


async def test_what_waits_and_what_runs_can_be_cancelled() -> None:
    jobs = Jobs(Work().carry_out)
    waits = jobs.submit(SyncJob(), "operator")
    assert (await jobs.cancel(waits.id)).state is JobState.CANCELLED
    async with at_work(jobs):
        runs = jobs.submit(SyncJob(), "operator")
        await until(jobs, runs.id, JobState.RUNNING)
        over = await jobs.cancel(runs.id)
        assert (over.state, over.error) == (JobState.CANCELLED, None)
        assert (await jobs.cancel(runs.id)).ended_at == over.ended_at
    with pytest.raises(NotThere, match="no job 'none'"):
        await jobs.cancel("none")


async def test_a_worker_that_is_stopped_ends_what_runs_and_leaves_what_waits_to_the_next() -> None:
    work = Work()
    jobs = Jobs(work.carry_out)
    async with at_work(jobs):
        run = [jobs.submit(SyncJob(), "operator") for _ in range(RUNNING)]
        for job in run:
            await until(jobs, job.id, JobState.RUNNING)
        waits = jobs.submit(SyncJob(), "operator")
    for job in run:
        over = jobs.job(job.id)
        assert over.state is JobState.CANCELLED
        assert "was stopped" in (over.error or "")
    assert jobs.job(waits.id).state is JobState.QUEUED
    work.go_on.set()
    async with at_work(jobs):
        assert (await until(jobs, waits.id, *OVER)).state is JobState.DONE


async def test_of_those_that_ended_the_last_are_remembered_the_newest_first() -> None:
    jobs = Jobs(Work().carry_out)
    ids = []
    for _ in range(ENDED + 3):
        ids.append(jobs.submit(WarmJob(), "operator").id)
        await jobs.cancel(ids[-1])
    assert [job.id for job in jobs.jobs()] == ids[:2:-1]
    with pytest.raises(NotThere):
        jobs.job(ids[0])
