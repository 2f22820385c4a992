"""The live consumer (a Node service) as the contract describes it: a poll, then one acknowledgement for each message.

It repeats no acknowledgement by itself: what it could not acknowledge it expects to be served again.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx

LIMIT = 100
TIMEOUT_S = 5.0
INTERVAL_S = 5.0
"""Between two polls of the live consumer, in seconds."""
_OPENS_AFTER = 5
_OPEN_INTERVALS = 6.0


class CircuitOpen(Exception):
    """Too many requests have failed: the next is made in a while."""


@dataclass
class CircuitBreaker:
    """Lets no request through for a while after so many failures in a row; then one, which decides."""

    opens_after: int
    open_s: float
    failures: int = 0
    open_until_s: float = 0.0
    opened: int = 0

    def check(self) -> None:
        """Raises CircuitOpen."""
        if time.monotonic() < self.open_until_s:
            raise CircuitOpen

    def failed(self) -> None:
        """A request failed."""
        self.failures += 1
        if self.failures >= self.opens_after:
            self.open_until_s = time.monotonic() + self.open_s
            self.opened += 1

    def succeeded(self) -> None:
        """A request succeeded."""
        self.failures = 0


@dataclass
class OldConsumer:
    """Consumes one channel. consumed: the text of each message, by id, in the order of consumption. done: ids whose
    acknowledgement was answered. served_after_done: ids that a poll gave after that. failures: requests, by kind.
    """

    url: str
    api_key: str
    channel: int
    name: str
    interval_s: float = INTERVAL_S
    consumed: dict[int, str | None] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    served_after_done: list[int] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    breaker: CircuitBreaker = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = CircuitBreaker(_OPENS_AFTER, _OPEN_INTERVALS * self.interval_s)

    async def run(self) -> None:
        """Until cancelled."""
        headers = {"X-API-Key": self.api_key, "Content-Type": "application/json"}
        async with httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=TIMEOUT_S, trust_env=False
        ) as client:
            while True:
                try:
                    await self._round(client)
                except (httpx.HTTPError, CircuitOpen) as error:
                    kind = type(error).__name__
                    self.failures[kind] = self.failures.get(kind, 0) + 1
                await anyio.sleep(self.interval_s)

    async def _round(self, client: httpx.AsyncClient) -> None:
        parameters = {"channel": str(self.channel), "status": "received,queued", "limit": str(LIMIT)}
        answer = await self._asked(client, "GET", "/api/messages/unprocessed", params=parameters)
        for message in answer["data"]:
            message_id = int(message["messageId"])
            if message_id in self.done:
                self.served_after_done.append(message_id)
            self.consumed.setdefault(message_id, message["text"])
            body = {"messageIds": [message["messageId"]], "processedBy": self.name}
            await self._asked(client, "POST", "/api/messages/mark-processed", json=body)
            self.done.add(message_id)

    async def _asked(self, client: httpx.AsyncClient, method: str, path: str, **how: Any) -> dict[str, Any]:
        """An answer. Raises CircuitOpen, httpx.HTTPError, which a failure told by the body is too."""
        self.breaker.check()
        try:
            answer = await client.request(method, path, **how)
            answer.raise_for_status()
            body: dict[str, Any] = answer.json()
            if body["success"] is not True:
                raise httpx.HTTPStatusError("success is not true", request=answer.request, response=answer)
        except httpx.HTTPError:
            self.breaker.failed()
            raise
        self.breaker.succeeded()
        return body
