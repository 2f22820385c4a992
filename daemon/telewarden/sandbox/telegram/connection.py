"""One client's connection: transport, handshake, encryption, sessions and salts; requests go to `Methods`."""

import contextlib
import functools
import os
import socket
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import anyio
import structlog
from anyio.abc import ByteStream, SocketAttribute
from telethon.errors import TypeNotFoundError
from telethon.tl import TLObject, functions, types
from telethon.tl.core import MessageContainer
from telethon.tl.core.gzippacked import GzipPacked

from telewarden.sandbox.telegram.account import RpcFailed
from telewarden.sandbox.telegram.crypto import ServerKey, decrypt_message, encrypt_message, key_id
from telewarden.sandbox.telegram.faults import Faults
from telewarden.sandbox.telegram.handshake import Handshake, HandshakeFailed
from telewarden.sandbox.telegram.messages import (
    BadMessage,
    Incoming,
    Numbering,
    Packet,
    bad_message_code,
    container,
    encode,
    packet,
    parse,
    read_object,
    rpc_error,
    rpc_result,
)
from telewarden.sandbox.telegram.methods import Methods, method_name
from telewarden.sandbox.telegram.transport import BadFrame, Reader, Transport, sniff

log = structlog.get_logger(__name__)

SALT = 0x7E1E_0A2D_5A17
UNKNOWN_KEY = (-404).to_bytes(4, "little", signed=True)
_SEND_S = 10.0
KEYS_HELD = 10_000
_SALT_WRONG = 48


