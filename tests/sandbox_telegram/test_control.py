"""The control socket: who may use it, and what it says to a request that it cannot carry out."""

import json

import anyio
import pytest
from anyio.abc import SocketAttribute

from sandbox_telegram.local import World
from telewarden.sandbox.telegram.control import ControlError

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


CHANNEL = 1_649_127_710
"""The first channel that every local Telegram has."""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"not json", "Expecting value"),
        (b"\xffA", "utf-8"),
        (b"[1]", "one JSON object"),
        (b"[" * 100_000, "recursion"),
        (b"{}", 'with an "op"'),
        (b'{"op": "fly"}', "there is no op 'fly'; there are: post"),
        (b'{"op": "post", "text": "x"}', "needs a value for 'channel'"),
        (b'{"op": "post", "channel": 5, "text": "x"}', "there is no channel 5"),
        (b'{"op": "post", "channel": "a", "text": "x"}', "'a' is no whole number"),
        (b'{"op": "post", "channel": %d}' % CHANNEL, "needs a value for 'text'"),
        (b'{"op": "post", "channel": %d, "text": 5}' % CHANNEL, "5 is no text"),
        (b'{"op": "post", "channel": %d, "text": "\\ud800"}' % CHANNEL, "no Unicode"),
        (b'{"op": "post", "channel": %d, "text": "x", "media": "x"}' % CHANNEL, "no medium 'x'; there are"),
        (
            b'{"op": "post", "channel": %d, "text": "x", "message_id": 9999999999}' % CHANNEL,
            "message_id has to be a whole number from 1",
        ),
        (b'{"op": "post", "channel": %d, "text": "x", "reply_to": "x"}' % CHANNEL, "reply_to has to be"),
        (b'{"op": "post_many", "channel": %d, "texts": "abc"}' % CHANNEL, "texts has to be a list"),
        (b'{"op": "delete", "channel": %d, "message_ids": []}' % CHANNEL, "without an id to delete"),
        (b'{"op": "delete", "channel": %d, "message_ids": [5]}' % CHANNEL, "no posts [5] to delete"),
        (b'{"op": "edit", "channel": %d, "message_id": 5, "text": "x"}' % CHANNEL, "no post 5 to edit"),
        (b'{"op": "channel_create", "title": "\\ud800"}', "no Unicode"),
        (b'{"op": "fault", "name": "gremlins"}', "there is no fault 'gremlins'; there are"),
        (b'{"op": "fault"}', "there is no fault"),
        (b'{"op": "fault", "name": "flood_wait"}', "needs a value for"),
        (b'{"op": "fault", "name": "swallow", "pushes": -1}', "pushes has to be a whole number from 0"),
        (b'{"op": "fault", "name": "delay", "seconds": Infinity}', "seconds have to be from 0"),
        (b'{"op": "fault", "name": "withhold", "channel": 5}', "there is no channel 5"),
        (
            b'{"op": "fault", "name": "rpc_error", "method": "a", "message": "B", "code": 99999999999}',
            "code has to be",
        ),
    ],
)
async def test_it_says_what_is_wrong_and_goes_on(world: World, line: bytes, told: str) -> None:
    async with await anyio.connect_unix(world.telegram.control_path) as stream:
        with anyio.fail_after(5):
            await stream.send(line + b"\n")
            answer = json.loads(await stream.receive())
            assert not answer["ok"]
            assert told in answer["error"]
            await stream.send(b'{"op": "stats"}\n')
            assert json.loads(await stream.receive())["ok"]


async def test_a_request_that_is_refused_changes_nothing(world: World) -> None:
    channel = await world.channel()
    with pytest.raises(ControlError, match="5 is no text"):
        await world.control.ask("post_many", channel=channel, texts=["one", 5])
    done = await world.control.post(channel, "first")
    with pytest.raises(ControlError, match="no posts"):
        await world.control.delete(channel, [done.message_id, done.message_id + 1])
    with pytest.raises(ControlError, match="has had a message"):
        await world.control.post(channel, "again", message_id=done.message_id)
    assert [(m.message_id, m.text, m.deleted) for m in await world.control.dump(channel)] == [
        (done.message_id, "first", False)
    ]


async def test_a_late_message_may_take_a_free_id_and_the_truth_keeps_what_was_deleted(world: World) -> None:
    channel = await world.channel()
    first = (await world.control.post(channel, "first")).message_id
    late, high = first + 5, first + 10
    await world.control.post(channel, "high", message_id=high)
    await world.control.post(channel, "late", message_id=late)
    assert (await world.control.post(channel, "next")).message_ids == (high + 1,)
    await world.control.edit(channel, high, "high, edited")
    await world.control.delete(channel, [late, late])
    truth = [
        (m.message_id, m.text, m.deleted, m.edit_date is not None) for m in await world.control.dump(channel)
    ]
    assert truth == [
        (first, "first", False, False),
        (late, "late", True, False),
        (high, "high, edited", False, True),
        (high + 1, "next", False, False),
    ]


async def test_a_caller_that_leaves_half_way_is_no_harm(world: World) -> None:
    for line in (b"", b'{"op": "sta', b'{"op": "dump", "channel": %d}\n' % CHANNEL):
        stream = await anyio.connect_unix(world.telegram.control_path)
        await stream.send(line or b" ")
        await stream.aclose()
    assert (await world.control.stats())["calls"]


async def test_only_this_machine_and_only_this_user_reach_it(world: World) -> None:
    telegram = world.telegram
    assert telegram.control_path.stat().st_mode & 0o777 == 0o600
    folder = telegram.control_path.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "server.pem").stat().st_mode & 0o777 == 0o600
    async with await anyio.connect_tcp("127.0.0.1", telegram.port) as stream:
        assert stream.extra(SocketAttribute.remote_address)[0] == "127.0.0.1"
    # Nothing else listens at that port: not 127.0.0.2, which is this machine too, and not IPv6.
    for other in ("127.0.0.2", "::1"):
        with pytest.raises(OSError, match=r"connect|refused|assign"):
            await anyio.connect_tcp(other, telegram.port)
