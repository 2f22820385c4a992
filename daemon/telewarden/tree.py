"""The shape of the supervision tree: who is supervised together, how, and what is given up on.

Parts that the others do without have a supervisor of their own, which gives up on them for a while; the root goes on.
What the daemon is nothing without stands under the root itself, which gives up by ending the process.
"""

from collections.abc import Iterator, Sequence

from telewarden_supervisors import Backoff, ChildSpec, Intensity, Snapshot, SupervisorSpec, Worker

CACHE, SERVING, INTAKE = "cache", "serving", "intake"
"""The parts that the others do without."""

RESTARTS, PERIOD_S = 10, 60.0
"""More restarts than that, within that many seconds, are too many."""

_PART_BACKOFF = Backoff(initial_s=30.0, factor=2.0, cap_s=300.0, jitter=0.2, reset_after_s=600.0)


class TreeShape:
    """Makes the specifications.

    restarts: how many are too many within a minute; heartbeat_s: an upper limit of every worker's heartbeat time-out,
    in seconds. Both only for tests; None for the daemon's own.
    """

    def __init__(self, *, restarts: int | None = None, heartbeat_s: float | None = None) -> None:
        self.intensity = Intensity(RESTARTS if restarts is None else restarts, PERIOD_S)
        self._heartbeat_s = heartbeat_s

    def worker(self, name: str, worker: Worker, *, heartbeat_s: float) -> ChildSpec:
        """A worker. heartbeat_s: the longest time without progress."""
        return ChildSpec(
            name,
            worker,
            start_timeout_s=20.0,
            stop_timeout_s=3.0,
            heartbeat_timeout_s=min(heartbeat_s, self._heartbeat_s or heartbeat_s),
            # Each does what it can without the others: a port that is taken must not keep intake from starting.
            wait_ready=False,
            backoff=Backoff(initial_s=0.1, factor=2.0, cap_s=10.0, jitter=0.2, reset_after_s=30.0),
        )

    def part(self, name: str, workers: Sequence[ChildSpec]) -> SupervisorSpec:
        """A part that the others do without: given up on, it is tried again after half a minute or more."""
        return SupervisorSpec(
            name, workers, intensity=self.intensity, backoff=_PART_BACKOFF, wait_ready=False
        )


def walk(tree: Snapshot, prefix: str = "") -> Iterator[tuple[str, Snapshot]]:
    """Each node below the root with its path, such as "intake/listener"."""
    for child in tree.children:
        path = f"{prefix}{child.name}"
        yield path, child
        yield from walk(child, f"{path}/")


def workers(tree: Snapshot) -> dict[str, Snapshot]:
    """The workers by name. A part that never ran stands for its workers."""
    return {node.name: node for _, node in walk(tree) if not node.children}
