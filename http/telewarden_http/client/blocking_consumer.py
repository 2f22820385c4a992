"""Consuming with a thread that waits: leases are renewed and acknowledgements sent by a second one."""

import logging
import math
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from telewarden_http.client.answers import Delivery
from telewarden_http.client.calls import Call, T
from telewarden_http.client.consuming import Consuming, not_sent, tell
from telewarden_http.client.errors import Transient
from telewarden_http.client.following import empty_pause_s
from telewarden_http.client.ledger import Chore

_log = logging.getLogger("telewarden_http.client")


class Asks(Protocol):
    """Makes a request and gives its answer. Raises ClientError."""

    def __call__(self, call: Call[T]) -> T:
        """Blocks until it is there."""
        ...


class Deliveries:
    """What a consumer gets, in order; to be used as `with client.consume() as deliveries: for delivery in …`.

    When the loop comes back for the next one, the work on the last one is done, and it is acknowledged. An exception
    that leaves the `with` gives it back, to be served again at once. So does leaving the loop (break): who has done the
    work first calls `acknowledge`. Nothing is lost this way; what was done just before a crash may be served again.
    """

    def __init__(self, ask: Asks, consuming: Consuming) -> None:
        self._ask = ask
        self._consuming = consuming
        self._ledger = consuming.ledger  # used under the lock of _changed
        self._changed = threading.Condition()
        self._in_hand: Delivery | None = None
        self._keeper: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._stopped = False
        self._closing = False

    def __enter__(self) -> Self:
        self._keeper = threading.Thread(target=self._keep, name="telewarden-leases", daemon=True)
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._keeper is not None
        with self._changed:
            self._stopped = self._closing = True
            self._ledger.close()
            self._changed.notify_all()
        # A request that hangs is not waited for: the thread ends with it.
        self._keeper.join(self._consuming.close_s)
        with self._changed:
            self._ledger.abandon()
            left = not_sent(self._ledger)
        if left is not None and error is not None:
            error.add_note(str(left))
        elif left is not None:
            raise left from self._failure

    def __iter__(self) -> Iterator[Delivery]:
        if self._keeper is None:
            raise RuntimeError("use it as: with client.consume() as deliveries")
        return self

    def __next__(self) -> Delivery:
        with self._changed:
            if self._in_hand is not None:
                self._ledger.done(self._in_hand, time.monotonic())
                self._in_hand = None
                self._changed.notify_all()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._failure or not self._ledger.is_full)
                if self._failure is not None:
                    raise self._failure
                if self._stopped:
                    raise StopIteration
                self._in_hand = self._ledger.take(time.monotonic())
                if self._in_hand is not None:
                    return self._in_hand
            self._poll()

    def acknowledge(self, delivery: Delivery) -> None:
        """The work on it is done, before the loop comes back."""
        with self._changed:
            self._ledger.done(delivery, time.monotonic())
            self._changed.notify_all()

    def give_back(self, delivery: Delivery, delay_s: int = 0) -> None:
        """It is not to be acknowledged, but served again after so many seconds (0 to 86,400)."""
        with self._changed:
            self._ledger.back(delivery, delay_s)
            self._changed.notify_all()

    def stop(self) -> None:
        """End the loop when it comes back next; from any thread. A long poll is waited for."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _poll(self) -> None:
        consuming, asked_s = self._consuming, time.monotonic()
        try:
            found = self._ask(consuming.poll)
        except Transient as error:
            pause_s = consuming.backoff.failed(error)
            _log.log(consuming.backoff.log_level, "polling again later: %s", error)
            self._rest(pause_s)
            return
        consuming.backoff.succeeded()
        with self._changed:
            now_s = time.monotonic()
            self._ledger.received(found, now_s)
            self._changed.notify_all()
        if not found and (pause := empty_pause_s(consuming.wait_s, now_s - asked_s)):
            self._rest(pause)

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._failure, seconds)

    def _keep(self) -> None:
        """The other thread: whatever is due, until everything is settled and the `with` is left."""
        try:
            while (chore := self._next_chore()) is not None:
                try:
                    outcomes = self._ask(chore.call)
                except Transient as error:
                    with self._changed:
                        self._ledger.failed(error, time.monotonic())
                        level = self._ledger.log_level
                    _log.log(level, "%s: trying again later: %s", chore.duty.value, error)
                    continue
                with self._changed:
                    told = self._ledger.settled(chore, outcomes, time.monotonic())
                    self._changed.notify_all()
                tell(chore, told)
        except BaseException as error:  # noqa: BLE001 -- it is raised where the deliveries are used
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _next_chore(self) -> Chore | None:
        with self._changed:
            while not (self._closing and self._ledger.is_settled):
                due = self._ledger.due(time.monotonic())
                if isinstance(due, Chore):
                    return due
                self._changed.wait(None if due == math.inf else max(0.0, due))
        return None
