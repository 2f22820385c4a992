"""`telewarden channels` and `backfill` against a running daemon on real servers."""

import json
import os
import pty
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.operator import command_of, environment, telewarden
from support.stacks import consumer, polled
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    settings = {"telegram": {"liveness_interval_s": 0.5, "request_timeout_s": 2.0, "first_read": "now"}}
    async with start_stack(tmp_path, channels=2, settings=settings) as started, daemon_running(started):
        yield started


async def done(stack: Stack, *arguments: str) -> str:
    """What a command that has to succeed prints."""
    finished = await telewarden(stack.daemon.state_dir, *arguments)
    assert finished.returncode == 0, finished.stderr.decode()
    return finished.stdout.decode()


async def refused(stack: Stack, *arguments: str) -> str:
    """What a command that has to fail says."""
    finished = await telewarden(stack.daemon.state_dir, *arguments)
    assert finished.returncode == 1, finished.stdout.decode() + finished.stderr.decode()
    return finished.stderr.decode()


async def listed(stack: Stack) -> dict[int, dict[str, Any]]:
    rows = json.loads(await done(stack, "channels", "list", "--json"))["channels"]
    return {int(row["channelId"]): row for row in rows}


async def until(look: Callable[[], Any], wanted: object) -> None:
    """Until an asynchronous look shows what is wanted."""
    seen = None
    try:
        with anyio.fail_after(20):
            while (seen := await look()) != wanted:
                await anyio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{seen!r} instead of {wanted!r}") from None


async def texts(stack: Stack, channel_id: int) -> dict[int, tuple[str | None, str]]:
    rows = await stack.rows()
    return {key[1]: (row.text, row.status) for key, row in rows if key[0] == channel_id}


async def test_a_channel_is_added_by_name_polled_and_kept_across_a_kill(stack: Stack) -> None:
    extra = await stack.control.create_channel("Extra signals", username="extra_signals")
    await stack.control.post_many(extra.channel_id, ["one", "two", "three"])
    assert await polled(stack, extra.channel_id) == ["404"]
    said = await done(stack, "channels", "add", "@extra_signals", "--start", "2")
    assert "Extra signals): taken in" in said
    await until(lambda: polled(stack, extra.channel_id), ["two", "three"])
    row = (await listed(stack))[extra.channel_id]
    assert (row["source"], row["name"], row["state"]) == ("added", "extra_signals", "taken in")
    await stack.control.post(extra.channel_id, "pushed")
    await until(lambda: polled(stack, extra.channel_id), ["two", "three", "pushed"])
    stack.daemon.kill()
    await stack.control.post(extra.channel_id, "while nobody ran")
    stack.daemon.start()
    await stack.daemon.wait_ready(caught_up=True)
    await until(lambda: polled(stack, extra.channel_id), ["two", "three", "pushed", "while nobody ran"])


async def test_the_comments_of_a_discussion_group_are_polled_with_their_threads(stack: Stack) -> None:
    home = stack.channel_ids[0]
    group = await stack.control.create_channel("Discussion", megagroup=True, username="the_discussion")
    await stack.control.link(home, group.channel_id)
    await done(stack, "channels", "add", "@the_discussion")
    await stack.control.post(home, "a signal")
    (copy,) = await stack.control.dump(group.channel_id)
    comment = await stack.control.post(group.channel_id, "a comment", reply_to=copy.message_id)
    await stack.control.post(
        group.channel_id, "an answer", reply_to=comment.message_id, thread=copy.message_id
    )
    await until(lambda: polled(stack, group.channel_id), ["a signal", "a comment", "an answer"])
    async with consumer(stack) as client:
        answer = await client.get("/api/messages/unprocessed", params={"channel": str(group.channel_id)})
    thread, comments = str(copy.message_id), "channel_post_comment"
    assert [(m["threadId"], m["messageType"]) for m in answer.json()["data"]] == [
        (None, "channel_post"),
        (thread, comments),
        (thread, comments),
    ]


