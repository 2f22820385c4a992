"""Copies of the session: made while it is used, checked, private, and put back only where nothing works."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from telethon.crypto import AuthKey
from telethon.sessions import SQLiteSession

from sandbox_telegram.session_command import key_of, writer_killed_in_a_transaction
from telewarden.settings import SessionBackupSettings
from telewarden.telegram.session import SessionInUse, SessionLock, owner_of
from telewarden.telegram.session_backup import (
    BackupFailed,
    Restored,
    RestoreRefused,
    back_up,
    copies_in,
    restore,
)
from telewarden.telegram.session_file import SessionDamaged, digest_of, read_facts

NOW = datetime(2026, 11, 24, 4, 16, 15, tzinfo=UTC)


def made(file: Path, key: bytes | None = None) -> Path:
    """A session as Telethon writes it."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    session = SQLiteSession(str(file))
    session.set_dc(4, "149.154.167.91", 443)
    session.auth_key = AuthKey(key if key is not None else os.urandom(256))
    session.save()
    session.close()
    file.chmod(0o600)
    return file


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return made(tmp_path / "state" / "telewarden.session")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_three_folders_get_a_private_checked_copy(session: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    facts, copies = back_up(session, folders, keep=7, now=NOW)
    assert (facts.digest, facts.dc_id) == (digest_of(key_of(session)), 4)
    for copy, folder in zip(copies, folders, strict=True):
        assert copy.problem is None
        assert names(folder) == ["telewarden-20261124T041615Z.session"]
        assert copy.file is not None
        assert read_facts(copy.file) == facts
        assert (copy.file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_folder_that_cannot_be_written_does_not_keep_the_others_from_theirs(
    session: Path, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    loose = tmp_path / "loose"
    loose.mkdir()
    loose.chmod(0o755)
    absent = tmp_path / "mnt" / "disk"
    _, copies = back_up(session, [in_the_way, loose, absent, tmp_path / "good"], keep=7, now=NOW)
    problems = [copy.problem or "" for copy in copies]
    assert [bool(copy.file) for copy in copies] == [False, False, False, True]
    assert "exists" in problems[0].lower()
    assert f"chmod 700 {loose}" in problems[1]
    assert "not mounted" in problems[2]
    assert not absent.exists()
    assert names(loose) == []


def test_a_disk_that_is_full_is_told_and_holds_nothing_half_written(session: Path, tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from datetime import UTC, datetime\n"
        "from pathlib import Path\n"
        "from telewarden.telegram.session_backup import back_up\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "_, copies = back_up(Path(sys.argv[1]), [Path(sys.argv[2])], keep=7, now=datetime.now(UTC))\n"
        "print(copies[0].problem)\n"
    )
    folder = tmp_path / "copies"
    command = [sys.executable, "-c", script, str(session), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "cannot be copied to" in done.stdout
    assert names(folder) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_folder_of_another_user_is_refused(session: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    _, (copy,) = back_up(session, [folder], keep=7, now=NOW)
    assert copy.problem is not None
    assert "12345" in copy.problem
    assert names(folder) == []


def test_the_newest_copies_are_kept_and_other_files_left_alone(session: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    for day in range(5):
        back_up(session, [folder], keep=3, now=NOW + timedelta(days=day))
    (folder / "telewarden-notes.session").touch()
    (folder / "another-20200101T000000Z.session").touch()
    _, (copy,) = back_up(session, [folder], keep=3, now=NOW + timedelta(days=5))
    assert copy.removed == 1
    assert [c.name[11:19] for c in copies_in(folder, "telewarden")] == ["20261127", "20261128", "20261129"]
    assert len(names(folder)) == 5


def test_a_clock_that_went_back_does_not_cost_the_copy_just_made(session: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    for day in range(3):
        back_up(session, [folder], keep=2, now=NOW + timedelta(days=day))
    _, (copy,) = back_up(session, [folder], keep=2, now=NOW - timedelta(days=900))
    assert copy.file is not None
    assert copy.file.exists()
    assert len(names(folder)) == 2


def test_what_a_killed_backup_left_is_removed_once_it_is_old(session: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir(mode=0o700)
    old, young = (folder / f".telewarden-20261123T041615Z.session.{pid}.partial" for pid in (1, 2))
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    back_up(session, [folder], keep=7, now=NOW)
    assert (old.exists(), young.exists()) == (False, True)


def test_it_is_copied_whole_while_its_owner_is_in_a_transaction(session: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(session)) as owner:
        owner.execute("insert into entities values (1, 1, null, null, 'unfinished', 1)")
        assert owner.in_transaction
        _, (copy,) = back_up(session, [tmp_path / "copies"], keep=7, now=NOW)
        owner.commit()
    assert copy.file is not None
    with closing(sqlite3.connect(copy.file)) as copied:
        assert copied.execute("select count(*) from entities").fetchone() == (0,)


def test_copies_of_a_session_that_is_written_to_all_the_time_are_sound(session: Path, tmp_path: Path) -> None:
    stop, written = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(session, timeout=30)) as owner:
            for number in range(1_000_000):
                with owner:
                    owner.execute("insert into entities values (?, 1, null, null, 'x', 1)", (number,))
                written.set()
                # Without a breath in between no reader would ever come in.
                if stop.wait(0.002):
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(10)
        for second in range(10):
            _, copies = back_up(session, [tmp_path / "copies"], keep=3, now=NOW + timedelta(seconds=second))
            assert [copy.problem for copy in copies] == [None]
    finally:
        stop.set()
        writer.join()


def test_what_a_killed_daemon_left_unfinished_is_not_in_the_copy(session: Path, tmp_path: Path) -> None:
    key = key_of(session)
    writer_killed_in_a_transaction(session)
    facts, (copy,) = back_up(session, [tmp_path / "copies"], keep=7, now=NOW)
    assert copy.problem is None
    assert facts.digest == digest_of(key)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no session of Telethon"),
        (b"not a database" * 100, "damaged, or no session"),
        (None, "there is no file"),
    ],
)
def test_what_is_no_session_is_never_copied(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "telewarden.session"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BackupFailed, match=told):
        back_up(file, [tmp_path / "copies"], keep=7, now=NOW)
    assert not (tmp_path / "copies").exists()


def test_a_session_that_nobody_signed_in_with_is_never_copied(tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="nobody has signed in"):
        back_up(made(tmp_path / "a.session", b""), [tmp_path / "copies"], keep=7, now=NOW)


def test_a_torn_file_is_told_from_a_sound_one(session: Path) -> None:
    with closing(sqlite3.connect(session)) as database, database:
        for number in range(2000):
            database.execute("insert into entities values (?, 1, null, null, 'name', 1)", (number,))
    content = session.read_bytes()
    session.write_bytes(content[:4096] + bytes(len(content) - 4096))
    with pytest.raises(SessionDamaged):
        read_facts(session)


# --- back again ---------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(session: Path, tmp_path: Path) -> Path:
    _, (copied,) = back_up(session, [tmp_path / "copies"], keep=7, now=NOW)
    assert copied.file is not None
    return copied.file


def put_back(copy: Path, session: Path, *, replace: bool = False, alive: str | None = None) -> Restored:
    async def is_alive() -> str | None:
        return alive

    async def run() -> Restored:
        return await restore(copy, session, replace=replace, now=NOW, is_alive=is_alive)

    return anyio.run(run)


def test_a_copy_is_put_back_where_nothing_is(session: Path, copy: Path) -> None:
    key = key_of(session)
    session.unlink()
    restored = put_back(copy, session)
    assert restored.aside is None
    assert key_of(session) == key
    assert session.stat().st_mode & 0o777 == 0o600
    assert names(session.parent) == ["telewarden.session"]
    assert copy.exists()


def test_beside_the_original_it_is_refused(session: Path, copy: Path) -> None:
    before = session.read_bytes()
    with pytest.raises(RestoreRefused, match=r"same key.*--replace"):
        put_back(copy, session)
    assert session.read_bytes() == before
    assert names(session.parent) == ["telewarden.session"]


def test_beside_another_session_that_works_it_is_refused(session: Path, copy: Path) -> None:
    session.unlink()
    before = made(session).read_bytes()
    with pytest.raises(RestoreRefused, match=r"another key and works, as Ada.*--replace"):
        put_back(copy, session, alive="works, as Ada")
    assert session.read_bytes() == before


def test_a_session_that_telegram_ended_is_moved_aside(session: Path, copy: Path) -> None:
    session.unlink()
    ended = key_of(made(session))
    restored = put_back(copy, session)
    assert restored.aside is not None
    assert key_of(restored.aside) == ended
    assert restored.aside.stat().st_mode & 0o777 == 0o600
    assert read_facts(session) == read_facts(copy)


def test_replacing_keeps_the_original_beside_it_each_time(session: Path, copy: Path) -> None:
    asides = {put_back(copy, session, replace=True).aside for _ in range(3)}
    assert len(asides) == 3
    assert names(session.parent) == sorted([session.name, *(aside.name for aside in asides if aside)])


def test_a_damaged_original_is_moved_aside(session: Path, copy: Path) -> None:
    session.write_bytes(b"torn" * 1000)
    restored = put_back(copy, session)
    assert restored.aside is not None
    assert restored.aside.read_bytes() == b"torn" * 1000
    assert read_facts(session) == read_facts(copy)


def test_the_journal_of_a_killed_writer_is_not_played_back_into_the_copy(session: Path, copy: Path) -> None:
    key = key_of(session)
    writer_killed_in_a_transaction(session)
    put_back(copy, session, replace=True)
    assert key_of(session) == key
    assert not session.with_name(session.name + "-journal").exists()


def test_the_journal_of_a_damaged_original_does_not_damage_the_copy(session: Path, copy: Path) -> None:
    session.write_bytes(b"torn" * 1000)
    session.with_name(session.name + "-journal").write_bytes(b"torn too")
    restored = put_back(copy, session)
    assert read_facts(session) == read_facts(copy)
    assert restored.aside is not None
    assert names(session.parent) == [session.name, restored.aside.name]


def test_a_session_in_use_is_not_replaced(session: Path, copy: Path) -> None:
    lock = SessionLock(session)
    try:
        with pytest.raises(SessionInUse, match=f"in use by process {os.getpid()}"):
            put_back(copy, session, replace=True)
    finally:
        lock.release()


@pytest.mark.parametrize("content", [b"", b"torn" * 1000])
def test_a_damaged_copy_is_never_put_back(session: Path, copy: Path, content: bytes) -> None:
    before = session.read_bytes()
    copy.write_bytes(content)
    with pytest.raises(RestoreRefused, match="nothing was restored"):
        put_back(copy, session, replace=True)
    assert session.read_bytes() == before
    assert names(session.parent) == ["telewarden.session"]


def test_the_session_is_no_copy_of_itself(session: Path) -> None:
    with pytest.raises(RestoreRefused, match="is the session itself"):
        put_back(session, session, replace=True)


def test_what_killed_commands_left_goes_with_the_next(session: Path, copy: Path) -> None:
    left = session.with_name(".telewarden.login-1.session")
    shutil.copy(session, left)
    left.with_name(left.name + "-journal").touch()
    other = session.with_name(".other.login-1.session")
    other.touch()
    put_back(copy, session, replace=True)
    assert (left.exists(), other.exists()) == (False, True)


# --- who owns it --------------------------------------------------------------------------------------------------


@pytest.fixture
def lock(session: Path) -> Iterator[SessionLock]:
    lock = SessionLock(session)
    yield lock
    lock.release()


def test_its_owner_is_told_without_taking_it(session: Path, lock: SessionLock) -> None:
    assert owner_of(session) == str(os.getpid())


def test_without_an_owner_nothing_is_created_by_asking(session: Path) -> None:
    assert owner_of(session) is None
    assert [path.name for path in session.parent.iterdir()] == ["telewarden.session"]


def test_asking_for_the_owner_keeps_nobody_from_owning_it(session: Path) -> None:
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            owner_of(session)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(300):
            SessionLock(session).release()
    finally:
        stop.set()
        asking.join()


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (["/a", "/b", "/c", "/d"], "at most 3"),
        (["relative"], "begin with /"),
        (["/a", "/a"], "each folder once"),
    ],
)
def test_settings_that_make_no_sense_are_told(folders: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SessionBackupSettings.model_validate({"folders": folders})
