"""A worker that is a process: one of several that serve on the same port."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

import anyio
import structlog
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from telewarden.process_words import Messages, encode_settings
from telewarden.settings import Settings
from telewarden_supervisors import WorkerContext

log = structlog.get_logger(__name__)

_END_S = 6.0
_NOT_ITS_OWN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ProcessEnded(Exception):
    """A process that serves has ended by itself."""


class ServingProcess:
    """Starts it, hears of it, ends it. Being ready and beating, for the supervisor, is what the process says of itself.

    number: from 1. of: how many there are. listener: the socket that they share. settings: what it is to run with.
    ready: it said that it answers polls right. alive: it runs, and said so lately enough.
    """

    def __init__(
        self, number: int, of: int, listener: socket.socket, settings: Callable[[], Settings]
    ) -> None:
        self.number = number
        self._of, self._listener, self._settings = of, listener, settings
        self._process: Process | None = None
        self._told: Settings | None = None
        self._news = anyio.Event()
        self._asked_to_end = self._is_over = False
        self.ready = self.alive = False
        self.status = ""

    def tell(self) -> None:
        """The settings have changed."""
        self._news.set()

    def end(self) -> None:
        """Ask it to end in order; its end is no failure then."""
        self._is_over = True
        if self._process is not None:
            self._ask_to_end(self._process)

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled. Raises ProcessEnded."""
        with anyio.CancelScope(shield=True):  # or a process could be there that nobody knows of
            process = self._process = await self._start()
            self._asked_to_end = False
        assert process.stdin is not None
        assert process.stdout is not None
        log.info("process_started", process=self.number, pid=process.pid)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._pass_settings_on, process.stdin)
                await self._listen(ctx, process.stdout)
                tasks.cancel_scope.cancel()
            status = await process.wait()
            if self._is_over:
                await anyio.sleep_forever()
            raise ProcessEnded(f"process {self.number} (pid {process.pid}) ended {_described(status)}")
        finally:
            self.ready = self.alive = False
            with anyio.CancelScope(shield=True):
                await self._end(process)

    async def _start(self) -> Process:
        command = [sys.executable, "-m", "telewarden.serving_process"]
        place = (os.getpid(), self.number, self._of, self._listener.fileno())
        return await anyio.open_process(
            [*command, *map(str, place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            env=_environment(os.environ),
            # Ctrl-C in a terminal goes to this process alone, which ends the others in order.
            start_new_session=True,
            pass_fds=[self._listener.fileno()],
        )

    async def _pass_settings_on(self, pipe: ByteSendStream) -> None:
        self._told = None
        while True:
            self._news = anyio.Event()
            settings = self._settings()
            if settings != self._told:
                try:
                    await pipe.send(encode_settings(settings))
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return  # it has ended, which the other pipe tells too
                self._told = settings
            await self._news.wait()

    async def _listen(self, ctx: WorkerContext, pipe: ByteReceiveStream) -> None:
        messages = Messages()
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                for message in messages.feed(await pipe.receive()):
                    self._take(ctx, message)

    def _take(self, ctx: WorkerContext, message: Mapping[str, str]) -> None:
        self.status = message.get("STATUS", self.status)
        ctx.status(self.status)
        self.ready = self.ready or "READY" in message
        if "WATCHDOG" in message:
            self.alive = True
            ctx.ready()
            ctx.beat()

    def _ask_to_end(self, process: Process) -> None:
        # Once: a second signal would end it at once.
        if not self._asked_to_end:
            self._asked_to_end = True
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    async def _end(self, process: Process) -> None:
        self._ask_to_end(process)
        with anyio.move_on_after(_END_S):
            await process.wait()
        if process.returncode is None:
            log.warning("process_killed", process=self.number, pid=process.pid, not_ended_after_s=_END_S)
            process.kill()
        await process.aclose()
        self._process = None


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """It speaks to this process, not to the service manager; its settings come by the pipe."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _NOT_ITS_OWN and not name.startswith("TELEWARDEN_")
    }


def _described(status: int) -> str:
    if status >= 0:
        return f"with status {status}; its last lines in the log tell more"
    return f"by signal {signal.Signals(-status).name}"
