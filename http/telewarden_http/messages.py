"""The routes that consumers live on: poll, acknowledge, look at one message."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

from quart import Response, request

from telewarden_http.answering import in_time
from telewarden_http.auth import Principal
from telewarden_http.errors import MessageNotFound, QueryNotTaken
from telewarden_http.joining import Joined
from telewarden_http.metrics import ApiMetrics
from telewarden_http.parameters import (
    parse_list,
    parse_mark_processed,
    parse_message_id,
    parse_seen_many,
    parse_seen_one,
    parse_unprocessed,
)
from telewarden_http.protocols import (
    Acknowledger,
    Listing,
    MessageReader,
    Page,
    Source,
    UnknownChannel,
)
from telewarden_http.responses import encode, json_response, may_read_message, success, success_list
from telewarden_http.routing import principal

_T = TypeVar("_T")

_SOURCE_HEADERS = {
    Source.CACHE: {"X-Telewarden-Source": "cache"},
    Source.DATABASE: {"X-Telewarden-Source": "database"},
    Source.JOURNAL: {
        "X-Telewarden-Source": "journal",
        "X-Telewarden-Degraded": "cache and database are down; older messages may be missing",
    },
}


def _readable(who: Principal, channel: str) -> None:
    if not who.may_read(channel):
        raise UnknownChannel.named(channel)


class MessageRoutes:
    """The handlers; parsing and shapes are elsewhere, so each is a line of three parts: read, ask, answer."""

    def __init__(
        self, reader: MessageReader, acknowledger: Acknowledger, metrics: ApiMetrics, answer_timeout_s: float
    ) -> None:
        self._reader = reader
        self._polls = Joined[Page]()
        self._acknowledger = acknowledger
        self._metrics = metrics
        self._answer_timeout_s = answer_timeout_s

    async def unprocessed(self) -> Response:
        """`GET /api/messages/unprocessed`"""
        body, headers = await self.poll(principal(), request.scope["query_string"])
        return json_response(body, headers=headers)

    async def poll(self, who: Principal, query_string: bytes) -> tuple[bytes, dict[str, str]]:
        """The body of the answer to a poll, and headers of its own."""
        query = parse_unprocessed(query_string)
        _readable(who, query.channel)
        page = await self._in_time(self._polls.ask(query, lambda: self._reader.unprocessed(query)))
        self._metrics.answer(page.source)
        filters = {
            "channelId": query.channel,
            "statuses": query.statuses,
            "excludeProcessedBy": query.exclude_processed_by,
        }
        body = success_list(page.bodies, count=page.count, filters=filters)
        return body, _SOURCE_HEADERS[page.source]

    async def mark_processed(self) -> Response:
        """`POST /api/messages/mark-processed`"""
        wanted = parse_mark_processed(
            await request.get_data(cache=False, as_text=False, parse_form_data=False)
        )
        if (readable := principal().channels) is not None:
            wanted = replace(wanted, readable=readable)
        marked = await self._in_time(self._acknowledger.mark_processed(wanted))
        return json_response(
            success(
                message=f"Marked {marked.updated} of {marked.requested} messages as processed",
                data={
                    "requested": marked.requested,
                    "updated": marked.updated,
                    "processedBy": wanted.processed_by,
                },
            )
        )

    async def messages(self) -> Response:
        """`GET /api/messages`"""
        query = parse_list(request.scope["query_string"])
        readable = principal().channels
        if readable is not None:
            meant = readable.intersection(query.channels) if query.channels else readable
            query = replace(query, channels=tuple(sorted(meant)))
        # Without any channel, all would be meant.
        is_empty = readable is not None and not query.channels
        listing = Listing((), False, 0) if is_empty else await self._in_time(self._reader.listed(query))
        reached = query.offset + len(listing.bodies)
        pagination: dict[str, object] = {
            "total": reached + listing.more if listing.total is None else listing.total,
            "limit": query.limit,
            "offset": query.offset,
            "hasMore": listing.more,
        }
        if listing.total is None:
            pagination["totalIsExact"] = False
        body = success_list(listing.bodies, pagination=pagination)
        return json_response(body, headers=_SOURCE_HEADERS[Source.DATABASE])

    async def seen(self, channel: str, message: str) -> Response:
        """`GET /v1/messages/{channel}/{message}/seen`"""
        body, headers = await self.look(principal(), b"", channel, message)
        return json_response(body, headers=headers)

    async def look(
        self, who: Principal, query_string: bytes, channel: str, message: str
    ) -> tuple[bytes, dict[str, str]]:
        """The body of the answer whether one message was seen, and no headers of its own."""
        if query_string:
            raise QueryNotTaken
        wanted = parse_seen_one(channel, message)
        _readable(who, wanted.channel)
        seen = await self._in_time(self._reader.seen(wanted.channel, wanted.message_ids))
        facts = {"channel": wanted.channel, "message": str(wanted.message_ids[0]), "seen": bool(seen)}
        return encode(facts), {}

    async def seen_many(self, channel: str) -> Response:
        """`POST /v1/messages/{channel}/seen`"""
        body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        wanted = parse_seen_many(channel, body)
        _readable(principal(), wanted.channel)
        seen = await self._in_time(self._reader.seen(wanted.channel, wanted.message_ids))
        return json_response(
            encode(
                {
                    "channel": wanted.channel,
                    "seen": [str(n) for n in wanted.message_ids if n in seen],
                    "notSeen": [str(n) for n in wanted.message_ids if n not in seen],
                }
            )
        )

    async def message(self, id: str) -> Response:
        """`GET /api/messages/{id}`"""
        wanted = parse_message_id(id)
        body = await self._in_time(self._reader.message(wanted))
        if body is None or not may_read_message(principal(), body):
            raise MessageNotFound(f"There is no message with the id {wanted}")
        return json_response(b'{"success":true,"data":' + body + b"}")

    async def _in_time(self, answer: Awaitable[_T]) -> _T:
        return await in_time(answer, self._answer_timeout_s, "The stores did not answer in time; try again")
