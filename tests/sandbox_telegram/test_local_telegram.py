"""What the local Telegram owes an unmodified Telethon."""

import asyncio
from pathlib import Path
from typing import Any

import anyio
import pytest
from telethon import TelegramClient, connection, errors, events
from telethon.tl import functions, types

from sandbox_telegram.local import World, gather, texts, until
from sandbox_telegram.wire import Wire, key_of
from telewarden.storage.acceptance import Gone, Seen
from telewarden.telegram.feed import TelegramUnavailable
from telewarden.telegram.telethon_feed import TelethonFeed

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.mark.parametrize(
    "transport",
    [connection.ConnectionTcpFull, connection.ConnectionTcpAbridged, connection.ConnectionTcpIntermediate],
)
async def test_each_transport_carries_requests_and_pushes(world: World, transport: Any) -> None:
    channel = await world.channel()
    async with world.client(transport) as client:
        came: asyncio.Queue[str] = asyncio.Queue()

        async def take(event: Any) -> None:
            await came.put(event.message.message)

        client.add_event_handler(take, events.NewMessage())
        await client.get_dialogs()
        await world.control.post(channel, "x" * 5000)
        with anyio.fail_after(10):
            assert await came.get() == "x" * 5000
        assert (await client.get_messages(channel, limit=1))[0].message == "x" * 5000


async def test_dialogs_history_and_single_messages_are_as_telegram_gives_them(world: World) -> None:
    channel = await world.channel("News")
    await world.control.post_many(channel, [f"#{n}" for n in range(250)])
    ids = [message.message_id for message in await world.control.dump(channel)]
    await world.control.delete(channel, [ids[10]])
    left = [i for i in ids if i != ids[10]]
    async with world.client() as client:
        assert channel in {dialog.id for dialog in await client.get_dialogs()}
        newest_first = [m.id async for m in client.iter_messages(channel, wait_time=0)]
        assert newest_first == left[::-1]
        oldest_first = [m.id async for m in client.iter_messages(channel, reverse=True, wait_time=0)]
        assert oldest_first == left
        after = [m.id async for m in client.iter_messages(channel, min_id=ids[100], reverse=True, limit=120)]
        assert after == ids[101:221]
        between = [m.id async for m in client.iter_messages(channel, min_id=ids[5], max_id=ids[9])]
        assert between == ids[6:9][::-1]
        some = await client.get_messages(channel, ids=[ids[9], ids[10], ids[11]])
        assert [None if m is None else m.id for m in some] == [ids[9], None, ids[11]]
        assert (await client.get_entity(channel)).title == "News"


async def test_posts_edits_and_deletions_are_pushed_in_order(world: World) -> None:
    channel = await world.channel()
    async with world.feed() as feed:
        await feed.places([channel])
        done = await world.control.post(channel, "one")
        await world.control.edit(channel, done.message_id, "one, edited")
        await world.control.delete(channel, [done.message_id])
        got = await gather(feed, 3)
    assert [type(o) for o in got] == [Seen, Seen, Gone]
    assert texts(got) == ["one", "one, edited", None]
    assert isinstance(got[1], Seen)
    assert got[1].edit_date_s > 0


async def test_pushes_go_on_over_the_connection_that_follows_a_lost_one(world: World) -> None:
    channel = await world.channel()
    async with world.feed() as first:
        await first.places([channel])
        await world.control.fault("drop")
        with pytest.raises(TelegramUnavailable), anyio.fail_after(10):
            await first.pushes()
    async with world.feed() as second:
        await second.places([channel])
        await world.control.post(channel, "after the reconnect")
        assert texts(await gather(second, 1)) == ["after the reconnect"]
    assert (await world.control.stats())["connections"] <= 1


async def test_a_gap_is_told_by_the_counts_and_recovered_by_the_difference(world: World) -> None:
    channel = await world.channel()
    async with world.feed() as feed:
        await feed.places([channel])
        await world.control.post(channel, "seen")
        (seen,) = await feed.pushes()
        await world.control.fault("swallow", pushes=2)
        await world.control.post(channel, "swallowed")
        await world.control.post(channel, "swallowed too")
        await world.control.post(channel, "pushed")
        (pushed,) = await feed.pushes()
        assert (seen.pts_count, pushed.pts_count, pushed.pts - seen.pts) == (1, 1, 3)
        difference = await feed.difference(channel, seen.pts, 100)
        assert texts(list(difference.observations)) == ["swallowed", "swallowed too", "pushed"]
        assert (difference.pts, difference.final, difference.is_too_long) == (pushed.pts, True, False)
        assert (await feed.difference(channel, pushed.pts, 100)).observations == ()


