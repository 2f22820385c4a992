"""The listener: Telegram into the journal. A push is taken at once and never trusted; what was missed is read.

For each connection: every channel is read from its place in the journal; pushes are taken as they come, and one that
leaves a gap has its channel read; watched channels are asked again and again; a timer looks for what all that missed.
Nothing here knows Telethon.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import anyio
import structlog
from anyio.abc import TaskGroup

from telewarden.channels import ChannelSet
from telewarden.messages import Posted
from telewarden.storage.acceptance import Observation
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal, JournalFull
from telewarden.storage.journal_file import JournalError
from telewarden.telegram.feed import (
    ChannelClosed,
    Connection,
    Feed,
    Flooded,
    Place,
    SessionUnusable,
    TelegramUnavailable,
    Unreadable,
)
from telewarden.telegram.intake import IntakeSettings, Lags, TelegramState
from telewarden.telegram.opening import ChannelOpener
from telewarden.telegram.pacing import Budget
from telewarden.telegram.pts import PushedAhead, follow
from telewarden.telegram.reading import Asking, ChannelReader
from telewarden.telegram.reading_queue import ReadingQueue
from telewarden.telegram.rounds import CompareRounds
from telewarden.telegram.watch import WatchPlan
from telewarden_supervisors import WorkerContext, leaves

log = structlog.get_logger(__name__)

_READERS = 4
_WATCHERS = 8
_RETRY_FIRST_S, _RETRY_LAST_S = 0.2, 15.0
_SESSION_RETRY_S = 30.0
_ROOM_S = 0.5
_CLOSED_RETRY_S = 60.0
_JOURNAL_RETRY_S = 1.0
_OPEN_RETRY_S = 5.0


class Listener:
    """Takes in the channels that are wanted, which may change at any time. settings may be replaced while it runs."""

    def __init__(
        self,
        feed: Feed,
        journal: Journal,
        database: Database,
        state: TelegramState,
        channels: ChannelSet,
        settings: IntakeSettings,
        lags: Lags | None = None,
    ) -> None:
        self._feed, self._journal, self._database, self._state = feed, journal, database, state
        self._channels, self._seen_version = channels, 0
        self.settings = settings
        self._lags = lags or Lags()
        self._budget = Budget(settings.requests_per_s, burst=max(1, int(settings.requests_per_s)))
        self._queue = ReadingQueue()
        self._readable: frozenset[int] = frozenset()
        self._places: dict[int, Place] = {}
        self._rounds = CompareRounds()
        self.has_unopened = False
        """A new channel waits: for the database, which has to say what it has of it, or for Telegram."""
        self._ahead = PushedAhead()
        self._plan = self._new_plan()
        self.asking: tuple[Connection, Asking] | None = None
        """The connection, and how it may be asked; None while Telegram is not connected."""
        self.reader: ChannelReader | None = None
        """Reads over the connection; None likewise."""

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
            except* (TelegramUnavailable, Flooded, Unreadable) as group:
                self._lost(ctx, group, session=True)
                waits = [leaf.wait_s for leaf in leaves(group) if isinstance(leaf, Flooded)]
                pause_s = max(waits, default=retry_s * random.uniform(0.5, 1.0))  # noqa: S311
                await self._pause(ctx, pause_s)
                retry_s = min(retry_s * 2, _RETRY_LAST_S)

    def _lost(self, ctx: WorkerContext, group: BaseExceptionGroup[BaseException], *, session: bool) -> None:
        problem = str(next(iter(leaves(group))))
        if problem != self._state.problem:
            log.warning("telegram_unavailable" if session else "session_unusable", problem=problem)
        self._state.now_connected(False)
        self._state.session_loaded = session
        self._state.caught_up = False
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
        asking = Asking(self._budget, self._state.floods)
        reader = ChannelReader(
            connection, asking, self._journal, self._ahead, self._accept, lambda: self.settings
        )

        def waits(problem: str) -> None:
            self._state.problem = problem
            ctx.status(problem)
            ctx.beat()

        opener = ChannelOpener(
            connection,
            asking,
            self._journal,
            self._database,
            start_of=self._channels.start_of,
            waits=waits,
        )
        ctx.status("reading the channels")
        self._plan = self._new_plan()
        self._readable = frozenset()
        await self._find_channels(opener)
        ctx.beat()
        self._state.now_connected(True)
        self._state.session_loaded, self._state.problem = True, None
        log.info("telegram_connected", channels=len(self._readable))
        ctx.status(f"listening to {len(self._readable)} channels")
        self._queue = ReadingQueue()
        self._queue.ask_for((c for c in self._readable if self._is_behind(c)), window=False)
        self.asking, self.reader = (connection, asking), reader
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._take_pushes, connection)
                tasks.start_soon(self._probe, ctx, connection)
                tasks.start_soon(self._reconcile, opener)
                tasks.start_soon(self._watch, reader)
                for _ in range(_READERS):
                    tasks.start_soon(self._read_due, reader, tasks)
        finally:
            self.asking = self.reader = None

    async def _find_channels(self, opener: ChannelOpener) -> None:
        """Learn which channels can be read, and how far they are. One that is closed is told, the others go on."""
        self._seen_version = self._channels.version
        wanted = list(self._channels.taken_in)
        readable, places = await opener.find(wanted)
        self._places.update(places)
        for channel_id in self._state.closed_channels.keys() - set(wanted):
            del self._state.closed_channels[channel_id]
        for channel_id in wanted:
            if channel_id in readable:
                self._state.closed_channels.pop(channel_id, None)
            elif channel_id not in self._state.closed_channels:
                self._state.closed_channels[channel_id] = "the account cannot read it"
                log.warning(
                    "channel_closed", channel_id=channel_id, hint="join it with the account, or remove it"
                )
        opened = await opener.open(readable, self._places)
        self.has_unopened = opened != readable
        if opened != self._readable:
            self._readable = frozenset(opened)
            self._plan.watch(self._readable if self.settings.watched else (), anyio.current_time())
            self._state.watched = len(self._plan.channel_ids)

    def _new_plan(self) -> WatchPlan:
        settings = self.settings
        return WatchPlan(
            rate_per_s=settings.requests_per_s * settings.watch_share,
            fastest_s=settings.fastest_s,
            slowest_s=settings.slowest_s,
            first=settings.first,
        )

    def _is_behind(self, channel_id: int) -> bool:
        """Something may have changed on Telegram that is not accounted for."""
        channel, place = self._journal.channels[channel_id], self._places.get(channel_id)
        return (
            place is None
            or not channel.pts
            or channel.pts < place.pts
            or channel.checkpoint < max(place.top, channel.top)
        )

    async def _take_pushes(self, connection: Connection) -> None:
        while True:
            pushes = await connection.pushes()
            dropped = connection.overflowed() & self._readable
            if dropped:
                self._queue.ask_for(dropped, window=True)
            own = [push for push in pushes if push.channel_id in self._readable]
            if not own:
                continue
            known = {push.channel_id: self._journal.channels[push.channel_id].pts for push in own}
            moved, ahead = follow(own, known)
            await self._accept([o for push in own for o in push.observations], source="push", pts=moved)
            for push in ahead:
                self._ahead.keep(push)
            now_s = anyio.current_time()
            for channel_id in known:
                self._plan.has_news(channel_id, now_s)
            self._queue.ask_for(
                {push.channel_id for push in ahead} | {c for c in known if self._has_gap(c)}, window=False
            )

    def _has_gap(self, channel_id: int) -> bool:
        channel = self._journal.channels[channel_id]
        # Ids that Telegram skipped, such as those of other changes, are no gap for a channel that is followed.
        return not channel.pts and channel.checkpoint < channel.top

    async def _accept(
        self,
        observations: Sequence[Observation],
        *,
        source: str,
        checkpoint: tuple[int, int] | None = None,
        pts: dict[int, int] | None = None,
    ) -> int:
        while True:
            try:
                records = await self._journal.accept(observations, checkpoint, pts)
                break
            except JournalFull as error:
                self._state.problem = f"intake waits: {error}"
                with anyio.move_on_after(_ROOM_S):
                    await self._journal.changed.wait_until(lambda: self._journal.has_room)
            except JournalError as error:
                # A full disk, mostly. What was seen is kept until it can be written; Telegram keeps the rest.
                if self._state.problem != str(error):
                    log.error("journal_not_written", problem=str(error))
                self._state.problem = str(error)
                await anyio.sleep(_JOURNAL_RETRY_S)
        self._state.problem = None
        self._state.received += len(records)
        for record in records:
            if isinstance(record.event, Posted) and record.event.content.telegram_date_us:
                lag_us = record.accepted_at_us - record.event.content.telegram_date_us
                self._lags.observe(source, record.event.channel_id, max(0.0, lag_us / 1_000_000))
        return len(records)

    async def _probe(self, ctx: WorkerContext, connection: Connection) -> None:
        while True:
            try:
                await connection.probe()
                pause_s = self.settings.probe_s
            except Flooded as error:
                # That is an answer, too.
                now_s = anyio.current_time()
                self._state.floods.asked("state", None, error.wait_s, now_s)
                pause_s = max(self.settings.probe_s, error.wait_s)
            await self._pause_alive(ctx, pause_s)

    async def _pause_alive(self, ctx: WorkerContext, wait_s: float) -> None:
        ctx.beat()
        await self._pause(ctx, wait_s)

    async def _reconcile(self, opener: ChannelOpener) -> None:
        """Look regularly for what neither pushes nor differences told."""
        while True:
            pause_s = self.settings.reconcile_s * random.uniform(0.8, 1.2)  # noqa: S311
            with anyio.move_on_after(_OPEN_RETRY_S if self.has_unopened else pause_s) as pause:
                await self._channels.changed.wait_until(lambda: self._channels.version != self._seen_version)
            await self._find_channels(opener)
            self._queue.ask_for((c for c in self._readable if self._is_behind(c)), window=False)
            # A round that is not over is not followed by another: comparing never piles up.
            if pause.cancelled_caught and not self._queue.is_comparing:
                counts = {channel_id: self._journal.channels[channel_id].pts for channel_id in self._readable}
                self._queue.compare(self._rounds.choose(counts, self._most_compared()))

    def _most_compared(self) -> int:
        """As many as what watching leaves of the budget allows, so that no other request waits behind them."""
        settings = self.settings
        pages = 1 + math.ceil(settings.window / settings.page)
        return int(settings.reconcile_s * settings.requests_per_s * (1 - settings.watch_share) / pages)

    async def _watch(self, reader: ChannelReader) -> None:
        """Ask watched channels again and again for what changed: Telegram does not push everything at once."""
        limit = anyio.CapacityLimiter(_WATCHERS)

        async def ask(channel_id: int) -> None:
            async with limit:
                await self._look_at(reader, channel_id)

        async with anyio.create_task_group() as tasks:
            while True:
                now_s = anyio.current_time()
                channel_id = self._plan.take(now_s)
                if channel_id is not None:
                    tasks.start_soon(ask, channel_id)
                    continue
                wait_s = self._plan.wait_s(now_s)
                self._state.watch_interval_s = self._plan.interval_s
                await anyio.sleep(min(1.0 if wait_s is None else wait_s, 1.0))

    async def _look_at(self, reader: ChannelReader, channel_id: int) -> None:
        now_s = anyio.current_time()
        is_followed = bool(self._journal.channels[channel_id].pts)
        if not is_followed or self._queue.is_busy(channel_id):
            self._plan.put_off(channel_id, now_s, 0.0)
            if not is_followed:
                self._queue.ask_for([channel_id], window=False)
            return
        with self._queue.at(channel_id):
            try:
                followed = await reader.follow(channel_id)
                self._plan.answered(channel_id, anyio.current_time(), has_news=followed.events > 0)
                if not followed.is_told:
                    top = self._journal.channels[channel_id].top
                    self._places[channel_id] = replace(self.place(channel_id), top=top, pts=followed.pts)
                    self._queue.ask_for([channel_id], window=True)
            except Flooded as error:
                self._plan.flooded(channel_id, now_s, error.wait_s)
            except ChannelClosed as error:
                self._close(channel_id, error)
                self._plan.put_off(channel_id, now_s, _CLOSED_RETRY_S)

    def _close(self, channel_id: int, error: ChannelClosed) -> None:
        if channel_id not in self._state.closed_channels:
            log.warning("channel_closed", channel_id=channel_id, reason=str(error))
        self._state.closed_channels[channel_id] = str(error)

    def is_catching_up(self, channel_id: int) -> bool:
        """History of the channel has still to be read."""
        known = self._journal.channels.get(channel_id)
        return self._queue.is_reading(channel_id) or known is None or not known.pts

    def place(self, channel_id: int) -> Place:
        """What Telegram told of a channel when it was asked for all of them; nothing where that is not known."""
        return self._places.get(channel_id, Place(0, 0))

    def label(self, channel_id: int) -> str:
        """A channel's name on Telegram; empty where that is not known."""
        return self.place(channel_id).title

    def title(self, channel_id: int) -> str:
        """A channel's name on Telegram; its id where that is not known."""
        return self.place(channel_id).title or str(channel_id)

    async def _read_due(self, reader: ChannelReader, tasks: TaskGroup) -> None:
        while True:
            if self._queue.is_idle and not self._state.caught_up:
                self._state.caught_up = True
                log.info("caught_up", channels=len(self._readable))
            await self._queue.wait()
            with self._queue.reading() as (channel_id, window):
                try:
                    await reader.read(channel_id, place=self._places.get(channel_id), window=window)
                    if window:
                        self._rounds.compared(channel_id, self._journal.channels[channel_id].pts)
                    self._state.closed_channels.pop(channel_id, None)
                except Flooded as error:
                    log.warning("telegram_flood_wait", channel_id=channel_id, wait_s=error.wait_s)
                    tasks.start_soon(self._ask_again, channel_id, window, error.wait_s)
                except ChannelClosed as error:
                    self._close(channel_id, error)

    async def _ask_again(self, channel_id: int, window: bool, wait_s: float) -> None:
        await anyio.sleep(wait_s)
        self._queue.ask_for([channel_id], window=window)
