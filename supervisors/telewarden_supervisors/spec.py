"""What a supervisor is told about a child before it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Generic, TypeAlias, TypeVarTuple, Unpack

from telewarden_supervisors.backoff import Backoff, Intensity
from telewarden_supervisors.context import WorkerContext

Worker: TypeAlias = Callable[[WorkerContext], Awaitable[None]]
Arguments = TypeVarTuple("Arguments")


class Restart(Enum):
    """When an ended child is started again (OTP "supervisor", child specification, `restart`)."""

    PERMANENT = "permanent"
    """always; its return is a failure"""
    TRANSIENT = "transient"
    """only after a failure; its return is its normal end"""
    TEMPORARY = "temporary"
    """never; it leaves the tree when it ends"""


class Strategy(Enum):
    """Who is restarted with a failed child (OTP "supervisor", "Supervision Principles")."""

    ONE_FOR_ONE = "one_for_one"
    """nobody"""
    ONE_FOR_ALL = "one_for_all"
    """all its siblings: they are stopped in reverse order, then all start in order"""
    REST_FOR_ONE = "rest_for_one"
    """the siblings that start after it"""


class AutoShutdown(Enum):
    """Whether a supervisor stops when significant children end by themselves (OTP "supervisor", `auto_shutdown`).

    By itself means: a transient child returned, or a temporary one returned or failed.
    """

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    """when the first one does"""
    ALL_SIGNIFICANT = "all_significant"
    """when the last one does"""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a supervisor treats a child, whatever it consists of. The fields are those of `ChildSpec`."""

    restart: Restart
    start_timeout_s: float | None
    stop_timeout_s: float | None
    heartbeat_timeout_s: float | None
    backoff: Backoff
    intensity: Intensity | None
    wait_ready: bool
    significant: bool
    dependencies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.significant and self.restart is Restart.PERMANENT:
            raise ValueError("a permanent child cannot be significant: it never ends by itself")
        for field in ("start_timeout_s", "stop_timeout_s", "heartbeat_timeout_s"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise ValueError(f"{field} must be positive, or None for no limit; got {value}")


@dataclass(frozen=True, slots=True)
class _Child:
    """What a child and a template for children have in common; see `ChildSpec`."""

    name: str
    worker: Callable[..., Awaitable[None]]
    restart: Restart = Restart.PERMANENT
    start_timeout_s: float | None = 30.0
    stop_timeout_s: float | None = 5.0
    heartbeat_timeout_s: float | None = None
    backoff: Backoff = Backoff()  # noqa: RUF009 - a frozen value
    intensity: Intensity | None = None
    wait_ready: bool = True
    significant: bool = False
    dependencies: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        self.policy  # noqa: B018 - a bad value is told where it was written

    @property
    def policy(self) -> Policy:
        """What the state machine needs to know of it."""
        return Policy(
            restart=self.restart,
            start_timeout_s=self.start_timeout_s,
            stop_timeout_s=self.stop_timeout_s,
            heartbeat_timeout_s=self.heartbeat_timeout_s,
            backoff=self.backoff,
            intensity=self.intensity,
            wait_ready=self.wait_ready,
            significant=self.significant,
            dependencies=tuple(self.dependencies),
        )


@dataclass(frozen=True, slots=True)
class ChildSpec(_Child):
    """One worker and how it is supervised (OTP "supervisor", child specification).

    name: unique under its supervisor; not empty, without "/".
    worker: `async def worker(ctx) -> None`; runs until it is cancelled, unless it is transient or temporary.
    restart: when it is started again.
    start_timeout_s: from its start to `ctx.ready()`; longer counts as a failure. None: no limit.
    stop_timeout_s: from its cancellation to its end; longer and it is *stuck*. None: no limit.
        The default is OTP's.
    heartbeat_timeout_s: once ready, the longest time between two `ctx.beat()`; longer counts as a failure.
        `ready()` is the first beat. None: it need not beat.
    backoff: the delay before a restart.
    intensity: a limit for this child alone, beside its supervisor's.
    wait_ready: whether the next sibling starts only after this one is ready (OTP's synchronous `init`), and
        whether the supervisor itself is ready only then. False for a worker that may take long. Under
        one_for_one nobody waits any more once the supervisor has been ready.
    significant: its end by itself may stop the supervisor, see `AutoShutdown`; not for a permanent child.
    dependencies: names of siblings before it, none of them temporary. It starts only while each of them is
        ready, or has finished, whatever their `wait_ready` says. When one fails or is restarted by hand, it is
        stopped, and starts again after that one; when one is terminated by hand, it is stopped and waits.
        While it waits it is not ready: it holds later siblings up if its own `wait_ready` says so. One that
        is held down because a dependency was terminated holds nobody up.

    Raises ValueError for a bad name, a time-out that is not positive, or a significant permanent child.
    """

    worker: Worker


@dataclass(frozen=True, slots=True)
class ChildTemplate(_Child, Generic[*Arguments]):
    """Children of one kind that are started while the supervisor runs (OTP "supervisor", `simple_one_for_one`).

    name: the first part of their names: "connection" gives "connection-1", "connection-2" and so on.
    worker: `async def worker(ctx, *arguments) -> None`; each child has arguments of its own.

    The other fields, and what it raises, are those of `ChildSpec`. With `Restart.TEMPORARY` a child leaves
    nothing behind when it ends; otherwise it is restarted with the same arguments.
    """

    worker: Callable[[WorkerContext, Unpack[Arguments]], Awaitable[None]]

    def child(self, number: int, *arguments: *Arguments) -> ChildSpec:
        """The specification of one child, the `number`-th, with its arguments."""

        async def worker(ctx: WorkerContext) -> None:
            await self.worker(ctx, *arguments)

        shared = {field.name: getattr(self, field.name) for field in fields(_Child)}
        return ChildSpec(**{**shared, "name": f"{self.name}-{number}", "worker": worker})


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """A supervisor as a child of another: what it does, and how it is supervised itself.

    name: unique under its parent; not empty, without "/".
    children: in the order of their start.
    strategy: who is restarted with a failed child.
    intensity: how many restarts under it are too many; then it gives up, which is its failure to its parent.
    auto_shutdown: whether it stops when significant children end by themselves.
    restart, backoff, wait_ready, significant, dependencies: as in `ChildSpec`.
    own_intensity: what `ChildSpec.intensity` is for a worker.
    start_timeout_s, stop_timeout_s: as in `ChildSpec`, but without a limit by default, as in OTP, since each
        child below has its own. It is ready when its children are (see `Supervisor.wait_ready`).

    Raises ValueError for a bad name, children with one name, a time-out that is not positive, a significant
    permanent supervisor, a significant child under one that never shuts down by itself, or a child's
    dependency that is not a sibling before it or is temporary.
    """

    name: str
    children: Sequence[ChildSpec | SupervisorSpec] = ()
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = Intensity()  # noqa: RUF009 - a frozen value
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    restart: Restart = Restart.PERMANENT
    start_timeout_s: float | None = None
    stop_timeout_s: float | None = None
    backoff: Backoff = Backoff()  # noqa: RUF009 - a frozen value
    own_intensity: Intensity | None = None
    wait_ready: bool = True
    significant: bool = False
    dependencies: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        counts = Counter(child.name for child in self.children)
        repeated = sorted(name for name, count in counts.items() if count > 1)
        if repeated:
            raise ValueError(f"names must be unique among siblings; repeated: {', '.join(repeated)}")
        for place, child in enumerate(self.children):
            check_significance(child, self.auto_shutdown)
            check_dependencies(child, self.children[:place], self.children[place + 1 :])
        self.policy  # noqa: B018 - a bad value is told where it was written

    @property
    def policy(self) -> Policy:
        """What the state machine of its parent needs to know of it."""
        return Policy(
            restart=self.restart,
            start_timeout_s=self.start_timeout_s,
            stop_timeout_s=self.stop_timeout_s,
            heartbeat_timeout_s=None,
            backoff=self.backoff,
            intensity=self.own_intensity,
            wait_ready=self.wait_ready,
            significant=self.significant,
            dependencies=tuple(self.dependencies),
        )


AnySpec: TypeAlias = ChildSpec | SupervisorSpec


def check_name(name: str) -> None:
    """Raises ValueError unless the name can be a part of a path like "telewarden/storage/writer"."""
    if not name or "/" in name:
        raise ValueError(f"a name must not be empty and must not contain '/'; got {name!r}")


def check_significance(child: AnySpec, auto_shutdown: AutoShutdown) -> None:
    """Raises ValueError for a significant child under a supervisor that never shuts down by itself, as in OTP."""
    if child.significant and auto_shutdown is AutoShutdown.NEVER:
        raise ValueError(f"{child.name} is significant, but auto_shutdown is NEVER")


def check_dependencies(child: AnySpec, earlier: Iterable[AnySpec], later: Iterable[AnySpec] = ()) -> None:
    """Raises ValueError for a dependency that is no sibling before the child or is temporary.

    Raises TypeError for a string, whose letters would be taken for names.
    """
    if isinstance(child.dependencies, str):
        raise TypeError(
            f"{child.name}: dependencies are a sequence of names; write ({child.dependencies!r},) for one"
        )
    if not child.dependencies:
        return
    known = {sibling.name: sibling for sibling in earlier}
    follow = {sibling.name for sibling in later}
    for name in child.dependencies:
        if name == child.name:
            raise ValueError(f"{child.name} depends on itself; take it out of its dependencies")
        if name in follow:
            raise ValueError(f"{child.name} depends on {name}, which starts after it; move {name} before it")
        if name not in known:
            names = ", ".join(known) or "none"
            raise ValueError(
                f"{child.name} depends on {name!r}, which is no sibling; name one of those before it: {names}"
            )
        if known[name].restart is Restart.TEMPORARY:
            raise ValueError(
                f"{child.name} depends on {name}, which is temporary and does not come back; "
                f"make {name} permanent or transient"
            )
