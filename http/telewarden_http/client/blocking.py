"""The client for programs that wait."""

import logging
import os
import time
from collections.abc import Generator, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

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
from telewarden_http.client.blocking_consumer import Deliveries
from telewarden_http.client.calls import Call, T
from telewarden_http.client.consuming import consuming
from telewarden_http.client.cursors import CursorStore, as_store
from telewarden_http.client.errors import ClientError
from telewarden_http.client.following import Ask, Following, Keep, Pause, following
from telewarden_http.client.reading import read
from telewarden_http.client.retry import Retry

_log = logging.getLogger("telewarden_http.client")


class Client:
    """Connections to the API; a context manager. Several threads may use one.

    url: of the server ("http://127.0.0.1:4010"). key: of a consumer or an administrator. timeout_s: for connecting, and
    for a whole answer, beyond what a long poll waits. retry: how `feed` and `consume` wait when something fails; all
    other methods raise at once. http_transport: of httpx, for those who need another one.
    All methods raise ClientError.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 10.0,
        retry: Retry | None = None,
        http_transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._retry = retry or Retry()
        base = transport.base_url(url)
        self._http = httpx.Client(
            base_url=base,
            headers=transport.headers(key),
            transport=http_transport,
            trust_env=transport.trusts_environment(base),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def channels(self) -> list[Channel]:
        """The channels that the key may read."""
        return self._ask(calls.channels())

    def now(self) -> str:
        """Where the feed ends at present, to be given to `feed` as `after`."""
        return self._ask(calls.now()).next

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
    ) -> Generator[Event, None, None]:
        """All events, in order, for ever: each once, across errors and restarts, which are waited out.

        channels: only these. after: an event's id, "now" or "beginning". kinds: only these. limit: events a request.
        wait_s: of a long poll (1 to 60). until_caught_up: end where there is nothing more at present.
        cursor: a file, or a store, that keeps the place; what it holds wins over `after`. It is written behind the
        work: after a crash some events come again (at most a page, or those of a second), and none is left out.
        skip_expired: where the place is older than what is kept, go on at the oldest, instead of raising CursorExpired.

        Raises ClientError if asking again would not help; close it, or leave the loop, to stop.
        """
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
    ) -> Deliveries:
        """What waits for this key's consumer, leased, at least once: `with client.consume() as deliveries: for …`.

        lease_s: how long an event is kept from others after a crash here (1 to 3600); renewed while it is worked on.
        batch: how many are fetched at once (1 to 1000). wait_s: of a long poll (1 to 60). ack_within_s: how long an
        acknowledgement waits for others, to be sent with them. close_s: how long the end may take to send what is left;
        then AcknowledgementsNotSent is raised. Consumers of several processes share the work by the same key.
        """
        return Deliveries(
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

    def lease(self, *, limit: int = 100, lease_s: int = 30, wait_s: int = 0) -> list[Delivery]:
        """Events leased to this consumer, oldest first. The caller renews the leases and acknowledges, which `consume`
        does by itself. wait_s: how long to wait for some (0 to 60)."""
        return self._ask(calls.messages(limit=limit, lease_s=lease_s, wait_s=wait_s))

    def acknowledge(self, receipts: Sequence[str]) -> list[Outcome]:
        """The work on these is done; 1 to 1,000 receipts. Repeating it is fine."""
        return self._ask(calls.acks(receipts))

    def give_back(self, receipts: Sequence[str], delay_s: int = 0) -> list[Outcome]:
        """Serve these again, after so many seconds."""
        return self._ask(calls.nacks(receipts, delay_s))

    def consumer(self) -> ConsumerInfo:
        """This key's consumer, with its lag. Raises NotFound before it exists."""
        return self._ask(calls.consumer())

    def configure_consumer(
        self,
        *,
        channels: Sequence[str] | msgspec.UnsetType | None = msgspec.UNSET,
        kinds: Iterable[Kind | str] | None = None,
        max_deliveries: int | None = None,
        start: str | datetime | None = None,
    ) -> ConsumerInfo:
        """Make this key's consumer, or change it; what is left out keeps its value.

        channels: ids, or None for all. max_deliveries: before an event becomes a dead letter (1 to 1000; 10).
        start: "now", "beginning" or a time; moves one that exists.
        """
        return self._ask(
            calls.configure_consumer(
                channels=channels, kinds=kinds, max_deliveries=max_deliveries, start=start
            )
        )

    def consumers(self) -> list[ConsumerInfo]:
        """All consumers; needs an admin key."""
        return self._ask(calls.consumers())

    def dead_letters(self, *, limit: int = 100, after: str | None = None) -> DeadLetters:
        """What was handed out too often, oldest first. after: `next` of the page before."""
        return self._ask(calls.dead_letters(limit=limit, after=after))

    def retry_dead_letters(self, receipts: Sequence[str] | None = None) -> int:
        """Serve these dead letters again, or all; gives how many there were."""
        return self._ask(calls.retry_dead_letters(receipts))

    def unprocessed(
        self,
        channel: str,
        *,
        statuses: Iterable[str] = ("received",),
        exclude_processed_by: str | None = None,
        limit: int = 100,
    ) -> list[Message]:
        """The old contract's poll: what waits in a channel, oldest first, at most so many (1 to 10,000)."""
        return self._ask(
            calls.unprocessed(
                channel, statuses=statuses, exclude_processed_by=exclude_processed_by, limit=limit
            )
        )

    def mark_processed(
        self, message_ids: Iterable[str | int], *, processed_by: str, channel: str | None = None
    ) -> Marked:
        """The old contract's acknowledgement, by Telegram message ids. Without a channel an id that waits in several is
        refused (status 409), and nothing is changed."""
        return self._ask(calls.mark_processed(message_ids, processed_by=processed_by, channel=channel))

    def seen(self, channel: str, message_ids: Iterable[str | int]) -> frozenset[str]:
        """Those of the Telegram message ids that were taken in."""
        return self._ask(calls.seen(channel, message_ids))

    def _follow(self, place: Following, store: CursorStore | None) -> Generator[Event, None, None]:
        try:
            while (step := place.step(time.monotonic())) is not None:
                match step:
                    case Ask():
                        try:
                            page = self._ask(step.call)
                        except ClientError as error:
                            place.failed(error)
                            _log.log(place.log_level, "asking again later: %s", error)
                        else:
                            place.answered(page, time.monotonic())
                    case Pause():
                        time.sleep(step.seconds)
                    case Keep():
                        assert store is not None
                        store.save(step.token)
                    case Event():
                        yield step
        finally:
            if store is not None and (token := place.unkept) is not None:
                store.save(token)

    def _ask(self, call: Call[T]) -> T:
        timeout_s = self._timeout_s
        by_s = time.monotonic() + call.wait_s + timeout_s
        body = bytearray()
        try:
            answer = self._http.send(
                transport.request(self._http, call, timeout_s), stream=True, follow_redirects=False
            )
            try:
                for piece in answer.iter_bytes():
                    body += piece
                    transport.check_size(call, len(body))
                    if time.monotonic() > by_s:
                        raise transport.too_slow(call, timeout_s)
            finally:
                answer.close()
        except httpx.HTTPError as error:
            raise transport.meaning(error, call, timeout_s) from error
        return read(call, answer.status_code, answer.headers, bytes(body))
