"""`telewarden session` as a process: at a terminal, interrupted, beside a daemon, without Telegram."""

import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox_telegram.local import CODE, PASSWORD, PHONE
from sandbox_telegram.session_command import Operator, forms_of, key_of
from telewarden.sandbox.ports import free_port
from telewarden.sandbox.telegram.control import Control
from telewarden.sandbox.telegram.process import LocalTelegram
from telewarden.telegram.client import make_client
from telewarden.telegram.session import SessionLock
from telewarden.telegram.session_file import read_facts

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
def telegram(guarded: LocalTelegram) -> LocalTelegram:
    """The account has a password."""
    return guarded


@pytest.fixture
async def control(telegram: LocalTelegram) -> AsyncIterator[Control]:
    async with Control.connect(telegram.control_path) as control:
        yield control
        await control.clear()


@pytest.fixture
async def operator(telegram: LocalTelegram, tmp_path: Path) -> AsyncIterator[Operator]:
    """An operator who hears nothing that could be used to get into the account."""
    state_dir = tmp_path / "state"
    state_dir.mkdir(mode=0o700)
    operator = Operator(telegram, state_dir)
    yield operator
    for session in [*state_dir.glob("*.session*"), *tmp_path.glob("copies*/*.session")]:
        if not session.name.endswith(".lock"):
            for form in forms_of(key_of(session)):
                assert form not in operator.heard
    assert PASSWORD not in operator.heard
    assert "0" * 32 not in operator.heard