async def test_joining_is_asked_for_and_what_cannot_be_had_is_said(stack: Stack) -> None:
    public = await stack.control.create_channel("Public", username="publicly", joined=False)
    private = await stack.control.create_channel("Private", invite="AbCdEf123456", joined=False)
    assert "--join" in await refused(stack, "channels", "add", "@publicly")
    assert "--join" in await refused(stack, "channels", "add", "https://t.me/+AbCdEf123456")
    assert "nobody" in await refused(stack, "channels", "add", "@nobody_at_all")
    assert "expired" in await refused(stack, "channels", "add", "https://t.me/+ZzZzZz123456")
    assert "write @name" in await refused(stack, "channels", "add", "example.org/x")
    assert "2026-01-31" in await refused(stack, "channels", "add", "@publicly", "--start", "soon")
    assert len(await listed(stack)) == 2
    await done(stack, "channels", "add", "@publicly", "t.me/+AbCdEf123456", "--join")
    assert {public.channel_id, private.channel_id} < (await listed(stack)).keys()
    await stack.control.post(private.channel_id, "secret signal")
    await until(lambda: polled(stack, private.channel_id), ["secret signal"])


async def test_a_channel_without_access_is_told_and_the_others_go_on(stack: Stack) -> None:
    first, second = stack.channel_ids
    await stack.control.ask("channel_access", channel=first, accessible=False)
    stack.daemon.kill()
    stack.daemon.start()
    await stack.daemon.wait_ready()
    await stack.control.post(second, "goes on")
    await until(lambda: polled(stack, second), ["goes on"])
    await until(lambda: _state(stack, second), "taken in")
    assert (await _state(stack, first)).startswith("closed")


async def test_pause_resume_and_remove(stack: Stack) -> None:
    first, second = stack.channel_ids
    extra = await stack.control.create_channel("Extra")
    await done(stack, "channels", "add", str(extra.channel_id))
    await done(stack, "channels", "pause", str(first))
    await until(lambda: _state(stack, first), "paused")
    await stack.control.post(first, "missed for now")
    await stack.control.post(second, "goes on")
    await until(lambda: polled(stack, second), ["goes on"])
    assert await polled(stack, first) == []
    await done(stack, "channels", "resume", str(first))
    await until(lambda: polled(stack, first), ["missed for now"])
    assert "telegram.channels" in await refused(stack, "channels", "remove", str(first))
    await done(stack, "channels", "remove", "Extra")
    assert extra.channel_id not in await listed(stack)
    assert await polled(stack, extra.channel_id) == ["404"]


async def _state(stack: Stack, channel_id: int) -> str:
    return str((await listed(stack))[channel_id]["state"])


async def test_what_waits_in_the_database_is_served_when_its_channel_comes_back(stack: Stack) -> None:
    """The cache was warmed without the channel: it must not answer for it."""
    extra = await stack.control.create_channel("Extra")
    await done(stack, "channels", "add", str(extra.channel_id))
    await stack.control.post(extra.channel_id, "waits")
    await until(lambda: polled(stack, extra.channel_id), ["waits"])
    await done(stack, "channels", "remove", str(extra.channel_id))
    stack.daemon.kill()
    stack.daemon.start()
    await stack.daemon.wait_ready(caught_up=True)
    await until(lambda: _cache_is_complete(stack), True)
    await done(stack, "channels", "add", str(extra.channel_id))
    assert await polled(stack, extra.channel_id) == ["waits"]


async def _cache_is_complete(stack: Stack) -> bool:
    health: Any = await stack.daemon.health()
    return bool(health["cache"]["complete"])


