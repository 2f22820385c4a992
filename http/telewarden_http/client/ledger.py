"""What a consumer holds, and what the server is still to be told of it; decided without I/O, clock or lock.

An event goes one way: received, taken, then done or given back; its receipt is kept until the server has confirmed it.
"""

import enum
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from telewarden_http.client import calls
from telewarden_http.client.answers import Delivery, Outcome
from telewarden_http.client.errors import AnswerUnusable, Transient
from telewarden_http.client.retry import Backoff

ACKS_MOST: Final = 100
"""Acknowledgements that wait to be sent together."""
UNCONFIRMED_MOST: Final = 1000
"""With so many not confirmed nothing more is handed out, until the server answers again."""
_CLOSING_WAIT_S: Final = 1.0
_RENEWALS: Final = 3
"""How often a lease is renewed in its length."""


class Duty(enum.Enum):
    """What the server is told."""

    ACKNOWLEDGE = "acknowledgement"
    GIVE_BACK = "giving back"
    RENEW = "renewal of leases"


@dataclass(frozen=True, slots=True)
class Chore:
    """One request that is due; its answer goes to `settled` or `failed`."""

    duty: Duty
    receipts: tuple[str, ...]
    call: calls.Call[list[Outcome]]
    begun_s: float


@dataclass(slots=True)
class _Held:
    delivery: Delivery
    ends_s: float
    renew_s: float
    taken: bool = False


@dataclass(frozen=True, slots=True)
class _Done:
    event_id: str
    at_s: float


