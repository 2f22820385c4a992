"""Signing in. The session appears in its place only when it is signed in: an interrupted login leaves nothing."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import anyio
from telethon import errors
from telethon.tl import types

from telewarden.telegram.client import ClientSettings, PhasedClient, make_client
from telewarden.telegram.feed import SessionUnusable, TelegramUnavailable
from telewarden.telegram.qr_login import NotScanned, sign_in_by_qr
from telewarden.telegram.session_file import draft_beside, put_in_place

T = TypeVar("T")
_TRIES = 3
_ANSWER_S = 30.0


class LoginFailed(Exception):
    """The account was not signed in; the message says why and what to do."""


class Wrong(Exception):
    """What was typed cannot be right; the message says why. It may be typed again."""


@dataclass(frozen=True, slots=True)
class Questions:
    """How to ask the operator. tell: show a line. show_qr: show an address as a QR code; given, no phone number and no
    code are asked for. Each may raise, KeyboardInterrupt for one, and then nothing stays of the login."""

    phone: Callable[[], str]
    code: Callable[[], str]
    password: Callable[[], str]
    tell: Callable[[str], object] = lambda line: None
    show_qr: Callable[[str], object] | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """name: the account's. aside: where the session went that was there before."""

    name: str
    aside: Path | None


async def sign_in(
    settings: ClientSettings,
    ask_phone: Callable[[], str],
    ask_code: Callable[[], str],
    ask_password: Callable[[], str],
) -> str:
    """`log_in` by phone number, with no more to say than who it is."""
    return (await log_in(settings, Questions(ask_phone, ask_code, ask_password))).name


