"""Counts acknowledged messages, whoever takes the acknowledgements."""

from telewarden_http.protocols import Acknowledger, Marked, MarkProcessed


class CountedAcknowledger:
    """Implements Acknowledger by another. count: messages that changed by it, since the process began."""

    def __init__(self, acknowledger: Acknowledger) -> None:
        self._acknowledger = acknowledger
        self.count = 0

    async def mark_processed(self, request: MarkProcessed) -> Marked:
        """See the protocol."""
        marked = await self._acknowledger.mark_processed(request)
        self.count += marked.updated
        return marked
