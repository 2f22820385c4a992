"""The administrator's routes: workers, channels, cache, journal, and events that the database refused."""

from collections.abc import Awaitable, Sequence
from typing import Annotated, TypeVar, cast

import msgspec
from quart import Response

from telewarden_http.answering import in_time
from telewarden_http.auth import Scope
from telewarden_http.responses import json_response
from telewarden_http.routing import Operation, Route
from telewarden_http.v1.administration_protocols import (
    CacheReport,
    ChannelPatch,
    ChannelSwitch,
    NewChannel,
    NotInTime,
    PoisonList,
    Restarted,
    StoreAdmin,
    WorkerAdmin,
    Workers,
)
from telewarden_http.v1.overview_protocols import ChannelView, JournalView, Shape
from telewarden_http.v1.requests import parse_body

_T = TypeVar("_T")
_BASE = "/v1/admin"
_ELSEWHERE = "This process only serves; the problem says whom to ask"
_DOWN = "The database is down"


class WorkerPath(msgspec.Struct):
    """worker: its name, as GET /v1/admin/workers shows it."""

    worker: str


class ChannelPath(msgspec.Struct):
    """channel: its id."""

    channel: str


class ServedChannels(Shape, frozen=True, kw_only=True):
    """The channels that are served."""

    channels: list[ChannelView]


