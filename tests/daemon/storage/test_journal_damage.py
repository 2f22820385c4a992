"""A damaged journal is noticed, put aside and told, and what is good of it goes on."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.histories import CHANNEL
from support.operator import telewarden
from telewarden.cli import app
from telewarden.messages import Acknowledged, Content, Deleted, Event, Posted
from telewarden.storage.acceptance import Channel, Gone, Seen
from telewarden.storage.journal import Journal, JournalFull, open_journal
from telewarden.storage.journal_file import JournalDamaged, JournalError, Registered

pytestmark = pytest.mark.anyio


def seen(message_id: int) -> Seen:
    return Seen(CHANNEL, message_id, Content(text=f"signal {message_id}"))


async def filled(path: Path) -> None:
    """Ten posts from id 1 on; the second is acknowledged, the third deleted; the database has the first."""
    async with open_journal(path) as journal:
        await journal.open_channel(Channel(CHANNEL, origin=0))
        await journal.register(Registered(CHANNEL, "signals"))
        await journal.accept([seen(number) for number in range(1, 11)])
        await journal.append(lambda at: [Acknowledged(CHANNEL, 2, "tp", at)])
        await journal.accept([Gone(CHANNEL, 3)])
        await journal.settle(1)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("pragma writable_schema = on")
        database.execute(statement)


def events(journal: Journal) -> list[Event]:
    return [record.event for record in journal.tail.after(journal.flushed)]


async def reopened(journal: Journal) -> list[Event]:
    """What is there once the channel has been opened by the database's word, which has the first post."""
    assert CHANNEL not in journal.channels
    await journal.open_channel(Channel(CHANNEL, checkpoint=1, top=1, floor=1, origin=0, pts=7))
    # Reading goes on from what the database has, not from what the damaged journal had reached.
    assert journal.channels[CHANNEL].checkpoint == 1
    assert journal.channels[CHANNEL].pts == 0
    return events(journal)


async def test_an_event_that_changed_is_left_out_and_all_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    await filled(path)
    change(path, "update events set body = x'00' where position = 5")
    async with open_journal(path) as journal:
        assert journal.salvaged is not None
        assert "1 events, from 5 on" in journal.salvaged.reason
        assert journal.salvaged.bad == {5}
        # What a consumer said counts at once.
        assert [type(event) for event in events(journal)] == [Acknowledged]
        assert journal.registered == {CHANNEL: Registered(CHANNEL, "signals")}
        assert journal.epoch is None
        kept = await reopened(journal)
        posts = [event for event in kept if isinstance(event, Posted)]
        assert [event.message_id for event in posts] == [2, 3, 4, 6, 7, 8, 9, 10]
        assert not any(event.new for event in posts)
        assert any(isinstance(event, Deleted) and event.message_id == 3 for event in kept)
        aside = journal.salvaged.aside
    assert aside is not None
    with closing(sqlite3.connect(aside)) as database:
        assert database.execute("select count(*) from events").fetchone() == (11,)
    async with open_journal(path) as journal:
        assert journal.salvaged is None
        assert len(events(journal)) == 10


