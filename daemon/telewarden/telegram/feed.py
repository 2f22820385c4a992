"""What intake asks of Telegram, as a protocol, and the errors it may answer with. The Telethon driver implements it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from telewarden.storage.acceptance import Observation, Seen
from telewarden.telegram.references import Reference


class TelegramUnavailable(Exception):
    """Telegram cannot be reached, or the connection was lost; try again later."""


class SessionUnusable(Exception):
    """The session is missing, locked or no longer authorised; the message names the command to run."""


class Flooded(Exception):
    """Telegram asks to wait before this kind of request is made again. wait_s: how long, in seconds."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(f"Telegram asks to wait {wait_s:.0f} s")


class Unreadable(Exception):
    """Telegram answered with something that is newer than this version. constructor_id: what it does not know."""

    def __init__(self, constructor_id: int) -> None:
        self.constructor_id = constructor_id
        super().__init__(f"Telegram answered with something unknown, constructor {constructor_id:#010x}")


class ChannelClosed(Exception):
    """The account has no access to a channel (any more)."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a channel is on Telegram.

    top: its newest message id, 0 if it is empty. pts: how many changes it has had. name: its @name, empty without.
    """

    top: int
    pts: int
    title: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Push:
    """A change that Telegram pushed. It is the next one after pts - pts_count (core.telegram.org/api/updates)."""

    channel_id: int
    observations: tuple[Observation, ...]
    pts: int
    pts_count: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed in a channel since a pts.

    pts: where this leaves off. final: there is no more for now. is_too_long: Telegram does not tell what changed;
    history has to be read, and pts is that of this moment.
    """

    observations: tuple[Observation, ...]
    pts: int
    final: bool = True
    is_too_long: bool = False


class ChannelNotFound(Exception):
    """There is no such channel, or the account is not in it; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """A channel or group on Telegram. name: its public @name without the @, empty without one."""

    channel_id: int
    title: str
    name: str = ""
    is_group: bool = False


class Connection(Protocol):
    """One connection to Telegram, signed in. Every request may raise TelegramUnavailable, SessionUnusable, Flooded."""

    def reachable(self, channel_ids: Sequence[int]) -> set[int]:
        """Those channels that can be asked for, as far as is known without asking."""
        ...

    async def places(self, channel_ids: Sequence[int]) -> dict[int, Place]:
        """How far each channel is that the account can read. Some requests for all of them. Raises Unreadable."""
        ...

    async def difference(self, channel_id: int, pts: int, limit: int) -> Difference:
        """What changed in a channel since a pts. Raises ChannelClosed, Unreadable."""
        ...

    async def pts(self, channel_id: int) -> int:
        """How many changes a channel has had. Raises ChannelClosed."""
        ...

    async def after(self, channel_id: int, message_id: int, limit: int) -> list[Seen]:
        """A channel's messages after an id, 100 at most, oldest first. One that cannot be read is there too, by its id.

        Raises ChannelClosed.
        """
        ...

    async def newest(self, channel_id: int, limit: int, before: int = 0) -> list[Seen]:
        """A channel's newest messages, of those below an id if one is given, in no particular order.

        Raises ChannelClosed.
        """
        ...

    async def existing(self, channel_id: int, message_ids: Sequence[int]) -> list[Seen]:
        """Those of some messages that Telegram still has. Raises ChannelClosed."""
        ...

    async def dialogs(self) -> list[Found]:
        """Every channel and group that the account is in. Some requests. Raises Unreadable."""
        ...

    async def resolve(self, reference: Reference, *, join: bool) -> Found:
        """The channel that somebody means. join: enter it if the account is not in it.

        Raises ChannelNotFound, Unreadable.
        """
        ...

    async def last_before(self, channel_id: int, moment_s: float) -> int:
        """The newest message id of before a moment, seconds since the epoch; 0 for none. Raises ChannelClosed."""
        ...

    async def probe(self) -> None:
        """Ask Telegram for a sign of life."""
        ...

    async def pushes(self) -> list[Push]:
        """What Telegram pushed since the last call, in order; waits until there is something.

        Raises TelegramUnavailable when the connection is lost.
        """
        ...

    def overflowed(self) -> set[int]:
        """Channels of which pushes were dropped for want of room since the last call: their history must be read."""
        ...


class Feed(Protocol):
    """Opens connections."""

    def connect(self) -> AbstractAsyncContextManager[Connection]:
        """A signed-in connection. Raises TelegramUnavailable, SessionUnusable."""
        ...
