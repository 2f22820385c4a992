"""The routes of the old contract that list, create, change and remove channels."""

import re
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from msgspec import UnsetType
from quart import Response, request

from telewarden_http.answering import in_time
from telewarden_http.auth import Scope
from telewarden_http.contract_shapes import (
    ChannelAnswer,
    ChannelChangeBody,
    ChannelList,
    ChannelRowPath,
    NewChannelBody,
)
from telewarden_http.errors import ApiError
from telewarden_http.gateway_protocols import ChannelEntry, ChannelKeeper
from telewarden_http.parameters import parse_channel_change, parse_new_channel
from telewarden_http.responses import json_response, success
from telewarden_http.routing import Operation, Route, principal
from telewarden_http.wire import iso_ms

_T = TypeVar("_T")
_ROW_ID = re.compile(r"[0-9]{1,18}")


class ChannelNotFound(ApiError):
    """There is no channel with this row id (404)."""

    status = 404


class ChannelForbidden(ApiError):
    """The key is limited to other channels (403)."""

    status = 403


class ChannelRoutes:
    """The handlers. A channel that the key may not read does not exist for it."""

    def __init__(self, keeper: ChannelKeeper, answer_timeout_s: float) -> None:
        self._keeper = keeper
        self._answer_timeout_s = answer_timeout_s

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return (
            Route(
                "GET",
                "/api/channels",
                self.channels,
                Scope.READ,
                Operation("The channels", answers={200: ChannelList}),
            ),
            Route(
                "POST",
                "/api/channels",
                self.create,
                Scope.CHANGE,
                Operation(
                    "Take a channel in",
                    "From its present end on. With `isActive` false it is only known.",
                    body=NewChannelBody,
                    answers={201: ChannelAnswer, 409: "It is there already"},
                ),
            ),
            Route(
                "PUT",
                "/api/channels/<id>",
                self.change,
                Scope.CHANGE,
                Operation(
                    "Pause, resume or describe a channel",
                    "`isActive` false pauses it, true resumes it and reads what was posted meanwhile.",
                    path=ChannelRowPath,
                    body=ChannelChangeBody,
                    needs_body=True,
                    answers={200: ChannelAnswer, 409: "The channel id cannot be changed"},
                ),
            ),
            Route(
                "DELETE",
                "/api/channels/<id>",
                self.remove,
                Scope.CHANGE,
                Operation(
                    "Take a channel in no more",
                    "It is served no more either; its messages stay.",
                    path=ChannelRowPath,
                    answers={200: ChannelAnswer, 409: "It stands in the settings"},
                ),
            ),
        )

    async def channels(self) -> Response:
        """`GET /api/channels`"""
        found = await self._in_time(self._keeper.channels())
        readable = [shown(entry) for entry in found if principal().may_read(str(entry.channel_id))]
        return json_response(success(data=readable))

    async def create(self) -> Response:
        """`POST /api/channels`"""
        wanted = parse_new_channel(await _body())
        _usable(wanted.channel_id)
        created = await self._in_time(self._keeper.create(wanted))
        return json_response(success(data=shown(created)), 201)

    async def change(self, id: str) -> Response:
        """`PUT /api/channels/{id}`"""
        change = parse_channel_change(await _body())
        if not isinstance(change.channel_id, UnsetType):
            _usable(change.channel_id)
        changed = await self._in_time(self._keeper.change(await self._readable(id), change))
        return json_response(success(data=shown(_there(changed, id))))

    async def remove(self, id: str) -> Response:
        """`DELETE /api/channels/{id}`"""
        removed = await self._in_time(self._keeper.remove(await self._readable(id)))
        return json_response(success(data=shown(_there(removed, id))))

    async def _readable(self, id: str) -> int:
        """The row that a path names."""
        if _ROW_ID.fullmatch(id) is None:
            raise _unknown(id)
        row_id = int(id)
        if principal().channels is not None:
            entry = _there(await self._in_time(self._keeper.channel(row_id)), id)
            if not principal().may_read(str(entry.channel_id)):
                raise _unknown(id)
        return row_id

    async def _in_time(self, answer: Awaitable[_T]) -> _T:
        return await in_time(
            answer,
            self._answer_timeout_s,
            "The database did not answer in time; look at the channels before you try again",
        )


def shown(entry: ChannelEntry) -> dict[str, object]:
    """A channel as it goes over the wire."""
    return {
        "id": entry.id,
        "channelId": str(entry.channel_id),
        "label": entry.label,
        "description": entry.description,
        "isActive": entry.is_active,
        "createdAt": iso_ms(entry.created_at_us),
        "updatedAt": iso_ms(entry.updated_at_us),
    }


def _usable(channel_id: int) -> None:
    """Raises ChannelForbidden for a channel that the key may not have taken in."""
    if not principal().may_read(str(channel_id)):
        raise ChannelForbidden(f"The key may not use the channel {channel_id}")


def _there(entry: ChannelEntry | None, id: str) -> ChannelEntry:
    if entry is None:
        raise _unknown(id)
    return entry


_SHOWN: Final = 40


def _unknown(id: str) -> ChannelNotFound:
    return ChannelNotFound(f"There is no channel with the id {id[:_SHOWN]!r}; GET /api/channels lists them")


async def _body() -> bytes:
    body: bytes = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    return body
