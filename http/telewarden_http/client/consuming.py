"""What the two ways of consuming share."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from telewarden_http.client import calls
from telewarden_http.client.answers import Delivery, Outcome
from telewarden_http.client.errors import AcknowledgementsNotSent
from telewarden_http.client.ledger import Chore, Duty, Ledger
from telewarden_http.client.retry import Backoff, Retry

_log = logging.getLogger("telewarden_http.client")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Consuming:
    """One consumption. poll: its request. backoff: of failed polls. close_s: how long the end may take to tell the
    server what is done."""

    poll: calls.Call[list[Delivery]]
    wait_s: int
    close_s: float
    backoff: Backoff
    ledger: Ledger


def consuming(
    *, lease_s: int, batch: int, wait_s: int, ack_within_s: float, close_s: float, retry: Retry
) -> Consuming:
    """With bounds checked. Raises ValueError."""
    for name, value, least, most in (
        ("lease_s", lease_s, 1, 3600),
        ("batch", batch, 1, 1000),
        ("wait_s", wait_s, 1, 60),
    ):
        if not least <= value <= most:
            raise ValueError(f"{name} must be from {least} to {most}, not {value}")
    if not 0 <= ack_within_s <= lease_s / 2:
        raise ValueError(f"ack_within_s must be from 0 to half a lease ({lease_s / 2:g}), not {ack_within_s}")
    return Consuming(
        poll=calls.messages(limit=batch, lease_s=lease_s, wait_s=wait_s),
        wait_s=wait_s,
        close_s=close_s,
        backoff=Backoff(retry),
        ledger=Ledger(lease_s=lease_s, ack_within_s=ack_within_s, backoff=Backoff(retry)),
    )


def not_sent(ledger: Ledger) -> AcknowledgementsNotSent | None:
    """The error that tells what is done and could not be said."""
    left = ledger.unconfirmed
    if not left:
        return None
    return AcknowledgementsNotSent(
        f"{len(left)} acknowledgements were not confirmed by the server; what they are of will be served again",
        left,
    )


def tell(chore: Chore, outcomes: Iterable[Outcome]) -> None:
    """Log what was not as it should be."""
    ended = [outcome.receipt for outcome in outcomes]
    if not ended:
        return
    shown = ", ".join(ended[:_SHOWN]) + (" …" if len(ended) > _SHOWN else "")
    if chore.duty is Duty.RENEW:
        _log.warning("%d leases have ended, and the work may be done twice: %s", len(ended), shown)
    elif chore.duty is Duty.ACKNOWLEDGE:
        _log.warning(
            "%d acknowledgements are of receipts that the server does not know: %s", len(ended), shown
        )
    else:
        _log.info(
            "%d events could not be given back; others have them, or they are done: %s", len(ended), shown
        )


def retry_delay_s(deliveries: int, most_s: int = 300) -> int:
    """How long an event waits that could not be worked on: 1, 2, 4 … seconds."""
    return int(min(most_s, 2 ** min(max(deliveries, 1) - 1, 30)))
