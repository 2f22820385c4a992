"""What wakes a consumer's long poll."""

from collections.abc import Collection

import anyio

from telewarden.storage.signal import Signal
from telewarden_http.v1.consumers_protocols import Channels
from telewarden_http.v1.token import Position

_LOOK_S = 0.25


class PolledWakes:
    """Implements Wakes where nothing tells of what is new: looks again and again. returned: fires when this process
    gave something back, which may be what others wait for."""

    def __init__(self, returned: Signal) -> None:
        self._returned = returned

    async def wait(self, after: Position, channels: Channels, kinds: Collection[str]) -> None:
        """See Wakes."""
        with anyio.move_on_after(_LOOK_S):
            await self._returned.wait()