@pytest.mark.parametrize("size", [0, 100, 4096 * 3 + 17])
async def test_a_file_that_was_cut_off_is_told_and_never_taken_for_an_empty_one(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "journal.sqlite"
    await filled(path)
    with path.open("r+b") as file:
        file.truncate(size)
    async with open_journal(path) as journal:
        assert journal.salvaged is not None
        assert journal.salvaged.aside is not None
        # What was left is kept; opening an empty one has made it a database.
        assert not size or journal.salvaged.aside.stat().st_size == size
        await journal.open_channel(Channel(CHANNEL))
        assert await journal.accept([seen(1)])


async def test_a_page_of_noise_is_found_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with open_journal(path) as journal:
        await journal.open_channel(Channel(CHANNEL))
        await journal.accept([seen(number) for number in range(1, 2000)])
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek(4096 * (pages // 2))
        file.write(b"\xa5" * 4096)
    async with open_journal(path) as journal:
        assert journal.salvaged is not None
        await journal.open_channel(Channel(CHANNEL))
        kept = {event.message_id for event in events(journal)}
    # From both ends: only what was in that page is lost.
    assert {1, 1999} <= kept
    assert 1500 < len(kept) < 1999


@pytest.mark.parametrize("damage", ["gone", "middle"])
async def test_a_lost_log_is_noticed_although_the_file_is_sound(tmp_path: Path, damage: str) -> None:
    path, crashed = tmp_path / "journal.sqlite", tmp_path / "crashed" / "journal.sqlite"
    crashed.parent.mkdir()
    async with open_journal(path) as journal:
        await journal.open_channel(Channel(CHANNEL))
        for number in range(1, 20):
            await journal.accept([seen(number)])
        # As a SIGKILL leaves it.
        for suffix in ("", "-wal", ".head"):
            shutil.copyfile(f"{path}{suffix}", f"{crashed}{suffix}")
    log = Path(f"{crashed}-wal")
    if damage == "gone":
        log.unlink()
    else:
        content = bytearray(log.read_bytes())
        content[len(content) // 2] ^= 0xFF
        log.write_bytes(content)
    async with open_journal(crashed) as journal:
        assert journal.salvaged is not None
        assert "write-ahead log" in journal.salvaged.reason or "ends at position" in journal.salvaged.reason


async def test_a_torn_end_of_the_log_was_answered_to_nobody_and_is_no_damage(tmp_path: Path) -> None:
    path, crashed = tmp_path / "journal.sqlite", tmp_path / "crashed" / "journal.sqlite"
    crashed.parent.mkdir()
    async with open_journal(path) as journal:
        await journal.open_channel(Channel(CHANNEL))
        await journal.accept([seen(1)])
        for suffix in ("", "-wal", ".head"):
            shutil.copyfile(f"{path}{suffix}", f"{crashed}{suffix}")
    with Path(f"{crashed}-wal").open("ab") as log:
        log.write(b"half of a frame")
    async with open_journal(crashed) as journal:
        assert journal.salvaged is None
        assert [event.message_id for event in events(journal)] == [1]


@pytest.mark.parametrize("renames", range(4))
async def test_a_crash_while_it_is_replaced_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """Each rename: the new one made ready, the old one's position and then itself aside, the new one to its place."""
    path = tmp_path / "journal.sqlite"
    await filled(path)
    change(path, "update events set body = x'00' where position = 5")
    real, left = Path.rename, [renames]

    class Crash(BaseException):
        pass

    def rename(old: Path, new: Path | str) -> Path:
        if old.exists():
            if not left[0]:
                raise Crash
            left[0] -= 1
        return real(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        try:
            async with open_journal(path):
                pass
        except Crash:
            pass
    async with open_journal(path) as journal:
        if CHANNEL not in journal.channels:
            kept = await reopened(journal)
        assert len(kept) == 10
    aside = [file for file in tmp_path.iterdir() if ".damaged-" in file.name and file.suffix != ".head"]
    assert aside


async def test_damage_that_shows_while_it_is_used_ends_the_process_that_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def corrupt(*_: object) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT_INDEX
        raise error

    async def use() -> None:
        async with open_journal(tmp_path / "journal.sqlite") as journal:
            await journal.open_channel(Channel(CHANNEL))
            monkeypatch.setattr(journal._file, "append", corrupt)
            await journal.accept([seen(1)])

    with pytest.raises(BaseExceptionGroup) as ended:
        await use()
    assert ended.group_contains(JournalDamaged, match="while in use")


async def test_a_full_disk_refuses_and_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        await journal.open_channel(Channel(CHANNEL))
        await journal.accept([seen(1)])
        database = journal._file._db
        database.execute(f"pragma max_page_count = {database.execute('pragma page_count').fetchone()[0]}")
        with pytest.raises(JournalError, match="disk is full"):
            await journal.accept([seen(number) for number in range(2, 500)])
        assert [event.message_id for event in events(journal)] == [1]
        database.execute("pragma max_page_count = 1000000")
        await journal.accept([seen(number) for number in range(2, 500)])
        assert [event.message_id for event in events(journal)] == list(range(1, 500))


async def test_with_little_room_on_the_disk_intake_waits_and_acknowledgements_have_a_reserve(
    tmp_path: Path,
) -> None:
    async with open_journal(tmp_path / "journal.sqlite", min_free_bytes=1000) as journal:
        await journal.open_channel(Channel(CHANNEL))
        journal._free_bytes = lambda: 999
        assert not journal.has_room
        with pytest.raises(JournalFull, match=r"999 bytes left, less than journal\.min_free_bytes"):
            await journal.accept([seen(1)])
        await journal.append(lambda at: [Acknowledged(CHANNEL, 1, "tp", at)])
        journal._free_bytes = lambda: 499
        with pytest.raises(JournalFull, match=r"499 bytes left"):
            await journal.append(lambda at: [Acknowledged(CHANNEL, 1, "tp", at)])
        journal._free_bytes = lambda: 1000
        assert await journal.accept([seen(1)])


def command(path: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["journal", *arguments, "--file", str(path)])
    return done.exit_code, done.output


async def test_the_commands_look_at_it_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    await filled(path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    status, text = command(path, "stat")
    assert (status, "reached position 12; the database has all up to 1" in text) == (0, True)
    assert "11 events wait for the database: 1 acknowledged, 1 deleted, 9 posted" in text
    status, text = command(path, "dump", "--limit", "1")
    assert status == 0
    assert '"event":"posted"' in text
    assert '"text":"signal 2"' in text
    assert command(path, "verify") == (0, "11 events are sound\n")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    change(path, "update events set body = x'00' where position = 5")
    status, text = command(path, "verify")
    assert (status, "1 events, from 5 on, are not what was written" in text) == (1, True)
    Path(f"{path}.head").write_bytes(b"%020d" % 99)
    assert "position 99 was reached, and it ends at 12" in command(path, "verify")[1]
    path.write_bytes(b"noise" * 1000)
    assert command(path, "verify")[0] == 1
    assert command(tmp_path / "none", "stat")[0] == 3


async def test_a_journal_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with open_journal(path) as journal:
        await journal.open_channel(Channel(CHANNEL))
        # Another process, as in life: the system's file locks keep only those apart.
        done = await telewarden(tmp_path, "journal", "stat")
    assert (done.returncode, b"stop it first" in done.stderr) == (3, True)
