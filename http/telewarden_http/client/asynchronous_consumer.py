"""Consuming with tasks: leases are renewed and acknowledgements sent by a task of its own; on asyncio and trio."""

import logging
import math
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol, Self

import anyio
from anyio.abc import TaskGroup

from telewarden_http.client.answers import Delivery
from telewarden_http.client.calls import Call, T
from telewarden_http.client.consuming import Consuming, not_sent, tell
from telewarden_http.client.errors import ClientError, Transient
from telewarden_http.client.following import empty_pause_s
from telewarden_http.client.ledger import Chore

_log = logging.getLogger("telewarden_http.client")


class AsksAsync(Protocol):
    """Makes a request and gives its answer. Raises ClientError."""

    async def __call__(self, call: Call[T]) -> T:
        """When it is there."""
        ...


class AsyncDeliveries:
    """What a consumer gets; to be used as `async with client.consume() as deliveries: async for delivery in …`.

    As `Deliveries`: acknowledged when the loop comes back, given back by an exception, a cancellation or a break.
    Several tasks may share one with `take`, `acknowledge` and `give_back`.
    """

    def __init__(self, ask: AsksAsync, consuming: Consuming) -> None:
        self._ask = ask
        self._consuming = consuming
        self._ledger = consuming.ledger
        self._changed = anyio.Event()
        self._polling = anyio.Lock()
        self._in_hand: Delivery | None = None
        self._tasks: TaskGroup | None = None
        self._failure: ClientError | None = None
        self._stopped = False

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._keep, name="telewarden leases")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._stopped = True
        try:
            # Not given the error, so that one of the caller's does not come out inside a group.
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._ledger.close()
            with anyio.move_on_after(self._consuming.close_s, shield=True):
                await self._settle()
            self._ledger.abandon()
            left = not_sent(self._ledger)
            if left is not None and error is not None:
                error.add_note(str(left))
        if left is not None and error is None:
            raise left from self._failure

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        if self._in_hand is not None:
            self.acknowledge(self._in_hand)
            self._in_hand = None
        self._in_hand = await self.take()
        if self._in_hand is None:
            raise StopAsyncIteration
        return self._in_hand

    async def take(self) -> Delivery | None:
        """The next one to work on; None after `stop`. The caller acknowledges it or gives it back."""
        if self._tasks is None:
            raise RuntimeError("use it as: async with client.consume() as deliveries")
        async with self._polling:
            while True:
                while self._ledger.is_full and not self._stopped and self._failure is None:
                    await self._changed.wait()
                if self._failure is not None:
                    raise self._failure
                if self._stopped:
                    return None
                if (delivery := self._ledger.take(anyio.current_time())) is not None:
                    return delivery
                await self._poll()

    def acknowledge(self, delivery: Delivery) -> None:
        """The work on it is done."""
        self._ledger.done(delivery, anyio.current_time())
        self._tell()

    def give_back(self, delivery: Delivery, delay_s: int = 0) -> None:
        """It is not to be acknowledged, but served again after so many seconds (0 to 86,400)."""
        self._ledger.back(delivery, delay_s)
        self._tell()

    def stop(self) -> None:
        """End the loop when it comes back next. A long poll is waited for; cancel the scope to end at once."""
        self._stopped = True
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _poll(self) -> None:
        consuming, asked_s = self._consuming, anyio.current_time()
        try:
            found = await self._ask(consuming.poll)
        except Transient as error:
            pause_s = consuming.backoff.failed(error)
            _log.log(consuming.backoff.log_level, "polling again later: %s", error)
            await self._rest(pause_s)
            return
        consuming.backoff.succeeded()
        now_s = anyio.current_time()
        self._ledger.received(found, now_s)
        self._tell()
        if not found and (pause := empty_pause_s(consuming.wait_s, now_s - asked_s)):
            await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            while not self._stopped and self._failure is None:
                await self._changed.wait()

    async def _keep(self) -> None:
        """The other task: whatever is due, for as long as the deliveries are used."""
        try:
            while True:
                due = self._ledger.due(anyio.current_time())
                if isinstance(due, Chore):
                    await self._do(due)
                    continue
                with anyio.move_on_after(due):
                    await self._changed.wait()
        except ClientError as error:
            self._failure = error
            self._tell()

    async def _settle(self) -> None:
        """What is left to tell the server, at the end."""
        try:
            while not self._ledger.is_settled:
                due = self._ledger.due(anyio.current_time())
                if isinstance(due, Chore):
                    await self._do(due)
                elif due < math.inf:
                    await anyio.sleep(due)
        except ClientError as error:
            self._failure = error

    async def _do(self, chore: Chore) -> None:
        try:
            outcomes = await self._ask(chore.call)
        except Transient as error:
            self._ledger.failed(error, anyio.current_time())
            _log.log(self._ledger.log_level, "%s: trying again later: %s", chore.duty.value, error)
            return
        told = self._ledger.settled(chore, outcomes, anyio.current_time())
        self._tell()
        tell(chore, told)
