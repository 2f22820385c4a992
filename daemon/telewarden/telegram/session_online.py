"""What Telegram says of a session that no daemon owns. It is asked with a copy, so that asking cannot harm the file."""

import asyncio
import sqlite3
from dataclasses import dataclass, replace
from typing import Any

import anyio
from telethon import errors, functions, types

from telewarden.telegram.client import ClientSettings, make_client
from telewarden.telegram.feed import SessionUnusable, TelegramUnavailable
from telewarden.telegram.session_file import copy_session, draft_beside

_ANSWER_S = 20.0


class TelegramSilent(Exception):
    """Telegram cannot be asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """accepted: whether Telegram takes the session. account: whose it is. reason: why it is not taken."""

    accepted: bool
    account: str | None = None
    reason: str | None = None


class _NotAccepted(Exception):
    """Telegram does not know the key, or has ended it."""


async def ask_telegram(settings: ClientSettings) -> Verdict:
    """Whether Telegram accepts the session, and as whom. The caller owns it.

    Raises TelegramSilent, and what `copy_session` raises.
    """
    try:
        (user,) = await _ask(settings, functions.users.GetUsersRequest([types.InputUserSelf()]))
    except _NotAccepted as error:
        return Verdict(False, reason=str(error))
    return Verdict(True, account=_account(user))


async def log_out(settings: ClientSettings) -> bool:
    """End the session at Telegram. False if Telegram had ended it before. The caller owns it; the file stays.

    Raises TelegramSilent, and what `copy_session` raises.
    """
    try:
        await _ask(settings, functions.auth.LogOutRequest())
    except _NotAccepted:
        return False
    return True


async def _ask(settings: ClientSettings, request: Any) -> Any:
    """The answer to one request, over a connection of its own."""
    with draft_beside(settings.session_file, "ask") as draft:
        copy_session(settings.session_file, draft)
        try:
            client = make_client(replace(settings, session_file=draft))
            try:
                with client.phases.limited():
                    await client.connect()
                with anyio.fail_after(_ANSWER_S):
                    return await client(request)
            finally:
                with anyio.move_on_after(5, shield=True):
                    await client.disconnect()
                ended = client.disconnected
                if ended.done() and not ended.cancelled():
                    # A future that nobody asks why it failed would be reported once more.
                    ended.exception()
        except (errors.UnauthorizedError, errors.AuthKeyError, errors.common.AuthKeyNotFound) as error:
            raise _NotAccepted(str(error)) from error
        except errors.FloodWaitError as error:
            raise TelegramSilent(f"Telegram asks to wait {error.seconds} s; try again after that") from error
        except TelegramUnavailable as error:
            raise TelegramSilent(f"{error}; try again") from error
        except TimeoutError as error:
            raise TelegramSilent(
                "Telegram did not answer in time; check the network and try again"
            ) from error
        except (errors.RPCError, OSError, EOFError, ValueError, SessionUnusable, sqlite3.Error) as error:
            where = settings.dc_address or "its own address"
            raise TelegramSilent(
                f"Telegram cannot be asked at {where} ({error}); check the network and try again"
            ) from error
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            # Telethon cancels requests when the connection ends; nobody cancelled us.
            raise TelegramSilent("the connection to Telegram ended while it was asked; try again") from error


def _account(user: Any) -> str:
    name = " ".join(filter(None, (user.first_name, user.last_name))) or str(user.id)
    return f"{name} (@{user.username})" if user.username else name
