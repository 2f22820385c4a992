"""`telewarden cache` against a running daemon on real servers, under load."""

import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import redis.asyncio

from support.operator import telewarden
from telewarden.messages import message_uuid
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.poster import Poster
from telewarden.sandbox.stack import Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("cache")
    async with start_stack(folder, channels=2) as started, daemon_running(started):
        yield started
        assert "Traceback" not in started.daemon.log


@pytest.fixture
async def valkey(stack: Stack) -> "AsyncIterator[redis.asyncio.Redis]":
    async with redis.asyncio.Redis.from_url(stack.valkey.url) as client:
        yield client


async def cache(stack: Stack, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return await telewarden(stack.daemon.state_dir, "cache", *arguments)


async def asked(stack: Stack, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = await cache(stack, *arguments, "--json")
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    with anyio.fail_after(20):
        while not await condition():
            await anyio.sleep(0.02)


async def complete(stack: Stack) -> dict[str, Any]:
    """Until the cache answers polls and has everything."""
    answer: dict[str, Any] = {}

    async def is_complete() -> bool:
        nonlocal answer
        status, answer = await asked(stack, "status")
        return status == 0 and answer["lagEvents"] == 0

    await until(is_complete)
    return answer


async def posted(stack: Stack, *texts: str) -> list[int]:
    """Post to the first channel, until it is in the cache."""
    ids = list((await stack.control.post_many(stack.channel_ids[0], list(texts))).message_ids)

    async def are_there() -> bool:
        async with redis.asyncio.Redis.from_url(stack.valkey.url) as client:
            names = [f"telegram:dedup:{stack.channel_ids[0]}:{number}" for number in ids]
            return await client.exists(*names) == len(ids)

    await until(are_there)
    return ids


async def test_status_shows_what_the_answers_depend_on(stack: Stack) -> None:
    await posted(stack, "one", "two")
    found = await complete(stack)
    async with redis.asyncio.Redis.from_url(stack.valkey.url) as client:
        history = (await client.info("replication"))["master_replid"]
        mark = str(await client.get("telegram:mark"), "utf-8")  # type: ignore[arg-type]
    assert found["server"] in stack.valkey.url
    assert found["history"] == history
    assert found["mark"] == mark
    assert found["markOurs"] is True
    assert 0 < found["leaseMs"] <= 3000
    assert found["reason"] is None
    assert found["problem"] is None
    assert found["breaker"] == "closed"
    assert found["applied"] == found["head"]
    assert found["waiting"] == found["mirror"] == sum(c["waiting"] for c in found["channels"]) >= 2
    assert {c["channelId"] for c in found["channels"]} <= {str(c) for c in stack.channel_ids}
    assert found["warm"]["step"] == "done"
    shown = (await cache(stack, "status")).stdout.decode()
    for word in ("answered by the cache", history, mark, "hit rate"):
        assert word in shown


async def test_under_load_nothing_differs_also_after_it_was_warmed_and_emptied(stack: Stack) -> None:
    poster = Poster(stack.control, stack.channel_ids, rate=60, edits=0.5, deletes=0.1)

    async def acknowledge_some() -> None:
        """Each third message; the others go on waiting."""
        taken = 0
        while True:
            keys = list(poster.done.posted_at_ms)[:-30][taken:]
            taken += len(keys)
            for channel_id, message_id in keys[::3]:
                await acknowledge(stack, channel_id, message_id)
            await anyio.sleep(0.05)

    async def some_are_posted(count: int) -> bool:
        return len(poster.done.posted_at_ms) >= count

    compared = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poster.run, 120.0)
        tasks.start_soon(acknowledge_some)
        await until(lambda: some_are_posted(100))
        for what in ("verify", "verify", "warm", "verify", "flush", "verify"):
            if what == "verify":
                await complete_soon(stack)
                status, answer = await asked(stack, "verify")
                assert (status, answer["differences"]) == (0, [])
                compared.append(answer["compared"])
            else:
                status, answer = await asked(stack, what, *(["--yes"] if what == "flush" else []))
                assert status == 0
                assert answer["messages" if what == "warm" else "removed"] > 0
        tasks.cancel_scope.cancel()
    assert min(compared) > 30
    assert compared[-1] > compared[0]
    found = await complete(stack)
    assert await asked(stack, "verify") == (
        0,
        {"compared": found["waiting"], "changing": 0, "differences": []},
    )


async def complete_soon(stack: Stack) -> None:
    async def answers() -> bool:
        return (await asked(stack, "status"))[0] == 0

    await until(answers)


async def test_each_kind_of_difference_is_told_and_a_warm_mends_it(
    stack: Stack, valkey: "redis.asyncio.Redis"
) -> None:
    channel = stack.channel_ids[0]
    ids = await posted(stack, *[f"difference {number}" for number in range(8)])
    await complete(stack)
    missing, done, unguarded, stale, respelt, moved, tombstone, fine = ids

    def member(number: int) -> str:
        return f"{message_uuid(channel, number)}:{number}"

    pending = f"telegram:pending:{channel}"
    for number in (done, unguarded):
        score = await valkey.zscore(pending, member(number))
        await acknowledge(stack, channel, number)
        await until(lambda number=number: valkey.exists(f"telegram:done:{channel}:{number}"))  # type: ignore[misc]
        assert score is not None
        await valkey.zadd(pending, {member(number): float(score)})
    await valkey.delete(f"telegram:done:{channel}:{unguarded}")
    await valkey.zrem(pending, member(missing))
    await rewrite(valkey, f"telegram:msg:{channel}:{stale}", b"difference", b"an older text")
    await rewrite(valkey, f"telegram:msg:{channel}:{respelt}", b'":', b'" :')
    await valkey.zadd(pending, {member(moved): 1})
    await valkey.set(f"telegram:done:{channel}:{tombstone}", "1")
    await valkey.zadd(pending, {f"{message_uuid(channel, 999_999)}:999999": 5})
    # One that has expired is no difference.
    await valkey.delete(f"telegram:msg:{channel}:{fine}")
    status, answer = await asked(stack, "verify")
    assert status == 1
    told: dict[int, set[str]] = {}
    for found in answer["differences"]:
        assert found["channelId"] == str(channel)
        told.setdefault(found["messageId"], set()).add(found["difference"])
    assert told == {
        missing: {"waits, but not in the cache"},
        done: {"waits in the cache, but is done"},
        unguarded: {
            "waits in the cache, but is done",
            "is done and waits in the cache, and no tombstone keeps it out",
        },
        stale: {"another text in the cache"},
        respelt: {"the same content in the cache, written differently"},
        moved: {"is in the pending set under another id or time"},
        tombstone: {"waits, but a tombstone says that it is done"},
        999_999: {"waits in the cache, and no store knows it"},
    }
    shown = await cache(stack, "verify")
    assert shown.returncode == 1
    assert f"channel {channel}, message {missing}: waits, but not in the cache" in shown.stdout.decode()
    assert "`telewarden cache warm` mends them" in shown.stdout.decode()
    # A tombstone is stronger than a warm: it may be an acknowledgement that the database gets later.
    await valkey.delete(f"telegram:done:{channel}:{tombstone}")
    assert (await asked(stack, "warm"))[0] == 0
    status, answer = await asked(stack, "verify")
    assert (status, answer["differences"]) == (0, [])


async def rewrite(valkey: "redis.asyncio.Redis", name: str, old: bytes, new: bytes) -> None:
    body = await valkey.get(name)
    assert isinstance(body, bytes)
    await valkey.set(name, body.replace(old, new, 1))


async def acknowledge(stack: Stack, channel_id: int, *message_ids: int) -> None:
    async with httpx.AsyncClient(
        base_url=stack.daemon.url, headers={"X-API-Key": stack.daemon.api_key}
    ) as client:
        answer = await client.post(
            "/api/messages/mark-processed",
            json={
                "messageIds": [str(n) for n in message_ids],
                "processedBy": "tp-capital",
                "channel": str(channel_id),
            },
        )
        assert answer.status_code == 200, answer.text


async def test_flush_removes_our_keys_and_no_others(stack: Stack, valkey: "redis.asyncio.Redis") -> None:
    await posted(stack, "to be removed")
    others = {
        "telegram:somebody:else": "1",
        "telegramX": "2",
        "another": "3",
        "telegram:msg:of-another-kind": "4",
    }
    await valkey.mset(others)
    try:
        # Nobody is there to be asked.
        refused = await cache(stack, "flush")
        assert refused.returncode == 1
        assert b"--yes" in refused.stderr
        status, answer = await asked(stack, "flush", "--yes")
        assert status == 0
        assert answer["removed"] > 0
        assert answer["left"] == 2
        assert [await valkey.get(name) for name in others] == [v.encode() for v in others.values()]
    finally:
        await valkey.delete(*others)
    # It is filled again by itself.
    found = await complete(stack)
    assert found["waiting"] > 0


async def test_without_a_daemon_or_a_cache_it_says_so(stack: Stack, tmp_path: Path) -> None:
    for action in ("status", "warm", "verify"):
        done = await telewarden(tmp_path, "cache", action)
        assert done.returncode == (3 if action == "verify" else 1)
        assert "no daemon runs" in done.stderr.decode()
    await stack.valkey.kill()
    try:

        async def is_told() -> bool:
            status, answer = await asked(stack, "status")
            return status == 1 and answer["problem"] is not None and answer["history"] is None

        await until(is_told)
        for action in ("warm", "flush --yes"):
            done = await cache(stack, *action.split())
            assert done.returncode == 1
            assert b"the cache does not answer" in done.stderr
        done = await cache(stack, "verify")
        assert done.returncode == 3
        assert b"the cache is not complete" in done.stderr
    finally:
        await stack.valkey.restart()
    assert (await complete(stack))["warms"] > 1


async def test_a_daemon_without_a_cache_says_what_to_set(tmp_path: Path) -> None:
    settings = {"cache": {"url": ""}}
    async with start_stack(tmp_path, channels=1, settings=settings) as started, daemon_running(started):
        for action in ("status", "warm", "verify"):
            done = await cache(started, action)
            assert done.returncode == (3 if action == "verify" else 1)
            assert b"set cache.url" in done.stderr
