"""What the local Telegram owes an unmodified Telethon, and the faults that it can be given."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from telethon import TelegramClient, connection, errors, events
from telethon.tl import functions, types

from telewarden.sandbox.telegram.control import Control, ControlError
from telewarden.sandbox.telegram.process import LocalTelegram
from telewarden.storage.acceptance import Gone, Observation, Seen
from telewarden.telegram.client import make_client
from telewarden.telegram.feed import Flooded, SessionUnusable, TelegramUnavailable
from telewarden.telegram.login import LoginFailed, sign_in
from telewarden.telegram.telethon_feed import TelethonConnection, TelethonFeed

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module: the server is shared."""
    return "asyncio"


class World:
    """A running local Telegram with a signed-in session, and a fresh channel for each test."""

    def __init__(self, telegram: LocalTelegram, control: Control, session: Path) -> None:
        self.telegram, self.control, self.session = telegram, control, session

    async def channel(self, title: str = "A channel") -> int:
        return (await self.control.create_channel(title)).channel_id

    @asynccontextmanager
    async def client(self, transport: Any = connection.ConnectionTcpFull) -> AsyncIterator[TelegramClient]:
        client = make_client(self.telegram.client_settings(self.session))
        client._connection = transport
        await client.connect()
        try:
            yield client
        finally:
            await client.disconnect()

    @asynccontextmanager
    async def feed(self, timeout_s: float = 5.0) -> AsyncIterator[TelethonConnection]:
        opened = TelethonFeed(self.telegram.client_settings(self.session), request_timeout_s=timeout_s)
        async with opened.connect() as feed:
            yield feed


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("local-telegram")
    async with (
        LocalTelegram.start(folder / "telegram") as telegram,
        Control.connect(telegram.control_path) as control,
    ):
        session = folder / "session" / "account.session"
        await telegram.sign_in(session)
        yield World(telegram, control, session)


@pytest.fixture
async def world(shared: World) -> AsyncIterator[World]:
    """The shared one, without a fault."""
    await shared.control.clear()
    yield shared
    await shared.control.clear()


async def gather(feed: TelethonConnection, count: int) -> list[Observation]:
    got: list[Observation] = []
    with anyio.fail_after(10):
        while len(got) < count:
            got += await feed.pushes()
    return got


def texts(observations: list[Observation]) -> list[str | None]:
    return [None if isinstance(o, Gone) else o.content.text for o in observations]


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
        await feed.tops([channel])
        done = await world.control.post(channel, "one")
        await world.control.edit(channel, done.message_id, "one, edited")
        await world.control.delete(channel, [done.message_id])
        got = await gather(feed, 3)
    assert [type(o) for o in got] == [Seen, Seen, Gone]
    assert texts(got) == ["one", "one, edited", None]
    assert isinstance(got[1], Seen)
    assert got[1].edit_date_s > 0


async def test_only_the_newest_connection_of_a_session_is_pushed_to(world: World) -> None:
    channel = await world.channel()
    async with world.feed() as first:
        await first.tops([channel])
        await world.control.fault("drop")
        with pytest.raises(TelegramUnavailable), anyio.fail_after(10):
            await first.pushes()
    async with world.feed() as second:
        await second.tops([channel])
        await world.control.post(channel, "after the reconnect")
        assert texts(await gather(second, 1)) == ["after the reconnect"]
    assert (await world.control.stats())["connections"] <= 1


async def test_a_gap_is_recovered_by_telethons_own_difference(world: World) -> None:
    channel = await world.channel()
    async with world.feed() as feed:
        await feed.tops([channel])
        await world.control.post(channel, "seen")
        await gather(feed, 1)
        await world.control.fault("swallow", pushes=2)
        await world.control.post(channel, "swallowed")
        await world.control.post(channel, "swallowed too")
        await world.control.post(channel, "pushed")
        assert sorted(filter(None, texts(await gather(feed, 3)))) == ["pushed", "swallowed", "swallowed too"]


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


