"""What a client must not say, and what the server makes of it: one connection ends, the server goes on."""

import gzip
import itertools
import random
import struct
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream
from telethon.tl import functions, types
from telethon.tl.core import GzipPacked, MessageContainer, RpcResult

from sandbox_telegram.local import World
from sandbox_telegram.wire import Wire, key_of
from telewarden.sandbox.telegram.connection import SALT
from telewarden.sandbox.telegram.crypto import key_id, tl_bytes
from telewarden.sandbox.telegram.server import MAX_CONNECTIONS

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


STATE = bytes(functions.updates.GetStateRequest())


@pytest.fixture(autouse=True)
async def the_server_went_on(world: World) -> AsyncIterator[None]:
    """Whatever a test sent, the same server still serves, and nothing in it failed in a way nobody thought of."""
    pid = world.telegram.pid
    yield
    async with Wire.connect(world.telegram.port, key_of(world.session)) as wire:
        await wire.send(STATE)
        assert any(isinstance(part, RpcResult) for part in await wire.receive())
    assert world.telegram.pid == pid
    log = Path(world.telegram.options.folder / "telegram.log").read_text(encoding="utf-8")
    assert "failed" not in log, log[-2000:]


@pytest.fixture
async def wire(world: World) -> AsyncIterator[Wire]:
    """A connection with the account's key."""
    async with Wire.connect(world.telegram.port, key_of(world.session)) as connected:
        yield connected


def packed(body: bytes) -> bytes:
    return bytes(GzipPacked.CONSTRUCTOR_ID.to_bytes(4, "little")) + tl_bytes(body)


def container(*parts: tuple[int, int, bytes], count: int | None = None) -> bytes:
    """A container of (message id, length as told, body); count: how many it says it has."""
    body = b"".join(struct.pack("<qii", number, 1, length) + part for number, length, part in parts)
    told = len(parts) if count is None else count
    return struct.pack("<II", MessageContainer.CONSTRUCTOR_ID, told) + body


async def drain(stream: SocketStream) -> None:
    """Until the server has ended the connection."""
    with anyio.fail_after(5):
        try:
            while True:
                await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass


def full(payload: bytes, *, seqno: int = 0, crc: int | None = None, length: int | None = None) -> bytes:
    body = (len(payload) + 12 if length is None else length).to_bytes(4, "little")
    body += seqno.to_bytes(4, "little") + payload
    return body + (zlib.crc32(body) if crc is None else crc).to_bytes(4, "little")


def abridged(payload: bytes) -> bytes:
    payload += bytes(-len(payload) % 4)
    words = len(payload) // 4
    return b"\xef" + (bytes([words]) if words < 0x7F else b"\x7f" + words.to_bytes(3, "little")) + payload


def plain(body: bytes) -> bytes:
    """A packet of the key exchange."""
    return struct.pack("<qqi", 0, int(time.time()) << 32, len(body)) + body


