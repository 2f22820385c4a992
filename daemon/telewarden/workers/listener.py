"""The listener: Telegram into the journal. A push is taken at once and never trusted; history is the truth.

For each connection: every channel's history from its checkpoint, a recent window compared for edits and deletions,
and pushes as they come; a push that leaves a gap has the history read. Nothing here knows Telethon.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import anyio
import structlog
from anyio.abc import TaskGroup

from telewarden.storage.acceptance import Channel, Gone, Observation, Seen
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.journal import Journal, JournalFull
from telewarden.storage.signal import Signal
from telewarden.telegram.feed import (
    ChannelClosed,
    Connection,
    Feed,
    Flooded,
    SessionUnusable,
    TelegramUnavailable,
)
from telewarden_supervisors import WorkerContext, leaves

log = structlog.get_logger(__name__)

_READERS = 4
_RETRY_FIRST_S, _RETRY_LAST_S = 0.2, 15.0
_SESSION_RETRY_S = 30.0
_DATABASE_RETRY_S = 0.5
_ROOM_S = 0.5
_IDS_A_REQUEST = 100


@dataclass
class TelegramState:
    """How intake is, for health and metrics. problem: why nothing comes in, in words; None while it works."""

    connected: bool = False
    session_loaded: bool = False
    problem: str | None = "not connected yet"
    received: int = 0
    reconnects: int = 0
    closed_channels: dict[int, str] = field(default_factory=dict)


class Listener:
    """Takes in the configured channels.

    first_read: what to take of a channel never seen before: "now", "all", or that many of its newest posts.
    window: newest posts that are compared for edits and deletions. probe_s, reconcile_s: intervals, in seconds. All
    three may be changed while it runs.
    """

    def __init__(
        self,
        feed: Feed,
        journal: Journal,
        database: Database,
        state: TelegramState,
        *,
        channel_ids: Sequence[int],
        first_read: str | int,
        page: int,
        window: int,
        probe_s: float,
        reconcile_s: float,
    ) -> None:
        self._feed, self._journal, self._database, self._state = feed, journal, database, state
        self._channel_ids = tuple(channel_ids)
        self._first_read = first_read
        self._page, self.window = page, window
        self.probe_s, self.reconcile_s = probe_s, reconcile_s
        self._due: dict[int, bool] = {}
        self._due_changed = Signal()
        self._readable: frozenset[int] = frozenset()

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled; reconnects for ever."""
        ctx.ready()
        try:
            await self._run(ctx)
        finally:
            self._state.connected, self._state.problem = False, "the listener does not run"

    async def _run(self, ctx: WorkerContext) -> None:
        retry_s = _RETRY_FIRST_S
        while True:
            try:
                async with self._feed.connect() as connection:
                    # Telegram has answered: an open connection has been asked something.
                    ctx.beat()
                    retry_s = _RETRY_FIRST_S
                    await self._take_in(ctx, connection)
            except* SessionUnusable as group:
                self._lost(ctx, group, session=False)
                await self._pause(ctx, _SESSION_RETRY_S)
            except* (TelegramUnavailable, Flooded) as group:
                self._lost(ctx, group, session=True)
                waits = [leaf.wait_s for leaf in leaves(group) if isinstance(leaf, Flooded)]
                pause_s = max(waits, default=retry_s * random.uniform(0.5, 1.0))  # noqa: S311
                await self._pause(ctx, pause_s)
                retry_s = min(retry_s * 2, _RETRY_LAST_S)

    def _lost(self, ctx: WorkerContext, group: BaseExceptionGroup[BaseException], *, session: bool) -> None:
        problem = str(next(iter(leaves(group))))
        if problem != self._state.problem:
            log.warning("telegram_unavailable" if session else "session_unusable", problem=problem)
        self._state.connected, self._state.session_loaded = False, session
        self._state.problem = problem
        self._state.reconnects += 1
        ctx.status(problem)

    async def _pause(self, ctx: WorkerContext, wait_s: float) -> None:
        """Telegram is known to be down (a request failed, or had no answer in its time): no restart would help."""
        deadline = anyio.current_time() + wait_s
        while (left_s := deadline - anyio.current_time()) > 0:
            ctx.beat()
            await anyio.sleep(min(left_s, 5.0))

    async def _take_in(self, ctx: WorkerContext, connection: Connection) -> None:
        ctx.status("reading the channels")
        tops = await connection.tops(self._channel_ids)
        ctx.beat()
        self._state.closed_channels = {
            channel_id: "the account cannot read it"
            for channel_id in self._channel_ids
            if channel_id not in tops
        }
        for channel_id in self._state.closed_channels:
            log.warning(
                "channel_closed", channel_id=channel_id, hint="join it with the account, or remove it"
            )
        self._readable = frozenset(tops)
        await self._open_channels(ctx, connection, tops)
        self._state.connected, self._state.session_loaded, self._state.problem = True, True, None
        log.info("telegram_connected", channels=len(tops))
        ctx.status(f"listening to {len(tops)} channels")
        self._due.clear()
        self._ask_for(tops, window=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._take_pushes, connection)
            tasks.start_soon(self._probe, ctx, connection)
            tasks.start_soon(self._reconcile)
            for _ in range(_READERS):
                tasks.start_soon(self._read_due, connection, tasks)

    async def _open_channels(self, ctx: WorkerContext, connection: Connection, tops: dict[int, int]) -> None:
        """Give channels that are new to this journal their place; what the database already has is not new."""
        new = [channel_id for channel_id in tops if channel_id not in self._journal.channels]
        while new:
            try:
                stored = await self._database.channel_tops(new)
                break
            except DatabaseUnavailable as error:
                problem = f"this journal is new and must learn from the database where it ended: {error}"
                if problem != self._state.problem:
                    log.warning("intake_waits_for_the_database", problem=problem)
                self._state.problem = problem
                ctx.status(problem)
                ctx.beat()
                await anyio.sleep(_DATABASE_RETRY_S)
        for channel_id in new:
            top, known = tops[channel_id], stored[channel_id]
            origin = 0 if known else await self._first_origin(connection, channel_id, top)
            place = Channel(channel_id, checkpoint=max(known, origin), top=known, floor=known, origin=origin)
            await self._journal.open_channel(place)

    async def _first_origin(self, connection: Connection, channel_id: int, top: int) -> int:
        """The id up to which a channel that nobody knows is left out."""
        if self._first_read == "all":
            return 0
        if self._first_read == "now" or not top:
            return top
        newest = await connection.newest(channel_id, int(self._first_read))
        return min((seen.message_id for seen in newest), default=top + 1) - 1

    async def _take_pushes(self, connection: Connection) -> None:
        while True:
            observations = await connection.pushes()
            dropped = connection.overflowed() & self._readable
            if dropped:
                self._ask_for(dropped, window=True)
            own = [o for o in observations if o.channel_id in self._readable]
            if own:
                await self._accept(own)
                behind = {o.channel_id for o in own if isinstance(o, Seen)}
                self._ask_for((c for c in behind if self._has_gap(c)), window=False)

    def _has_gap(self, channel_id: int) -> bool:
        channel = self._journal.channels[channel_id]
        return channel.checkpoint < channel.top

    async def _accept(
        self, observations: Sequence[Observation], checkpoint: tuple[int, int] | None = None
    ) -> None:
        while True:
            try:
                records = await self._journal.accept(observations, checkpoint)
                break
            except JournalFull:
                self._state.problem = "the journal is full: intake waits for the database"
                with anyio.move_on_after(_ROOM_S):
                    await self._journal.changed.wait_until(lambda: self._journal.has_room)
        self._state.problem = None
        self._state.received += len(records)

    async def _probe(self, ctx: WorkerContext, connection: Connection) -> None:
        while True:
            await connection.probe()
            ctx.beat()
            await anyio.sleep(self.probe_s)

    async def _reconcile(self) -> None:
        while True:
            await anyio.sleep(self.reconcile_s * random.uniform(0.8, 1.2))  # noqa: S311
            self._ask_for(self._readable, window=True)

    def _ask_for(self, channel_ids: Iterable[int], *, window: bool) -> None:
        for channel_id in channel_ids:
            self._due[channel_id] = self._due.get(channel_id, False) or window
        if self._due:
            self._due_changed.fire()

    async def _read_due(self, connection: Connection, tasks: TaskGroup) -> None:
        while True:
            await self._due_changed.wait_until(lambda: bool(self._due))
            channel_id, window = next(iter(self._due.items()))
            del self._due[channel_id]
            try:
                await self._catch_up(connection, channel_id)
                if window:
                    await self._compare(connection, channel_id)
                self._state.closed_channels.pop(channel_id, None)
            except Flooded as error:
                log.warning("telegram_flood_wait", channel_id=channel_id, wait_s=error.wait_s)
                tasks.start_soon(self._ask_again, channel_id, window, error.wait_s)
            except ChannelClosed as error:
                self._state.closed_channels[channel_id] = str(error)
                log.warning("channel_closed", channel_id=channel_id, reason=str(error))

    async def _ask_again(self, channel_id: int, window: bool, wait_s: float) -> None:
        await anyio.sleep(wait_s)
        self._ask_for([channel_id], window=window)

    async def _catch_up(self, connection: Connection, channel_id: int) -> None:
        """Read history from the checkpoint to its end."""
        while True:
            checkpoint = self._journal.channels[channel_id].checkpoint
            page = await connection.after(channel_id, checkpoint, self._page)
            if page:
                await self._accept(page, (channel_id, page[-1].message_id))
            if len(page) < self._page:
                return

    async def _compare(self, connection: Connection, channel_id: int) -> None:
        """Compare the newest posts with what is known: edits, deletions, and posts that were missed."""
        posts = await connection.newest(channel_id, self.window)
        shown = {seen.message_id for seen in posts}
        channel = self._journal.channels[channel_id]
        low = min(shown) if len(posts) >= self.window else channel.origin + 1
        known = await self._journal.known_between(channel_id, low, channel.top)
        missing = [message_id for message_id in known if message_id not in shown]
        gone: list[Observation] = []
        for first in range(0, len(missing), _IDS_A_REQUEST):
            ids = missing[first : first + _IDS_A_REQUEST]
            still = await connection.existing(channel_id, ids)
            posts += still
            left = {seen.message_id for seen in still}
            gone += [Gone(channel_id, message_id) for message_id in ids if message_id not in left]
        observations = [*sorted(posts, key=lambda seen: seen.message_id), *gone]
        if observations:
            await self._accept(observations)
