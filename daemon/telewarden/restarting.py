"""A worker restarted because an operator wants it, over whichever way."""

import anyio
import structlog

from telewarden.tree import walk
from telewarden_supervisors import ChildNotFound, SupervisionError, Supervisor

log = structlog.get_logger(__name__)

RESTART_S = 30.0
"""Seconds that a restarted worker may take to be ready."""


class NoSuchWorker(Exception):
    """There is no worker of that name; the message names those there are."""


class NotRestarted(Exception):
    """It cannot be restarted; the message says why."""


class NotReadyInTime(Exception):
    """It was restarted, and is not ready yet."""


async def restart_worker(supervisor: Supervisor, worker: str, *, ready_s: float = RESTART_S) -> float:
    """Restart a worker, or a part with all its workers, and wait until it is ready; how many seconds that took.

    ready_s: how long that may take. Raises NoSuchWorker, NotRestarted, NotReadyInTime.
    """
    paths = {node.name: path for path, node in walk(supervisor.snapshot())}
    if worker not in paths:
        raise NoSuchWorker(f"there is no worker {worker!r}; there are {', '.join(paths)}")
    log.info("restart_asked_for", worker=worker)
    began_s = anyio.current_time()
    try:
        with anyio.fail_after(ready_s):
            await supervisor.restart_child(paths[worker])
    except TimeoutError:
        raise NotReadyInTime(f"{worker} was restarted, and was not ready within {ready_s:g} s") from None
    except ChildNotFound as error:
        raise NoSuchWorker(str(error)) from error
    except SupervisionError as error:
        raise NotRestarted(f"{worker} was not restarted: {error}") from error
    return anyio.current_time() - began_s