@pytest.mark.parametrize("posts", [3, 250])
async def test_a_difference_is_given_in_slices_until_it_is_final(world: World, posts: int) -> None:
    channel = await world.channel()
    async with world.client() as client:
        await client.get_dialogs()
        peer = await client.get_input_entity(channel)
        await world.control.post_many(channel, [f"#{n}" for n in range(posts)])
        pts, got, rounds, final = 1, 0, 0, False
        while not final:
            answer = await client(
                functions.updates.GetChannelDifferenceRequest(
                    peer, types.ChannelMessagesFilterEmpty(), pts, 100
                )
            )
            pts, final, rounds = answer.pts, answer.final, rounds + 1
            got += len(answer.new_messages)
        assert got == posts
        assert rounds == -(-posts // 100)
        empty = await client(
            functions.updates.GetChannelDifferenceRequest(peer, types.ChannelMessagesFilterEmpty(), pts, 100)
        )
        assert isinstance(empty, types.updates.ChannelDifferenceEmpty)
        await world.control.post(channel, "more")
        await world.control.fault("too_long", channel=channel)
        too_long = await client(
            functions.updates.GetChannelDifferenceRequest(peer, types.ChannelMessagesFilterEmpty(), pts, 100)
        )
        assert isinstance(too_long, types.updates.ChannelDifferenceTooLong)


async def test_an_unknown_method_is_refused_by_name(world: World) -> None:
    async with world.client() as client:
        with pytest.raises(errors.RPCError, match="METHOD_NOT_SUPPORTED"):
            await client(functions.help.GetSupportRequest())


async def test_only_the_newest_connection_of_a_session_is_pushed_to(world: World) -> None:
    channel = await world.channel()
    port, key = world.telegram.port, key_of(world.session)
    async with Wire.connect(port, key) as older, Wire.connect(port, key) as newer:
        for session_id, wire in ((1, older), (2, newer)):
            await wire.send(bytes(functions.updates.GetStateRequest()), session_id=session_id)
            await wire.receive()
        await world.control.post(channel, "pushed")
        (pushed,) = await newer.receive()
        assert [update.message.message for update in pushed.updates] == ["pushed"]
        # What the older one is told next is the answer to its own question: no push came before it.
        asked = await older.send(bytes(functions.PingRequest(5)))
        (pong,) = await older.receive()
        assert (type(pong), pong.msg_id) == (types.Pong, asked)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_reconnects_by_itself_is_pushed_to_again(world: World, reset: bool) -> None:
    channel = await world.channel()
    came: asyncio.Queue[str] = asyncio.Queue()

    async def take(event: Any) -> None:
        await came.put(event.message.message)

    async with world.client() as client:
        client._sender._auto_reconnect = True
        client._sender._retries = 10
        client.add_event_handler(take, events.NewMessage())
        await client.get_dialogs()
        before = (await world.control.stats())["calls"]["users.getUsers"]
        assert (await world.control.fault("drop", reset=reset))["dropped"] == 1

        async def asks_who_it_is() -> bool:
            calls = (await world.control.stats())["calls"]
            return bool(calls["users.getUsers"] > before)

        await until(asks_who_it_is)
        await world.control.post(channel, "after the reconnect")
        with anyio.fail_after(10):
            assert await came.get() == "after the reconnect"


async def test_every_signed_in_client_is_pushed_to(world: World, tmp_path: Path) -> None:
    channel = await world.channel()
    other = tmp_path / "session" / "other.session"
    await world.telegram.sign_in(other)
    second = TelethonFeed(world.telegram.client_settings(other), request_timeout_s=5)
    async with world.feed() as one, second.connect() as two:
        for feed in (one, two):
            await feed.places([channel])
        await world.control.post(channel, "to all")
        assert texts(await gather(one, 1)) == texts(await gather(two, 1)) == ["to all"]


async def test_a_client_that_is_not_signed_in_is_not_pushed_to_and_may_not_ask(
    world: World, tmp_path: Path
) -> None:
    settings = world.telegram.client_settings(tmp_path / "stranger.session")
    client = TelegramClient(settings.session_file, 1, "0" * 32)
    client.session.set_dc(2, "127.0.0.1", world.telegram.port)
    before = (await world.control.stats())["pushes"]
    await client.connect()
    try:
        assert not await client.is_user_authorized()
        with pytest.raises(errors.AuthKeyUnregisteredError):
            await client.get_dialogs()
        await world.control.post(await world.channel(), "not for strangers")
        assert (await world.control.stats())["pushes"] == before
    finally:
        await client.disconnect()


async def test_dialogs_are_given_over_several_pages(world: World) -> None:
    created = {await world.channel(f"Number {n}") for n in range(230)}
    async with world.client() as client:
        listed = [dialog.id for dialog in await client.get_dialogs()]
    assert created <= set(listed)
    assert len(listed) == len(set(listed))


async def test_history_is_moved_by_add_offset_as_telegram_documents_it(world: World) -> None:
    channel = await world.channel()
    await world.control.post_many(channel, [f"#{n}" for n in range(20)])
    ids = [message.message_id for message in await world.control.dump(channel)]

    async def page(offset_id: int, add_offset: int, limit: int) -> list[int]:
        answer = await client(
            functions.messages.GetHistoryRequest(peer, offset_id, None, add_offset, limit, 0, 0, 0)
        )
        return [ids.index(message.id) for message in answer.messages]

    async with world.client() as client:
        await client.get_dialogs()
        peer = await client.get_input_entity(channel)
        assert await page(0, 0, 3) == [19, 18, 17]
        assert await page(0, 2, 3) == [17, 16, 15]
        assert await page(ids[10], 0, 3) == [9, 8, 7]
        assert await page(ids[10], -1, 3) == [10, 9, 8]
        assert await page(ids[10], -3, 3) == [12, 11, 10]
        assert await page(ids[19], -5, 5) == [19]


async def test_what_a_post_answers_and_belongs_to_is_kept(world: World) -> None:
    channel = await world.channel()
    first = (await world.control.post(channel, "first")).message_id
    await world.control.post(channel, "second", reply_to=first, grouped_id=77)
    async with world.client() as client:
        await client.get_dialogs()
        (message,) = await client.get_messages(channel, limit=1)
        assert (message.reply_to.reply_to_msg_id, message.grouped_id) == (first, 77)
