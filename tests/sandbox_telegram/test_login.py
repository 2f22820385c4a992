"""Signing in through `telewarden.telegram.login`: one account without a password, one with."""

from dataclasses import replace
from pathlib import Path

import pytest

from sandbox_telegram.local import PASSWORD, World, at_once, never
from telewarden.sandbox.ports import free_port
from telewarden.sandbox.telegram.process import LocalTelegram
from telewarden.telegram.login import LoginFailed, sign_in
from telewarden.telegram.telethon_feed import TelethonFeed

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_a_code_signs_in_and_the_session_is_private(world: World, session: Path) -> None:
    telegram = world.telegram
    name = await sign_in(
        telegram.client_settings(session), lambda: telegram.options.phone, lambda: "22222", never
    )
    assert name == "Sandbox"
    assert [file.name for file in session.parent.iterdir()] == ["account.session"]
    assert session.stat().st_mode & 0o777 == 0o600
    assert session.parent.stat().st_mode & 0o777 == 0o700
    async with TelethonFeed(telegram.client_settings(session), request_timeout_s=5).connect() as feed:
        await feed.probe()


async def test_a_code_and_a_password_sign_in(guarded: LocalTelegram, session: Path) -> None:
    settings = guarded.client_settings(session)
    await sign_in(settings, lambda: guarded.options.phone, lambda: "22222", lambda: PASSWORD)
    async with TelethonFeed(settings, request_timeout_s=5).connect() as feed:
        await feed.probe()


async def test_a_code_or_a_password_may_be_mistyped_twice(guarded: LocalTelegram, session: Path) -> None:
    codes, passwords = iter(["1", "2", " 22222 "]), iter(["a", "b", PASSWORD])
    await sign_in(
        guarded.client_settings(session),
        lambda: guarded.options.phone,
        lambda: next(codes),
        lambda: next(passwords),
    )
    assert session.exists()


@pytest.mark.parametrize(
    ("code", "password", "told"),
    [("00000", PASSWORD, "code.*invalid"), ("22222", "wrong horse", "password")],
)
async def test_a_wrong_code_or_password_is_told_and_leaves_nothing(
    guarded: LocalTelegram, session: Path, code: str, password: str, told: str
) -> None:
    with pytest.raises(LoginFailed, match=told):
        await sign_in(
            guarded.client_settings(session), lambda: guarded.options.phone, lambda: code, lambda: password
        )
    assert list(session.parent.iterdir()) == []


async def test_a_code_that_expired_is_told_and_leaves_nothing(guarded: LocalTelegram, session: Path) -> None:
    def too_late() -> str:
        at_once(guarded, "fault", name="expire_code")
        return "22222"

    with pytest.raises(LoginFailed, match="the code has expired; run the command again"):
        await sign_in(guarded.client_settings(session), lambda: guarded.options.phone, too_late, never)
    assert list(session.parent.iterdir()) == []


async def test_another_number_is_refused(guarded: LocalTelegram, session: Path) -> None:
    with pytest.raises(LoginFailed, match="phone number is invalid"):
        await sign_in(guarded.client_settings(session), lambda: "+15550000", never, never)
    assert list(session.parent.iterdir()) == []


async def test_telegram_asking_to_wait_is_told_in_seconds(world: World, session: Path) -> None:
    await world.control.fault("flood_wait", method="auth.sendCode", seconds=77)
    with pytest.raises(LoginFailed, match="wait 77 s"):
        await sign_in(world.telegram.client_settings(session), lambda: "+5511900000000", never, never)
    assert list(session.parent.iterdir()) == []


async def test_a_telegram_that_is_not_there_is_told_with_its_address(world: World, session: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    settings = replace(world.telegram.client_settings(session), dc_address=address)
    with pytest.raises(LoginFailed, match=f"connecting to Telegram at {address}.*refused"):
        await sign_in(settings, never, never, never)
    assert list(session.parent.iterdir()) == []


@pytest.mark.parametrize("at", ["phone", "code", "password"])
async def test_an_interrupted_login_leaves_nothing(guarded: LocalTelegram, session: Path, at: str) -> None:
    def answer(question: str, right: str) -> str:
        if question == at:
            raise KeyboardInterrupt
        return right

    with pytest.raises(KeyboardInterrupt):
        await sign_in(
            guarded.client_settings(session),
            lambda: answer("phone", guarded.options.phone),
            lambda: answer("code", "22222"),
            lambda: answer("password", PASSWORD),
        )
    assert list(session.parent.iterdir()) == []


async def test_a_failed_login_leaves_the_session_before_it_as_it_was(
    guarded: LocalTelegram, session: Path
) -> None:
    await guarded.sign_in(session)
    before = session.read_bytes()
    with pytest.raises(LoginFailed):
        await sign_in(
            guarded.client_settings(session), lambda: guarded.options.phone, lambda: "0", lambda: PASSWORD
        )
    assert session.read_bytes() == before
    assert [file.name for file in session.parent.iterdir()] == ["account.session"]
