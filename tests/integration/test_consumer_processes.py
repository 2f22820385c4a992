"""Consumers over HTTP, in both roles, with processes and servers that die."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from support.serving import serving_process
from telewarden.sandbox.daemon import DaemonProcess
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


class Instance:
    """An instance of the consumer, at one process."""

    def __init__(self, process: DaemonProcess) -> None:
        self.http = httpx.AsyncClient(
            base_url=process.url, headers={"X-API-Key": process.api_key}, trust_env=False, timeout=30
        )

    async def get(self, **query: int) -> list[dict[str, Any]]:
        answer = await self.http.get("/v1/messages", params=query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["messages"]
        return found

    async def some(self, count: int, **query: int) -> list[dict[str, Any]]:
        """So many messages, as they come."""
        found: list[dict[str, Any]] = []
        with anyio.fail_after(30):
            while len(found) < count:
                found += await self.get(wait=10, **query)
        return found

    async def send(self, path: str, messages: list[dict[str, Any]], **more: int) -> list[str]:
        body = {"receipts": [each["receipt"] for each in messages], **more}
        answer = await self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return [each["result"] for each in answer.json()["results"]]

    async def lag(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get("/v1/consumer")).json()["lag"]
        return found


@asynccontextmanager
async def instance(process: DaemonProcess) -> AsyncIterator[Instance]:
    found = Instance(process)
    try:
        yield found
    finally:
        await found.http.aclose()


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [each["message"]["text"] for each in messages]


async def test_nothing_is_lost_or_had_by_two_whatever_dies(tmp_path: Path) -> None:
    async with (
        start_stack(tmp_path, channels=1) as stack,
        daemon_running(stack),
        serving_process(stack) as process,
        instance(stack.daemon) as one,
        instance(process) as two,
    ):
        [channel] = stack.channel_ids
        assert (await one.http.put("/v1/consumer", json={"start": "now"})).status_code == 201
        assert (await two.http.put("/v1/consumer", json={"maxDeliveries": 5})).status_code == 200

        # Both wait; each message is woken for, and one of them has it.
        had: list[dict[str, Any]] = []

        async def take(at: Instance) -> None:
            while len(had) < 6:
                had.extend(await at.get(wait=1, limit=1, lease=3600))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take, one)
                tasks.start_soon(take, two)
                for number in range(6):
                    await stack.control.post(channel, f"text {number}")
        assert sorted(texts(had)) == [f"text {number}" for number in range(6)]
        assert {each["deliveries"] for each in had} == {1}

        # What one process handed out is acknowledged at the other.
        assert await two.send("/v1/acks", had[:2]) == ["acknowledged"] * 2
        assert await one.send("/v1/acks", had[:2]) == ["already"] * 2
        # What is returned at one is had at the other.
        assert await one.send("/v1/nacks", had[2:3]) == ["returned"]
        [again] = await two.some(1)
        assert (again["message"], again["deliveries"]) == (had[2]["message"], 2)
        assert await one.send("/v1/acks", [again]) == ["acknowledged"]

        # The daemon dies with leases out: they last, and end in their time.
        stack.daemon.kill()
        assert await two.get() == []
        assert (await two.lag())["leased"] == 3
        # (In one second, not in an hour.)
        assert await two.send("/v1/leases", had[3:], lease=1) == ["extended"] * 3
        later = await two.some(3)
        assert sorted(texts(later)) == sorted(texts(had[3:]))
        assert {each["deliveries"] for each in later} == {2}
        assert await two.send("/v1/leases", later[:1], lease=60) == ["extended"]
        assert await two.send("/v1/acks", later[:1]) == ["acknowledged"]
        stack.daemon.start()
        await stack.daemon.wait_ready(caught_up=True)
        assert await one.get() == []
        await stack.control.post(channel, "text 6")
        [new] = await one.some(1)
        assert new["message"]["text"] == "text 6"

        # So does the database.
        await stack.postgres.kill()
        refused = await one.http.get("/v1/messages")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert "read the feed" in refused.json()["detail"]
        await stack.postgres.restart()
        with anyio.fail_after(30):
            while (await one.http.get("/v1/consumer")).status_code != 200:
                await anyio.sleep(0.05)
        lag = await one.lag()
        assert (lag["leased"], lag["waiting"]) == (3, 0)
        assert await one.send("/v1/acks", [*later[1:], new]) == ["acknowledged"] * 3
        metrics = (await two.http.get("/metrics")).text
        assert 'telewarden_consumer_deliveries_total{delivery="again"} 4.0' in metrics
        assert 'telewarden_consumer_receipts_total{result="extended"} 4.0' in metrics
        # The old contract's consumer has yet to process all of them.
        rows = await stack.rows()
        assert [row.status for _, row in rows].count("received") == 7