class PoisonIds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events."""

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1000)]


class TriedAgain(Shape, frozen=True, kw_only=True):
    """How many events are tried again."""

    retried: int


class Dropped(Shape, frozen=True, kw_only=True):
    """How many events are not tried again."""

    dropped: int


class AdministrationRoutes:
    """The handlers. answer_timeout_s: how long a request may take; restarts have a limit of their own."""

    def __init__(
        self, workers: WorkerAdmin, channels: ChannelSwitch, stores: StoreAdmin, answer_timeout_s: float
    ) -> None:
        self._workers, self._channels, self._stores = workers, channels, stores
        self._answer_timeout_s = answer_timeout_s

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return (*self._of_workers(), *self._of_channels(), *self._of_stores())

    def _of_workers(self) -> Sequence[Route]:
        return (
            Route(
                "GET",
                f"{_BASE}/workers",
                self.workers,
                Scope.ADMIN,
                Operation(
                    "The workers",
                    "The supervision tree as `telewarden ps` shows it, and the last 200 things that happened in it.",
                    answers={200: Workers},
                ),
            ),
            Route(
                "POST",
                f"{_BASE}/workers/<worker>/restart",
                self.restart,
                Scope.ADMIN,
                Operation(
                    "Restart a worker",
                    "Answers when it is ready again.",
                    path=WorkerPath,
                    answers={
                        200: Restarted,
                        404: "There is no such worker",
                        409: "It cannot be restarted as things are",
                        504: "It was restarted and is not ready yet",
                    },
                ),
            ),
        )

    def _of_channels(self) -> Sequence[Route]:
        known = {404: "There is no such channel", 503: _DOWN}
        return (
            Route(
                "GET",
                f"{_BASE}/channels",
                self.channels,
                Scope.ADMIN,
                Operation("The channels", answers={200: ServedChannels, 503: _DOWN}),
            ),
            Route(
                "POST",
                f"{_BASE}/channels",
                self.add,
                Scope.ADMIN,
                Operation(
                    "Take a channel in",
                    body=NewChannel,
                    answers={
                        200: ChannelView,
                        201: ChannelView,
                        400: "It names no channel",
                        409: "It cannot be taken in",
                        503: _DOWN,
                        504: "Telegram does not say what the channel is",
                    },
                ),
            ),
            Route(
                "PATCH",
                f"{_BASE}/channels/<channel>",
                self.change,
                Scope.ADMIN,
                Operation(
                    "Pause, resume or label a channel",
                    "A paused channel is served, and not taken in; what comes meanwhile is read when it is resumed.",
                    path=ChannelPath,
                    body=cast(
                        type, Annotated[ChannelPatch, msgspec.Meta(extra_json_schema={"minProperties": 1})]
                    ),
                    needs_body=True,
                    answers={200: ChannelView, 400: "It changes nothing", **known},
                ),
            ),
            Route(
                "DELETE",
                f"{_BASE}/channels/<channel>",
                self.remove,
                Scope.ADMIN,
                Operation(
                    "Take a channel in no more",
                    "It is served no more either; its messages stay.",
                    path=ChannelPath,
                    answers={204: "Done", 409: "It stands in the settings", **known},
                ),
            ),
        )

    def _of_stores(self) -> Sequence[Route]:
        decided = {400: "It names no events", 404: "One of them waits no longer", 409: _ELSEWHERE, 503: _DOWN}
        return (
            Route(
                "GET",
                f"{_BASE}/cache",
                self.cache,
                Scope.ADMIN,
                Operation("The cache", answers={200: CacheReport}),
            ),
            Route(
                "GET",
                f"{_BASE}/journal",
                self.journal,
                Scope.ADMIN,
                Operation("The journal", answers={200: JournalView, 409: _ELSEWHERE}),
            ),
            Route(
                "GET",
                f"{_BASE}/poison",
                self.poison,
                Scope.ADMIN,
                Operation(
                    "Events that the database refused",
                    "They are set aside with the error until somebody decides on them; they hold nothing up.",
                    answers={200: PoisonList, 409: _ELSEWHERE, 503: _DOWN},
                ),
            ),
            Route(
                "POST",
                f"{_BASE}/poison/retry",
                self.retry,
                Scope.ADMIN,
                Operation("Try such events once more", body=PoisonIds, answers={200: TriedAgain, **decided}),
            ),
            Route(
                "POST",
                f"{_BASE}/poison/drop",
                self.drop,
                Scope.ADMIN,
                Operation("Try such events no more", body=PoisonIds, answers={200: Dropped, **decided}),
            ),
        )

    async def workers(self) -> Response:
        """`GET /v1/admin/workers`"""
        return _json(self._workers.workers())

    async def restart(self, worker: str) -> Response:
        """`POST /v1/admin/workers/{worker}/restart`"""
        return _json(await self._workers.restart(worker))

    async def channels(self) -> Response:
        """`GET /v1/admin/channels`"""
        return _json(ServedChannels(channels=list(await self._in_time(self._channels.channels()))))

    async def add(self) -> Response:
        """`POST /v1/admin/channels`"""
        wanted = await parse_body(NewChannel)
        view, is_new = await self._in_time(self._channels.add(wanted))
        return _json(view, 201 if is_new else 200, {"Location": f"{_BASE}/channels/{view.channel}"})

    async def change(self, channel: str) -> Response:
        """`PATCH /v1/admin/channels/{channel}`"""
        patch = await parse_body(ChannelPatch)
        return _json(await self._in_time(self._channels.change(channel, patch)))

    async def remove(self, channel: str) -> Response:
        """`DELETE /v1/admin/channels/{channel}`"""
        await self._in_time(self._channels.remove(channel))
        return no_content()

    async def cache(self) -> Response:
        """`GET /v1/admin/cache`"""
        return _json(await self._in_time(self._stores.cache()))

    async def journal(self) -> Response:
        """`GET /v1/admin/journal`"""
        return _json(await self._in_time(self._stores.journal()))

    async def poison(self) -> Response:
        """`GET /v1/admin/poison`"""
        return _json(await self._in_time(self._stores.poison()))

    async def retry(self) -> Response:
        """`POST /v1/admin/poison/retry`"""
        wanted = await parse_body(PoisonIds)
        return _json(TriedAgain(retried=await self._in_time(self._stores.retry(wanted.ids))))

    async def drop(self) -> Response:
        """`POST /v1/admin/poison/drop`"""
        wanted = await parse_body(PoisonIds)
        return _json(Dropped(dropped=await self._in_time(self._stores.drop(wanted.ids))))

    async def _in_time(self, answer: Awaitable[_T]) -> _T:
        return await in_time(
            answer,
            self._answer_timeout_s,
            f"It was not done within {self._answer_timeout_s:g} s; look how things are before you try again",
            NotInTime,
        )


def no_content() -> Response:
    """It is done, and there is nothing to say (204)."""
    response = Response(b"", status=204, headers={"Cache-Control": "no-store"})
    del response.headers["Content-Type"]
    return response


def _json(value: Shape, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return json_response(msgspec.json.encode(value), status, headers or {})
