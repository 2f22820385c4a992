"""Deletions that processes without a journal committed: here they get their place in the feed."""

from telewarden.messages import Deleted
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal
from telewarden.storage.rows import us_of
from telewarden.storage.statements import statement

_AT_ONCE = 500


async def take_over(database: Database, journal: Journal) -> int:
    """Accept what was handed over; returns how many. Harmless to repeat: a message is deleted once.

    Raises DatabaseUnavailable, JournalError.
    """
    async with database.reading() as connection:
        rows = await connection.fetch(statement("handed_over"), _AT_ONCE)
    if rows:
        deletions = [
            Deleted(int(row["channel_id"]), row["message_id"], us_of(row["deleted_at"]), row["reason"])
            for row in rows
        ]
        await journal.append(lambda _: deletions)
        async with database.writing() as connection:
            await connection.execute(statement("taken_over"), [row["id"] for row in rows])
    return len(rows)
