"""Signing in. The session appears in its place only when it is signed in: an interrupted login leaves nothing."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
from telethon import TelegramClient, errors

from telewarden.telegram.client import ClientSettings, make_client
from telewarden.telegram.feed import SessionUnusable
from telewarden.telegram.session import make_private_folder

_TRIES = 3


class LoginFailed(Exception):
    """The account was not signed in; the message says why and what to do."""


async def sign_in(
    settings: ClientSettings,
    ask_phone: Callable[[], str],
    ask_code: Callable[[], str],
    ask_password: Callable[[], str],
) -> str:
    """Sign in and keep the session. Returns the account's name. Raises LoginFailed, and what the callables raise."""
    make_private_folder(settings.session_file.parent)
    # Telethon adds ".session" to a name without it.
    draft = settings.session_file.with_name(f".login-{os.getpid()}.session")
    os.close(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    try:
        name = await _sign_in(replace(settings, session_file=draft), ask_phone, ask_code, ask_password)
        draft.replace(settings.session_file)
    finally:
        _remove(draft)
    return name


async def _sign_in(
    settings: ClientSettings,
    ask_phone: Callable[[], str],
    ask_code: Callable[[], str],
    ask_password: Callable[[], str],
) -> str:
    try:
        client = make_client(settings)
        try:
            await _connect(client, settings)
            phone = ask_phone().strip()
            await client.send_code_request(phone)
            try:
                await _try(lambda: client.sign_in(phone, ask_code().strip()), errors.PhoneCodeInvalidError)
            except errors.SessionPasswordNeededError:
                await _try(lambda: client.sign_in(password=ask_password()), errors.PasswordHashInvalidError)
            me = await client.get_me()
        finally:
            with anyio.move_on_after(5, shield=True):
                await client.disconnect()
    except errors.FloodWaitError as error:
        raise LoginFailed(f"Telegram asks to wait {error.seconds} s before the next try") from error
    except errors.PhoneCodeExpiredError as error:
        raise LoginFailed("the code has expired; run the command again for a new one") from error
    except (errors.RPCError, OSError, TimeoutError, ValueError, SessionUnusable) as error:
        raise LoginFailed(f"not signed in: {error}") from error
    return str(getattr(me, "first_name", None) or getattr(me, "username", None) or phone)


async def _connect(client: TelegramClient, settings: ClientSettings) -> None:
    """Connect, with a new key. Of 256 keys one begins with a zero byte, and Telethon's exchange of it fails."""
    for left in range(_TRIES - 1, -1, -1):
        try:
            with anyio.fail_after(settings.connect_timeout_s * 2):
                await client.connect()
        except OSError as error:
            if not left:
                where = settings.dc_address or "its own address"
                raise LoginFailed(
                    f"Telegram cannot be reached at {where} ({error}); check the network and telegram.dc_address"
                ) from error
        else:
            return


async def _try(attempt: Callable[[], object], wrong: type[Exception]) -> None:
    for left in range(_TRIES - 1, -1, -1):
        try:
            await attempt()  # type: ignore[misc]
        except wrong:
            if not left:
                raise
        else:
            return


def _remove(draft: Path) -> None:
    for path in (draft, draft.with_name(draft.name + "-journal")):
        path.unlink(missing_ok=True)
