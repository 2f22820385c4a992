"""The routes of `/v1/admin/jobs`."""

from collections.abc import Sequence
from typing import cast

import msgspec
from quart import Response

from telewarden_http.auth import Scope
from telewarden_http.responses import json_response
from telewarden_http.routing import Operation, Route, principal
from telewarden_http.v1.jobs_protocols import AnyJob, Job, JobKeeper, JobRequest
from telewarden_http.v1.overview_protocols import Shape
from telewarden_http.v1.requests import parse_body

_BASE = "/v1/admin/jobs"


class JobPath(msgspec.Struct):
    """Which job."""

    job: str


class Jobs(Shape, frozen=True, kw_only=True):
    """The newest first."""

    jobs: list[Job]


class JobRoutes:
    """The handlers."""

    def __init__(self, keeper: JobKeeper) -> None:
        self._keeper = keeper

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return (
            Route(
                "GET",
                _BASE,
                self.jobs,
                Scope.ADMIN,
                Operation(
                    "The jobs",
                    "What waits and runs, and the last 50 that ended. A restart of the process forgets them; what they "
                    "did stays.",
                    answers={200: Jobs, 409: "This process only serves"},
                ),
            ),
            Route(
                "POST",
                _BASE,
                self.submit,
                Scope.ADMIN,
                Operation(
                    "Begin a job",
                    "Two run at a time, 20 may wait.",
                    body=cast(type, AnyJob),
                    answers={
                        202: Job,
                        400: "It is no job",
                        409: "This process only serves",
                        429: "Too many wait",
                    },
                ),
            ),
            Route(
                "GET",
                f"{_BASE}/<job>",
                self.job,
                Scope.ADMIN,
                Operation(
                    "A job",
                    path=JobPath,
                    answers={200: Job, 404: "There is no such job", 409: "This process only serves"},
                ),
            ),
            Route(
                "DELETE",
                f"{_BASE}/<job>",
                self.cancel,
                Scope.ADMIN,
                Operation(
                    "Cancel a job",
                    "Answers once it has ended. What it did stays.",
                    path=JobPath,
                    answers={200: Job, 404: "There is no such job", 409: "This process only serves"},
                ),
            ),
        )

    async def jobs(self) -> Response:
        """`GET /v1/admin/jobs`"""
        return _json(Jobs(jobs=list(self._keeper.jobs())))

    async def submit(self) -> Response:
        """`POST /v1/admin/jobs`"""
        request = cast(AnyJob, await parse_body(cast(type[JobRequest], AnyJob)))
        job = self._keeper.submit(request, principal().name)
        return _json(job, 202, {"Location": f"{_BASE}/{job.id}"})

    async def job(self, job: str) -> Response:
        """`GET /v1/admin/jobs/{job}`"""
        return _json(self._keeper.job(job))

    async def cancel(self, job: str) -> Response:
        """`DELETE /v1/admin/jobs/{job}`"""
        return _json(await self._keeper.cancel(job))


def _json(value: Shape, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return json_response(msgspec.json.encode(value), status, headers or {})
