"""The journal: what was accepted is there after a restart, and a bound is a bound."""

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from support.histories import CHANNEL
from telewarden.messages import Acknowledged, Content, Deleted, Edited, Posted
from telewarden.storage.acceptance import Channel, Gone, Seen
from telewarden.storage.journal import Journal, JournalFull, open_journal
from telewarden.storage.journal_file import JournalError, JournalFile

pytestmark = pytest.mark.anyio


def seen(message_id: int, text: str = "BUY", edit_date_s: int = 0) -> Seen:
    return Seen(CHANNEL, message_id, Content(text=text), edit_date_s)


async def start(journal: Journal) -> None:
    await journal.open_channel(Channel(CHANNEL))


async def append_for_ever(journal: Journal) -> None:
    while True:
        await journal.append(lambda at: [Acknowledged(CHANNEL, 1, "tp", at)])


async def test_accepted_events_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "private" / "journal.sqlite"
    async with open_journal(path) as journal:
        await start(journal)
        await journal.accept([seen(1), seen(2)])
        await journal.append(lambda at: [Acknowledged(CHANNEL, 1, "tp", at)])
        await journal.set_epoch(3)
        before = journal.tail.after(0)
    async with open_journal(path) as journal:
        assert journal.tail.after(0) == before
        assert [type(r.event) for r in before] == [Posted, Posted, Acknowledged]
        assert journal.epoch == 3
        assert journal.channels[CHANNEL] == Channel(CHANNEL, checkpoint=2, top=2)
        assert (await journal.accept([seen(2)])) == []


async def test_its_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "private" / "journal.sqlite"
    async with open_journal(path) as journal:
        await start(journal)
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file
        assert path.parent.stat().st_mode & 0o077 == 0


async def test_what_both_stores_have_is_forgotten_and_positions_are_never_reused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with open_journal(path) as journal:
        await start(journal)
        await journal.accept([seen(1), seen(2), seen(3)])
        await journal.settle(2)
        journal.release(1)
        assert journal.flushed == 2
        assert journal.tail.first == 2
        await journal.settle(3)
        journal.release(3)
        assert len(journal.tail) == 0
        assert journal.unflushed_bytes == 0
    async with open_journal(path) as journal:
        assert journal.head == journal.flushed == 3
        records = await journal.accept([seen(4)])
        assert records[0].position == 4


async def test_times_of_acceptance_only_grow_even_when_the_clock_is_set_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with open_journal(path, clock_us=lambda: 1_000) as journal:
        await start(journal)
        records = await journal.accept([seen(1), seen(2)])
        await journal.settle(2)
        assert [r.accepted_at_us for r in records] == [1_000, 1_001]
    async with open_journal(path, clock_us=lambda: 500) as journal:
        assert [r.accepted_at_us for r in await journal.accept([seen(3)])] == [1_002]


async def test_a_checkpoint_moves_with_the_events_that_it_accounts_for(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        await start(journal)
        await journal.accept([seen(5)])
        assert journal.channels[CHANNEL].checkpoint == 0  # a push with a gap before it
        await journal.accept([seen(1), seen(3)], (CHANNEL, 3))
        assert journal.channels[CHANNEL] == Channel(CHANNEL, checkpoint=3, top=5)
        await journal.accept([seen(4)])
        assert journal.channels[CHANNEL].checkpoint == 5  # 4 and 5 are known: no gap is left


async def test_edits_and_deletions_are_told_apart_from_repetitions(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        await start(journal)
        records = await journal.accept(
            [seen(1), seen(1), seen(1, "SELL", 9), Gone(CHANNEL, 1), Gone(CHANNEL, 1)]
        )
        assert [type(r.event) for r in records] == [Posted, Edited, Deleted]
        assert await journal.known_between(CHANNEL, 1, 9) == []


async def test_at_its_bound_intake_is_refused_and_acknowledgements_still_have_a_reserve(
    tmp_path: Path,
) -> None:
    async with open_journal(tmp_path / "journal.sqlite", max_bytes=400) as journal:
        await start(journal)
        number = 0
        while journal.has_room:
            number += 1
            await journal.accept([seen(number)])
        with pytest.raises(JournalFull, match=r"journal\.max_bytes"):
            await journal.accept([seen(number + 1)])
        before = journal.head
        with pytest.raises(JournalFull):
            await append_for_ever(journal)
        assert journal.head > before
        assert [r.event for r in journal.tail.after(0)][-1].__class__ is Acknowledged
        await journal.settle(journal.head)
        assert journal.has_room


async def test_a_group_commit_takes_all_that_waits(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        await start(journal)
        positions: list[int] = []

        async def one(message_id: int) -> None:
            records = await journal.accept([seen(message_id)])
            positions.extend(r.position for r in records)

        async with anyio.create_task_group() as tasks:
            for message_id in range(1, 65):
                tasks.start_soon(one, message_id)
        assert sorted(positions) == list(range(1, 65))


async def test_a_cancelled_caller_does_not_harm_the_others(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        await start(journal)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.accept([seen(1)])
        await journal.accept([seen(2)])
        assert journal.head in (1, 2)
        assert {r.event.message_id for r in journal.tail.after(0)} >= {2}


async def test_a_second_process_is_told_that_the_journal_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with open_journal(path):
        with pytest.raises(JournalError, match=r"using it"):
            await anyio.to_thread.run_sync(JournalFile, path)


async def test_a_journal_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    JournalFile(path).close()
    database = sqlite3.connect(path)
    database.execute("update meta set value = 99 where name = 'format'")
    database.commit()
    database.close()
    with pytest.raises(JournalError, match="format 99"):
        JournalFile(path)


async def test_a_journal_of_the_first_format_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with open_journal(path) as journal:
        await journal.open_channel(Channel(-1001, checkpoint=5, top=6))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("alter table channels drop column pts")
        database.execute("alter table events drop column crc")
        database.execute("update meta set value = 1 where name = 'format'")
    async with open_journal(path) as journal:
        assert journal.channels[-1001] == Channel(-1001, checkpoint=5, top=6, pts=0)
        await journal.accept([], pts={-1001: 9})
        await journal.accept([], pts={-1001: 7})
    async with open_journal(path) as journal:
        assert journal.channels[-1001].pts == 9
        await journal.forget_pts(-1001)
        assert journal.channels[-1001].pts == 0


async def test_an_unknown_channel_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        with pytest.raises(LookupError, match=str(CHANNEL)):
            await journal.accept([seen(1)])
        assert journal.head == 0


async def test_old_messages_leave_the_comparison_and_become_the_databases_to_judge(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        await start(journal)
        await journal.accept([seen(1)])
        await journal.accept([seen(20_000)])
        assert journal.channels[CHANNEL].floor == 10_000
        (record,) = await journal.accept([seen(1)])
        assert isinstance(record.event, Posted)
        assert not record.event.new


async def test_a_disk_error_is_told_and_accepts_nothing(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        await start(journal)
        journal._file._db.execute("pragma query_only = on")
        with pytest.raises(JournalError, match=r"journal\.file"):
            await journal.accept([seen(1)])
        journal._file._db.execute("pragma query_only = off")
        assert journal.head == 0
