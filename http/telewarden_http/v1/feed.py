"""The routes of the feed: what changed, in order, behind a token that the client keeps."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, aclosing
from typing import Any, TypeVar, cast

from quart import Response, current_app, request

from telewarden_http import sse
from telewarden_http.answering import in_time
from telewarden_http.auth import Principal, Scope
from telewarden_http.boundary import WAITED
from telewarden_http.errors import BadRequest
from telewarden_http.parameters import parse_channels
from telewarden_http.protocols import Unavailable, UnknownChannel
from telewarden_http.responses import encode, failure, failure_body, json_response
from telewarden_http.routing import Operation, Route, key_check, principal
from telewarden_http.stopping import Stopping, stopping_of
from telewarden_http.v1 import event_stream
from telewarden_http.v1.feed_protocols import KINDS, CursorExpired, Feed, FeedPage, FeedQuery
from telewarden_http.v1.feed_shapes import (
    AllFeedParameters,
    ChannelPath,
    Channels,
    Events,
    Expired,
    FeedParameters,
    Problem,
)
from telewarden_http.v1.long_polls import long_polls_of
from telewarden_http.v1.requests import parse_query
from telewarden_http.v1.token import Position, decode
from telewarden_http.v1.token import encode as token_of

_T = TypeVar("_T")
_NOW, _BEGINNING = "now", "beginning"
_STREAM_AT_ONCE = 100
_STREAM_RETRY_S = 1.0
LONGEST_STREAM_S = 3600.0
"""A stream ends after that, and the client comes back, so that processes share what there is."""

_READ = {
    200: Events,
    400: Problem,
    401: Problem,
    403: Problem,
    410: Expired,
    503: Problem,
}
_DESCRIPTION = (
    "Send `next` of the answer as `after` of the next request: nothing is left out and nothing comes twice, whatever "
    "is restarted. With `wait` the answer comes as soon as there is an event, and empty after that time. With "
    "`Accept: text/event-stream` events are sent as they come; `Last-Event-ID` goes before `after`. "
    "410: what followed the token is not kept any more; `oldest` is a token to go on from."
)


class FeedRoutes:
    """The handlers. answer_timeout_s: how long the stores may take."""

    def __init__(self, feed: Feed, answer_timeout_s: float) -> None:
        self._feed = feed
        self._answer_timeout_s = answer_timeout_s

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return (
            Route(
                "GET",
                "/v1/channels",
                self.channels,
                Scope.READ,
                Operation(
                    "The channels that the key may read", answers={200: Channels, 401: Problem, 403: Problem}
                ),
            ),
            Route(
                "GET",
                "/v1/channels/<channel>/messages",
                self.channel,
                Scope.READ,
                Operation(
                    "What changes in a channel",
                    _DESCRIPTION,
                    path=ChannelPath,
                    query=FeedParameters,
                    answers=_READ | {404: Problem},
                    events=True,
                ),
            ),
            Route(
                "GET",
                "/v1/feed",
                self.all,
                Scope.READ,
                Operation(
                    "What changes in several channels",
                    _DESCRIPTION,
                    query=AllFeedParameters,
                    answers=_READ | {404: Problem},
                    events=True,
                ),
            ),
        )

    async def channels(self) -> Response:
        """`GET /v1/channels`"""
        who = principal()
        readable = [
            {"channel": str(each.channel), "label": each.label, "active": each.active}
            for each in self._feed.channels()
            if who.may_read(str(each.channel))
        ]
        return json_response(encode({"channels": readable}))

    async def channel(self, channel: str) -> Response:
        """`GET /v1/channels/{channel}/messages`"""
        asked = parse_query(FeedParameters)
        return await self._answer(asked, self._named(channel, "channel"))

    async def all(self) -> Response:
        """`GET /v1/feed`"""
        asked = parse_query(AllFeedParameters)
        if asked.channels is not None:
            return await self._answer(asked, self._named(asked.channels, "channels"))
        allowed = principal().channels
        return await self._answer(asked, None if allowed is None else frozenset(map(int, allowed)))

    def _named(self, text: str, parameter: str) -> frozenset[int]:
        """The channels that a request names. Raises UnknownChannel also for those that exist for others alone."""
        who: Principal = principal()
        named = parse_channels(text, parameter)
        for channel in named:
            if not (who.may_read(str(channel)) and self._feed.serves(channel)):
                raise UnknownChannel(
                    f"there is no channel {channel}; GET /v1/channels lists those that there are"
                )
        return named

    async def _answer(self, asked: FeedParameters, channels: frozenset[int] | None) -> Response:
        query = FeedQuery(asked.limit, channels, _kinds(asked.kinds))
        # A stream's headers are all there would be, and it would hold the connection.
        streams = request.method != "HEAD" and event_stream.accepts(request.headers.get("Accept", ""))
        last = request.headers.get("Last-Event-ID") if streams else None
        try:
            after = await self._position(asked.after) if not last else decode(last, "Last-Event-ID")
            if streams:
                return await self._streamed(after, query)
            page = await self._awaited(after, query, asked.wait)
        except CursorExpired as error:
            return failure(410, str(error), members=_oldest(error))
        return json_response(
            b'{"events":['
            + b",".join([event.body for event in page.events])
            + b'],"next":"%s","more":%s}'
            % (token_of(page.next).encode(), b"true" if page.more else b"false"),
            headers={"X-Telewarden-Source": page.source},
        )

    async def _position(self, after: str) -> Position | None:
        if after == _BEGINNING:
            return None
        return await self._in_time(self._feed.now()) if after == _NOW else decode(after)

    async def _awaited(self, after: Position | None, query: FeedQuery, wait_s: float) -> FeedPage:
        """The next events; an empty page when the time is over, or the server stops."""
        stopping = stopping_of(current_app)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        facts = cast(dict[str, Any], request.scope)
        with ExitStack() as counted:
            while True:
                page = await self._in_time(self._feed.page(after, query))
                left_s = began_s + wait_s - loop.time()
                goes_on = page.more and page.next != after
                after = page.next
                if page.events or (left_s <= 0 and not goes_on):
                    return page
                if goes_on:
                    continue
                if WAITED not in facts:
                    counted.enter_context(long_polls_of(current_app).entered(principal()))
                waits_s = loop.time()
                with stopping.waiting(left_s) as scope:
                    await self._feed.grown(after, query)
                facts[WAITED] = facts.get(WAITED, 0.0) + loop.time() - waits_s
                if scope.cancelled_caught and stopping.begun:
                    return page

    async def _streamed(self, after: Position | None, query: FeedQuery) -> Response:
        query = FeedQuery(min(query.limit, _STREAM_AT_ONCE), query.channels, query.kinds)
        # Before the answer begins, so that what is wrong with the request is told as with any other.
        polls, who = long_polls_of(current_app), principal()
        polls.check(who)
        first = await self._in_time(self._feed.page(after, query))
        stream = _counted(
            self._stream(first, query, stopping_of(current_app), request.path, key_check()),
            polls.counted(who),
        )
        return sse.event_stream(stream)

    async def _stream(
        self,
        page: FeedPage,
        query: FeedQuery,
        stopping: Stopping,
        path: str,
        is_key_right: Callable[[], bool],
    ) -> AsyncGenerator[bytes, None]:
        """A page is read when the one before has been sent: nothing is kept for a client that is slow. Ends when the
        key is right no more."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + LONGEST_STREAM_S
        yield event_stream.RETRY
        before: Position | None = None
        while is_key_right():
            if page.events:
                yield event_stream.frames(page.events)
            if stopping.begun or loop.time() > ends_s:
                return
            quiet = False
            if not page.more or page.next == before:
                with stopping.waiting(event_stream.HEARTBEAT_S) as scope:
                    await self._feed.grown(page.next, query)
                quiet = scope.cancelled_caught
            before = page.next
            if quiet:
                yield event_stream.heartbeat(before)
            try:
                page = await self._in_time(self._feed.page(before, query))
            except CursorExpired as error:
                yield event_stream.gone(failure_body(path, 410, str(error), _oldest(error))[0])
                return
            except Unavailable:
                # It goes on when the database does; the client need not come back for that.
                with stopping.waiting(_STREAM_RETRY_S):
                    await asyncio.sleep(_STREAM_RETRY_S)
                page = FeedPage((), before, False, page.source)

    async def _in_time(self, answer: Awaitable[_T]) -> _T:
        return await in_time(answer, self._answer_timeout_s, "The stores did not answer in time; try again")


async def _counted(
    stream: AsyncGenerator[bytes, None], counted: AbstractContextManager[None]
) -> AsyncGenerator[bytes, None]:
    with counted:
        async with aclosing(stream):
            async for piece in stream:
                yield piece


def _kinds(text: str) -> frozenset[str]:
    kinds = frozenset(word.strip() for word in text.split(","))
    if not kinds <= frozenset(KINDS):
        raise BadRequest(f'"kinds" must be some of {", ".join(KINDS)}, divided by commas')
    return kinds


def _oldest(error: CursorExpired) -> dict[str, object]:
    return {"oldest": token_of(error.oldest)}
