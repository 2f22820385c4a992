"""`telewarden verify` against a running daemon on real servers."""

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import httpx
import pytest

from support.operator import telewarden
from telewarden.sandbox.exercise import Exercise, daemon_running
from telewarden.sandbox.stack import Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    settings = {"telegram": {"recheck_window": 1, "liveness_interval_s": 0.5, "request_timeout_s": 2.0}}
    async with start_stack(tmp_path, channels=2, settings=settings) as started, daemon_running(started):
        yield started


async def verify(stack: Stack, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return await telewarden(stack.daemon.state_dir, "verify", *arguments)


async def found(stack: Stack, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = await verify(stack, "--json", *arguments)
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


async def settled(stack: Stack, count: int) -> None:
    with anyio.fail_after(20):
        while len(await stack.rows()) < count:
            await anyio.sleep(0.02)


async def execute(stack: Stack, *statements: str) -> None:
    connection = await asyncpg.connect(stack.postgres.dsn, timeout=5)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_under_load_nothing_differs_and_every_id_is_compared(stack: Stack) -> None:
    running = Exercise(stack, seconds=8, rate=50)
    answers = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(running.run)
        for look in (1, 2, 3):
            with anyio.fail_after(30):
                while len(running.poster.done.posted_at_ms) < 25 * look:
                    await anyio.sleep(0.02)
            answers.append(await found(stack))
    answers.append(await found(stack))
    assert [(status, answer["differences"]) for status, answer in answers] == [(0, [])] * 4
    assert answers[-1][1]["compared"] == len(await stack.truth()) == len(await stack.rows())


async def test_what_differs_is_named_and_repaired(stack: Stack) -> None:
    first, second = stack.channel_ids
    ids = (await stack.control.post_many(first, [f"#{n}" for n in range(250)])).message_ids
    other = (await stack.control.post_many(second, ["untouched"])).message_id
    await settled(stack, 251)
    assert await found(stack) == (0, {"compared": 251, "repaired": 0, "differences": []})
    missing, changed = ids[3], ids[200]
    await execute(
        stack,
        f"delete from telegram_gateway.messages where channel_id = '{first}' and message_id = {missing}",
        f"delete from telegram_gateway.message_keys where channel_id = '{first}' and message_id = {missing}",
        f"update telegram_gateway.messages set text = 'tampered' "
        f"where channel_id = '{first}' and message_id = {changed}",
    )
    differences = [
        {"channelId": first, "messageId": missing, "difference": "missing"},
        {"channelId": first, "messageId": changed, "difference": "text differs"},
    ]
    status, answer = await found(stack)
    assert (status, answer["compared"], answer["repaired"]) == (1, 251, 0)
    assert sorted(answer["differences"], key=lambda d: int(d["messageId"])) == differences
    # One channel alone; a marked id begins with a minus sign.
    assert (await found(stack, str(second))) == (0, {"compared": 1, "repaired": 0, "differences": []})
    status, answer = await found(stack, "--repair")
    assert (status, answer) == (0, {"compared": 251, "repaired": 2, "differences": []})
    rows = dict(await stack.rows())
    assert (rows[first, missing].text, rows[first, changed].text) == ("#3", "#200")
    assert rows[second, other].text == "untouched"
    shown = await verify(stack)
    assert shown.stdout.decode() == "251 ids compared: equal\n"


async def test_only_what_is_younger_is_compared_where_that_is_asked(stack: Stack) -> None:
    await stack.control.post_many(stack.channel_ids[0], ["today"] * 5)
    await settled(stack, 5)
    assert (await found(stack, "--since", "2020-01-01"))[1]["compared"] == 5
    assert (await found(stack, "--since", "2100-01-01"))[1]["compared"] == 0


async def test_where_it_cannot_look_it_says_why_and_what_to_do(stack: Stack, tmp_path: Path) -> None:
    unknown = await verify(stack, "-1009999999999")
    assert unknown.returncode == 3
    assert b"none of the channels" in unknown.stderr
    garbage = await verify(stack, "signals")
    assert garbage.returncode == 2
    await stack.postgres.kill()
    without_database = await verify(stack)
    assert without_database.returncode == 3
    assert b"telewarden" in without_database.stderr
    await stack.postgres.restart()
    await stack.control.fault("refuse")
    await stack.control.fault("drop")
    with anyio.fail_after(20):
        while not (health := await stack.daemon.health()) or health["telegram"]["connected"]:  # type: ignore[index]
            await anyio.sleep(0.02)
    without_telegram = await verify(stack)
    assert without_telegram.returncode == 3
    assert b"Telegram is not connected" in without_telegram.stderr
    await stack.daemon.stop()
    without_daemon = await verify(stack)
    assert without_daemon.returncode == 3
    assert b"no daemon runs" in without_daemon.stderr


async def test_the_old_route_reads_the_newest_posts_again(stack: Stack) -> None:
    first, second = stack.channel_ids
    await stack.control.post_many(first, [f"#{n}" for n in range(150)])
    await settled(stack, 150)
    headers = {"X-API-Key": stack.daemon.api_key}
    async with httpx.AsyncClient(
        base_url=stack.daemon.url, headers=headers, timeout=30, trust_env=False
    ) as client:
        answer = (await client.post("/sync-messages", json={"limit": 120})).json()
        assert answer["data"]["totalMessagesSynced"] == 120
        assert answer["data"]["totalMessagesSaved"] == 0
        assert answer["data"]["channelsSynced"] == [
            {"channelId": str(first), "label": "Channel 1", "messagesSynced": 120},
            {"channelId": str(second), "label": "Channel 2", "messagesSynced": 0},
        ]
        unknown = await client.post("/sync-messages", json={"channels": ["-1009999999999"]})
        assert unknown.status_code == 404
        await stack.control.fault("refuse")
        await stack.control.fault("drop")
        with anyio.fail_after(20):
            while (await client.post("/sync-messages")).status_code != 503:
                await anyio.sleep(0.05)
