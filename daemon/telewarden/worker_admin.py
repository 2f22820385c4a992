"""The supervision tree as the administrator's routes have it."""

from collections.abc import Callable

from telewarden.history import History
from telewarden.restarting import NoSuchWorker, NotReadyInTime, NotRestarted, restart_worker
from telewarden.tree import walk
from telewarden_http.v1.administration_protocols import Conflict, NotInTime, NotThere, Restarted, Workers
from telewarden_http.v1.overview_protocols import WorkerView
from telewarden_supervisors import Snapshot, Supervisor


class TreeAdmin:
    """Implements WorkerAdmin. supervisor: gives the root, which exists only after its workers were made. served_by:
    workers and parts through which a request comes: they cannot be restarted by one."""

    def __init__(
        self, supervisor: Callable[[], Supervisor], history: History, served_by: frozenset[str]
    ) -> None:
        self._supervisor, self._history, self._served_by = supervisor, history, served_by

    def workers(self) -> Workers:
        """See the protocol."""
        return Workers(workers=self.views(), history=self._history.newest())

    def views(self) -> list[WorkerView]:
        """Every node below the root."""
        return [self._view(path, node) for path, node in walk(self._supervisor().snapshot())]

    async def restart(self, name: str) -> Restarted:
        """See the protocol."""
        if name in self._served_by:
            raise Conflict(
                f"{name} serves this request and cannot be restarted by it; use `telewarden restart {name}`"
            )
        try:
            took_s = await restart_worker(self._supervisor(), name)
        except NoSuchWorker as error:
            raise NotThere(str(error)) from error
        except NotRestarted as error:
            raise Conflict(str(error)) from error
        except NotReadyInTime as error:
            raise NotInTime(str(error)) from error
        return Restarted(worker=name, ready_after_s=round(took_s, 3))

    def _view(self, path: str, node: Snapshot) -> WorkerView:
        history = self._history.of(path)
        return WorkerView(
            name=node.name,
            path=path,
            is_part=bool(node.children),
            state=node.state.value,
            since=history[0].at if history else None,
            uptime_s=_rounded(node.uptime_s),
            restarts=node.restarts,
            last_error=node.last_error,
            next_restart_in_s=_rounded(node.next_restart_in_s),
            last_beat_age_s=_rounded(node.last_beat_age_s),
            status=node.status,
            history=history,
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
