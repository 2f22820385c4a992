"""How the channels of the database and those of the process that takes in meet.

The process's own, in settings and journal, decide what is taken in. What somebody asks for over HTTP is a wish in the
database, which this process carries out; it writes down what it does, but never over a wish that is still open.
"""

from collections.abc import Callable, Sequence

import anyio
import structlog

from telewarden.channels import NOW, ChannelRefused, ChannelSet
from telewarden.storage.channel_table import ChannelTable, Intake, Wanted, Wish

log = structlog.get_logger(__name__)


class ChannelHandover:
    """Carries wishes out and writes down what is done. lost_cache: told that the cache may lack what a channel has
    stored. Several may call it; one turn is made at a time."""

    def __init__(
        self, channels: ChannelSet, table: ChannelTable, lost_cache: Callable[[str], object] = lambda _: None
    ) -> None:
        self.channels = channels
        self._table, self._lost_cache = table, lost_cache
        self._written: int | None = None
        self._turn = anyio.Lock()

    @property
    def is_behind(self) -> bool:
        """The database has not been told yet how the channels are now."""
        return self._written != self.channels.version

    async def meet(self) -> None:
        """Carry out what is wished for, and write down how the channels are then, if either is new. Harmless to repeat.

        Raises DatabaseUnavailable, REFUSED, JournalError.
        """
        async with self._turn:
            if self.channels.may_have_forgotten:
                await self._take_over()
                await self.channels.remembered()
            wishes = await self._table.wishes()
            for wish in wishes:
                await self._carry_out(wish)
            if wishes or self.is_behind:
                await self._write_down(wishes)

    async def _take_over(self) -> None:
        """What was added before, if the journal that knew it is lost: nobody would miss it otherwise."""
        for channel_id, intake in (await self._table.added()).items():
            if channel_id in self.channels.known:
                continue
            await self._add(channel_id, intake.name, paused=not intake.is_taken_in)
            log.warning(
                "channel_taken_over",
                channel_id=channel_id,
                reason="it was added, as the database says, and this journal does not know it",
            )

    async def _add(self, channel_id: int, name: str, *, paused: bool = False) -> None:
        await self.channels.add(channel_id, name, NOW, paused=paused)
        # The database may hold messages of it that wait; the cache was filled without them.
        self._lost_cache(f"channel {channel_id} was added")

    async def _write_down(self, done: Sequence[Wish]) -> None:
        channels, version = self.channels, self.channels.version
        served = {
            channel_id: Intake(
                channels.name_of(channel_id),
                is_taken_in=channel_id in channels.taken_in,
                is_configured=channels.is_configured(channel_id),
            )
            for channel_id in channels.served
        }
        known = set(channels.known)
        unknown = set(await self._table.settle(done, served)) - known
        self._written = version
        if unknown:
            log.warning(
                "channels_not_taken_in",
                channel_ids=sorted(unknown),
                hint="rows of the table channels that were active, as an old gateway leaves them: they are inactive "
                "now. PUT /api/channels/{id} with isActive true, or `telewarden channels add`, takes one in",
            )

    async def _carry_out(self, wish: Wish) -> None:
        channels, channel_id = self.channels, wish.channel_id
        is_served = channel_id in channels.served
        try:
            match wish.wanted:
                case Wanted.TAKEN_IN if is_served:
                    await channels.pause(channel_id, paused=False)
                case Wanted.TAKEN_IN:
                    await self._add(channel_id, wish.label)
                case Wanted.PAUSED if is_served:
                    await channels.pause(channel_id, paused=True)
                case Wanted.REMOVED if is_served:
                    await channels.remove(channel_id)
        except ChannelRefused as error:
            # It came into the settings meanwhile; what is written down next says so.
            log.warning(
                "channel_wish_refused", channel_id=channel_id, wanted=wish.wanted.value, reason=str(error)
            )
        else:
            log.info("channel_wish_done", channel_id=channel_id, wanted=wish.wanted.value)
