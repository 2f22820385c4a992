"""What intake asks of Telegram, as a protocol, and the errors it may answer with. The Telethon driver implements it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from telewarden.storage.acceptance import Observation, Seen


class TelegramUnavailable(Exception):
    """Telegram cannot be reached, or the connection was lost; try again later."""


class SessionUnusable(Exception):
    """The session is missing, locked or no longer authorised; the message names the command to run."""


class Flooded(Exception):
    """Telegram asks to wait before this kind of request is made again. wait_s: how long, in seconds."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(f"Telegram asks to wait {wait_s:.0f} s")


class ChannelClosed(Exception):
    """The account has no access to a channel (any more)."""


class Connection(Protocol):
    """One connection to Telegram, signed in. Every request may raise TelegramUnavailable, SessionUnusable, Flooded."""

    async def tops(self, channel_ids: Sequence[int]) -> dict[int, int]:
        """The newest message id of each channel that the account can read (0 for an empty one)."""
        ...

    async def after(self, channel_id: int, message_id: int, limit: int) -> list[Seen]:
        """A channel's messages after an id, oldest first. Raises ChannelClosed."""
        ...

    async def newest(self, channel_id: int, limit: int) -> list[Seen]:
        """A channel's newest messages, in no particular order. Raises ChannelClosed."""
        ...

    async def existing(self, channel_id: int, message_ids: Sequence[int]) -> list[Seen]:
        """Those of some messages that Telegram still has. Raises ChannelClosed."""
        ...

    async def probe(self) -> None:
        """Ask Telegram for a sign of life."""
        ...

    async def pushes(self) -> list[Observation]:
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
