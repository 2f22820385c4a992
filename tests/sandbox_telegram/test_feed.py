"""The daemon's connection (TelethonFeed) against the local Telegram: what it gives, and how it says what is wrong."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from sandbox_telegram.local import World, gather, tasks_left_beside, texts, until
from telewarden.sandbox.ports import free_port
from telewarden.storage.acceptance import Gone
from telewarden.telegram import telethon_feed
from telewarden.telegram.feed import ChannelClosed, SessionUnusable, TelegramUnavailable
from telewarden.telegram.phases import PhaseTimeouts
from telewarden.telegram.telethon_feed import TelethonFeed

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_it_gives_places_history_and_single_messages(world: World) -> None:
    channel, empty = await world.channel(), await world.channel()
    await world.control.post_many(channel, [f"#{n}" for n in range(130)])
    ids = [message.message_id for message in await world.control.dump(channel)]
    await world.control.delete(channel, [ids[3]])
    async with world.feed() as feed:
        places = await feed.places([channel, empty, -100_5])
        assert {found: place.top for found, place in places.items()} == {channel: ids[-1], empty: 0}
        assert [seen.message_id for seen in await feed.after(channel, ids[1], 100)] == [ids[2], *ids[4:103]]
        assert [seen.message_id for seen in await feed.newest(channel, 3)] == ids[:-4:-1]
        existing = await feed.existing(channel, [ids[2], ids[3], ids[4], 999_999])
        assert [seen.message_id for seen in existing] == [ids[2], ids[4]]
        assert await feed.after(channel, ids[-1], 100) == []
        await feed.probe()


async def test_pushes_beyond_what_can_be_held_are_told_as_channels_to_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telethon_feed, "PUSHES_HELD", 3)
    channel = await world.channel()
    async with world.feed() as feed:
        await feed.places([channel])
        await world.control.post_many(channel, [f"#{n}" for n in range(5)])
        await until(lambda: bool(feed._overflowed))
        assert texts(await gather(feed, 3)) == ["#0", "#1", "#2"]
        assert feed.overflowed() == {channel}
        assert feed.overflowed() == set()
        await world.control.post(channel, "there is room again")
        assert texts(await gather(feed, 1)) == ["there is room again"]


async def test_several_deletions_at_once_are_each_told(world: World) -> None:
    channel = await world.channel()
    ids = (await world.control.post_many(channel, ["a", "b", "c"])).message_ids
    async with world.feed() as feed:
        await feed.places([channel])
        await world.control.delete(channel, ids[:2])
        assert await gather(feed, 2) == [Gone(channel, ids[0]), Gone(channel, ids[1])]


async def test_a_channel_that_the_account_lost_is_closed(world: World) -> None:
    channel, never = await world.channel(), -1001
    async with world.feed() as feed:
        await feed.places([channel])
        await world.control.ask("channel_access", channel=channel, accessible=False)
        with pytest.raises(ChannelClosed, match="still in it"):
            await feed.newest(channel, 5)
        assert await feed.places([channel]) == {}
        with pytest.raises(ChannelClosed, match="cannot read"):
            await feed.newest(never, 5)


async def test_a_missing_session_is_not_created(world: World, tmp_path: Path) -> None:
    absent = tmp_path / "absent.session"
    feed = TelethonFeed(world.telegram.client_settings(absent), request_timeout_s=5)
    with pytest.raises(SessionUnusable, match="telewarden session login"):
        async with feed.connect():
            raise AssertionError("it connected")
    assert not absent.exists()


async def test_a_black_hole_is_noticed_within_the_request_time_out(world: World) -> None:
    async with world.feed(timeout_s=0.5) as feed:
        await world.control.fault("black_hole")
        with pytest.raises(TelegramUnavailable, match="in time"), anyio.fail_after(5):
            await feed.probe()
    await world.control.clear()
    async with world.feed() as feed:
        await feed.probe()


async def test_a_server_that_accepts_and_never_answers_is_unavailable_in_time(world: World) -> None:
    await world.control.fault("black_hole")
    settings = replace(
        world.telegram.client_settings(world.session),
        timeouts=PhaseTimeouts(tcp_s=0.5, key_s=0.5, handshake_s=0.5, login_s=0.5),
    )
    before = asyncio.all_tasks()
    with pytest.raises(TelegramUnavailable, match=r"nothing was answered.*0\.5 s"), anyio.fail_after(3):
        async with TelethonFeed(settings, request_timeout_s=0.5).connect():
            raise AssertionError("it connected")
    await until(lambda: not tasks_left_beside(before))


async def test_a_server_that_is_not_there_is_unavailable(world: World) -> None:
    settings = replace(world.telegram.client_settings(world.session), dc_address=f"127.0.0.1:{free_port()}")
    before = asyncio.all_tasks()
    with pytest.raises(TelegramUnavailable, match="no TCP connection"), anyio.fail_after(3):
        async with TelethonFeed(settings, request_timeout_s=0.5).connect():
            raise AssertionError("it connected")
    assert not tasks_left_beside(before)


async def test_a_server_that_dies_is_told_to_who_waits_for_pushes(tmp_path: Path) -> None:
    async with World.start(tmp_path) as world, world.feed() as feed:
        os.kill(world.telegram.pid, signal.SIGKILL)
        with pytest.raises(TelegramUnavailable, match="ended"), anyio.fail_after(5):
            await feed.pushes()
        with pytest.raises(TelegramUnavailable), anyio.fail_after(5):
            await feed.probe()


async def test_refused_connections_leave_nothing_behind(world: World) -> None:
    await world.control.fault("refuse")
    before = len(asyncio.all_tasks())
    with pytest.raises(TelegramUnavailable):
        async with world.feed():
            raise AssertionError("it connected")
    with anyio.fail_after(5):
        while len(asyncio.all_tasks()) > before:
            await anyio.sleep(0.01)


@pytest.mark.parametrize("ending", ["normal", "dropped", "black hole", "cancelled"])
async def test_no_task_is_left_behind_when_the_connection_is_left(world: World, ending: str) -> None:
    channel = await world.channel()
    before = asyncio.all_tasks()
    with anyio.CancelScope() as scope, anyio.fail_after(10):
        async with world.feed() as feed:
            await feed.places([channel])
            await world.control.post(channel, "one")
            await gather(feed, 1)
            if ending == "dropped":
                await world.control.fault("drop")
                with pytest.raises(TelegramUnavailable):
                    await feed.pushes()
            elif ending == "black hole":
                await world.control.fault("black_hole")
            elif ending == "cancelled":
                scope.cancel()
                await feed.pushes()
    await until(lambda: not tasks_left_beside(before))
