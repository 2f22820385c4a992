"""The feed on real servers, in a process that takes in and one that only serves: each event once, in order, always."""

import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from support.serving import serving_process
from telewarden.sandbox.daemon import DaemonProcess
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
WITHIN_S = 20.0


@dataclass
class Reader:
    """A consumer that keeps its place, whatever happens to the process that it asks."""

    process: DaemonProcess
    cursor: str = "beginning"
    events: list[dict[str, Any]] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)

    async def read(self, wait_s: float = 0.0, limit: int = 1000) -> int:
        """Once; how many events came."""
        params = {"after": self.cursor, "wait": str(wait_s), "limit": str(limit)}
        try:
            async with client(self.process) as http:
                answer = await http.get("/v1/feed", params=params)
        except httpx.TransportError:
            return 0
        if answer.status_code == 503:
            return 0
        assert answer.status_code == 200, answer.text
        body = answer.json()
        self.events += body["events"]
        self.cursor = body["next"]
        self.sources.add(answer.headers["X-Telewarden-Source"])
        return len(body["events"])

    async def until(self, count: int, limit: int = 1000) -> "Reader":
        """Until so many events have come in all."""
        with anyio.fail_after(WITHIN_S):
            while len(self.events) < count:
                if not await self.read(1.0, limit):
                    await anyio.sleep(0.02)
        return self

    def short(self) -> list[str]:
        return [f"{event['kind']} {event['messageId']}" for event in self.events]


@asynccontextmanager
async def client(process: DaemonProcess) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"X-API-Key": process.api_key}
    async with httpx.AsyncClient(base_url=process.url, headers=headers, timeout=10, trust_env=False) as http:
        yield http


def once(events: Sequence[dict[str, Any]]) -> None:
    """None twice, and each message's own in order: posted before anything else, deleted last."""
    ids = [event["id"] for event in events]
    assert len(set(ids)) == len(ids)
    of_message: dict[tuple[str, str], list[str]] = {}
    for event in events:
        assert event["message"]["messageId"] == event["messageId"]
        of_message.setdefault((event["channel"], event["messageId"]), []).append(event["kind"])
    for kinds in of_message.values():
        assert kinds[0] == "posted"
        assert "posted" not in kinds[1:]
        assert "deleted" not in kinds[:-1]


async def posted(stack: Stack, channel: int, *texts: str) -> list[int]:
    return [(await stack.control.post(channel, text)).message_id for text in texts]


async def test_both_roles_give_the_same_feed_through_kills_and_outages(tmp_path: Path) -> None:
    async with (
        start_stack(tmp_path, channels=2) as stack,
        daemon_running(stack),
        serving_process(stack) as process,
    ):
        channel, other = stack.channel_ids
        there, here = Reader(stack.daemon), Reader(process)
        one, two = await posted(stack, channel, "one", "two")
        [three] = await posted(stack, other, "three")
        await there.until(3)
        await here.until(3)
        assert there.short() == [f"posted {n}" for n in (one, two, three)]

        # A long poll that waits is answered by what it waits for, in both.
        async with anyio.create_task_group() as tasks:
            for reader in (there, here):
                tasks.start_soon(reader.until, 5)
            await stack.control.edit(channel, one, "One")
            await Reader(stack.daemon, there.cursor).until(1)
            await stack.control.delete(channel, [two])
        assert (
            here.short()
            == there.short()
            == [
                *(f"posted {n}" for n in (one, two, three)),
                f"edited {one}",
                f"deleted {two}",
            ]
        )
        assert there.events[-1]["message"]["status"] == "deleted"
        assert there.events[3]["message"]["text"] == "One"

        # One that only serves has no journal: its deletion gets a place from the one that takes in.
        async with client(process) as http:
            for _ in range(2):
                answer = await http.delete(f"/api/messages/{there.events[2]['message']['id']}")
                assert answer.status_code == 200
        await there.until(6)
        await here.until(6)
        assert there.short()[-1] == here.short()[-1] == f"deleted {three}"

        # Killed while a consumer reads in small steps.
        await stack.control.post_many(channel, [f"#{n}" for n in range(40)])
        await there.until(16, limit=3)
        stack.daemon.kill()
        await here.until(20, limit=7)
        stack.daemon.start()
        await there.until(46, limit=3)
        await here.until(46)
        await stack.daemon.wait_ready(caught_up=True)

        # Without the database memory goes on; what is older has to wait for it.
        await stack.postgres.kill()
        await posted(stack, channel, "in the dark")
        await there.until(47)
        assert "journal" in there.sources
        async with client(stack.daemon) as http:
            old = await http.get("/v1/feed", params={"after": there.events[0]["id"]})
            assert old.status_code in (200, 503), "it may still be in memory"
        await stack.postgres.restart()
        await here.until(47)

        # Without the cache nobody tells the other process that there is news: it looks.
        await stack.valkey.kill()
        await posted(stack, other, "untold")
        await there.until(48)
        await here.until(48)
        await stack.valkey.restart()

        for reader in (there, here):
            once(reader.events)
        key = [(event["id"], event["kind"], event["messageId"]) for event in there.events]
        assert key == [(event["id"], event["kind"], event["messageId"]) for event in here.events]
        again = await Reader(stack.daemon).until(48, limit=5)
        assert [(event["id"], event["kind"], event["messageId"]) for event in again.events] == key

        await stack_stops_streams(stack, process)


async def stack_stops_streams(stack: Stack, process: DaemonProcess) -> None:
    """A stream goes on with Last-Event-ID in another process, and ends in order when its own stops."""
    got: list[str] = []
    async with client(stack.daemon) as http:
        last = await _streamed(http, got, 3, {})
    async with client(process) as http:
        await _streamed(http, got, 3, {"Last-Event-ID": last})
    assert len(set(got)) == 6
    async with client(process) as http, anyio.create_task_group() as tasks:
        answers: list[httpx.Response] = []

        async def poll() -> None:
            answers.append(await http.get("/v1/feed", params={"after": "now", "wait": "60"}))

        tasks.start_soon(poll)
        await _until_waiting(http, 1)
        process.send(signal.SIGTERM)
        with anyio.fail_after(10):
            assert await process.ended() == 0
    assert (answers[0].status_code, answers[0].json()["events"]) == (200, [])


async def _streamed(http: httpx.AsyncClient, got: list[str], count: int, headers: dict[str, str]) -> str:
    last = ""
    wanted = len(got) + count
    with anyio.fail_after(WITHIN_S):
        async with http.stream(
            "GET", "/v1/feed", headers={"Accept": "text/event-stream"} | headers
        ) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    last = json.loads(line[6:])["id"]
                    got.append(last)
                    if len(got) == wanted:
                        break
    return last


async def _until_waiting(http: httpx.AsyncClient, count: int) -> None:
    with anyio.fail_after(WITHIN_S):
        while f"telewarden_feed_waiting {float(count)}" not in (await http.get("/metrics")).text:
            await anyio.sleep(0.02)
