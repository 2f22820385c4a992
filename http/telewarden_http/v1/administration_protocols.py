"""What the administrator's routes ask of the rest of the system, and the shapes of their answers.

As in `overview_protocols`: times are ISO 8601, ids decimal strings, and what is not known is null.
"""

from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec

from telewarden_http.errors import ApiError
from telewarden_http.v1.overview_protocols import (
    CacheView,
    ChannelView,
    JournalView,
    Shape,
    Transition,
    WorkerView,
)


class NotThere(ApiError):
    """There is no worker, channel, consumer, job or event of that name (404)."""

    status = 404


class Conflict(ApiError):
    """It cannot be done as things are; the message says why, and what to do (409)."""

    status = 409


class TooMany(ApiError):
    """As much as is allowed is going on already; try again later (429)."""

    status = 429


class NotInTime(ApiError):
    """It was begun, and was not done within the time that there was (504)."""

    status = 504


class OnlyServes(Conflict):
    """This process has neither session nor journal (409)."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: this process only serves (role api); ask the one that takes in (role all), which holds the "
            "session and the journal"
        )


class Workers(Shape, frozen=True, kw_only=True):
    """The supervision tree, each part before its workers, and what happened in it lately, the newest first."""

    workers: list[WorkerView]
    history: list[Transition]


class Restarted(Shape, frozen=True, kw_only=True):
    """A worker is ready again, so many seconds after it was asked for."""

    worker: str
    ready_after_s: float


class WorkerAdmin(Protocol):
    """Looks at workers, and restarts them."""

    def workers(self) -> Workers:
        """As they are now; cheap."""
        ...

    async def restart(self, name: str) -> Restarted:
        """Stop it, start it afresh, and wait until it is ready. Raises NotThere, Conflict, NotInTime."""
        ...


Label = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")]


class NewChannel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """channel: its id, @name, or a link to it. label: what to call it. start: where its reading begins: "now", "all",
    how many of the newest posts, or an ISO date. join: the account enters it, if it is not in it."""

    channel: Annotated[
        str,
        msgspec.Meta(
            max_length=200,
            examples=["@name", "https://t.me/name", "-1001649127710"],
            extra_json_schema={"format": "channel-reference"},
        ),
    ]
    label: Label | msgspec.UnsetType | None = msgspec.UNSET
    start: Annotated[
        str,
        msgspec.Meta(
            max_length=40,
            extra_json_schema={
                "anyOf": [{"enum": ["now", "all"]}, {"pattern": "^[1-9][0-9]{0,5}$"}, {"format": "date"}]
            },
        ),
    ] = "now"
    join: bool = False


class ChannelPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed; what is left out stays. active: whether it is taken in. label: null for its title."""

    active: bool | msgspec.UnsetType = msgspec.UNSET
    label: Label | msgspec.UnsetType | None = msgspec.UNSET


class ChannelSwitch(Protocol):
    """Takes channels in, or not. Its methods raise Conflict, Unavailable and NotThere for one that is not served."""

    async def channels(self) -> Sequence[ChannelView]:
        """Every channel that is served."""
        ...

    async def add(self, wanted: NewChannel) -> tuple[ChannelView, bool]:
        """Take one in, and whether it is new. Raises BadRequest for what names none."""
        ...

    async def change(self, channel: str, patch: ChannelPatch) -> ChannelView:
        """Change one."""
        ...

    async def remove(self, channel: str) -> None:
        """Take it in no more, and serve it no more; its messages stay."""
        ...


class PendingSet(Shape, frozen=True, kw_only=True):
    """What waits in a channel, in the cache. overflow: too many for the cache to serve them."""

    channel: str
    waiting: int
    overflow: bool


class CacheServer(Shape, frozen=True, kw_only=True):
    """What the cache's server says. version, mark: None, and problem says why, where it does not answer. mark: the
    completeness mark; mark_is_ours: this process set it; lease_ms: how long it lasts unrenewed. history: the
    replication history that this process is connected to. breaker: closed, open or half-open; None in a process that
    only serves."""

    version: str | None
    problem: str | None
    history: str | None
    breaker: str | None
    mark: str | None
    mark_is_ours: bool
    lease_ms: int
    pending: list[PendingSet]


class CacheReport(Shape, frozen=True, kw_only=True):
    """How the cache stands, and what its server says; both None where no cache is configured."""

    cache: CacheView | None
    server: CacheServer | None


class Poisoned(Shape, frozen=True, kw_only=True):
    """An event that the database refused. id: "EPOCH:POSITION". kind: of the event. since: when it was set aside."""

    id: str
    channel: str
    message_id: str
    kind: str
    since: str
    error: str


class PoisonList(Shape, frozen=True, kw_only=True):
    """The oldest ones, at most 100, and how many there are."""

    events: list[Poisoned]
    total: int


class StoreAdmin(Protocol):
    """Looks at the cache and the journal."""

    async def cache(self) -> CacheReport:
        """As it is now; a server that does not answer is part of that."""
        ...

    async def journal(self) -> JournalView:
        """As it is now. Raises OnlyServes."""
        ...

    async def poison(self) -> PoisonList:
        """What nobody decided on yet. Raises OnlyServes, Unavailable."""
        ...

    async def retry(self, ids: Sequence[str]) -> int:
        """Accept events once more; how many. Raises OnlyServes, Unavailable; NotThere, and nothing is done."""
        ...

    async def drop(self, ids: Sequence[str]) -> int:
        """Try events no more; how many. Raises as `retry` does."""
        ...
