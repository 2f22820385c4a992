"""The consumers' routes: messages with leases, acknowledgements, dead letters, and the consumer itself."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, cast

import anyio
import msgspec
from msgspec import UNSET
from quart import Response, current_app, request
from werkzeug.exceptions import MethodNotAllowed

from telewarden_http.auth import Principal, Scope
from telewarden_http.boundary import WAITED
from telewarden_http.errors import ApiError, BadRequest
from telewarden_http.protocols import RequestRefused, Unavailable, UnknownChannel
from telewarden_http.responses import json_response
from telewarden_http.routing import Operation, Route, principal
from telewarden_http.stopping import Stopping, stopping_of
from telewarden_http.v1 import receipts, token
from telewarden_http.v1.consumers_protocols import (
    ConsumerChange,
    ConsumerState,
    ConsumerStore,
    Delivery,
    Leased,
    Outcome,
    Settled,
    Start,
    Wakes,
)
from telewarden_http.v1.consumers_shapes import (
    ConsumerSettings,
    DeadLetter,
    DeadLetters,
    DeadLettersQuery,
    LeasedMessage,
    LeasedMessages,
    Leases,
    MessagesQuery,
    Nacks,
    Receipts,
    Result,
    Results,
    Retried,
    Retry,
)
from telewarden_http.v1.long_polls import long_polls_of
from telewarden_http.v1.requests import parse_body, parse_query
from telewarden_http.v1.token import Position

RECHECK_S = 2.0
"""How long a long poll relies on being woken, in seconds; what another process gives back wakes nobody here."""
_DUE_S = 0.05
"""The least that a long poll waits for what is due but was locked."""
_LOOK_S = 5.0
"""How long a request goes on looking through events of which this key may read none, in seconds."""


class ConsumerMissing(ApiError):
    """The consumer is not there yet (404)."""

    status = 404


class ConsumerRoutes:
    """The handlers. The consumer is the one that the request's key names. answer_timeout_s: for the store."""

    def __init__(self, store: ConsumerStore, wakes: Wakes, *, answer_timeout_s: float = 30.0) -> None:
        self._store, self._wakes = store, wakes
        self._answer_timeout_s = answer_timeout_s

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return (
            Route(
                "GET",
                "/v1/messages",
                self.messages,
                Scope.ACK,
                Operation(
                    "Get messages, each leased to you",
                    "What was handed out before and is due again, then what is new, oldest first. The first call "
                    "makes the consumer, which starts at that moment.",
                    query=MessagesQuery,
                    answers={200: LeasedMessages},
                ),
            ),
            Route(
                "POST",
                "/v1/acks",
                self.acks,
                Scope.ACK,
                Operation(
                    "Acknowledge messages",
                    "They are not served to this consumer again, also where the lease is over. Harmless to repeat.",
                    body=Receipts,
                    answers={200: Results},
                ),
            ),
            Route(
                "POST",
                "/v1/nacks",
                self.nacks,
                Scope.ACK,
                Operation("Have messages served again", body=Nacks, answers={200: Results}),
            ),
            Route(
                "POST",
                "/v1/leases",
                self.leases,
                Scope.ACK,
                Operation("Extend leases", body=Leases, answers={200: Results}),
            ),
            Route(
                "GET",
                "/v1/consumer",
                self.consumer,
                Scope.READ,
                Operation(
                    "How your consumer stands",
                    answers={200: ConsumerState, 404: "There is no such consumer yet."},
                ),
            ),
            Route(
                "PUT",
                "/v1/consumer",
                self.configure,
                Scope.ACK,
                Operation(
                    "Make or change your consumer",
                    "Members that are left out keep their value. What is in flight stays in flight.",
                    body=ConsumerSettings,
                    answers={
                        200: ConsumerState,
                        201: ConsumerState,
                        404: "There is no such channel for this key.",
                    },
                ),
            ),
            Route(
                "GET",
                "/v1/dead-letters",
                self.dead_letters,
                Scope.READ,
                Operation(
                    "Messages that were delivered too often",
                    query=DeadLettersQuery,
                    answers={200: DeadLetters},
                ),
            ),
            Route(
                "POST",
                "/v1/dead-letters/retry",
                self.retry,
                Scope.ACK,
                Operation("Serve dead letters again", body=Retry, answers={200: Retried}),
            ),
        )

    async def messages(self) -> Response:
        """`GET /v1/messages`"""
        if request.method == "HEAD":
            # It would lease messages that nobody gets to see.
            raise MethodNotAllowed(["GET"])
        query = parse_query(MessagesQuery)
        who, stopping = principal(), stopping_of(current_app)
        started, seen = anyio.current_time(), token.BEGINNING
        facts = cast(dict[str, Any], request.scope)
        with ExitStack() as counted:
            while True:
                leased = await self._lease(who, query)
                waited_s = anyio.current_time() - started
                if leased.deliveries or not (
                    waited_s < _LOOK_S if leased.more else waited_s < query.wait and not stopping.begun
                ):
                    break
                if not leased.more:
                    if WAITED not in facts:
                        counted.enter_context(long_polls_of(current_app).entered(who))
                    waits_s = anyio.current_time()
                    seen = await self._news(leased, seen, query.wait - waited_s, stopping)
                    facts[WAITED] = facts.get(WAITED, 0.0) + anyio.current_time() - waits_s
                    if stopping.begun:
                        leased = _NOTHING
                        break
        return _answer(
            LeasedMessages(
                [
                    LeasedMessage(**_event(each, who.consumer), leased_until=each.until)
                    for each in leased.deliveries
                ]
            )
        )

    async def _news(self, leased: Leased, seen: Position, most_s: float, stopping: Stopping) -> Position:
        """Until there may be something to hand out, or it is time to answer. Gives the position up to which whoever
        looks then has seen everything."""
        pause_s = min(most_s, RECHECK_S)
        if leased.again_in_s is not None:
            pause_s = min(pause_s, max(leased.again_in_s, _DUE_S))
        # An event in memory that the database does not hand out, for whatever reason, wakes once.
        after = max(leased.position, seen)
        with stopping.waiting(pause_s) as wait:
            reached = await self._wakes.wait(after, leased.channels, leased.kinds)
        return after if wait.cancelled_caught else reached

    async def _lease(self, who: Principal, query: MessagesQuery) -> Leased:
        """Hand something out. It is not cut off half-way: where the client goes away meanwhile, what it would have got
        is given back at once."""
        found: list[Leased] = []

        async def lease() -> None:
            found.append(
                await self._store.lease(who.consumer, who.channels, limit=query.limit, lease_s=query.lease)
            )

        try:
            await self._to_the_end(lease)
        except anyio.get_cancelled_exc_class():
            if found and found[0].deliveries:
                given = [each.receipt for each in found[0].deliveries]
                await self._to_the_end(lambda: self._store.give_back(who.consumer, given))
            raise
        return found[0]

    async def _to_the_end(self, call: Callable[[], Awaitable[None]]) -> None:
        """Await a call, bounded in time, also while this task is being cancelled. Raises RequestRefused."""
        refused: list[RequestRefused] = []

        async def shielded() -> None:
            with anyio.move_on_after(self._answer_timeout_s, shield=True):
                try:
                    await call()
                except RequestRefused as error:
                    refused.append(error)
                return
            refused.append(Unavailable("The consumer's turn did not come in time; try again"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shielded)
        if refused:
            raise refused[0]

    async def acks(self) -> Response:
        """`POST /v1/acks`"""
        asked, who = await parse_body(Receipts), principal()
        return await self._settled(
            who, asked.receipts, lambda given: self._store.acknowledge(who.consumer, given)
        )

    async def nacks(self) -> Response:
        """`POST /v1/nacks`"""
        asked, who = await parse_body(Nacks), principal()
        return await self._settled(
            who, asked.receipts, lambda given: self._store.return_(who.consumer, given, asked.delay)
        )

    async def leases(self) -> Response:
        """`POST /v1/leases`"""
        asked, who = await parse_body(Leases), principal()
        return await self._settled(
            who, asked.receipts, lambda given: self._store.extend(who.consumer, given, asked.lease)
        )

    async def _settled(
        self,
        who: Principal,
        texts: Sequence[str],
        settle: Callable[[Sequence[receipts.Receipt]], Awaitable[Sequence[Settled]]],
    ) -> Response:
        """A result for each receipt; those that cannot be read are unknown."""
        read = {text: receipts.decode(text, who.consumer) for text in texts}
        given = [receipt for receipt in read.values() if receipt is not None]
        outcomes = dict(zip(given, await settle(given), strict=True)) if given else {}
        results = []
        for text in texts:
            receipt = read[text]
            settled = _UNREADABLE if receipt is None else outcomes[receipt]
            results.append(Result(text, settled.outcome, settled.until))
        return _answer(Results(results))

    async def consumer(self) -> Response:
        """`GET /v1/consumer`"""
        return _answer(await self._state(principal()))

    async def _state(self, who: Principal) -> ConsumerState:
        state = await self._store.state(who.consumer, who.channels)
        if state is None:
            raise ConsumerMissing(
                f'The consumer "{who.consumer}" is not there yet; GET /v1/messages or PUT /v1/consumer makes it'
            )
        return state

    async def configure(self) -> Response:
        """`PUT /v1/consumer`"""
        change, who = _change(await parse_body(ConsumerSettings)), principal()
        is_new = await self._store.configure(who.consumer, who.channels, change)
        return _answer(await self._state(who), 201 if is_new else 200)

    async def dead_letters(self) -> Response:
        """`GET /v1/dead-letters`"""
        query, who = parse_query(DeadLettersQuery), principal()
        after = token.BEGINNING if query.after is None else token.decode(query.after)
        found, following = await self._store.dead_letters(
            who.consumer, who.channels, after=after, limit=query.limit
        )
        return _answer(
            DeadLetters(
                [DeadLetter(**_event(each, who.consumer), dead_at=each.until) for each in found],
                None if following is None else token.encode(following),
            )
        )

    async def retry(self) -> Response:
        """`POST /v1/dead-letters/retry`"""
        asked, who = await parse_body(Retry), principal()
        given = None
        if asked.receipts is not None:
            read = [receipts.decode(text, who.consumer) for text in asked.receipts]
            given = [receipt for receipt in read if receipt is not None]
        retried = 0 if given == [] else await self._store.revive(who.consumer, who.channels, given)
        return _answer(Retried(retried))


_UNREADABLE = Settled(Outcome.UNKNOWN)
_NOTHING = Leased((), token.BEGINNING, None, (), None, more=False)


def _answer(value: object, status: int = 200) -> Response:
    return json_response(msgspec.json.encode(value), status)


def _event(delivery: Delivery, consumer: str) -> dict[str, Any]:
    return {
        "id": token.encode(delivery.receipt.position),
        "kind": delivery.kind,
        "channel": delivery.channel,
        "message_id": str(delivery.message_id),
        "at": delivery.at,
        "message": msgspec.Raw(delivery.body),
        "receipt": receipts.encode(delivery.receipt, consumer),
        "deliveries": delivery.receipt.deliveries,
    }


def _change(asked: ConsumerSettings) -> ConsumerChange:
    channels = None if asked.channels is UNSET else asked.channels
    if channels is not None and any(not -(2**63) <= int(channel) < 2**63 for channel in channels):
        raise UnknownChannel("a channel's id is a 64-bit integer; there is none beyond that")
    return ConsumerChange(
        sets_channels=asked.channels is not UNSET,
        # As they are compared: a line break at the end passes the pattern.
        channels=None if channels is None else [str(int(channel)) for channel in channels],
        kinds=None if asked.kinds is UNSET else list(dict.fromkeys(asked.kinds)),
        max_deliveries=None if asked.max_deliveries is UNSET else asked.max_deliveries,
        start=None if asked.start is UNSET else _start(asked.start),
    )


def _start(word: str) -> Start | datetime:
    if word in tuple(Start):
        return Start(word)
    try:
        moment = msgspec.convert(word, datetime)
    except msgspec.ValidationError:
        raise BadRequest(
            f'"start" must be "now", "beginning" or a time such as 2025-03-01T12:00:00Z, not "{word}"'
        ) from None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        # A zone's hours beyond the first or the last year.
        return moment.replace(tzinfo=UTC)
