"""Changes of single messages: found, written to the journal, answered. The stores follow."""

from collections.abc import Callable
from uuid import UUID

from telewarden.messages import Deleted, Event, ReprocessRequested, State, merge
from telewarden.storage.journal import Journal
from telewarden.storage.journal_file import JournalError
from telewarden.storage.reader import Reader
from telewarden.storage.render import render
from telewarden_http.protocols import MessageIsDeleted, Unavailable


class JournalChanger:
    """Changes messages for the process that keeps a journal."""

    def __init__(self, journal: Journal, reader: Reader) -> None:
        self._journal, self._reader = journal, reader

    async def delete(self, message_id: UUID, reason: str | None) -> bytes | None:
        """Delete a message softly. Raises Unavailable."""
        state = await self._reader.state(message_id)
        if state is None or state.deleted_at_us is not None:
            return None if state is None else render(state)
        return await self._change(state, lambda at_us: Deleted(*state.key, at_us, reason))

    async def reprocess(self, message_id: UUID, requested_by: str) -> bytes | None:
        """Have a message processed once more. Raises MessageIsDeleted, Unavailable."""
        state = await self._reader.state(message_id)
        if state is None:
            return None
        refuse_deleted(state)
        return await self._change(state, lambda at_us: ReprocessRequested(*state.key, requested_by, at_us))

    async def _change(self, state: State, event: Callable[[int], Event]) -> bytes:
        try:
            [record] = await self._journal.append(lambda at_us: [event(at_us)])
        except JournalError as error:
            raise Unavailable(f"the change could not be kept: {error}") from error
        return render(merge(state, record.event))


def refuse_deleted(state: State) -> None:
    """Raises MessageIsDeleted for one that is."""
    if state.deleted_at_us is not None:
        raise MessageIsDeleted("the message is deleted, which is final; it cannot be processed once more")
