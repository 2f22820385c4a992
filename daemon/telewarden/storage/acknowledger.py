"""Acknowledgements: find what an id means, write it to the journal, answer. The stores follow."""

from collections.abc import Collection, Sequence

from telewarden.messages import Acknowledged, Key
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.journal import Journal
from telewarden.storage.journal_file import JournalError
from telewarden.storage.overlay import overlay
from telewarden.storage.requested import channels_meant, unambiguous
from telewarden_http.protocols import Marked, MarkProcessed, Unavailable


class JournalAcknowledger:
    """Takes acknowledgements for the consumers of this process's journal. channel_ids: may change."""

    def __init__(
        self, journal: Journal, database: Database, sync: CacheSync, *, channel_ids: Collection[int]
    ) -> None:
        self._journal, self._database, self._sync = journal, database, sync
        self._channel_ids = channel_ids

    async def mark_processed(self, request: MarkProcessed) -> Marked:
        """Acknowledge messages: when this returns, it is on disk.

        Raises UnknownChannel, AmbiguousMessage (nothing is changed), Unavailable.
        """
        wanted = tuple(dict.fromkeys(request.message_ids))
        channels = channels_meant(request.channel, self._channel_ids, request.readable)
        waiting = await self._waiting(wanted, channels, blind=request.channel is not None)
        keys = unambiguous(waiting)
        if keys:
            consumer = request.processed_by
            try:
                await self._journal.append(
                    lambda at_us: [Acknowledged(*key, consumer, at_us) for key in keys]
                )
            except JournalError as error:
                raise Unavailable(f"the acknowledgement could not be kept: {error}") from error
        return Marked(len(request.message_ids), len(keys))

    async def _waiting(self, wanted: Sequence[int], channels: Sequence[int], *, blind: bool) -> set[Key]:
        """Which of the ids wait, in which of the channels.

        blind: the channel is certain, so an id that no store can look up is acknowledged all the same.
        """
        # Noted before any source is read: what is accepted later cannot be missing from both.
        candidates = [Key(channel, message_id) for channel in channels for message_id in wanted]
        records = [record for key in candidates for record in self._journal.tail.of_message(key)]
        mirrored = {key: state for key in candidates if (state := self._sync.mirror.get(key)) is not None}
        # Another process may have acknowledged what the tail still holds as posted.
        done = {key for key in candidates if self._sync.mirror.is_done(key)}
        states = overlay(mirrored, records, done)
        known = {key.message_id for key in states}
        mark = self._sync.mark
        complete = mark is not None and mark.plain and self._sync.mirror.complete
        if not (complete and known.issuperset(wanted)):
            try:
                stored = await self._database.by_keys(candidates)
            except DatabaseUnavailable as error:
                if not complete and not blind and not known.issuperset(wanted):
                    raise Unavailable(
                        "the database is down, so the channel of these ids cannot be found; "
                        'send "channel" with the request, or try again'
                    ) from error
            else:
                states = overlay(stored, records, frozenset())
                blind = False
        waiting = {key for key, state in states.items() if state.waits}
        if blind and not complete:
            waiting |= {Key(channels[0], message_id) for message_id in wanted if message_id not in known}
        return waiting
