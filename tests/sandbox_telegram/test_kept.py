"""The local Telegram after a restart: the same channels, messages, counts and keys; and posts that appear late."""

import stat
from pathlib import Path

import pytest

from sandbox_telegram.local import World, gather, texts
from telewarden.sandbox.telegram.control import ControlError
from telewarden.storage.acceptance import Gone, Seen
from telewarden.telegram.feed import Place, SessionUnusable

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def restart(world: World, *, killed: bool = True) -> None:
    if killed:
        await world.telegram.kill()
    await world.telegram.restart()
    await world.control.reconnect()


async def test_after_a_kill_everything_is_as_it_was(tmp_path: Path) -> None:
    async with World.start(tmp_path) as world:
        channel = await world.control.create_channel("Kept", username="kept_channel")
        first, second, third = (
            await world.control.post_many(channel.channel_id, ["a", "b", "c"])
        ).message_ids
        async with world.feed() as feed:
            before = await feed.places([channel.channel_id])
            pts = before[channel.channel_id].pts
        await world.control.edit(channel.channel_id, second, "edited")
        await world.control.delete(channel.channel_id, [third])
        truth, listed = await world.control.dump(channel.channel_id), await world.control.channels()
        await restart(world)
        assert await world.control.dump(channel.channel_id) == truth
        assert await world.control.channels() == listed
        # The session still opens it, and what happened before the kill can be asked for.
        async with world.feed() as feed:
            places = await feed.places([channel.channel_id])
            assert places[channel.channel_id] == Place(second, pts + 2, "Kept", "kept_channel")
            difference = await feed.difference(channel.channel_id, pts, 100)
            assert texts(list(difference.observations)) == ["edited", None]
            await world.control.post(channel.channel_id, "after")
            assert texts(await gather(feed, 1)) == ["after"]
            oldest = (await feed.after(channel.channel_id, 0, 100))[0]
            assert oldest.message_id == first


async def test_an_ordinary_stop_keeps_channels_their_links_and_what_was_forwarded(tmp_path: Path) -> None:
    async with World.start(tmp_path) as world:
        channel = await world.control.create_channel("Signals")
        group = await world.control.create_channel("Signals: discussion", megagroup=True)
        await world.control.link(channel.channel_id, group.channel_id)
        await world.control.post(channel.channel_id, "before")
        await restart(world, killed=False)
        await world.control.post(channel.channel_id, "after")
        for channel_id in (channel.channel_id, group.channel_id):
            assert [m.text for m in await world.control.dump(channel_id)] == ["before", "after"]


async def test_a_refused_packet_leaves_no_post_neither_now_nor_after_a_restart(tmp_path: Path) -> None:
    async with World.start(tmp_path) as world:
        channel_id = await world.channel()
        with pytest.raises(ControlError, match="no Unicode"):
            await world.control.post_many(channel_id, ["good", "\ud800"])
        assert await world.control.dump(channel_id) == []
        kept = await world.control.post(channel_id, "kept")
        truth = await world.control.dump(channel_id)
        assert [m.message_id for m in truth] == [kept.message_id]
        await restart(world)
        assert await world.control.dump(channel_id) == truth


async def test_a_key_that_was_ended_stays_ended_and_its_file_is_private(tmp_path: Path) -> None:
    async with World.start(tmp_path) as world:
        await world.control.fault("deauthorise")
        await restart(world)
        with pytest.raises(SessionUnusable):
            async with world.feed():
                pass
        for name in ("keys.json", "world.jsonl"):
            assert stat.S_IMODE((world.telegram.options.folder / name).stat().st_mode) == 0o600


async def test_a_change_that_was_cut_off_by_the_kill_was_answered_to_nobody(tmp_path: Path) -> None:
    async with World.start(tmp_path) as world:
        channel = await world.control.create_channel("Kept")
        await world.control.post(channel.channel_id, "whole")
        await world.telegram.kill()
        with (world.telegram.options.folder / "world.jsonl").open("ab") as log:
            log.write(b'{"op": "post", "channel": 1')
        await world.telegram.restart()
        await world.control.reconnect()
        assert [m.text for m in await world.control.dump(channel.channel_id)] == ["whole"]
        await world.control.post(channel.channel_id, "next")
        await restart(world)
        assert [m.text for m in await world.control.dump(channel.channel_id)] == ["whole", "next"]


async def test_a_hidden_post_is_in_history_and_in_nothing_else(world: World) -> None:
    channel_id = await world.channel()
    newest = (await world.control.post(channel_id, "newest")).message_id
    async with world.feed() as feed:
        (place,) = (await feed.places([channel_id])).values()
        await world.control.delete(channel_id, [newest])
        await world.control.post(channel_id, "late", message_id=newest + 10)
        await world.control.post(channel_id, "hidden", message_id=newest + 5, hidden=True)
        assert texts(await gather(feed, 2)) == [None, "late"]
        difference = await feed.difference(channel_id, place.pts, 100)
        kinds = {type(o) for o in difference.observations}
        assert kinds == {Gone, Seen}
        assert {o.message_id for o in difference.observations} == {newest, newest + 10}
        assert texts(list(await feed.after(channel_id, 0, 100))) == ["hidden", "late"]