class Connection:
    """Serves one client until it leaves. keys: every authorisation key by its id; shared with other connections."""

    def __init__(
        self,
        stream: ByteStream,
        *,
        server_key: ServerKey,
        keys: dict[bytes, bytes],
        methods: Methods,
        faults: Faults,
        on_ready: Callable[["Connection"], object],
    ) -> None:
        self._stream = stream
        self._server_key, self._keys = server_key, keys
        self._methods, self._faults = methods, faults
        self._on_ready = on_ready
        self._transport: Transport | None = None
        self._sending = anyio.Lock()
        self._numbering = Numbering()
        self._auth_key: bytes | None = None
        self._session_id: int | None = None
        self.key_id = b""
        self.scope = anyio.CancelScope()
        self.wants_updates = False
        """A request that is not under invokeWithoutUpdates has come: Telegram pushes from then on."""

    async def serve(self) -> None:
        """Until the client leaves or says something that is no MTProto."""
        reader = Reader(self._stream)
        with self.scope:
            async with anyio.create_task_group() as self._tasks:
                await self._serve(reader)
                self._tasks.cancel_scope.cancel()

    async def _serve(self, reader: Reader) -> None:
        try:
            self._transport = await sniff(reader)
            handshake = Handshake(self._server_key)
            while True:
                received = await self._transport.read(reader)
                if self._faults.deaf:
                    continue
                if received[:8] == bytes(8):
                    await self._shake(handshake, received)
                else:
                    await self._take(received)
        except (BadFrame, BadMessage, HandshakeFailed, TypeNotFoundError, ValueError) as error:
            log.debug("connection_ended", why=str(error))
        except (
            anyio.EndOfStream,
            anyio.IncompleteRead,
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
        ):
            log.debug("connection_ended", why="the client left")

    async def _shake(self, handshake: Handshake, received: bytes) -> None:
        request, _ = read_object(received[20:])
        answer = bytes(handshake.step(request))
        if handshake.auth_key is not None:
            self._keep(handshake.auth_key)
        message_id = self._numbering.next_id(answer=True)
        await self._send_raw(struct.pack("<qqi", 0, message_id, len(answer)) + answer)

    def _keep(self, auth_key: bytes) -> None:
        """Remember a key; of too many, the oldest that nobody signed in with is forgotten."""
        self._keys[key_id(auth_key)] = auth_key
        if len(self._keys) > KEYS_HELD:
            unused = (known for known in self._keys if known not in self._methods.signed_in)
            self._keys.pop(next(unused), None)
        self._methods.on_keys()

    async def _take(self, received: bytes) -> None:
        auth_key = self._keys.get(received[:8])
        if auth_key is None:
            await self._send_raw(UNKNOWN_KEY)
            return
        self._auth_key, self.key_id = auth_key, received[:8]
        incoming = parse(decrypt_message(auth_key, received))
        refused = _refused(incoming)
        if refused is not None:
            # Nothing of the packet is executed; the client sends it again.
            await self._send(incoming.session_id, [(refused, False)], answer=True)
            return
        parts: list[bytes] = []
        if incoming.session_id != self._session_id:
            self._session_id = incoming.session_id
            first = min(message.message_id for message in incoming.messages) if incoming.messages else 0
            parts.append(bytes(types.NewSessionCreated(first, incoming.session_id ^ SALT, SALT)))
        for message in incoming.messages:
            delay_s = self._delay_of(message)
            if delay_s:
                self._tasks.start_soon(self._answer_late, incoming.session_id, message, delay_s)
                continue
            answer = self._answer(message)
            if answer is not None:
                parts.append(answer)
        if parts:
            await self._send(incoming.session_id, [(part, True) for part in parts], answer=True)
        if self.wants_updates and self.key_id in self._methods.signed_in:
            self._on_ready(self)

    def _delay_of(self, message: Incoming) -> float:
        request, _ = _unwrapped(message.body)
        return self._faults.slow.get(method_name(request), 0.0) if request is not None else 0.0

    async def _answer_late(self, session_id: int, message: Incoming, delay_s: float) -> None:
        await anyio.sleep(delay_s)
        answer = self._answer(message)
        if answer is not None:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._send(session_id, [(answer, True)], answer=True)

    async def send_garbage(self, kind: str) -> None:
        """Say something that no server says; see GARBAGE. Raises anyio's errors of a stream that is gone."""
        transport, auth_key = self._transport, self._auth_key
        if transport is None or auth_key is None or self._session_id is None:
            return
        match kind:
            case "bytes":
                await self._send_bytes(os.urandom(4096))
            case "packet":
                await self._send_raw(os.urandom(512))
            case "wrong_key":
                await self._send_raw(key_id(auth_key) + os.urandom(16 + 16 * 20))
            case "truncated":
                await self._send_bytes(transport.frame(os.urandom(4096))[:100])
                self.drop()
            case "huge":
                await self._send_bytes((0x7FFFFFF0).to_bytes(4, "little") + os.urandom(1024))
            case "container":
                many = struct.pack("<Ii", MessageContainer.CONSTRUCTOR_ID, 1_000_000) + os.urandom(4000)
                await self._send(self._session_id, [(many, True)])
            case "bomb":
                packed = TLObject.serialize_bytes(_bomb())
                await self._send(
                    self._session_id, [(GzipPacked.CONSTRUCTOR_ID.to_bytes(4, "little") + packed, True)]
                )

    def _answer(self, message: Incoming) -> bytes | None:
        """What one message is answered with; None for those that need no answer."""
        body = message.body
        match body:
            case types.MsgsAck() | types.MsgsStateReq() | types.MsgsAllInfo() | types.HttpWait():
                return None
            case functions.PingRequest() | functions.PingDelayDisconnectRequest():
                return bytes(types.Pong(message.message_id, body.ping_id))
            case functions.DestroySessionRequest():
                return bytes(types.DestroySessionNone(body.session_id))
            case functions.GetFutureSaltsRequest():
                return bytes(types.FutureSalts(message.message_id, 0, []))
            case functions.RpcDropAnswerRequest():
                return rpc_result(message.message_id, bytes(types.RpcAnswerUnknown()))
        request, wants_updates = _unwrapped(body)
        self.wants_updates = self.wants_updates or wants_updates
        if request is None:
            return rpc_error(message.message_id, 400, "INPUT_METHOD_INVALID")
        try:
            return rpc_result(message.message_id, encode(self._methods.answer(request, self.key_id)))
        except RpcFailed as failed:
            return rpc_error(message.message_id, failed.code, failed.message)
        except Exception:
            # A request that nobody thought of must not end the connection, and never the server.
            log.exception("request_failed", request=type(request).__name__)
            return rpc_error(message.message_id, 500, "INTERNAL")

    async def push(self, update: bytes) -> None:
        """Send an update that nobody asked for. Raises anyio's errors of a stream that is gone."""
        if self._session_id is not None:
            await self._send(self._session_id, [(update, True)])

    async def _send(self, session_id: int, bodies: list[tuple[bytes, bool]], *, answer: bool = False) -> None:
        """Encrypt and send messages, each (body, whether it counts as content); several go in a container."""
        if self._auth_key is None:
            return
        numbered = [
            (self._numbering.next_id(answer=answer), self._numbering.next_seqno(content=content), body)
            for body, content in bodies
        ]
        if len(numbered) > 1:
            body = container(numbered)
            numbered = [
                (self._numbering.next_id(answer=answer), self._numbering.next_seqno(content=False), body)
            ]
        (message_id, seqno, body) = numbered[0]
        plain = packet(SALT, session_id, message_id, seqno, body)
        await self._send_raw(encrypt_message(self._auth_key, plain))

    async def _send_raw(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None:
            await self._send_bytes(lambda: transport.frame(data))

    async def _send_bytes(self, data: bytes | Callable[[], bytes]) -> None:
        """One after the other. A callable makes what a frame's number depends on when its turn has come."""
        async with self._sending:
            with anyio.move_on_after(_SEND_S) as slow:
                await self._stream.send(data() if callable(data) else data)
        if slow.cancelled_caught:
            # A client that does not read must not hold up the others' pushes.
            self.drop()

    def reset(self) -> None:
        """End it from here, with RST instead of FIN."""
        with contextlib.suppress(OSError, anyio.ClosedResourceError):
            raw = self._stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.drop()

    def drop(self) -> None:
        """End it from here."""
        self.scope.cancel()


@functools.cache
def _bomb() -> bytes:
    packing = zlib.compressobj(wbits=31)
    block = bytes(1024 * 1024)
    return b"".join([*(packing.compress(block) for _ in range(512)), packing.flush()])


def _refused(incoming: Packet) -> bytes | None:
    """What a packet is refused with as a whole, for its salt or its number; None if it can be taken."""
    if incoming.salt != SALT:
        return bytes(types.BadServerSalt(incoming.message_id, 0, _SALT_WRONG, SALT))
    code = bad_message_code(incoming.message_id, time.time())
    return None if code is None else bytes(types.BadMsgNotification(incoming.message_id, 0, code))


def _unwrapped(body: Any) -> tuple[Any, bool]:
    """The request inside invokeWithLayer and its like, and whether its client wants updates."""
    wants_updates = True
    while body is not None:
        match body:
            case functions.InvokeWithLayerRequest() | functions.InitConnectionRequest():
                body = body.query
            case functions.InvokeAfterMsgRequest() | functions.InvokeAfterMsgsRequest():
                body = body.query
            case functions.InvokeWithoutUpdatesRequest():
                body, wants_updates = body.query, False
            case _:
                return body, wants_updates
    return None, False
