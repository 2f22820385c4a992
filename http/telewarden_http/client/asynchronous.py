"""The client for programs of tasks, on asyncio and trio."""

import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import httpx
import msgspec

from telewarden_http.client import calls, transport
from telewarden_http.client.answers import (
    Channel,
    ConsumerInfo,
    DeadLetters,
    Delivery,
    Event,
    Kind,
    Marked,
    Message,
    Outcome,
)
from telewarden_http.client.asynchronous_consumer import AsyncDeliveries
from telewarden_http.client.calls import Call, T
from telewarden_http.client.consuming import consuming, retry_delay_s
from telewarden_http.client.cursors import CursorStore, as_store
from telewarden_http.client.errors import ClientError
from telewarden_http.client.following import Ask, Following, Keep, Pause, following
from telewarden_http.client.reading import read
from telewarden_http.client.retry import Retry

_log = logging.getLogger("telewarden_http.client")


class AsyncClient:
    """As `Client`, with the same methods and parameters, to be awaited."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 10.0,
        retry: Retry | None = None,
        http_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._retry = retry or Retry()
        base = transport.base_url(url)
        self._http = httpx.AsyncClient(
            base_url=base,
            headers=transport.headers(key),
            transport=http_transport,
            trust_env=transport.trusts_environment(base),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def channels(self) -> list[Channel]:
        """The channels that the key may read."""
        return await self._ask(calls.channels())

    async def now(self) -> str:
        """Where the feed ends at present, to be given to `feed` as `after`."""
        return (await self._ask(calls.now())).next

    def feed(
        self,
        *,
        channels: Sequence[str] | None = None,
        after: str = "beginning",
        kinds: Iterable[Kind | str] = tuple(Kind),
        limit: int = 100,
        wait_s: int = 25,
        until_caught_up: bool = False,
        cursor: CursorStore | str | os.PathLike[str] | None = None,
        skip_expired: bool = False,
    ) -> AsyncGenerator[Event, None]:
        """As `Client.feed`. To end it before its end: `async with contextlib.aclosing(client.feed())`."""
        store = as_store(cursor)
        place = following(
            store,
            after=after,
            channels=channels,
            kinds=kinds,
            limit=limit,
            wait_s=wait_s,
            until_caught_up=until_caught_up,
            skip_expired=skip_expired,
            retry=self._retry,
        )
        return self._follow(place, store)

    def consume(
        self,
        *,
        lease_s: int = 30,
        batch: int = 100,
        wait_s: int = 25,
        ack_within_s: float = 0.5,
        close_s: float = 10.0,
    ) -> AsyncDeliveries:
        """As `Client.consume`."""
        return AsyncDeliveries(
            self._ask,
            consuming(
                lease_s=lease_s,
                batch=batch,
                wait_s=wait_s,
                ack_within_s=ack_within_s,
                close_s=close_s,
                retry=self._retry,
            ),
        )

    async def run(
        self,
        handler: Callable[[Delivery], Awaitable[None]],
        *,
        concurrency: int = 1,
        lease_s: int = 30,
        batch: int = 100,
        wait_s: int = 25,
        ack_within_s: float = 0.5,
        close_s: float = 10.0,
    ) -> None:
        """Call the handler for each delivery, several at once, until cancelled.

        What it returned from is acknowledged. What it raised an exception for is logged and served again after 1, 2, 4
        … 300 seconds, by how often it was handed out, until the server makes a dead letter of it.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        async with (
            self.consume(
                lease_s=lease_s, batch=batch, wait_s=wait_s, ack_within_s=ack_within_s, close_s=close_s
            ) as deliveries,
            anyio.create_task_group() as workers,
        ):
            for number in range(concurrency):
                workers.start_soon(_work, handler, deliveries, name=f"telewarden handler {number}")

    async def lease(self, *, limit: int = 100, lease_s: int = 30, wait_s: int = 0) -> list[Delivery]:
        """As `Client.lease`."""
        return await self._ask(calls.messages(limit=limit, lease_s=lease_s, wait_s=wait_s))

    async def acknowledge(self, receipts: Sequence[str]) -> list[Outcome]:
        """The work on these is done; 1 to 1,000 receipts. Repeating it is fine."""
        return await self._ask(calls.acks(receipts))

    async def give_back(self, receipts: Sequence[str], delay_s: int = 0) -> list[Outcome]:
        """Serve these again, after so many seconds."""
        return await self._ask(calls.nacks(receipts, delay_s))

    async def consumer(self) -> ConsumerInfo:
        """This key's consumer, with its lag. Raises NotFound before it exists."""
        return await self._ask(calls.consumer())

    async def configure_consumer(
        self,
        *,
        channels: Sequence[str] | msgspec.UnsetType | None = msgspec.UNSET,
        kinds: Iterable[Kind | str] | None = None,
        max_deliveries: int | None = None,
        start: str | datetime | None = None,
    ) -> ConsumerInfo:
        """As `Client.configure_consumer`."""
        return await self._ask(
            calls.configure_consumer(
                channels=channels, kinds=kinds, max_deliveries=max_deliveries, start=start
            )
        )

    async def consumers(self) -> list[ConsumerInfo]:
        """All consumers; needs an admin key."""
        return await self._ask(calls.consumers())

    async def dead_letters(self, *, limit: int = 100, after: str | None = None) -> DeadLetters:
        """What was handed out too often, oldest first. after: `next` of the page before."""
        return await self._ask(calls.dead_letters(limit=limit, after=after))

    async def retry_dead_letters(self, receipts: Sequence[str] | None = None) -> int:
        """Serve these dead letters again, or all; gives how many there were."""
        return await self._ask(calls.retry_dead_letters(receipts))

    async def unprocessed(
        self,
        channel: str,
        *,
        statuses: Iterable[str] = ("received",),
        exclude_processed_by: str | None = None,
        limit: int = 100,
    ) -> list[Message]:
        """The old contract's poll, as `Client.unprocessed`."""
        return await self._ask(
            calls.unprocessed(
                channel, statuses=statuses, exclude_processed_by=exclude_processed_by, limit=limit
            )
        )

    async def mark_processed(
        self, message_ids: Iterable[str | int], *, processed_by: str, channel: str | None = None
    ) -> Marked:
        """The old contract's acknowledgement, as `Client.mark_processed`."""
        return await self._ask(calls.mark_processed(message_ids, processed_by=processed_by, channel=channel))

    async def seen(self, channel: str, message_ids: Iterable[str | int]) -> frozenset[str]:
        """Those of the Telegram message ids that were taken in."""
        return await self._ask(calls.seen(channel, message_ids))

    async def _follow(self, place: Following, store: CursorStore | None) -> AsyncGenerator[Event, None]:
        try:
            while (step := place.step(anyio.current_time())) is not None:
                match step:
                    case Ask():
                        try:
                            page = await self._ask(step.call)
                        except ClientError as error:
                            place.failed(error)
                            _log.log(place.log_level, "asking again later: %s", error)
                        else:
                            place.answered(page, anyio.current_time())
                    case Pause():
                        await anyio.sleep(step.seconds)
                    case Keep():
                        assert store is not None
                        await anyio.to_thread.run_sync(store.save, step.token)
                    case Event():
                        yield step
        finally:
            if store is not None and (token := place.unkept) is not None:
                store.save(token)

    async def _ask(self, call: Call[T]) -> T:
        timeout_s = self._timeout_s
        body = bytearray()
        try:
            with anyio.fail_after(call.wait_s + timeout_s):
                answer = await self._http.send(
                    transport.request(self._http, call, timeout_s), stream=True, follow_redirects=False
                )
                try:
                    async for piece in answer.aiter_bytes():
                        body += piece
                        transport.check_size(call, len(body))
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise transport.too_slow(call, timeout_s) from None
        except httpx.HTTPError as error:
            raise transport.meaning(error, call, timeout_s) from error
        return read(call, answer.status_code, answer.headers, bytes(body))


async def _work(handler: Callable[[Delivery], Awaitable[None]], deliveries: AsyncDeliveries) -> None:
    while (delivery := await deliveries.take()) is not None:
        try:
            await handler(delivery)
        except Exception:  # noqa: BLE001 -- whatever a handler raises, the others go on
            delay_s = retry_delay_s(delivery.deliveries)
            _log.exception(
                "message %s of %s failed, and is served again in %d s",
                delivery.message_id,
                delivery.channel,
                delay_s,
            )
            deliveries.give_back(delivery, delay_s)
        else:
            deliveries.acknowledge(delivery)
