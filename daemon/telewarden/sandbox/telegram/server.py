"""The local Telegram: listens on 127.0.0.1, keeps the world, pushes what changes, obeys the control socket."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio.abc import ByteStream, SocketAttribute
from telethon.tl import types

from telewarden import logs
from telewarden.sandbox.telegram.account import Account
from telewarden.sandbox.telegram.connection import Connection
from telewarden.sandbox.telegram.crypto import ServerKey
from telewarden.sandbox.telegram.faults import Faults
from telewarden.sandbox.telegram.kept import Kept, change_world
from telewarden.sandbox.telegram.login_tokens import scan
from telewarden.sandbox.telegram.methods import Methods
from telewarden.sandbox.telegram.world import Change, Channel, World

log = structlog.get_logger(__name__)

MAX_CONNECTIONS = 500
"""More are closed at once: one client that opens too many must not use up the process's file descriptors."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How the local Telegram is started.

    folder: private, for the control socket (`control.sock`), the server's key and its public half (`public.pem`).
    port: 0 takes a free one. channels: how many to begin with. phone, code, password: what signs in.
    """

    folder: Path
    port: int = 0
    channels: int = 3
    ids_apart: int = 1_000_000
    phone: str = "+5511900000000"
    code: str = "22222"
    password: str | None = None

    @property
    def control_path(self) -> Path:
        """The control socket."""
        return self.folder / "control.sock"

    @property
    def public_key_file(self) -> Path:
        """The public key that clients need, as PEM."""
        return self.folder / "public.pem"


class Telegram:
    """The running server's parts, as the control socket sees them."""

    def __init__(self, options: ServerOptions, port: int, server_key: ServerKey) -> None:
        self.kept = Kept(options.folder)
        self.world = World(ids_apart=options.ids_apart)
        if not self.kept.play(self.world, change_world):
            for n in range(options.channels):
                request = {"op": "channel_create", "title": f"Channel {n + 1}"}
                change_world(self.world, request)
                self.kept.changed(request)
        self.faults = Faults()
        self.account = Account(options.phone, options.code, options.password)
        self.methods = Methods(self.world, self.account, self.faults, ("127.0.0.1", port))
        self.keys: dict[bytes, bytes] = {}
        self.kept.load_keys(self.keys, self.methods.signed_in)
        self.methods.on_keys = self.keep_keys
        self.methods.on_change = self.kept.changed
        self._server_key = server_key
        self._connections: set[Connection] = set()
        self._newest: dict[bytes, Connection] = {}
        self.pushes = 0

    def keep_keys(self) -> None:
        """Who may come back after a restart has changed."""
        self.kept.keep_keys(self.keys, self.methods.signed_in)

    async def serve_client(self, stream: ByteStream) -> None:
        """Serve one connection; it never raises an Exception, for that would end the server."""
        async with stream:
            if self.faults.refusing or len(self._connections) >= MAX_CONNECTIONS:
                return
            connection = Connection(
                stream,
                server_key=self._server_key,
                keys=self.keys,
                methods=self.methods,
                faults=self.faults,
                on_ready=self._ready,
            )
            self._connections.add(connection)
            try:
                await connection.serve()
            except Exception:
                # Whatever one client makes go wrong, the others are served on.
                log.exception("connection_failed")
            finally:
                self._connections.discard(connection)
                if self._newest.get(connection.key_id) is connection:
                    del self._newest[connection.key_id]

    def _ready(self, connection: Connection) -> None:
        self._newest[connection.key_id] = connection

    async def scan_qr(self, request: dict[str, Any]) -> dict[str, Any]:
        """A phone scans a QR code; see `scan`. Raises ValueError."""
        key_id, update = scan(self.methods.login_tokens, request)
        for connection in list(self._connections):
            if update is not None and connection.key_id == key_id:
                await connection.push(update)
        return {}

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def push(self, channel: Channel, changes: list[Change]) -> None:
        """Tell every signed-in client, over its newest connection, what changed."""
        faults = self.faults
        if channel.bare_id in faults.withheld | faults.never_pushed or faults.deaf or not channel.joined:
            return
        if faults.swallow > 0:
            faults.swallow -= 1
            return
        if faults.delay_s:
            await anyio.sleep(faults.delay_s)
        updates = [update for change in changes if (update := self.world.update(channel, change)) is not None]
        if not updates:
            return
        if channel.bare_id in faults.announced:
            faults.announced.discard(channel.bare_id)
            updates = [types.UpdateChannelTooLong(channel.bare_id, channel.pts)]
        body = bytes(types.Updates(updates, [], [channel.tl()], datetime.now(UTC), 0))
        bodies = [body]
        if faults.reorder:
            if faults.held is None:
                faults.held = body
                return
            bodies, faults.held, faults.reorder = [body, faults.held], None, False
        if faults.duplicate > 0:
            faults.duplicate -= 1
            bodies = [b for b in bodies for _ in range(2)]
        for connection in list(self._newest.values()):
            for each in bodies:
                self.pushes += 1
                try:
                    await connection.push(each)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    connection.drop()

    async def send_garbage(self, kind: str) -> int:
        """Say something to every client that no server says. Returns how many there were."""
        connections = list(self._connections)
        for connection in connections:
            try:
                await connection.send_garbage(kind)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                connection.drop()
        return len(connections)

    def drop(self, *, reset: bool = False) -> int:
        """End every connection; reset: with RST instead of FIN. Returns how many."""
        connections = list(self._connections)
        for connection in connections:
            (connection.reset if reset else connection.drop)()
        return len(connections)

    def stats(self) -> dict[str, Any]:
        """Numbers for tests."""
        return {"connections": self.connections, "calls": dict(self.methods.calls), "pushes": self.pushes}


async def serve(options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT. Prints one line of JSON with port and files once it listens."""
    from telewarden.sandbox.telegram.control_server import serve_control

    options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    server_key = await anyio.to_thread.run_sync(ServerKey.load, options.folder / "server.pem")
    options.public_key_file.write_bytes(server_key.public_pem)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=options.port)
    port = int(listener.extra(SocketAttribute.local_port))
    telegram = Telegram(options, port, server_key)
    options.control_path.unlink(missing_ok=True)
    control = await anyio.create_unix_listener(options.control_path, mode=0o600)
    logs.configure("warning", "console")
    async with anyio.create_task_group() as tasks, listener, control:
        tasks.start_soon(listener.serve, telegram.serve_client)
        tasks.start_soon(control.serve, lambda stream: serve_control(telegram, stream))
        facts = {
            "port": port,
            "dc_id": 2,
            "dc_address": f"127.0.0.1:{port}",
            "phone": options.phone,
            "code": options.code,
            "folder": str(options.folder),
            "public_key_file": str(options.public_key_file),
            "control": str(options.control_path),
            "pid": os.getpid(),
            "started_at": time.time(),
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                break
        tasks.cancel_scope.cancel()


def run(options: ServerOptions) -> None:
    """Serve in this process until it is told to stop."""
    anyio.run(serve, options, backend_options={"use_uvloop": True})
