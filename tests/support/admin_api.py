"""The administrator of a running daemon, over HTTP."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx

ADMIN_KEY = "admin-of-the-tests-5b1e"
"""A gateway token for the settings of a daemon under test."""
_WAIT_S = 20.0


class Admin:
    """Asks, and says what the answer was."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def ask(self, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
        """The answer's JSON; None without a body. Fails unless the status is the wanted one."""
        answer = await self.client.request(
            method, f"/v1/admin/{path}", json=body if body is not None else None
        )
        assert answer.status_code == status, answer.text
        if status >= 400:
            assert answer.headers["Content-Type"] == "application/problem+json"
            problem = answer.json()
            assert (problem["status"], problem["type"]) == (status, "about:blank")
            return problem["detail"]
        return answer.json() if answer.content else None

    async def until(self, path: str, holds: Callable[[Any], bool]) -> Any:
        """Ask again and again until the answer is as wanted; gives it."""
        seen = None
        try:
            with anyio.fail_after(_WAIT_S):
                while not holds(seen := await self.ask("GET", path)):
                    await anyio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{path} stays {json.dumps(seen)[:3000]}") from None
        return seen

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The overview, again and again."""
        async with self.client.stream("GET", "/v1/admin/overview/stream") as answer:
            assert answer.status_code == 200
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    event = ""
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            assert event == "overview"
            yield json.loads(value)


@asynccontextmanager
async def admin_of(url: str, key: str = ADMIN_KEY) -> AsyncIterator[Admin]:
    """For as long as the context lasts."""
    headers: Mapping[str, str] = {"X-Gateway-Token": key}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_WAIT_S, trust_env=False) as client:
        yield Admin(client)
