"""A client of the API: follow the feed, consume with acknowledgements, poll as the old contract has it.

It stands on httpx, msgspec and anyio, and loads nothing of the server. `Client` is for threads, `AsyncClient` for
tasks; the decisions of both (following, ledger, retry) are one piece of code, without I/O.
"""

from telewarden_http.client.answers import (
    Channel,
    ConsumerInfo,
    DeadLetter,
    DeadLetters,
    Delivery,
    Event,
    Kind,
    Lag,
    Marked,
    Message,
    Outcome,
)
from telewarden_http.client.asynchronous import AsyncClient
from telewarden_http.client.asynchronous_consumer import AsyncDeliveries
from telewarden_http.client.blocking import Client
from telewarden_http.client.blocking_consumer import Deliveries
from telewarden_http.client.cursors import CursorFile, CursorStore
from telewarden_http.client.errors import (
    AcknowledgementsNotSent,
    AnswerUnusable,
    ClientError,
    CursorExpired,
    CursorFileUnusable,
    KeyRefused,
    NotFound,
    RateLimited,
    RequestRefused,
    ServerUnavailable,
    Transient,
)
from telewarden_http.client.retry import Retry

__all__ = [
    "AcknowledgementsNotSent",
    "AnswerUnusable",
    "AsyncClient",
    "AsyncDeliveries",
    "Channel",
    "Client",
    "ClientError",
    "ConsumerInfo",
    "CursorExpired",
    "CursorFile",
    "CursorFileUnusable",
    "CursorStore",
    "DeadLetter",
    "DeadLetters",
    "Deliveries",
    "Delivery",
    "Event",
    "KeyRefused",
    "Kind",
    "Lag",
    "Marked",
    "Message",
    "NotFound",
    "Outcome",
    "RateLimited",
    "RequestRefused",
    "Retry",
    "ServerUnavailable",
    "Transient",
]