async def test_a_withheld_channel_is_pushed_again_once_its_difference_is_asked_for(world: World) -> None:
    channel = await world.channel()
    async with world.feed() as feed:
        await feed.tops([channel])
        await world.control.fault("withhold", channel=channel)
        await world.control.post(channel, "withheld")
        request = functions.updates.GetChannelDifferenceRequest(
            feed._peers[channel], types.ChannelMessagesFilterEmpty(), 1, 100
        )
        answer = await feed._client(request)
        assert [message.message for message in answer.new_messages] == ["withheld"]
        await world.control.post(channel, "pushed")
        assert "pushed" in texts(await gather(feed, 1))


async def test_duplicated_and_reordered_pushes_arrive_once_and_in_order(world: World) -> None:
    channel = await world.channel()
    async with world.feed() as feed:
        await feed.tops([channel])
        await world.control.post(channel, "zero")
        await gather(feed, 1)
        await world.control.fault("duplicate", pushes=1)
        await world.control.post(channel, "one")
        await world.control.fault("reorder")
        await world.control.post(channel, "two")
        await world.control.post(channel, "three")
        await world.control.post(channel, "four")
        assert texts(await gather(feed, 4)) == ["one", "two", "three", "four"]


async def newest_or_none(feed: TelethonConnection, channel: int) -> list[Seen] | None:
    try:
        return await feed.newest(channel, 5)
    except Flooded:
        return None


async def test_errors_are_given_by_method_and_counted_down(world: World) -> None:
    channel = await world.channel()
    async with world.feed() as feed:
        await feed.tops([channel])
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


async def test_a_black_hole_is_noticed_within_the_request_time_out(world: World) -> None:
    async with world.feed(timeout_s=0.5) as feed:
        await world.control.fault("black_hole")
        with pytest.raises(TelegramUnavailable, match="in time"), anyio.fail_after(5):
            await feed.probe()
    await world.control.clear()
    async with world.feed() as feed:
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


async def test_an_account_that_was_signed_out_is_told_with_the_command_to_run(tmp_path: Path) -> None:
    async with (
        LocalTelegram.start(tmp_path / "telegram") as telegram,
        Control.connect(telegram.control_path) as control,
    ):
        session = tmp_path / "session" / "account.session"
        await telegram.sign_in(session)
        feed = TelethonFeed(telegram.client_settings(session), request_timeout_s=5)
        async with feed.connect() as connected:
            await control.fault("deauthorise")
            with pytest.raises(SessionUnusable, match="telewarden session login"):
                await connected.probe()
        await control.fault("forget_key")
        with pytest.raises((SessionUnusable, TelegramUnavailable)):
            async with feed.connect():
                raise AssertionError("it connected")


async def test_a_missing_session_is_not_created(world: World, tmp_path: Path) -> None:
    absent = tmp_path / "absent.session"
    feed = TelethonFeed(world.telegram.client_settings(absent), request_timeout_s=5)
    with pytest.raises(SessionUnusable, match="telewarden session login"):
        async with feed.connect():
            raise AssertionError("it connected")
    assert not absent.exists()


@pytest.mark.parametrize(
    ("code", "password", "told"),
    [("00000", "correct horse", "code"), ("22222", "wrong horse", "password")],
)
async def test_a_wrong_code_or_password_is_told_and_leaves_nothing(
    tmp_path: Path, code: str, password: str, told: str
) -> None:
    async with LocalTelegram.start(tmp_path / "telegram", password="correct horse") as telegram:
        session = tmp_path / "session" / "account.session"
        settings = telegram.client_settings(session)
        phone = telegram.options.phone
        with pytest.raises(LoginFailed, match=told):
            await sign_in(settings, lambda: phone, lambda: code, lambda: password)
        assert list(session.parent.iterdir()) == []
        await telegram.sign_in(session)
        assert [file.name for file in session.parent.iterdir()] == ["account.session"]
        assert session.stat().st_mode & 0o777 == 0o600
        assert session.parent.stat().st_mode & 0o777 == 0o700


