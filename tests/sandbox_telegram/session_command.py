"""`telewarden session` as an operator runs it: as a process, and on a terminal."""

import base64
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import anyio

from sandbox_telegram.local import until
from telewarden.sandbox.telegram.process import LocalTelegram

MAIN = "from telewarden.cli import main; main()"
ON_A_TERMINAL = f"import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); {MAIN}"
_PATIENCE_S = 30


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that it said."""
        return self.out + self.err


class Operator:
    """Types commands against one Telegram, with one state folder. heard: everything that any command said."""

    def __init__(self, telegram: LocalTelegram, state_dir: Path, *, address: str | None = None) -> None:
        self.telegram, self.state_dir = telegram, state_dir
        self.session = state_dir / "telewarden.session"
        self.heard = ""
        address = address or f"127.0.0.1:{telegram.port}"
        self._config = state_dir.with_name(f"{address.replace(':', '-')}.toml")
        self._config.write_text(
            f'state_dir = "{state_dir}"\n[telegram]\napi_id = 1\n'
            f'dc_address = "{address}"\n'
            f'dc_public_key_file = "{telegram.public_key_file}"\n',
            encoding="utf-8",
        )
        self._secrets = {
            "TELEWARDEN_TELEGRAM__API_HASH": "0" * 32,
            "TELEWARDEN_DATABASE__DSN": "postgresql://host/db",
        }

    async def types(self, command: str, *arguments: object, secrets: bool = True, stdin: bytes = b"") -> Ran:
        """Run one command to its end."""
        with anyio.fail_after(_PATIENCE_S):
            done = await anyio.run_process(
                [sys.executable, "-c", MAIN, *self._words(command, arguments)],
                input=stdin,
                check=False,
                env=self._environment(secrets),
            )
        ran = Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
        self.heard += ran.text
        return ran

    @asynccontextmanager
    async def at_a_terminal(self, command: str, *arguments: object) -> AsyncIterator["Terminal"]:
        """A command on a pseudo-terminal of its own."""
        ours, theirs = os.openpty()
        try:
            process = await anyio.open_process(
                [sys.executable, "-c", ON_A_TERMINAL, *self._words(command, arguments)],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env=self._environment(secrets=True),
            )
            os.close(theirs)
            terminal = Terminal(ours, process)
            try:
                yield terminal
            finally:
                self.heard += terminal.seen
                if process.returncode is None:
                    process.kill()
                await process.wait()
        finally:
            os.close(ours)

    def left(self) -> list[str]:
        """What lies in the state folder, without the lock's file."""
        if not self.state_dir.exists():
            return []
        return sorted(p.name for p in self.state_dir.iterdir() if not p.name.endswith(".lock"))

    def _words(self, command: str, arguments: tuple[object, ...]) -> list[str]:
        return ["session", command, *map(str, arguments), "--config", str(self._config)]

    def _environment(self, secrets: bool) -> dict[str, str]:
        return {**os.environ, "TERM": "xterm", **(self._secrets if secrets else {})}


class Terminal:
    """The operator's side of a pseudo-terminal."""

    def __init__(self, descriptor: int, process: anyio.abc.Process) -> None:
        self._descriptor, self._process = descriptor, process
        self.seen = ""
        self._read_to = 0

    async def sees(self, text: str) -> str:
        """Wait until a text appears after what was waited for last. Returns what is there up to its end."""
        with anyio.fail_after(_PATIENCE_S):
            while (place := self.seen.find(text, self._read_to)) < 0:
                assert await self._read(), f"ended before {text!r} came; it said: {self.seen}"
        begin, self._read_to = self._read_to, place + len(text)
        return self.seen[begin : self._read_to]

    def types(self, keys: str) -> None:
        """Press keys."""
        os.write(self._descriptor, keys.encode())

    async def interrupts(self, how: Callable[[], None]) -> None:
        """Interrupt the command once it waits for a key.

        Python notices a signal that comes between the prompt and the wait only with the next key.
        """
        state = Path(f"/proc/{self._process.pid}/stat")
        await until(lambda: state.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "S")
        how()

    def signal(self, number: signal.Signals) -> None:
        """Send the command a signal."""
        self._process.send_signal(number)

    async def ends(self) -> int:
        """The command's exit status."""
        with anyio.fail_after(_PATIENCE_S):
            while await self._read():
                pass
            return await self._process.wait()

    async def _read(self) -> bool:
        await anyio.wait_readable(self._descriptor)
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)


def key_of(session: Path) -> bytes:
    """A session's key."""
    with closing(sqlite3.connect(f"{session.as_uri()}?mode=ro", uri=True)) as database:
        (key,) = database.execute("select auth_key from sessions").fetchone()
    assert isinstance(key, bytes)
    return key


def forms_of(secret: bytes) -> Iterator[str]:
    """How a part of a secret could get into a text."""
    for part in (secret[:16], secret[-16:]):
        yield part.hex()
        yield part.hex().upper()
        yield base64.b64encode(part).decode()[:20]
        yield base64.urlsafe_b64encode(part).decode()[:20]
        yield repr(part)[2:-1]


def writer_killed_in_a_transaction(session: Path) -> None:
    """What a power cut leaves: pages of an unfinished transaction in the file, and the journal that undoes them."""
    script = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1])\n"
        "c.execute('pragma cache_size=1')\n"
        "c.execute('begin immediate')\n"
        "c.execute('update sessions set auth_key = zeroblob(256)')\n"
        "for i in range(3000): c.execute('insert into entities values (?, 1, null, null, ?, 1)', (i, 'x' * 200))\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(session)], check=True)
    assert session.with_name(session.name + "-journal").exists()
