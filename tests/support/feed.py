"""A feed that a test writes itself, event by event."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from support.pipeline import CHANNELS
from telewarden.messages import Content, Deleted, Edited, Event, Posted
from telewarden.storage.batch import write_batch
from telewarden.storage.database import Database
from telewarden.storage.tail import Record

CHANNEL, OTHER = CHANNELS
EPOCH = 1


@dataclass
class WrittenFeed:
    """Writes events as the writer does. position: of the newest. Times are microseconds; an event a second."""

    database: Database
    position: int = 0
    start_us: int = 1_800_000_000_000_000
    messages: dict[int, int] = field(default_factory=lambda: {CHANNEL: 0, OTHER: 0})

    async def post(self, count: int = 1, channel: int = CHANNEL) -> list[int]:
        """New messages in one batch; their ids."""
        events: list[Event] = []
        ids: list[int] = []
        for _ in range(count):
            self.messages[channel] += 1
            ids.append(self.messages[channel])
            at_us = self.at_us(self.position + 1 + len(events))
            events.append(Posted(channel, ids[-1], Content(text=f"text {ids[-1]}"), 0, at_us, True))
        await self._write(events)
        return ids

    async def edit(self, message_id: int, text: str, channel: int = CHANNEL) -> None:
        """A newer text."""
        at_us = self.at_us(self.position + 1)
        await self._write([Edited(channel, message_id, Content(text=text), self.position + 1, at_us)])

    async def delete(self, message_id: int, channel: int = CHANNEL) -> None:
        """A deletion."""
        await self._write([Deleted(channel, message_id, self.at_us(self.position + 1), None)])

    def at_us(self, position: int) -> int:
        """When the event at a position was accepted."""
        return self.start_us + position * 1_000_000

    async def _write(self, events: Sequence[Event]) -> None:
        records = [
            Record(self.position + number, event, self.at_us(self.position + number), 0)
            for number, event in enumerate(events, 1)
        ]
        async with self.database.writing() as connection:
            await write_batch(connection, records, EPOCH)
        self.position += len(records)


async def empty_feed(connection: Any) -> None:
    """Forget all messages and consumers of a database that has the schema."""
    await connection.execute(
        "truncate telegram_gateway.messages, telegram_gateway.message_keys, telegram_gateway.message_changes,"
        " telegram_gateway.message_revisions, telegram_gateway.acknowledgements, telegram_gateway.consumers,"
        " telegram_gateway.deliveries; update telegram_gateway.feed_floor set epoch = 0, position = 0"
    )
