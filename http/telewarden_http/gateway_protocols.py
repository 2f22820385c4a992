"""What the routes of the gateway's own affairs ask of the rest of the system: its channels, and how it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from telewarden_http.errors import ApiError
from telewarden_http.protocols import Listing


class ChannelConflict(ApiError):
    """The channel is there already, or cannot be removed here (409); nothing was changed."""

    status = 409


@dataclass(frozen=True, slots=True)
class ChannelEntry:
    """A channel as the old contract has it.

    id: its row. channel_id: Telegram's id. is_active: it is, or is about to be, taken in. Times in microseconds since
    the epoch.
    """

    id: int
    channel_id: int
    label: str | None
    description: str | None
    is_active: bool
    created_at_us: int
    updated_at_us: int


@dataclass(frozen=True, slots=True)
class NewChannel:
    """What a channel is created with."""

    channel_id: int
    label: str | None = None
    description: str | None = None
    is_active: bool = True


class ChannelChange(msgspec.Struct, frozen=True):
    """What is to be changed of a channel; UNSET stays as it is. channel_id: cannot be changed, only named again."""

    channel_id: int | msgspec.UnsetType = msgspec.UNSET
    label: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    is_active: bool | msgspec.UnsetType = msgspec.UNSET


class ChannelKeeper(Protocol):
    """Keeps the channels, and has them taken in or not. Its methods raise Unavailable."""

    async def channels(self) -> Sequence[ChannelEntry]:
        """All of them, by row id."""
        ...

    async def channel(self, row_id: int) -> ChannelEntry | None:
        """One of them."""
        ...

    async def create(self, wanted: NewChannel) -> ChannelEntry:
        """A new one. Raises ChannelConflict where there is one with that channel id."""
        ...

    async def change(self, row_id: int, change: ChannelChange) -> ChannelEntry | None:
        """Change one; None if there is none. Raises ChannelConflict for another channel id."""
        ...

    async def remove(self, row_id: int) -> ChannelEntry | None:
        """Remove one, its messages stay; gives what it was, None if there is none. Raises ChannelConflict."""
        ...


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What may be told of the session; never its content.

    updated_at_us: microseconds since the epoch. hash: 16 hexadecimal digits that tell one key from another. problem:
    why it cannot be used, and what to do.
    """

    exists: bool
    size_bytes: int | None = None
    updated_at_us: int | None = None
    hash: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """Whether the account is signed in. authorised: Telegram accepts the session, as far as is known.

    since_us: since when `connected` is as it is, in microseconds since the epoch. problem: why nothing comes in.
    """

    connected: bool
    authorised: bool
    since_us: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """How many messages are stored. is_exact: counted; else estimated, since counting took too long."""

    by_status: Mapping[str, int]
    is_exact: bool


class Gateway(Protocol):
    """Knows how the gateway is. channels: ids, those that the asking key may read; None for all.

    The methods raise Unavailable.
    """

    def connection(self) -> Connection:
        """To Telegram; cheap, never blocks."""
        ...

    async def session(self) -> SessionFacts:
        """Of the account."""
        ...

    async def queue(self, limit: int, channels: frozenset[str] | None) -> Listing:
        """What waits, the oldest first."""
        ...

    async def totals(self, channels: frozenset[str] | None) -> Totals:
        """How many messages are stored."""
        ...

    async def recent(self, limit: int, channels: frozenset[str] | None) -> Sequence[bytes]:
        """The newest messages in wire JSON, the newest first."""
        ...