async def test_import_takes_what_is_chosen(stack: Stack) -> None:
    for title in ("Alpha calls", "Beta calls", "Gamma news"):
        await stack.control.create_channel(title)
    assert "--all" in await refused(stack, "channels", "import")
    said = await picked(stack, "1\n", "channels", "import", "--match", "calls")
    assert said.count(" calls") >= 2
    assert "Gamma" not in said
    titles = {row["title"] for row in (await listed(stack)).values()}
    assert len(titles & {"Alpha calls", "Beta calls"}) == 1
    await done(stack, "channels", "import", "--all")
    assert {"Alpha calls", "Beta calls", "Gamma news"} < {
        row["title"] for row in (await listed(stack)).values()
    }
    assert "nothing to import" in await done(stack, "channels", "import", "--all")


async def picked(stack: Stack, typed: str, *arguments: str) -> str:
    """What a command prints on a terminal where somebody types."""
    ours, theirs = pty.openpty()
    process = await anyio.open_process(
        command_of(stack.daemon.state_dir, *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(),
    )
    os.close(theirs)
    said = b""
    try:
        with anyio.fail_after(60):
            while chunk := await anyio.to_thread.run_sync(_read, ours):
                said += chunk
                if b"Which ones" in said and typed:
                    os.write(ours, typed.encode())
                    typed = ""
            assert await process.wait() == 0, said.decode()
    finally:
        os.close(ours)
        await process.aclose()
    return said.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        # The other side has ended.
        return b""


async def test_older_posts_are_stored_as_processed_or_served(stack: Stack) -> None:
    extra = await stack.control.create_channel("Extra")
    ids = (await stack.control.post_many(extra.channel_id, [f"#{n}" for n in range(250)])).message_ids
    await done(stack, "channels", "add", str(extra.channel_id))
    said = await done(stack, "backfill", str(extra.channel_id), "--limit", "120")
    assert "120 older posts" in said
    await until(lambda: _stored(stack, extra.channel_id), 120)
    assert {status for _, status in (await texts(stack, extra.channel_id)).values()} == {"published"}
    assert await polled(stack, extra.channel_id) == []
    await done(stack, "backfill", "Extra", "--serve")
    await until(lambda: _stored(stack, extra.channel_id), 250)
    await until(lambda: _sorted(stack, extra.channel_id), sorted(f"#{n}" for n in range(130)))
    assert "nothing older" in await done(stack, "backfill", "Extra")
    await stack.control.edit(extra.channel_id, ids[3], "edited long after")
    texts_now = sorted("edited long after" if n == 3 else f"#{n}" for n in range(130))
    await until(lambda: _sorted(stack, extra.channel_id), texts_now)
    compared = await telewarden(stack.daemon.state_dir, "verify", str(extra.channel_id))
    assert compared.returncode == 0, compared.stdout


async def _sorted(stack: Stack, channel_id: int) -> list[str]:
    return sorted(await polled(stack, channel_id))


async def _stored(stack: Stack, channel_id: int) -> int:
    return len(await texts(stack, channel_id))


async def test_without_a_daemon_the_commands_say_so(tmp_path: Path) -> None:
    for arguments in (["channels", "list"], ["backfill", "-1001"]):
        finished = await telewarden(tmp_path, *arguments)
        assert finished.returncode == 1
        assert b"no daemon runs" in finished.stderr


async def test_a_flood_wait_of_one_channel_is_shown_and_delays_no_other(stack: Stack) -> None:
    first, second = stack.channel_ids
    for method in ("updates.getChannelDifference", "messages.getHistory"):
        await stack.control.fault("flood_wait", method=method, seconds=120, channel=first, times=1)
    await until(lambda: _waiting(stack), {str(first)})
    await stack.control.post(second, "goes on")
    await until(lambda: polled(stack, second), ["goes on"])
    await stack.control.post(first, "is pushed all the same")
    await until(lambda: polled(stack, first), ["is pushed all the same"])
    assert await _waiting(stack) == {str(first)}, "the wait was not over"


async def _waiting(stack: Stack) -> set[str]:
    health: Any = await stack.daemon.health()
    return {wait["channelId"] for wait in health["telegram"]["floodWaits"] if wait["seconds"] > 0}
