"""A server as a child process: started, waited for, stopped by pid, never left behind.

Each child leads a process group of its own and is killed by the kernel when its parent dies (see `launcher`).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from subprocess import DEVNULL

import anyio
from anyio.abc import Process

from telewarden.sandbox.accounts import Account

_LAUNCHER = Path(__file__).with_name("launcher.py")
_ASK_AGAIN_S = 0.01
_KILLED_S = 10.0
_LOG_LINES = 15


class ServerFailed(Exception):
    """An embedded server did not start, ended on its own or cannot be used; the message has the end of its log."""


class ServerProcess:
    """One server program, which may be started again after it has ended.

    name: for messages. command: the program's absolute path, then its arguments. log_file: gets its output, appended.
    account: whom it runs as; None: as this process. stop_signal: asks it to end in order. Start it from a thread that
    lives as long as it should: that thread's end is the server's end.
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
    ) -> None:
        self._name = name
        self._command = [str(part) for part in command]
        self._folder, self._log_file = folder, log_file
        self._account = account
        self._stop_signal = stop_signal
        self._process: Process | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """Process id, which is its process group's too. Raises ServerFailed when it was not started."""
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
                    if not self.running:
                        raise ServerFailed(self._report(f"ended while starting, {self._status()}"))
                    await anyio.sleep(_ASK_AGAIN_S)
        except TimeoutError:
            await self._kill_shielded()
            raise ServerFailed(self._report(f"did not answer within {timeout_s:g} s of its start")) from None
        except BaseException:
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
            await self._kill_shielded()
            raise
        if status != 0:
            raise ServerFailed(self._report(f"failed, {self._status()}"))

    async def stop(self, timeout_s: float) -> None:
        """Ask it to end, and see that it does: what is left of it after timeout_s seconds is killed."""
        if self.running:
            self.resume()
            self._signal_leader(self._stop_signal)
            with anyio.move_on_after(timeout_s):
                assert self._process is not None
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the whole process group as `kill -9` does; returns when nothing of it runs any more."""
        if self._process is None:
            return
        with anyio.move_on_after(_KILLED_S):
            while members := list(_running_members(self.pid)):
                for member in members:
                    _signal(member, signal.SIGKILL)
                await anyio.sleep(_ASK_AGAIN_S)
            await self._process.wait()
            return
        raise ServerFailed(f"{self._name}, process group {self.pid}, cannot be killed")

    def suspend(self) -> None:
        """Freeze the whole group: it holds its connections and answers nothing, like a machine that hangs."""
        self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal_group(signal.SIGCONT)

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
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), account, search]
        log = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._log_start = os.fstat(log).st_size
            self._process = await anyio.open_process(
                [*launcher, *self._command],
                stdin=DEVNULL,
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

    def _signal_group(self, number: signal.Signals) -> None:
        if self.running:
            for member in _running_members(self.pid):
                _signal(member, number)

    def _signal_leader(self, number: signal.Signals) -> None:
        _signal(self.pid, number)

    def _status(self) -> str:
        assert self._process is not None
        status = self._process.returncode
        if status is not None and status < 0:
            return f"by signal {signal.Signals(-status).name}"
        return f"with status {status}"

    def _report(self, what: str) -> str:
        return f"{self._name} {what}; its log {self._log_file} ends with:\n{self.log_end()}"


def _signal(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass  # it has just ended


def _running_members(group: int) -> Iterator[int]:
    """Processes of a group that still run. killpg(2) would also count those that ended and that nobody has reaped,
    which stay for ever in a container whose first process reaps none."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The name, in parentheses, may itself hold any character.
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(its_group) == group and state not in "ZX":
            yield int(folder.name)
