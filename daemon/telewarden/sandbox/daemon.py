"""The daemon as a child process: written settings in, exit status and health out."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import httpx

_LOOK_S = 0.02


class DaemonFailed(Exception):
    """The daemon ended, or did not become ready in time; the message has the end of its log."""


def write_settings(path: Path, sections: Mapping[str, Mapping[str, object]]) -> None:
    """A settings file that only its owner can read: it holds secrets."""
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {_toml(value)}" for name, value in values.items()]
        lines.append("")
    path.touch(mode=0o600)
    path.write_text("\n".join(lines), encoding="utf-8")


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f'"{name}" = {_toml(item)}' for name, item in value.items()) + "}"
        case _:
            escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'


class DaemonProcess:
    """Starts, kills and stops `telewarden run` with one settings file; its log is appended to one file.

    url: where its API listens. api_key: of the consumer.
    """

    def __init__(
        self, settings_file: Path, log_file: Path, *, state_dir: Path, url: str, api_key: str
    ) -> None:
        self.url, self.api_key = url, api_key
        self.state_dir = state_dir
        self._settings_file, self._log_file = settings_file, log_file
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        """Its process id. Raises DaemonFailed when it does not run."""
        if self._process is None:
            raise DaemonFailed("the daemon was not started")
        return self._process.pid

    def start(self, *options: str, environment: Mapping[str, str] | None = None) -> None:
        """Start it; it is not ready yet. options: further ones for the command line; environment: more variables."""
        self.starts += 1
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TELEWARDEN_")}
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**inherited, **(environment or {})},
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        if self._process is not None:
            self._process.wait()

    async def stop(self, timeout_s: float = 15.0) -> int:
        """End it as a service manager does. Returns its exit status; raises TimeoutError if it takes too long."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        with anyio.fail_after(timeout_s):
            return await self.ended()

    async def ended(self) -> int:
        """Its exit status, once it has ended."""
        if self._process is None:
            raise DaemonFailed("the daemon was not started")
        while self._process.poll() is None:
            await anyio.sleep(_LOOK_S)
        return int(self._process.returncode)

    @property
    def command(self) -> list[str]:
        """How it is started."""
        own = ["--config", str(self._settings_file), "--set", f"state_dir={self.state_dir}"]
        return [sys.executable, "-m", "telewarden", "run", *own]

    @property
    def running(self) -> bool:
        """It has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    async def health(self) -> dict[str, object] | None:
        """What /health says, or None while nothing answers."""
        async with httpx.AsyncClient(base_url=self.url, timeout=2.0, trust_env=False) as client:
            try:
                answer = await client.get("/health")
            except httpx.HTTPError:
                return None
        found: dict[str, object] = answer.json()
        return found

    async def wait_ready(
        self, timeout_s: float = 30.0, *, connected: bool = True, caught_up: bool = False
    ) -> None:
        """Until polls can be answered and, unless told otherwise, Telegram is connected. Raises DaemonFailed.

        caught_up: until every channel has been read to its end, too.
        """
        try:
            with anyio.fail_after(timeout_s):
                while not self._is_ready(await self.health(), connected, caught_up):
                    if not self.running:
                        raise DaemonFailed(
                            f"the daemon ended with status {await self.ended()}:\n{self.log_end()}"
                        )
                    await anyio.sleep(_LOOK_S)
        except TimeoutError as error:
            raise DaemonFailed(
                f"the daemon was not ready within {timeout_s:g} s:\n{self.log_end()}"
            ) from error

    @staticmethod
    def _is_ready(health: dict[str, object] | None, connected: bool, caught_up: bool) -> bool:
        if health is None or health.get("status") != "healthy":
            return False
        telegram = health.get("telegram", {})
        if not isinstance(telegram, dict):
            return False
        return (not connected or bool(telegram.get("connected"))) and (
            not caught_up or bool(telegram.get("caughtUp"))
        )

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    @property
    def log(self) -> str:
        """All that it logged, over all its starts."""
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def log_end(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.splitlines()[-lines:]) or "(no log)"
