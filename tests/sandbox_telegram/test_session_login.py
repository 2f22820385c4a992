"""What can go wrong while signing in, and signing in by QR code."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from sandbox_telegram.local import CODE, PASSWORD, PHONE, World, at_once, never
from telewarden.sandbox.telegram.process import LocalTelegram
from telewarden.telegram.login import LoginFailed, Questions, log_in
from telewarden.telegram.phases import PhaseTimeouts
from telewarden.telegram.qr_login import address_of, drawn
from telewarden.telegram.session_online import TelegramSilent, ask_telegram, log_out

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


def answers(*texts: str | Callable[[], str]) -> Callable[[], str]:
    """One answer after the other."""
    left = iter(texts)

    def answer() -> str:
        text = next(left)
        return text if isinstance(text, str) else text()

    return answer


class Heard:
    """What the operator was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@pytest.fixture
def heard() -> Heard:
    return Heard()


async def accepted(telegram: LocalTelegram, session: Path) -> bool:
    return (await ask_telegram(telegram.client_settings(session))).accepted


async def test_each_mistake_is_told_with_what_is_left(
    guarded: LocalTelegram, session: Path, heard: Heard
) -> None:
    questions = Questions(
        answers("", "+15550000", PHONE),
        answers("", "11111", CODE),
        answers("", "wrong", PASSWORD),
        heard.lines.append,
    )
    assert (await log_in(guarded.client_settings(session), questions)).name == "Sandbox"
    assert heard.lines == [
        "A phone number is digits, with + and the country code before them. 2 tries left.",
        "Telegram says that the phone number is invalid; write it with + and the country code. 1 try left.",
        "Telegram sent a code to the Telegram apps that are signed in already.",
        "No code was typed. 2 tries left.",
        "The code is invalid; it is the newest that Telegram sent. 1 try left.",
        "No password was typed. 2 tries left.",
        "The password is wrong; it is the one of two-step verification, to be reset in a Telegram app. 1 try left.",
    ]
    assert await accepted(guarded, session)


async def test_for_an_expired_code_a_new_one_is_sent(world: World, session: Path, heard: Heard) -> None:
    def too_late() -> str:
        at_once(world.telegram, "fault", name="expire_code")
        return CODE

    questions = Questions(answers(PHONE), answers(too_late, CODE), never, heard.lines.append)
    await log_in(world.telegram.client_settings(session), questions)
    assert "expired" in heard
    assert await accepted(world.telegram, session)


async def test_a_telegram_that_hangs_up_while_the_operator_types_is_called_again(
    guarded: LocalTelegram, session: Path
) -> None:
    def slowly(answer: str) -> Callable[[], str]:
        def typed() -> str:
            at_once(guarded, "fault", name="drop")
            return answer

        return typed

    questions = Questions(slowly(PHONE), slowly(CODE), slowly(PASSWORD))
    await log_in(guarded.client_settings(session), questions)
    assert await accepted(guarded, session)


@pytest.mark.parametrize(
    ("method", "code", "message", "told"),
    [
        ("auth.sendCode", 400, "PHONE_NUMBER_BANNED", "banned"),
        ("auth.sendCode", 400, "API_ID_INVALID", r"telegram\.api_hash.*my\.telegram\.org"),
        ("auth.signIn", 400, "PHONE_NUMBER_UNOCCUPIED", "no Telegram account with that number"),
        ("auth.signIn", 420, "FLOOD_WAIT_77", "wait 77 s"),
        ("auth.sendCode", 406, "PHONE_PASSWORD_FLOOD", "run the command again"),
    ],
)
async def test_each_refusal_says_what_to_do_and_leaves_the_session_before_it(
    world: World, session: Path, method: str, code: int, message: str, told: str
) -> None:
    await world.telegram.sign_in(session)
    before = session.read_bytes()
    await world.control.fault("rpc_error", method=method, code=code, message=message)
    questions = Questions(answers(PHONE), answers(CODE), never)
    with pytest.raises(LoginFailed, match=told):
        await log_in(world.telegram.client_settings(session), questions)
    assert session.read_bytes() == before
    assert [file.name for file in session.parent.iterdir()] == ["account.session"]
    assert await accepted(world.telegram, session)


async def test_the_session_before_is_moved_aside_and_still_works(world: World, session: Path) -> None:
    await world.telegram.sign_in(session)
    before = session.read_bytes()
    done = await log_in(
        world.telegram.client_settings(session), Questions(answers(PHONE), answers(CODE), never)
    )
    assert done.aside is not None
    assert done.aside.read_bytes() == before != session.read_bytes()
    assert done.aside.stat().st_mode & 0o777 == 0o600


# --- QR -----------------------------------------------------------------------------------------------------------


async def by_qr(
    telegram: LocalTelegram, session: Path, scan: Callable[[str], None], password: Callable[[], str] = never
) -> None:
    questions = Questions(never, never, password, show_qr=scan)
    await log_in(telegram.client_settings(session), questions)


