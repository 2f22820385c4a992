"""Composition root of `--role api --workers N`: a parent that serves nothing itself, and N processes that do.

The parent opens the socket, and every process takes connections from that one queue: see docs/decisions.
"""

import socket
import sys
from collections.abc import Callable, Sequence

import anyio
import structlog

from telewarden import logs
from telewarden.notify import EXTENSION_S, Notifier
from telewarden.reload import Reloader, Taker
from telewarden.running import EXIT_UNUSABLE, Daemon, supervise
from telewarden.serving import LOOP_TURN_S, TAKEN, log_blocked_loop
from telewarden.settings import SECTIONS, Settings
from telewarden.stores import refused_schema
from telewarden.tree import TreeShape
from telewarden.workers.process import ServingProcess
from telewarden_http.server import CannotListen, listen
from telewarden_supervisors import AnySpec, Backoff, ChildSpec, LoopWatch, Supervisor, WorkerContext

log = structlog.get_logger(__name__)

_LOOK_S = 0.5
_SILENCE_S = 20.0
_START_S, _STOP_S = 60.0, 8.0


async def serve_by_processes(settings: Settings, read_again: Callable[[], Settings]) -> int:
    """Run the parent until it is told to stop. Returns the process's exit status."""
    notifier = Notifier()
    try:
        refused = await refused_schema(settings)
        if refused is not None:
            print(f"telewarden: {refused}", file=sys.stderr)  # noqa: T201
            return EXIT_UNUSABLE
        try:
            listener = await listen(settings.http.host, settings.http.port)
        except CannotListen as error:
            print(f"telewarden: {error}", file=sys.stderr)  # noqa: T201
            return EXIT_UNUSABLE
        with listener:
            log.info("listening", address=settings.http.host, port=listener.getsockname()[1])
            daemon = make_parent(settings, listener, notifier)
            return await supervise(daemon, Reloader(settings, read_again, daemon.takers))
    finally:
        notifier.close()


def make_parent(settings: Settings, listener: socket.socket, notifier: Notifier) -> Daemon:
    """Each process a part that the others do without: given up on, it is tried again."""
    current = settings
    count = settings.http.workers
    processes = [ServingProcess(number, count, listener, lambda: current) for number in range(1, count + 1)]
    overseer = Overseer(processes, notifier)
    shape = TreeShape(restarts=settings.testing.restarts)
    children: list[AnySpec] = [
        shape.part(f"process-{process.number}", [_child(process)]) for process in processes
    ]
    children += [
        shape.worker("overseer", overseer.run, heartbeat_s=30.0),
        shape.worker("loop-watch", LoopWatch(LOOP_TURN_S, log_blocked_loop), heartbeat_s=30.0),
    ]
    supervisor = Supervisor(
        "telewarden", children, intensity=shape.intensity, subscribers=[logs.log_supervision]
    )

    def take(name: str) -> Taker:
        def taken(new: Settings) -> None:
            nonlocal current
            current = with_taken(current, new, name)
            logs.configure(current.log.level, current.log.format)
            for process in processes:
                process.tell()

        return taken

    def end_all() -> None:
        # All at once: the supervisor ends them one after another.
        for process in processes:
            process.end()

    return Daemon(supervisor, notifier, overseer, {name: take(name) for name in TAKEN}, end_all)


def _child(process: ServingProcess) -> ChildSpec:
    return ChildSpec(
        "serving",
        process.run,
        start_timeout_s=_START_S,
        stop_timeout_s=_STOP_S,
        heartbeat_timeout_s=_SILENCE_S,
        wait_ready=False,
        backoff=Backoff(initial_s=0.1, factor=2.0, cap_s=10.0, jitter=0.2, reset_after_s=30.0),
    )


def with_taken(running: Settings, new: Settings, name: str) -> Settings:
    """The settings that run, with one of the new ones: what needs a restart stays as it is."""
    section, _, field = name.partition(".")
    assert section in SECTIONS
    value = getattr(getattr(new, section), field)
    changed = getattr(running, section).model_copy(update={field: value})
    return running.model_copy(update={section: changed})


class Overseer:
    """Tells the service manager: READY once all processes are, a sign of life as long as one of them gives some."""

    def __init__(self, processes: Sequence[ServingProcess], notifier: Notifier) -> None:
        self._processes, self._notifier = processes, notifier
        self.told_ready = False

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        pet_s = self._notifier.watchdog_s / 3 if self._notifier.watchdog_s is not None else None
        next_pet_s = next_extension_s = 0.0
        while True:
            now_s = anyio.current_time()
            ready = [process for process in self._processes if process.ready]
            summary = summed_up(len(self._processes), [process.status for process in ready])
            if len(ready) == len(self._processes) and not self.told_ready:
                self.told_ready = True
                self._notifier.ready(summary)
                log.info("ready", processes=len(ready))
            elif not self.told_ready and now_s >= next_extension_s:
                next_extension_s = now_s + EXTENSION_S / 3
                self._notifier.extend_timeout(EXTENSION_S, f"not ready yet · {summary}")
            else:
                self._notifier.status(summary)
            if pet_s is not None and now_s >= next_pet_s and any(p.alive for p in self._processes):
                self._notifier.alive()
                next_pet_s = now_s + pet_s
            ctx.status(summary)
            ctx.beat()
            await anyio.sleep(min(_LOOK_S, pet_s or _LOOK_S))


def summed_up(count: int, statuses: Sequence[str]) -> str:
    """One line for `systemctl status`: "2 of 2 processes · serving". statuses: of those that are ready."""
    parts = (part for status in statuses for part in status.split(" · "))
    return " · ".join([f"{len(statuses)} of {count} processes", *dict.fromkeys(parts)])
