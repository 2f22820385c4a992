"""The local Telegram as a child process, and an account that is really signed in to it."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from telewarden.sandbox.ports import free_port
from telewarden.sandbox.processes import ServerProcess
from telewarden.sandbox.telegram.control import Control
from telewarden.sandbox.telegram.server import ServerOptions
from telewarden.telegram.client import ClientSettings
from telewarden.telegram.login import sign_in as telethon_sign_in

_START_S, _STOP_S = 30.0, 5.0


class LocalTelegram:
    """A running server. options: how it was started; port: where clients reach it."""

    def __init__(self, process: ServerProcess, options: ServerOptions) -> None:
        self._process = process
        self.options = options
        self.port = options.port
        self.control_path = options.control_path
        self.public_key_file = options.public_key_file

    @classmethod
    @asynccontextmanager
    async def start(
        cls, folder: Path, *, channels: int = 3, password: str | None = None
    ) -> AsyncIterator["LocalTelegram"]:
        """Start it; stop it at the end of the context. Raises ServerFailed."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = ServerOptions(folder, port=free_port(), channels=channels, password=password)
        command = [sys.executable, "-m", "telewarden.sandbox.telegram", "--folder", str(folder)]
        command += ["--port", str(options.port), "--channels", str(channels)]
        command += [] if password is None else ["--password", password]
        process = ServerProcess(
            "the local Telegram", command, folder=folder, log_file=folder / "telegram.log", account=None
        )
        server = cls(process, options)
        try:
            await process.start(server._answers, _START_S)
            yield server
        finally:
            with anyio.CancelScope(shield=True):
                await process.stop(_STOP_S)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def kill(self) -> None:
        """SIGKILL, as a crash; `restart` brings it back as it was."""
        await self._process.kill()

    async def restart(self) -> None:
        """Start it again on the same port, with its channels, messages and its clients' keys. Raises ServerFailed."""
        await self._process.stop(_STOP_S)
        await self._process.start(self._answers, _START_S)

    async def _answers(self) -> bool:
        try:
            with anyio.fail_after(2):
                async with Control.connect(self.control_path) as control:
                    await control.stats()
        except (OSError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError):
            return False
        return True

    def client_settings(self, session_file: Path) -> ClientSettings:
        """How a client reaches it: the data-centre address and the public key are all that differs."""
        return ClientSettings(
            session_file=session_file,
            api_id=1,
            api_hash="0" * 32,
            dc_address=f"127.0.0.1:{self.port}",
            dc_public_key_file=self.public_key_file,
        )

    async def sign_in(self, session_file: Path) -> None:
        """Sign the account in as its owner would, into a session file."""
        options = self.options
        await telethon_sign_in(
            self.client_settings(session_file),
            lambda: options.phone,
            lambda: options.code,
            lambda: options.password or "",
        )
