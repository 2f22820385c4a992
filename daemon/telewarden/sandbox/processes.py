"""A server as a child process: started, waited for, stopped by pid, never left behind.

Each child leads a process group of its own and is killed by the kernel when its parent dies (see `launcher`).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.abc import Process

from telewarden.sandbox.accounts import Account

_LAUNCHER = Path(__file__).with_name("launcher.py")
_GUARD = Path(__file__).with_name("guard.py")
_ASK_AGAIN_S = 0.01
_KILLED_S = 10.0
_LOG_LINES = 15


class ServerFailed(Exception):
    """An embedded server did not start, ended on its own or cannot be used; the message has the end of its log."""


class ServerProcess:
    """One server program, which may be started again after it has ended.

    name: for messages. command: the program's absolute path, then its arguments. folder: where it runs; it must stay
    there, and be no other server's. log_file: gets its output, appended. account: whom it runs as; None: as this
    process. stop_signal: asks it to end in order. orphan_signal: it gets this one when this process dies. Start it from
    a thread that lives as long as it should: that thread's end counts as this process's.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        folder: Path,
        log_file: Path,
        account: Account | None,
        stop_signal: signal.Signals = signal.SIGTERM,
        orphan_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._name = name
        self._command = [str(part) for part in command]
        self._folder, self._log_file = folder, log_file
        self._account = account
        self._stop_signal, self._orphan_signal = stop_signal, orphan_signal
        self._process: Process | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """Process id. Raises ServerFailed when it was not started."""
        if self._process is None:
            raise ServerFailed(f"{self._name} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """It was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, answers: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
        """Start it, and return once it answers.

        answers: asks the server; False (or an answer that takes too long) means not yet. Raises ServerFailed when it
        ends before, or does not answer within timeout_s seconds; it is killed then.
        """
        if self.running:
            raise ServerFailed(f"{self._name} runs already, as process {self.pid}")
        try:
            await self._launch()
            with anyio.fail_after(timeout_s):
                while not await answers():
                    if (status := self._status()) is not None:
                        raise ServerFailed(self._report(f"ended while starting, {status}"))
                    await anyio.sleep(_ASK_AGAIN_S)
        except TimeoutError:
            await self._kill_shielded()
            raise ServerFailed(self._report(f"did not answer within {timeout_s:g} s of its start")) from None
        except BaseException:
            # Also when it is cancelled: nothing that it started may stay. The error goes on.
            await self._kill_shielded()
            raise

    async def run(self, timeout_s: float) -> None:
        """Run it to its end. Raises ServerFailed unless it ends well within timeout_s seconds."""
        try:
            await self._launch()
            assert self._process is not None
            with anyio.fail_after(timeout_s):
                status = await self._process.wait()
        except TimeoutError:
            await self._kill_shielded()
            raise ServerFailed(self._report(f"did not end within {timeout_s:g} s")) from None
        except BaseException:
            # Also when it is cancelled: nothing that it started may stay. The error goes on.
            await self._kill_shielded()
            raise
        if status != 0:
            raise ServerFailed(self._report(f"failed, {self._status()}"))

    async def stop(self, timeout_s: float) -> None:
        """Ask it to end, and see that it does: what is left of it after timeout_s seconds is killed."""
        if self.running:
            self.resume()
            _signal(self.pid, self._stop_signal)
            with anyio.move_on_after(timeout_s):
                assert self._process is not None
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End all of it as `kill -9` does; returns when nothing of it runs any more."""
        if self._process is None:
            return
        with anyio.move_on_after(_KILLED_S):
            # Frozen first, so that it starts no other process between the look and the kill.
            while members := self._freeze():
                for member in members:
                    _signal(member, signal.SIGKILL)
                await anyio.sleep(_ASK_AGAIN_S)
            await self._process.wait()
            self._release_guard()
            return
        raise ServerFailed(f"{self._name}, process {self.pid}, cannot be killed")

    def suspend(self) -> None:
        """Freeze all of it: it holds its connections and answers nothing, like a machine that hangs."""
        members = self._freeze()
        if members and self._guard is None:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), *map(str, members)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def resume(self) -> None:
        """Let it go on."""
        for member in self._members():
            _signal(member, signal.SIGCONT)
        self._release_guard()

    def log_end(self) -> str:
        """The last lines that it wrote since its last start."""
        try:
            with self._log_file.open("rb") as log:
                log.seek(self._log_start)
                lines = log.read().decode(errors="replace").splitlines()
        except OSError as error:
            return f"(no log: {error})"
        return "\n".join(lines[-_LOG_LINES:]) or "(it wrote nothing)"

    async def _launch(self) -> None:
        account, search = "-", "-"
        if self._account is not None:
            account = f"{self._account.uid}:{self._account.gid}"
            paths = (Path(self._command[0]), self._folder / "inside")
            search = "-" if all(self._account.may_pass(path) for path in paths) else "search"
        orphan = [str(os.getpid()), str(int(self._orphan_signal))]
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), *orphan, account, search]
        log = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._log_start = os.fstat(log).st_size
            with anyio.CancelScope(shield=True):  # or a child could be there that nobody knows of
                self._process = await anyio.open_process(
                    [*launcher, *self._command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self._folder,
                    # Nothing of ours: PGPORT and the like would change what the server does.
                    env={"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C.UTF-8"},
                )
        finally:
            os.close(log)

    async def _kill_shielded(self) -> None:
        with anyio.CancelScope(shield=True):
            await self.kill()

    def _freeze(self) -> list[int]:
        if self.running:
            _signal(self.pid, signal.SIGSTOP)
        members = self._members()
        for member in members:
            _signal(member, signal.SIGSTOP)
        return members

    def _members(self) -> list[int]:
        """Every process of this server, its own first. Not by process group: PostgreSQL's each lead one of their own;
        nor by parent: they may have outlived it. They run its program in its folder."""
        own = [self.pid] if self.running else []
        return own + [
            process for process in _processes_of(self._command[0], self._folder) if process not in own
        ]

    def _release_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _status(self) -> str | None:
        status = None if self._process is None else self._process.returncode
        if status is not None and status < 0:
            return f"by signal {signal.Signals(-status).name}"
        return None if status is None else f"with status {status}"

    def _report(self, what: str) -> str:
        return f"{self._name} {what}; its log {self._log_file} ends with:\n{self.log_end()}"


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it may have ended just now
        os.kill(process, number)


def _processes_of(program: str, folder: Path) -> Iterator[int]:
    """Processes that run a program in a folder. One that has ended counts no more, even if nobody has reaped it."""
    program, inside = str(Path(program).resolve()), str(folder.resolve())
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if str((process / "cwd").readlink()) == inside and str((process / "exe").readlink()) == program:
                yield int(process.name)
        except OSError:
            continue  # it has ended, or it is another user's