async def test_an_interrupted_login_leaves_nothing(world: World, tmp_path: Path) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    session = tmp_path / "session" / "account.session"
    with pytest.raises(KeyboardInterrupt):
        await sign_in(
            world.telegram.client_settings(session), lambda: world.telegram.options.phone, interrupted, str
        )
    assert list(session.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"not json\n", "Expecting value"),
        (b"[1]\n", "one JSON object"),
        (b'{"op": "fly"}\n', "there is no op 'fly'; there are: post"),
        (b'{"op": "post", "text": "x"}\n', "needs a value for 'channel'"),
        (b'{"op": "post", "channel": 5, "text": "x"}\n', "there is no channel 5"),
        (b'{"op": "fault", "name": "gremlins"}\n', "there is no fault 'gremlins'"),
        (b'{"op": "fault", "name": "flood_wait"}\n', "needs a value for"),
    ],
)
async def test_the_control_socket_says_what_is_wrong_and_goes_on(
    world: World, line: bytes, told: str
) -> None:
    async with await anyio.connect_unix(world.telegram.control_path) as stream:
        await stream.send(line)
        assert told in (await stream.receive()).decode().replace('\\"', '"')
        await stream.send(b'{"op": "stats"}\n')
        assert b'"ok": true' in await stream.receive()


async def test_the_control_socket_is_private_and_refuses_in_words(world: World) -> None:
    assert world.telegram.control_path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ControlError, match="has no post 5 to edit"):
        await world.control.edit(await world.channel(), 5, "nothing there")


MEDIA: list[tuple[str, str | None, str | None, Callable[[dict[str, Any]], bool]]] = [
    ("photo", "photo", "caption", lambda m: "photo" in m),
    ("video", "video", "caption", lambda m: True),
    ("voice", "voice", "caption", lambda m: True),
    ("document", "document", "caption", lambda m: True),
    ("sticker", "sticker", "caption", lambda m: True),
    ("location", "location", "caption", lambda m: True),
    ("contact", "contact", "caption", lambda m: True),
    ("poll", "poll", "caption", lambda m: True),
    ("webpage", "webpage", "text", lambda m: m["linkPreview"]["url"] == "https://example.com/"),
    ("forward", None, "text", lambda m: m["isForwarded"] is True),
    ("service", "service", None, lambda m: m["service"]["title"] == "what it says"),
]


@pytest.mark.parametrize(("kind", "media_type", "where", "holds"), MEDIA)
async def test_each_kind_of_post_keeps_its_meaning(
    world: World,
    kind: str,
    media_type: str | None,
    where: str | None,
    holds: Callable[[dict[str, Any]], bool],
) -> None:
    channel = await world.channel()
    async with world.feed() as feed:
        await feed.tops([channel])
        await world.control.post(channel, "what it says", media=kind)
        (seen,) = await gather(feed, 1)
        (read,) = await feed.newest(channel, 1)
    assert isinstance(seen, Seen)
    content = seen.content
    assert content == read.content
    assert content.media_type == media_type
    assert content.text == ("what it says" if where == "text" else None)
    assert content.caption == ("what it says" if where == "caption" else None)
    refs = json.loads(content.media_refs)
    assert [ref["type"] for ref in refs] == ([media_type] if where == "caption" else [])
    assert holds(json.loads(content.metadata))


async def test_garbage_ends_its_own_connection_only(world: World) -> None:
    dice = random.Random(7)
    port = world.telegram.port
    for size in (1, 4, 8, 64, 500, 5000):
        for start in (b"", b"\xef", b"\xee\xee\xee\xee", b"\xdd\xdd\xdd\xdd", b"\xff\xff\xff\x7f"):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(start + dice.randbytes(size))
                await stream.send_eof()
                with anyio.fail_after(5):
                    try:
                        while await stream.receive():
                            pass
                    except (anyio.EndOfStream, anyio.BrokenResourceError):
                        pass
    async with world.feed() as feed:
        await feed.probe()


async def test_an_unknown_method_is_refused_by_name(world: World) -> None:
    async with world.client() as client:
        with pytest.raises(errors.RPCError, match="METHOD_NOT_SUPPORTED"):
            await client(functions.help.GetSupportRequest())
