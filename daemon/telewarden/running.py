"""A process at work: its supervision tree runs until a signal, or until it gives up."""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import anyio
import structlog

from telewarden.notify import Notifier
from telewarden.reload import Reloaded, Reloader, Taker
from telewarden_supervisors import Supervisor, SupervisorGaveUp

log = structlog.get_logger(__name__)

EXIT_UNUSABLE = 2
"""The operator has to change something first: settings, another process, a file."""
EXIT_GAVE_UP = 70
"""The root supervisor gave up (EX_SOFTWARE); a service manager should start a fresh process."""

STOP_S = 9.0
"""A stop in order that takes longer, in seconds, ends the process at once."""


class Teller(Protocol):
    """Who tells the service manager how things are. told_ready: it knows that the process is ready."""

    told_ready: bool


@dataclass(frozen=True, slots=True)
class Daemon:
    """The assembled parts. takers: bring changed settings into them. on_stop: called when it is told to stop."""

    supervisor: Supervisor
    notifier: Notifier
    health: Teller
    takers: Mapping[str, Taker]
    on_stop: Callable[[], object] = lambda: None


async def supervise(daemon: Daemon, reloader: Reloader) -> int:
    """Run the tree until it is told to end, or gives up. Returns the process's exit status."""
    status = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, daemon)
        tasks.start_soon(_reload_on_signal, daemon, reloader)
        try:
            await daemon.supervisor.run()
        except SupervisorGaveUp as error:
            log.critical("gave_up", error=str(error))
            status = EXIT_GAVE_UP
        tasks.cancel_scope.cancel()
    log.info("stopped", exit_status=status)
    return status


async def _stop_on_signal(daemon: Daemon) -> None:
    """The first signal stops in order; a second one, or too slow a stop, ends the process at once.

    That is safe too: whatever was answered or accepted is on disk.
    """
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("stopping", signal=signal.Signals(number).name)
            daemon.notifier.stopping("stopping")
            daemon.on_stop()
            daemon.supervisor.request_stop(signal.Signals(number).name)
            break
        with anyio.move_on_after(STOP_S):
            async for number in signals:
                log.warning("ending_at_once", signal=signal.Signals(number).name)
                break
    os._exit(1)


async def _reload_on_signal(daemon: Daemon, reloader: Reloader) -> None:
    """SIGHUP reads the settings again. Repeated ones are one: all that comes meanwhile is in what is read."""
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            daemon.notifier.reloading("reading the settings again")
            reloaded = reloader.reload()
            if daemon.health.told_ready:
                daemon.notifier.ready(_reload_status(reloaded))


def _reload_status(reloaded: Reloaded | None) -> str:
    if reloaded is None:
        return "the settings are unusable, the old ones stay; see the log"
    left = f"; need a restart: {', '.join(reloaded.left)}" if reloaded.left else ""
    return f"settings changed: {', '.join(reloaded.taken) or 'none'}{left}"