class Ledger:
    """All times are seconds of one clock that never goes back.

    lease_s: of each lease. ack_within_s: how long an acknowledgement may wait for others.
    """

    def __init__(self, *, lease_s: int, ack_within_s: float, backoff: Backoff) -> None:
        self._lease_s = lease_s
        self._ack_within_s = ack_within_s
        self._backoff = backoff
        self._held: dict[str, _Held] = {}
        self._buffer: deque[str] = deque()
        self._acks: dict[str, _Done] = {}
        self._backs: dict[str, int] = {}
        self._not_before_s = -math.inf
        self._look_s = math.inf  # no lease is to be renewed earlier
        self._closing = False
        self._abandoned = False

    @property
    def is_full(self) -> bool:
        """Too much is done that the server does not know yet."""
        return len(self._acks) >= UNCONFIRMED_MOST

    @property
    def log_level(self) -> int:
        """As `Backoff.log_level`, of the last chore that failed."""
        return self._backoff.log_level

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """Receipts of work that is done and that the server has not confirmed."""
        return tuple(self._acks)

    @property
    def is_settled(self) -> bool:
        """There is nothing more that the server is to be told."""
        return self._abandoned or (not self._acks and not self._backs)

    def received(self, deliveries: Iterable[Delivery], now_s: float) -> None:
        """What a poll gave, just now."""
        at_work = {held.delivery.id: held for held in self._held.values()}
        done = {each.event_id: each for each in self._acks.values()}
        for delivery in deliveries:
            ends_s, renew_s = now_s + self._lease_s, now_s + self._lease_s / _RENEWALS
            self._look_s = min(self._look_s, renew_s)
            if (finished := done.get(delivery.id)) is not None:
                # Served again before the server knew that it is done: this receipt is acknowledged too.
                self._acks.setdefault(delivery.receipt, finished)
            elif (held := at_work.get(delivery.id)) is not None:
                # Served again while it is being worked on here: it goes on under the new lease.
                del self._held[held.delivery.receipt]
                if not held.taken:
                    self._buffer.append(delivery.receipt)
                held.delivery.receipt, held.delivery.leased_until = delivery.receipt, delivery.leased_until
                held.delivery.leased, held.ends_s, held.renew_s = True, ends_s, renew_s
                self._held[delivery.receipt] = held
            else:
                self._held[delivery.receipt] = _Held(delivery, ends_s, renew_s)
                self._buffer.append(delivery.receipt)

    def take(self, now_s: float) -> Delivery | None:
        """The next one to work on; None if another poll is needed. One whose lease ended unworked is left to others."""
        while self._buffer:
            held = self._held.get(self._buffer.popleft())
            if held is None:
                continue
            if held.ends_s <= now_s:
                self._lost(held)
                continue
            held.taken = True
            return held.delivery
        return None

    def holds(self, delivery: Delivery) -> bool:
        """It is neither done nor given back."""
        return delivery.receipt in self._held

    def done(self, delivery: Delivery, now_s: float) -> None:
        """The work on it is done. Of a lease that has ended too: the server counts it."""
        if self._held.pop(delivery.receipt, None) is not None:
            self._acks[delivery.receipt] = _Done(delivery.id, now_s)

    def back(self, delivery: Delivery, delay_s: int) -> None:
        """It is to be served again, after so many seconds."""
        if self._held.pop(delivery.receipt, None) is not None:
            self._backs[delivery.receipt] = delay_s

    def close(self) -> None:
        """Nothing more is worked on: what is held goes back, and what waits is due at once."""
        self._closing = True
        self._not_before_s = -math.inf
        for held in list(self._held.values()):
            self.back(held.delivery, 0)
        self._buffer.clear()

    def abandon(self) -> None:
        """The time for telling the server is over; leases that are left end by themselves."""
        self._abandoned = True

    def due(self, now_s: float) -> Chore | float:
        """The next request, or in how many seconds to ask for it; infinity if only something new can make one."""
        if now_s < self._not_before_s:
            return self._not_before_s - now_s
        if self._look_s <= now_s:
            expiring = self._expiring(now_s)
            if expiring:
                return self._chore(Duty.RENEW, expiring, now_s)
        if self._acks and self._is_time(now_s):
            return self._chore(Duty.ACKNOWLEDGE, self._acks, now_s)
        if self._backs:
            delay_s = next(iter(self._backs.values()))
            same = [receipt for receipt, delay in self._backs.items() if delay == delay_s]
            return self._chore(Duty.GIVE_BACK, same, now_s, delay_s)
        due_s = self._look_s
        if self._acks:
            due_s = min(due_s, next(iter(self._acks.values())).at_s + self._ack_within_s)
        return due_s - now_s

    def settled(self, chore: Chore, outcomes: Sequence[Outcome], now_s: float) -> list[Outcome]:
        """The server's answer. Gives the outcomes that somebody should hear of: receipts that it does not know, and
        leases that have ended."""
        told = []
        results = {outcome.receipt: outcome for outcome in outcomes}
        missing = len(set(chore.receipts) - results.keys())
        if missing:
            self.failed(AnswerUnusable(f"{chore.call.path}: {missing} receipts were not answered"), now_s)
        else:
            self._backoff.succeeded()
        for receipt in chore.receipts:
            outcome = results.get(receipt)
            if outcome is None:
                continue  # it stays, and is sent again
            match chore.duty:
                case Duty.ACKNOWLEDGE:
                    self._acks.pop(receipt, None)
                case Duty.GIVE_BACK:
                    self._backs.pop(receipt, None)
                case Duty.RENEW:
                    self._renewed(receipt, outcome, chore.begun_s)
            if outcome.result in ("expired", "unknown"):
                told.append(outcome)
        return told

    def failed(self, error: Transient, now_s: float) -> None:
        """A chore was not answered. It is due again after a while; a renewal waits no longer than a fraction of a
        lease, unless the server asks for more."""
        wait_s = self._backoff.failed(error)
        if error.retry_after_s is None:
            wait_s = min(wait_s, _CLOSING_WAIT_S if self._closing else self._lease_s / (2 * _RENEWALS))
        self._not_before_s = now_s + wait_s

    def _expiring(self, now_s: float) -> list[str]:
        """Receipts whose leases are to be renewed; and when to look again, if there are none."""
        found = []
        for receipt, held in self._held.items():
            if held.ends_s <= now_s:
                held.delivery.leased = False
            if held.renew_s <= now_s:
                found.append(receipt)
        if not found:
            self._look_s = min((held.renew_s for held in self._held.values()), default=math.inf)
        return found

    def _is_time(self, now_s: float) -> bool:
        oldest_s = next(iter(self._acks.values())).at_s
        return (
            self._closing
            or not self._buffer
            or len(self._acks) >= ACKS_MOST
            or oldest_s + self._ack_within_s <= now_s
        )

    def _renewed(self, receipt: str, outcome: Outcome, begun_s: float) -> None:
        held = self._held.get(receipt)
        if held is None:
            return
        if outcome.result != "extended":
            self._lost(held)
            return
        held.ends_s = begun_s + self._lease_s
        held.renew_s = begun_s + self._lease_s / _RENEWALS
        held.delivery.leased = True
        if outcome.leased_until is not None:
            held.delivery.leased_until = outcome.leased_until

    def _lost(self, held: _Held) -> None:
        held.delivery.leased = False
        held.renew_s = math.inf
        if not held.taken:
            # Not begun: whoever has it now does it. It is forgotten here.
            del self._held[held.delivery.receipt]

    def _chore(self, duty: Duty, receipts: Iterable[str], now_s: float, delay_s: int = 0) -> Chore:
        some = tuple(receipts)[: calls.RECEIPTS_MOST]
        match duty:
            case Duty.ACKNOWLEDGE:
                call = calls.acks(some)
            case Duty.GIVE_BACK:
                call = calls.nacks(some, delay_s)
            case Duty.RENEW:
                call = calls.leases(some, self._lease_s)
        return Chore(duty, some, call, now_s)