def scanned(telegram: LocalTelegram, **how: object) -> Callable[[str], None]:
    return lambda address: at_once(telegram, "scan_qr", address=address, **how)


async def test_a_scanned_qr_code_signs_in(world: World, session: Path) -> None:
    await by_qr(world.telegram, session, scanned(world.telegram))
    assert await accepted(world.telegram, session)
    assert [file.name for file in session.parent.iterdir()] == ["account.session"]


async def test_after_the_qr_code_comes_the_password(guarded: LocalTelegram, session: Path) -> None:
    await by_qr(guarded, session, scanned(guarded), answers("wrong", PASSWORD))
    assert await accepted(guarded, session)


async def test_an_account_of_another_data_centre_is_followed_there(world: World, session: Path) -> None:
    await by_qr(world.telegram, session, scanned(world.telegram, elsewhere=True))
    assert await accepted(world.telegram, session)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes are good for no time at all."""
    monkeypatch.setattr("telewarden.telegram.qr_login._LEAST_S", 0.05)
    monkeypatch.setattr("telewarden.telegram.qr_login._MOST_S", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_an_expired_qr_code_gives_way_to_a_new_one(world: World, session: Path) -> None:
    shown: list[str] = []

    def third_time_lucky(address: str) -> None:
        shown.append(address)
        if len(shown) == 3:
            at_once(world.telegram, "scan_qr", address=address)

    await by_qr(world.telegram, session, third_time_lucky)
    assert len(set(shown)) == 3


@pytest.mark.usefixtures("impatient")
async def test_a_scan_that_the_client_was_not_told_of_is_noticed(world: World, session: Path) -> None:
    await by_qr(world.telegram, session, scanned(world.telegram, silent=True))
    assert await accepted(world.telegram, session)


@pytest.mark.usefixtures("impatient")
async def test_a_qr_code_that_nobody_scans_ends_the_login(
    world: World, session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telewarden.telegram.qr_login.sign_in_by_qr.__kwdefaults__", {"within_s": 0.2})
    with pytest.raises(LoginFailed, match="nobody scanned"):
        await by_qr(world.telegram, session, lambda address: None)
    assert list(session.parent.iterdir()) == []


@pytest.mark.usefixtures("impatient")
async def test_a_lost_connection_does_not_end_the_wait_for_a_scan(world: World, session: Path) -> None:
    shown: list[str] = []

    def after_a_loss(address: str) -> None:
        shown.append(address)
        if len(shown) == 1:
            at_once(world.telegram, "fault", name="drop")
        else:
            at_once(world.telegram, "scan_qr", address=address)

    await by_qr(world.telegram, session, after_a_loss)
    assert len(shown) == 2


async def test_a_qr_login_that_is_cancelled_leaves_nothing(world: World, session: Path) -> None:
    async with anyio.create_task_group() as tasks:
        shown = anyio.Event()
        tasks.start_soon(by_qr, world.telegram, session, lambda address: shown.set())
        await shown.wait()
        tasks.cancel_scope.cancel()
    assert list(session.parent.iterdir()) == []


def test_a_qr_code_fits_a_terminal() -> None:
    lines = drawn(address_of(bytes(32)), colours=False)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    assert {character for line in lines for character in line} <= set(" ▀▄█")


# --- asking, ending -----------------------------------------------------------------------------------------------


async def test_a_session_that_telegram_ended_is_told(session: Path, guarded: LocalTelegram) -> None:
    await guarded.sign_in(session)
    before = session.read_bytes()
    for fault in ("deauthorise", "forget_key"):
        at_once(guarded, "fault", name=fault)
        verdict = await ask_telegram(guarded.client_settings(session))
        assert not verdict.accepted
        assert verdict.reason
    assert session.read_bytes() == before
    assert [file.name for file in session.parent.iterdir()] == ["account.session"]


async def test_logging_out_ends_the_key(world: World, session: Path) -> None:
    settings = world.telegram.client_settings(session)
    await world.telegram.sign_in(session)
    assert await log_out(settings)
    assert not (await ask_telegram(settings)).accepted
    assert not await log_out(settings)


@pytest.mark.parametrize("fault", ["refuse", "black_hole"])
async def test_a_telegram_that_does_not_answer_is_told_in_time(
    world: World, session: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.telegram.sign_in(session)
    before = session.read_bytes()
    await world.control.fault(fault)
    monkeypatch.setattr("telewarden.telegram.session_online._ANSWER_S", 0.5)
    settings = replace(
        world.telegram.client_settings(session),
        timeouts=PhaseTimeouts(tcp_s=0.5, key_s=0.5, handshake_s=0.5, login_s=0.5),
    )
    with anyio.fail_after(10):
        for ask in (ask_telegram, log_out):
            with pytest.raises(TelegramSilent, match="try again"):
                await ask(settings)
    assert session.read_bytes() == before
