"""Each fault that the local Telegram can be given does what it says, and ends when it is cleared."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from telethon import errors, functions, types

from sandbox_telegram.local import World, gather, texts
from sandbox_telegram.wire import Wire, key_of
from telewarden.storage.acceptance import Seen
from telewarden.telegram.feed import Flooded, SessionUnusable, TelegramUnavailable
from telewarden.telegram.telethon_feed import TelethonConnection

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_a_withheld_channel_is_pushed_again_once_its_difference_is_asked_for(world: World) -> None:
    channel = await world.channel()
    async with world.feed() as feed:
        await feed.places([channel])
        await world.control.fault("withhold", channel=channel)
        await world.control.post(channel, "withheld")
        request = functions.updates.GetChannelDifferenceRequest(
            feed._peers[channel], types.ChannelMessagesFilterEmpty(), 1, 100
        )
        answer = await feed._client(request)
        assert [message.message for message in answer.new_messages] == ["withheld"]
        await world.control.post(channel, "pushed")
        assert "pushed" in texts(await gather(feed, 1))


async def test_duplicated_and_reordered_pushes_arrive_as_they_were_pushed(world: World) -> None:
    channel = await world.channel()
    async with world.feed() as feed:
        await feed.places([channel])
        await world.control.post(channel, "zero")
        await gather(feed, 1)
        await world.control.fault("duplicate", pushes=1)
        await world.control.post(channel, "one")
        await world.control.fault("reorder")
        await world.control.post(channel, "two")
        await world.control.post(channel, "three")
        await world.control.post(channel, "four")
        # What they mean is for the journal to say, which knows what it has.
        assert texts(await gather(feed, 5)) == ["one", "one", "three", "two", "four"]


async def test_a_swallowed_push_never_comes_and_the_next_one_does(world: World) -> None:
    channel = await world.channel()
    async with pushed_wire(world) as wire:
        await world.control.fault("swallow", pushes=2)
        for text in ("one", "two", "three"):
            await world.control.post(channel, text)
        assert await next_texts(wire) == ["three"]


async def test_a_duplicated_push_is_sent_twice(world: World) -> None:
    channel = await world.channel()
    async with pushed_wire(world) as wire:
        await world.control.fault("duplicate", pushes=1)
        await world.control.post(channel, "one")
        await world.control.post(channel, "two")
        assert [await next_texts(wire) for _ in range(3)] == [["one"], ["one"], ["two"]]


async def test_two_reordered_pushes_change_places(world: World) -> None:
    channel = await world.channel()
    async with pushed_wire(world) as wire:
        await world.control.fault("reorder")
        for text in ("one", "two", "three"):
            await world.control.post(channel, text)
        assert [await next_texts(wire) for _ in range(3)] == [["two"], ["one"], ["three"]]


async def test_a_push_that_was_held_for_reordering_is_lost_when_faults_are_cleared(world: World) -> None:
    channel = await world.channel()
    async with pushed_wire(world) as wire:
        await world.control.fault("reorder")
        await world.control.post(channel, "held")
        await world.control.clear()
        await world.control.fault("reorder")
        for text in ("one", "two"):
            await world.control.post(channel, text)
        assert [await next_texts(wire) for _ in range(2)] == [["two"], ["one"]]


async def test_a_delayed_push_comes_that_much_later(world: World) -> None:
    channel = await world.channel()
    async with pushed_wire(world) as wire:
        await world.control.fault("delay", seconds=0.3)
        began = time.monotonic()
        await world.control.post(channel, "late")
        assert await next_texts(wire) == ["late"]
        assert time.monotonic() - began >= 0.3


async def newest_or_none(feed: TelethonConnection, channel: int) -> list[Seen] | None:
    try:
        return await feed.newest(channel, 5)
    except Flooded:
        return None


async def test_errors_are_given_by_method_and_counted_down(world: World) -> None:
    channel = await world.channel()
    async with world.feed() as feed:
        await feed.places([channel])
        await world.control.fault("flood_wait", method="messages.getHistory", seconds=2)
        with pytest.raises(Flooded) as flooded:
            await feed.newest(channel, 5)
        assert flooded.value.wait_s == 2
        # Telethon refuses the method by itself until the wait is over; then the server answers again.
        with anyio.fail_after(10):
            while await newest_or_none(feed, channel) is None:
                await anyio.sleep(0.05)
        await world.control.fault("rpc_error", method="updates.getState", code=400, message="SOMETHING_ODD")
        with pytest.raises(TelegramUnavailable, match="SOMETHING_ODD"):
            await feed.probe()
        await feed.probe()


async def test_an_error_is_given_as_often_as_asked_and_to_its_method_only(world: World) -> None:
    state = functions.updates.GetStateRequest()
    async with world.client() as client:
        await world.control.fault(
            "rpc_error", method="updates.getState", code=400, message="SOMETHING_ODD", times=3
        )
        assert await client.get_me()
        for _ in range(3):
            with pytest.raises(errors.BadRequestError, match="SOMETHING_ODD"):
                await client(state)
        assert isinstance(await client(state), types.updates.State)


async def test_refused_connections_end_at_once_until_cleared(world: World) -> None:
    await world.control.fault("refuse")
    async with await anyio.connect_tcp("127.0.0.1", world.telegram.port) as stream:
        with anyio.fail_after(5), pytest.raises(anyio.EndOfStream):
            await stream.receive()
    await world.control.clear()
    async with world.feed() as feed:
        await feed.probe()


async def test_nothing_leaves_a_black_hole_until_it_is_cleared(world: World) -> None:
    channel = await world.channel()
    async with pushed_wire(world) as wire:
        await world.control.fault("black_hole")
        before = (await world.control.stats())["calls"]["updates.getState"]
        await wire.send(bytes(functions.updates.GetStateRequest()))
        await world.control.post(channel, "not pushed")
        await world.control.clear()
        await world.control.post(channel, "pushed")
        assert await next_texts(wire) == ["pushed"]
        assert (await world.control.stats())["calls"]["updates.getState"] == before


async def test_a_dropped_connection_ends_and_a_reset_one_breaks(world: World) -> None:
    for reset, ends in ((False, anyio.EndOfStream), (True, anyio.BrokenResourceError)):
        async with await anyio.connect_tcp("127.0.0.1", world.telegram.port) as stream:
            await stream.send(b"\xef")
            with anyio.fail_after(5):
                while (await world.control.fault("drop", reset=reset))["dropped"] == 0:
                    await anyio.sleep(0.01)
                with pytest.raises(ends):
                    await stream.receive()


async def test_a_difference_that_is_too_long_is_so_once(world: World) -> None:
    channel = await world.channel()
    async with world.client() as client:
        await client.get_dialogs()
        peer = await client.get_input_entity(channel)
        request = functions.updates.GetChannelDifferenceRequest(
            peer, types.ChannelMessagesFilterEmpty(), 1, 100
        )
        done = await world.control.post(channel, "one")
        await world.control.fault("too_long", channel=channel)
        too_long = await client(request)
        assert isinstance(too_long, types.updates.ChannelDifferenceTooLong)
        assert (too_long.dialog.pts, too_long.dialog.top_message) == (done.pts, done.message_id)
        assert isinstance(await client(request), types.updates.ChannelDifference)


async def test_a_signed_out_key_is_answered_401_and_a_forgotten_one_404(tmp_path: Path) -> None:
    async with World.start(tmp_path) as world:
        async with world.feed() as connected:
            await world.control.fault("deauthorise")
            with pytest.raises(SessionUnusable, match="telewarden session login"):
                await connected.probe()
        await world.control.fault("forget_key")
        async with Wire.connect(world.telegram.port, key_of(world.session)) as wire:
            await wire.send(bytes(functions.updates.GetStateRequest()))
            assert await wire.receive_frame() == (-404).to_bytes(4, "little", signed=True)
        with pytest.raises(SessionUnusable, match="telewarden session login"):
            async with world.feed():
                raise AssertionError("it connected")
        # A new key is made, and signed in, as at the first time.
        await world.telegram.sign_in(world.session)
        async with world.feed() as connected:
            await connected.probe()


@asynccontextmanager
async def pushed_wire(world: World) -> AsyncIterator[Wire]:
    """A connection that pushes are sent over, and that nothing sorts or recovers them for."""
    async with Wire.connect(world.telegram.port, key_of(world.session)) as wire:
        await wire.send(bytes(functions.updates.GetStateRequest()))
        await wire.receive()
        yield wire


async def next_texts(wire: Wire) -> list[str]:
    (pushed,) = await wire.receive()
    return [update.message.message for update in pushed.updates]
