"""A daemon whose journal was damaged while it was down ends with what Telegram has, and with what consumers said."""

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from support.stacks import consumer, polled, stored
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import CONSUMER, Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def until(stack: Stack, channel: int, wanted: list[str], *, either: str | None = None) -> None:
    """Until a poll gives what is wanted. either: may be there or not."""
    seen = await polled(stack, channel)
    try:
        with anyio.fail_after(30):
            while sorted(text for text in seen if text != either) != sorted(wanted):
                await anyio.sleep(0.05)
                seen = await polled(stack, channel)
    except TimeoutError:
        raise AssertionError(f"{seen} instead of {wanted}; {stack.daemon.log_end(30)}") from None


@pytest.mark.parametrize("damage", ["an event", "the whole file"])
async def test_what_a_damaged_journal_lost_is_read_from_telegram_again(tmp_path: Path, damage: str) -> None:
    async with start_stack(tmp_path, channels=1) as stack:
        (channel,) = stack.channel_ids
        journal = stack.daemon.state_dir / "journal.sqlite"
        async with daemon_running(stack):
            await stack.control.post_many(channel, ["stored 1", "stored 2"])
            await until(stack, channel, ["stored 1", "stored 2"])
            await stored(stack, 2)
            # What comes now is in the journal alone.
            await stack.postgres.kill()
            done = await stack.control.post_many(channel, [f"waits {n}" for n in range(10)])
            everything = ["stored 1", "stored 2", *(f"waits {n}" for n in range(10))]
            await until(stack, channel, everything)
            async with consumer(stack) as client:
                body = {
                    "messageIds": [str(done.message_ids[0])],
                    "processedBy": CONSUMER,
                    "channel": str(channel),
                }
                assert (await client.post("/api/messages/mark-processed", json=body)).status_code == 200
            stack.daemon.kill()
        if damage == "an event":
            with closing(sqlite3.connect(journal, isolation_level=None)) as database:
                changed = database.execute(
                    "update events set body = x'00' where position = (select max(position) - 3 from events)"
                )
                assert changed.rowcount == 1
        else:
            for file in (journal, journal.with_name("journal.sqlite-wal")):
                file.write_bytes(b"noise" * 10_000)
        await stack.postgres.restart()
        async with daemon_running(stack):
            # What Telegram shows is there again, each message once.
            expected = [text for text in everything if text != "waits 0"]
            # With the whole journal the acknowledgement is lost, unless the cache had it.
            either = "waits 0" if damage == "the whole file" else None
            await until(stack, channel, expected, either=either)
            await stored(stack, len(everything))
            rows = await stack.rows()
            assert sorted(row.text or "" for _, row in rows) == sorted(everything)
            assert "journal_damaged" in stack.daemon.log_end(400)
        assert list(journal.parent.glob("journal.sqlite.damaged-*"))