ASK_PQ = plain(bytes(functions.ReqPqMultiRequest(nonce=5)))
BAD_FRAMES = {
    "full, wrong CRC": full(ASK_PQ, crc=5),
    "full, wrong number": full(ASK_PQ, seqno=7),
    "full, length 0": full(ASK_PQ, length=0),
    "full, enormous length": full(ASK_PQ, length=0x7FFFFFFF),
    "full, negative length": full(ASK_PQ, length=0xFFFFFFF0),
    "abridged, length 0": b"\xef\x00",
    "abridged, enormous length": b"\xef\x7f\xff\xff\xff",
    "intermediate, length 0": b"\xee\xee\xee\xee" + bytes(4),
    "intermediate, enormous length": b"\xee\xee\xee\xee\xff\xff\xff\x7f",
    "padded, length 1": b"\xdd\xdd\xdd\xdd\x01\x00\x00\x00x",
    "plain packet without a body": abridged(bytes(8)),
    "plain packet of zeros": abridged(bytes(40)),
    "plain packet of an unknown type": abridged(plain(b"\x01\x02\x03\x04" * 8)),
    "no step of the handshake": abridged(plain(STATE)),
    "the handshake's second step first": abridged(
        plain(bytes(functions.ReqDHParamsRequest(0, 0, b"p", b"q", 5, b"x" * 256)))
    ),
    "the handshake's third step first": abridged(
        plain(bytes(functions.SetClientDHParamsRequest(0, 0, b"x" * 32)))
    ),
    "a step with another's nonce": abridged(
        plain(bytes(functions.SetClientDHParamsRequest(5, 6, b"x" * 33)))
    ),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_bad_frame_or_step_ends_its_connection(world: World, name: str) -> None:
    async with await anyio.connect_tcp("127.0.0.1", world.telegram.port) as stream:
        await stream.send(BAD_FRAMES[name])
        await drain(stream)


STARTS = (b"", b"\xef", b"\xee" * 4, b"\xdd" * 4, b"\xff\xff\xff\x7f", bytes(8))
SIZES = (0, 1, 3, 8, 20, 64, 500, 5000)


@pytest.mark.parametrize("seed", range(5))
async def test_random_bytes_end_their_own_connection_only(world: World, seed: int) -> None:
    dice = random.Random(seed)
    whole = [ASK_PQ, *(frame for frame in BAD_FRAMES.values())]
    for start, size in itertools.product(STARTS, SIZES):
        # Half of them begin as something sensible and are then cut off or spoilt.
        sensible = bytearray(dice.choice(whole)) if dice.random() < 0.5 else bytearray()
        if sensible:
            sensible[dice.randrange(len(sensible))] ^= 1 << dice.randrange(8)
        data = start + bytes(sensible[: dice.randrange(len(sensible) + 1)]) + dice.randbytes(size)
        async with await anyio.connect_tcp("127.0.0.1", world.telegram.port) as stream:
            try:
                await stream.send(data)
                await stream.send_eof()
            except OSError:
                pass
            except anyio.BrokenResourceError:
                pass
            await drain(stream)


NESTED = bytes(functions.InvokeWithLayerRequest(229, functions.updates.GetStateRequest()))[:8]
BAD_BODIES = {
    "empty": b"",
    "half a constructor": b"\x01\x02",
    "a cut-off request": bytes(
        functions.messages.GetHistoryRequest(types.InputPeerSelf(), 0, None, 0, 0, 0, 0, 0)
    )[:12],
    "a container of 2 billion": container(count=0x7FFFFFFF),
    "a container of -1": container(count=0xFFFFFFFF),
    "a container that ends early": container((4, len(STATE), STATE), count=3),
    "a message longer than its container": container((4, 5000, STATE)),
    "a message of negative length": container((4, -20, STATE)),
    "a container in a container": container((4, 20, container((8, len(STATE), STATE)))),
    "packed nonsense": packed(b"nonsense"),
    "packed data that is cut off": packed(gzip.compress(STATE * 100)[:-10]),
    "packed data without end": packed(gzip.compress(bytes(64 * 1024 * 1024))),
    "packed twice": packed(gzip.compress(packed(gzip.compress(b"x")))),
    "requests in requests, without end": NESTED * 5000,
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_body_that_cannot_be_read_ends_its_connection_or_is_refused(wire: Wire, name: str) -> None:
    await wire.send(BAD_BODIES[name])
    if not await wire.ended():
        # Read, and refused in words: the connection is still good.
        await wire.send(bytes(functions.PingRequest(1)))
        assert isinstance((await wire.receive())[-1], types.Pong)


@pytest.mark.parametrize("seed", range(3))
async def test_spoilt_requests_under_a_good_key_never_end_the_server(world: World, seed: int) -> None:
    dice = random.Random(seed)
    peer = types.InputPeerChannel(1_649_127_710, 5)
    requests = [
        bytes(functions.messages.GetHistoryRequest(peer, 0, None, 0, 10, 0, 0, 0)),
        bytes(functions.updates.GetChannelDifferenceRequest(peer, types.ChannelMessagesFilterEmpty(), 1, 9)),
        bytes(functions.messages.GetDialogsRequest(None, 0, types.InputPeerEmpty(), 10, 0)),
        bytes(functions.account.UpdateStatusRequest(offline=False)),
        container((4, len(STATE), STATE), (8, len(STATE), STATE)),
        packed(gzip.compress(STATE)),
    ]
    for _ in range(60):
        body = bytearray(dice.choice(requests))
        for _ in range(dice.randrange(1, 4)):
            body[dice.randrange(len(body))] ^= 1 << dice.randrange(8)
        async with Wire.connect(world.telegram.port, key_of(world.session)) as wire:
            await wire.send(bytes(body[: dice.randrange(1, len(body) + 1)]))
            # Its answer, if there is one, precedes this one's; else the connection ends.
            try:
                await wire.send(bytes(functions.PingRequest(9)))
                while not any(isinstance(part, types.Pong) for part in await wire.receive()):
                    pass
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                pass


async def test_a_packet_that_was_tampered_with_ends_its_connection(world: World, wire: Wire) -> None:
    await wire.send_frame(key_id(key_of(world.session)) + bytes(16) + b"x" * 32)
    assert await wire.ended()


async def test_an_unknown_key_is_answered_404(wire: Wire) -> None:
    await wire.send_frame(b"nobody's" + bytes(16) + b"x" * 32)
    assert await wire.receive_frame() == (-404).to_bytes(4, "little", signed=True)


async def test_a_wrong_salt_is_answered_with_the_right_one_and_nothing_is_done(
    world: World, wire: Wire
) -> None:
    before = (await world.control.stats())["calls"].get("updates.getState", 0)
    sent = await wire.send(STATE, salt=5)
    (refused,) = await wire.receive()
    assert isinstance(refused, types.BadServerSalt)
    assert (refused.bad_msg_id, refused.new_server_salt) == (sent, SALT)
    assert (await world.control.stats())["calls"].get("updates.getState", 0) == before
    sent = await wire.send(STATE, salt=refused.new_server_salt)
    created, answer = await wire.receive()
    assert isinstance(created, types.NewSessionCreated)
    assert (created.first_msg_id, created.server_salt, answer.req_msg_id) == (sent, SALT, sent)


@pytest.mark.parametrize(
    ("seconds", "off", "code"), [(-400.0, 0, 16), (60.0, 0, 17), (0.0, 1, 18), (0.0, 2, 18)]
)
async def test_a_message_id_that_no_client_may_give_is_refused(
    wire: Wire, seconds: float, off: int, code: int
) -> None:
    sent = await wire.send(STATE, message_id=wire.next_id(after_s=seconds) + off)
    (refused,) = await wire.receive()
    assert isinstance(refused, types.BadMsgNotification)
    assert (refused.bad_msg_id, refused.error_code) == (sent, code)


async def test_every_message_of_a_container_is_answered_in_one_packet(wire: Wire) -> None:
    numbers = [wire.next_id() for _ in range(3)]
    ping = bytes(functions.PingRequest(7))
    acknowledgement = bytes(types.MsgsAck([5]))
    await wire.send(
        container(
            (numbers[0], len(STATE), STATE),
            (numbers[1], len(ping), ping),
            (numbers[2], len(acknowledgement), acknowledgement),
        )
    )
    created, state, pong = await wire.receive()
    assert isinstance(created, types.NewSessionCreated)
    assert created.first_msg_id == numbers[0]
    assert state.req_msg_id == numbers[0]
    assert (pong.msg_id, pong.ping_id) == (numbers[1], 7)


async def test_a_packed_request_is_taken_and_a_large_answer_is_packed(world: World, wire: Wire) -> None:
    channel = await world.channel()
    await world.control.post_many(channel, ["x" * 1000] * 5)
    sent = await wire.send(packed(gzip.compress(bytes(functions.help.GetConfigRequest()))))
    assert (await wire.receive())[-1].req_msg_id == sent
    await wire.send(bytes(functions.messages.GetDialogsRequest(None, 0, types.InputPeerEmpty(), 50, 0)))
    (answer,) = await wire.receive()
    assert int.from_bytes(answer.body[:4], "little") == types.messages.DialogsSlice.CONSTRUCTOR_ID
    assert wire.last_frame_bytes < len(answer.body) / 2


async def test_connections_beyond_the_limit_are_closed_and_room_is_made_when_others_leave(
    world: World,
) -> None:
    streams: list[SocketStream] = []
    try:
        while len(streams) < MAX_CONNECTIONS + 20:
            streams.append(await anyio.connect_tcp("127.0.0.1", world.telegram.port))
        with anyio.fail_after(5), pytest.raises(anyio.EndOfStream):
            await streams[-1].receive()
        assert (await world.control.stats())["connections"] <= MAX_CONNECTIONS
    finally:
        for stream in streams:
            await stream.aclose()
    with anyio.fail_after(5):
        while (await world.control.stats())["connections"]:
            await anyio.sleep(0.01)