async def test_a_login_at_a_terminal_from_the_first_mistake_to_the_end(operator: Operator) -> None:
    async with operator.at_a_terminal("login") as terminal:
        await terminal.sees("country code: ")
        terminal.types("+1555\n")
        await terminal.sees("2 tries left")
        await terminal.sees("country code: ")
        terminal.types(f"{PHONE}\n")
        await terminal.sees("Telegram sent: ")
        terminal.types("1\n")
        await terminal.sees("code is invalid")
        await terminal.sees("Telegram sent: ")
        terminal.types(f"{CODE}\n")
        await terminal.sees("verification): ")
        terminal.types("wrong\n")
        await terminal.sees("password is wrong")
        await terminal.sees("verification): ")
        terminal.types(f"{PASSWORD}\n")
        await terminal.sees("Signed in as Sandbox")
        assert await terminal.ends() == 0
    assert operator.left() == ["telewarden.session"]
    assert operator.session.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("how", ["Ctrl-C", "Ctrl-D", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("prompt", ["country code: ", "Telegram sent: ", "verification): "])
async def test_a_login_that_is_interrupted_once_ends_and_leaves_nothing(
    operator: Operator, prompt: str, how: str
) -> None:
    typed = {"country code: ": PHONE, "Telegram sent: ": CODE, "verification): ": PASSWORD}
    async with operator.at_a_terminal("login") as terminal:
        for shown, answer in typed.items():
            await terminal.sees(shown)
            if shown == prompt:
                break
            terminal.types(f"{answer}\n")
        assert any(name.startswith(".telewarden.login-") for name in operator.left())
        match how:
            case "Ctrl-C":
                await terminal.interrupts(lambda: terminal.types("\x03"))
            case "Ctrl-D":
                terminal.types("\x04")
            case _:
                await terminal.interrupts(lambda: terminal.signal(signal.Signals[how]))
        await terminal.sees("not signed in: it was interrupted")
        assert await terminal.ends() == 1
    assert operator.left() == []


@pytest.mark.parametrize("prompt", ["country code: ", "verification): "])
async def test_what_a_killed_login_leaves_goes_with_the_next(
    operator: Operator, telegram: LocalTelegram, prompt: str
) -> None:
    async with operator.at_a_terminal("login") as terminal:
        for answer in (PHONE, CODE, ""):
            if prompt in await terminal.sees(": "):
                break
            terminal.types(f"{answer}\n")
        terminal.signal(signal.SIGKILL)
        await terminal.ends()
    assert operator.left() != []
    await operator.types("login", stdin=b"")
    assert operator.left() == []


async def test_a_qr_code_is_shown_at_a_terminal_and_ctrl_c_ends_it(operator: Operator) -> None:
    async with operator.at_a_terminal("login", "--qr") as terminal:
        await terminal.sees("█")
        await terminal.sees("scan this")
        await terminal.interrupts(lambda: terminal.types("\x03"))
        await terminal.sees("interrupted")
        assert await terminal.ends() == 1
    assert "tg://" not in terminal.seen
    assert operator.left() == []


async def test_a_session_that_works_is_not_replaced_without_being_told(
    operator: Operator, telegram: LocalTelegram
) -> None:
    await telegram.sign_in(operator.session)
    before = operator.session.read_bytes()
    ran = await operator.types("login")
    assert ran.status == 1
    assert "signed in already, as Sandbox" in ran.err
    assert "--replace" in ran.err
    assert operator.session.read_bytes() == before
    typed = f"{PHONE}\n{CODE}\n{PASSWORD}\n".encode()
    ran = await operator.types("login", "--replace", stdin=typed)
    assert ran.status == 0, ran
    (aside,) = operator.state_dir.glob("telewarden.session.replaced-*")
    assert aside.read_bytes() == before
    assert str(aside) in ran.out


async def test_a_failed_replacement_leaves_the_session(operator: Operator, telegram: LocalTelegram) -> None:
    await telegram.sign_in(operator.session)
    before = operator.session.read_bytes()
    ran = await operator.types("login", "--replace", stdin=f"{PHONE}\n1\n2\n3\n".encode())
    assert ran.status == 1
    assert "code is invalid" in ran.err
    assert operator.session.read_bytes() == before
    assert operator.left() == ["telewarden.session"]


async def test_a_session_that_telegram_ended_is_replaced_without_more_ado(
    operator: Operator, telegram: LocalTelegram, control: Control
) -> None:
    await telegram.sign_in(operator.session)
    await control.fault("deauthorise")
    ran = await operator.types("login", stdin=f"{PHONE}\n{CODE}\n{PASSWORD}\n".encode())
    assert ran.status == 0, ran
    assert "no longer accepts the session that is there" in ran.out
    assert (await operator.types("status", "--online")).status == 0


# --- status -------------------------------------------------------------------------------------------------------


async def test_status_tells_all_but_the_key(operator: Operator, telegram: LocalTelegram) -> None:
    await telegram.sign_in(operator.session)
    ran = await operator.types("status", "--json", secrets=False)
    facts = json.loads(ran.out)
    assert ran.status == 0
    assert (facts["exists"], facts["usable"], facts["problem"]) == (True, True, None)
    assert (facts["mode"], facts["dc_id"], facts["in_use"]) == ("0600", 2, False)
    assert facts["size_bytes"] == operator.session.stat().st_size
    assert re.fullmatch("[0-9a-f]{16}", facts["digest"])
    assert facts["online"]["asked"] is False
    ran = await operator.types("status", "--online")
    assert ran.status == 0
    assert "accepts it, as Sandbox" in ran.out
    assert operator.left() == ["telewarden.session"]


async def test_status_without_a_session_names_the_command_to_run(operator: Operator) -> None:
    ran = await operator.types("status", secrets=False)
    assert ran.status == 1
    assert "run: telewarden session login" in ran.err
    assert json.loads((await operator.types("status", "--json")).out)["exists"] is False


async def test_status_beside_a_daemon_names_it_and_asks_nothing(
    operator: Operator, telegram: LocalTelegram, control: Control
) -> None:
    await telegram.sign_in(operator.session)
    connections = (await control.stats())["calls"]
    lock = SessionLock(operator.session)
    try:
        ran = await operator.types("status", "--online", "--json")
    finally:
        lock.release()
    facts = json.loads(ran.out)
    assert ran.status == 0
    assert facts["owner_pid"] == os.getpid()
    assert str(os.getpid()) in facts["online"]["reason"]
    assert (await control.stats())["calls"] == connections


async def test_status_of_a_session_that_telegram_ended(
    operator: Operator, telegram: LocalTelegram, control: Control
) -> None:
    await telegram.sign_in(operator.session)
    await control.fault("deauthorise")
    assert (await operator.types("status")).status == 0
    ran = await operator.types("status", "--online")
    assert ran.status == 1
    assert "does not accept" in ran.out
    assert "run: telewarden session login" in ran.err


async def test_status_without_telegram_does_not_claim_to_know(
    operator: Operator, telegram: LocalTelegram
) -> None:
    await telegram.sign_in(operator.session)
    lonely = Operator(telegram, operator.state_dir, address=f"127.0.0.1:{free_port()}")
    ran = await lonely.types("status", "--online", "--json")
    assert ran.status == 1
    assert "unknown" in json.loads(ran.out)["problem"]


# --- backup, restore, logout --------------------------------------------------------------------------------------


async def test_a_backup_while_the_daemon_uses_the_session_and_the_way_back(
    operator: Operator, telegram: LocalTelegram, tmp_path: Path
) -> None:
    await telegram.sign_in(operator.session)
    settings = telegram.client_settings(operator.session)
    lock = SessionLock(operator.session)
    try:
        client = make_client(settings)
        await client.connect()
        try:
            # What Telethon learns from dialogs is in a transaction that stays open.
            assert [dialog async for dialog in client.iter_dialogs()]
            folders = [tmp_path / f"copies{number}" for number in range(3)]
            ran = await operator.types("backup", *folders, secrets=False)
            assert await client.get_me()
        finally:
            await client.disconnect()
        assert ran.status == 0, ran
        copies = [copy for folder in folders for copy in folder.iterdir()]
        assert len(copies) == 3
        refused = await operator.types("restore", copies[0], "--replace")
        assert (refused.status, f"in use by process {os.getpid()}" in refused.err) == (2, True)
    finally:
        lock.release()
    refused = await operator.types("restore", copies[0])
    assert (refused.status, "--replace" in refused.err) == (1, True)
    operator.session.unlink()
    assert (await operator.types("restore", copies[0])).status == 0
    assert read_facts(operator.session) == read_facts(copies[1])
    assert (await operator.types("status", "--online")).status == 0


async def test_without_folders_the_copy_is_in_the_state_folder(
    operator: Operator, telegram: LocalTelegram
) -> None:
    await telegram.sign_in(operator.session)
    assert (await operator.types("backup", secrets=False)).status == 0
    assert len(list((operator.state_dir / "backups").iterdir())) == 1


async def test_one_folder_that_fails_is_told_and_the_others_get_their_copy(
    operator: Operator, telegram: LocalTelegram, tmp_path: Path
) -> None:
    await telegram.sign_in(operator.session)
    ran = await operator.types("backup", "/nowhere/at/all", tmp_path / "copies")
    assert ran.status == 1
    assert "no copy in /nowhere/at/all: there is no folder /nowhere/at" in ran.err
    assert len(list((tmp_path / "copies").iterdir())) == 1
    assert (await operator.types("backup", *["/a", "/b", "/c", "/d"])).status == 2


async def test_a_session_that_works_is_not_restored_over(
    operator: Operator, telegram: LocalTelegram, control: Control, tmp_path: Path
) -> None:
    await telegram.sign_in(operator.session)
    await operator.types("backup", tmp_path / "copies")
    (copy,) = (tmp_path / "copies").iterdir()
    operator.session.unlink()
    await telegram.sign_in(operator.session)
    ran = await operator.types("restore", copy)
    assert ran.status == 1
    assert "another key and works, as Sandbox" in ran.err
    lonely = Operator(telegram, operator.state_dir, address=f"127.0.0.1:{free_port()}")
    ran = await lonely.types("restore", copy)
    assert (ran.status, "may still work" in ran.err) == (1, True)
    await control.fault("deauthorise")
    ran = await operator.types("restore", copy)
    assert ran.status == 0, ran
    assert "is now" in ran.out


async def test_logging_out_asks_first_and_removes_what_telegram_ended(
    operator: Operator, telegram: LocalTelegram
) -> None:
    await telegram.sign_in(operator.session)
    assert (await operator.types("logout", stdin=b"n\n")).status == 1
    assert operator.session.exists()
    ran = await operator.types("logout", stdin=b"y\n")
    assert ran.status == 0, ran
    assert operator.left() == []
    again = await operator.types("logout", "--yes")
    assert (again.status, "nothing to do" in again.err) == (1, True)


async def test_ctrl_c_at_the_question_leaves_the_session(operator: Operator, telegram: LocalTelegram) -> None:
    await telegram.sign_in(operator.session)
    async with operator.at_a_terminal("logout") as terminal:
        await terminal.sees("remove it?")
        await terminal.interrupts(lambda: terminal.types("\x03"))
        await terminal.sees("interrupted")
        assert await terminal.ends() == 1
    assert (await operator.types("status", "--online")).status == 0


async def test_logging_out_without_telegram_leaves_the_session(
    operator: Operator, telegram: LocalTelegram
) -> None:
    await telegram.sign_in(operator.session)
    before = operator.session.read_bytes()
    lonely = Operator(telegram, operator.state_dir, address=f"127.0.0.1:{free_port()}")
    ran = await lonely.types("logout", "--yes")
    assert ran.status == 1
    assert "not signed out" in ran.err
    assert operator.session.read_bytes() == before
    assert operator.left() == ["telewarden.session"]


@pytest.mark.parametrize("command", ["login", "logout"])
async def test_a_session_in_use_is_let_alone(
    operator: Operator, telegram: LocalTelegram, command: str
) -> None:
    await telegram.sign_in(operator.session)
    lock = SessionLock(operator.session)
    try:
        ran = await operator.types(command)
    finally:
        lock.release()
    assert ran.status == 2
    assert "in use by process" in ran.err
    assert operator.session.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_files_of_another_user_are_not_made(operator: Operator) -> None:
    os.chown(operator.state_dir, 12345, 12345)
    for command in ("login", "backup", "logout"):
        ran = await operator.types(command)
        assert ran.status == 2
        assert "12345" in ran.err
    assert list(operator.state_dir.iterdir()) == []