async def log_in(settings: ClientSettings, questions: Questions) -> SignedIn:
    """Sign in and keep the session; one that is there is moved aside once the new one is signed in.

    Raises LoginFailed, and what the questions raise. Whatever it raises, what was there before is as it was.
    """
    with draft_beside(settings.session_file, "login") as draft:
        os.close(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        name = await _log_in(replace(settings, session_file=draft), questions)
        return SignedIn(name, put_in_place(draft, settings.session_file, datetime.now(UTC)))


async def _log_in(settings: ClientSettings, questions: Questions) -> str:
    try:
        client = make_client(settings)
        try:
            await _connect(client)
            return _name(await _Login(client, questions).account())
        finally:
            with anyio.move_on_after(5, shield=True):
                await client.disconnect()
    except errors.FloodWaitError as error:
        raise LoginFailed(
            f"Telegram asks to wait {error.seconds} s before the next try; run the command again after that"
        ) from error
    except errors.PhoneCodeExpiredError as error:
        raise LoginFailed("the code has expired; run the command again for a new one") from error
    except (errors.PhoneNumberBannedError, errors.UserDeactivatedBanError) as error:
        raise LoginFailed("Telegram has banned this account; write to recover@telegram.org") from error
    except errors.PhoneNumberUnoccupiedError as error:
        raise LoginFailed(
            "there is no Telegram account with that number; create it in a Telegram app, or check the number"
        ) from error
    except (errors.ApiIdInvalidError, errors.ApiIdPublishedFloodError) as error:
        raise LoginFailed(
            f"Telegram does not take telegram.api_id with telegram.api_hash ({error}); "
            "compare both with my.telegram.org"
        ) from error
    except NotScanned as error:
        raise LoginFailed(str(error)) from error
    except TimeoutError as error:
        raise LoginFailed("not signed in: Telegram did not answer in time; run the command again") from error
    except (errors.RPCError, OSError, ValueError, SessionUnusable) as error:
        raise LoginFailed(f"not signed in: {error}; run the command again") from error


def _name(user: Any) -> str:
    return str(getattr(user, "first_name", None) or getattr(user, "username", None) or user.id)


class _Login:
    """One login's steps over one client."""

    def __init__(self, client: PhasedClient, questions: Questions) -> None:
        self._client, self._questions = client, questions

    async def account(self) -> Any:
        """The account, once it is signed in."""
        show_qr = self._questions.show_qr
        try:
            if show_qr is None:
                return await self._by_code()
            return await sign_in_by_qr(self._client, show_qr, self._ask)
        except errors.SessionPasswordNeededError:
            return await self._by_password()

    async def _by_code(self) -> Any:
        phone = await self._number()
        for left in range(_TRIES - 1, -1, -1):
            try:
                return await self._by_code_sent_to(phone)
            except errors.PhoneCodeExpiredError:
                if not left:
                    raise
                self._questions.tell("That code has expired: Telegram is sending a new one.")
            await self._ask(lambda: self._client.send_code_request(phone))
        raise AssertionError("the last try returns or raises")

    async def _number(self) -> str:
        async def attempt() -> str:
            phone = self._questions.phone().strip()
            if not phone.strip("+ -()").isascii() or not any(c.isdecimal() for c in phone):
                raise Wrong("a phone number is digits, with + and the country code before them")
            sent = await self._ask(lambda: self._client.send_code_request(phone))
            self._questions.tell(f"Telegram sent a code {_where(sent.type)}.")
            return phone

        return await self._try(
            attempt,
            errors.PhoneNumberInvalidError,
            "Telegram says that the phone number is invalid; write it with + and the country code",
        )

    async def _by_code_sent_to(self, phone: str) -> Any:
        async def attempt() -> Any:
            code = self._questions.code().strip()
            if not code:
                raise Wrong("no code was typed")
            return await self._ask(lambda: self._client.sign_in(phone, code))

        return await self._try(
            attempt, errors.PhoneCodeInvalidError, "the code is invalid; it is the newest that Telegram sent"
        )

    async def _by_password(self) -> Any:
        async def attempt() -> Any:
            password = self._questions.password()
            if not password:
                raise Wrong("no password was typed")
            return await self._ask(lambda: self._client.sign_in(password=password))

        return await self._try(
            attempt,
            errors.PasswordHashInvalidError,
            "the password is wrong; it is the one of two-step verification, to be reset in a Telegram app",
        )

    async def _try(self, attempt: Callable[[], Awaitable[T]], wrong: type[Exception], meaning: str) -> T:
        for left in range(_TRIES - 1, -1, -1):
            try:
                return await attempt()
            except (wrong, Wrong) as error:
                told = str(error) if isinstance(error, Wrong) else meaning
                if not left:
                    raise LoginFailed(f"not signed in: {told}") from error
                self._questions.tell(
                    f"{told[0].upper()}{told[1:]}. {left} {'try' if left == 1 else 'tries'} left."
                )
        raise AssertionError("the last try returns or raises")

    async def _ask(self, request: Callable[[], Awaitable[T]]) -> T:
        """Make a request. While the operator typed, nobody answered Telegram's pings: it may have hung up."""
        for left in range(_TRIES - 1, -1, -1):
            try:
                if not self._client.is_connected():
                    await _connect(self._client)
                with anyio.fail_after(_ANSWER_S):
                    return await request()
            except (ConnectionError, EOFError) as error:
                if not left:
                    raise ConnectionError(
                        f"the connection to Telegram ends again and again ({error})"
                    ) from error
            except asyncio.CancelledError as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                # Telethon cancels requests when the connection ends; nobody cancelled us.
                if not left:
                    raise ConnectionError("the connection to Telegram ends again and again") from error
            await self._client.disconnect()
        raise AssertionError("the last try returns or raises")


def _where(kind: Any) -> str:
    match kind:
        case types.auth.SentCodeTypeApp():
            return "to the Telegram apps that are signed in already"
        case types.auth.SentCodeTypeSms():
            return "by SMS"
        case types.auth.SentCodeTypeCall() | types.auth.SentCodeTypeFlashCall():
            return "by a phone call"
        case _:
            return "(look at the Telegram apps, SMS and e-mail)"


async def _connect(client: PhasedClient) -> None:
    """Connect, with a new key. Of 256 keys one begins with a zero byte, and Telethon's exchange of it fails."""
    for left in range(_TRIES - 1, -1, -1):
        try:
            with client.phases.limited():
                await client.connect()
        except TelegramUnavailable as error:
            if not left:
                raise LoginFailed(str(error)) from error
        else:
            return
