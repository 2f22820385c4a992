"""Signing in by a QR code that a signed-in Telegram app scans (core.telegram.org/api/qr-login)."""

from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Protocol, TypeVar

import anyio
import segno
from telethon import TelegramClient, events, functions, types

T = TypeVar("T")
SCANNED_WITHIN_S = 300.0
_LEAST_S, _MOST_S = 5.0, 60.0


class NotScanned(Exception):
    """Nobody scanned any of the codes."""


class Ask(Protocol):
    """Makes a request, over a new connection when the old one is lost."""

    async def __call__(self, request: Callable[[], Awaitable[T]]) -> T:
        """Its answer."""
        ...


async def sign_in_by_qr(
    client: TelegramClient,
    show: Callable[[str], object],
    ask: Ask,
    *,
    within_s: float = SCANNED_WITHIN_S,
) -> Any:
    """The account, once one of the codes was scanned and confirmed.

    show: shows an address as a QR code; called again with a new one whenever the last has expired. Unlike Telethon's
    own `QRLogin` it notices a scan whose update was missed: the next token that it asks for is the answer. Raises
    NotScanned after within_s seconds, SessionPasswordNeededError when the account has a password, Telethon's errors.
    """
    scanned = anyio.Event()

    async def note(update: Any) -> None:
        scanned.set()

    client.add_event_handler(note, events.Raw(types.UpdateLoginToken))
    try:
        with anyio.move_on_after(within_s):
            while True:
                scanned = anyio.Event()
                token = await _token(client, ask)
                if isinstance(token, types.auth.LoginTokenSuccess):
                    user = token.authorization.user
                    await client._on_login(user)
                    return user
                show(address_of(token.token))
                with anyio.move_on_after(_validity_s(token.expires)):
                    await scanned.wait()
    finally:
        client.remove_event_handler(note)
    raise NotScanned(
        f"not signed in: nobody scanned the code within {within_s:.0f} s; run the command again, "
        "or without --qr to sign in with a code"
    )


def drawn(address: str, *, colours: bool) -> list[str]:
    """The lines of a QR code. colours: white on black, for some apps do not read the inverse."""
    text = StringIO()
    segno.make(address, error="l", micro=False).terminal(text, border=2, compact=True)
    lines = text.getvalue().splitlines()
    return [f"\x1b[97;40m{line}\x1b[0m" for line in lines] if colours else lines


def address_of(token: bytes) -> str:
    """What the QR code says."""
    return f"tg://login?token={urlsafe_b64encode(token).decode().rstrip('=')}"


async def _token(client: TelegramClient, ask: Ask) -> Any:
    token = await ask(
        lambda: client(functions.auth.ExportLoginTokenRequest(client.api_id, client.api_hash, []))
    )
    if isinstance(token, types.auth.LoginTokenMigrateTo):
        # The account lives in another data centre.
        await client._switch_dc(token.dc_id)
        moved = token.token
        token = await ask(lambda: client(functions.auth.ImportLoginTokenRequest(moved)))
    return token


def _validity_s(expires: datetime) -> float:
    """How long a code is good. A clock that is wrong here must neither flood Telegram nor show a dead code for long."""
    return min(max((expires - datetime.now(UTC)).total_seconds(), _LEAST_S), _MOST_S)
