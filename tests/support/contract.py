"""A running gateway as an old consumer or an administrator sees it: one process that takes in, one that only serves."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx

from support.serving import serving_process
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import Stack, start_stack

GATEWAY_TOKEN = "an-administrators-token"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

MEMBERS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "channelId": (str,),
    "messageId": (str,),
    "threadId": (str, type(None)),
    "source": (str,),
    "messageType": (str,),
    "text": (str, type(None)),
    "caption": (str, type(None)),
    "mediaType": (str, type(None)),
    "mediaRefs": (list,),
    "status": (str,),
    "receivedAt": (str,),
    "telegramDate": (str, type(None)),
    "publishedAt": (str, type(None)),
    "failedAt": (str, type(None)),
    "queuedAt": (str, type(None)),
    "reprocessRequestedAt": (str, type(None)),
    "reprocessedAt": (str, type(None)),
    "metadata": (dict,),
    "createdAt": (str,),
    "updatedAt": (str,),
    "deletedAt": (str, type(None)),
}
"""Of a message, exactly, in the page's order."""


def check_message(message: dict[str, Any]) -> None:
    """It has exactly the members that the contract names, and of the right types."""
    assert list(message) == list(MEMBERS)
    for name, kinds in MEMBERS.items():
        assert type(message[name]) in kinds, (name, message[name])
    assert UUID.fullmatch(message["id"])
    for name in ("channelId", "messageId", "threadId"):
        assert message[name] is None or re.fullmatch(r"-?\d+", message[name])
    for name in MEMBERS:
        if name.endswith("At") or name == "telegramDate":
            assert message[name] is None or TIME.fullmatch(message[name]), (name, message[name])


@dataclass
class Side:
    """One of the two processes. client: with the consumer's key."""

    role: str
    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        """One request; an answer is JSON in an envelope, whatever its status."""
        answer = await self.client.request(method, path, **how)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["success"] is (200 <= answer.status_code < 300)
        return answer

    async def data(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        """What a request that has to succeed gives."""
        answer = await self.ask(method, path, **how)
        assert answer.status_code == status, answer.text
        return answer.json()["data"]

    async def refused(self, status: int, method: str, path: str, **how: Any) -> str:
        """What a request that has to fail says."""
        answer = await self.ask(method, path, **how)
        assert answer.status_code == status, answer.text
        assert set(answer.json()) <= {"success", "message", "error"}
        said: str = answer.json()["message"]
        assert said
        return said

    async def polled(self, channel: int, **parameters: str) -> list[dict[str, Any]]:
        """What a poll gives."""
        found: list[dict[str, Any]] = await self.data(
            "GET", "/api/messages/unprocessed", params={"channel": str(channel), **parameters}
        )
        return found

    async def until_polled(self, channel: int, texts: list[str]) -> list[dict[str, Any]]:
        """What a poll gives, once it is these texts."""
        seen: object = None
        with anyio.move_on_after(20):
            while True:
                answer = await self.client.get("/api/messages/unprocessed", params={"channel": str(channel)})
                messages: list[dict[str, Any]] = answer.json().get("data", [])
                seen = [message["text"] for message in messages] if answer.is_success else answer.text
                if seen == texts:
                    return messages
                await anyio.sleep(0.02)
        raise AssertionError(f"{seen!r} instead of {texts!r}")

    async def acknowledged(self, *message_ids: object, **more: object) -> dict[str, Any]:
        """What an acknowledgement of the consumer's gives."""
        body = {"messageIds": list(message_ids), "processedBy": "tp-capital", **more}
        found: dict[str, Any] = await self.data("POST", "/api/messages/mark-processed", json=body)
        return found


@dataclass
class Gateway:
    """The whole thing. sides: by role. channels: those that no test has used yet."""

    stack: Stack
    sides: Mapping[str, Side]
    channels: Iterator[int]


@asynccontextmanager
async def running_gateway(folder: Path, channels: int) -> AsyncIterator[Gateway]:
    """With so many channels in its settings."""
    settings: dict[str, dict[str, object]] = {
        "http": {"gateway_token": GATEWAY_TOKEN},
        "telegram": {"liveness_interval_s": 0.5, "request_timeout_s": 2.0},
    }
    async with (
        start_stack(folder, channels=channels, settings=settings) as stack,
        daemon_running(stack),
        serving_process(stack) as serving,
        _client(stack.daemon.url, stack.daemon.api_key) as all_,
        _client(serving.url, serving.api_key) as api,
    ):
        sides = {"all": Side("all", all_), "api": Side("api", api)}
        yield Gateway(stack, sides, iter(stack.channel_ids))


def _client(url: str, api_key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers={"X-API-Key": api_key}, timeout=10, trust_env=False)
