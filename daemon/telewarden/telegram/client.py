"""The Telethon client as this daemon uses it: no reconnects of its own, no hidden waiting, any data centre."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.sessions import SQLiteSession

from telewarden.telegram.feed import SessionUnusable
from telewarden.telegram.phases import Phase, Phases, PhaseTimeouts
from telewarden.telegram.transport import bound_unpacking, phased

C = TypeVar("C", bound="PhasedClient")


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Which account, and where Telegram is.

    dc_address: "host:port" of the data centre, None for Telegram's own. dc_public_key_file: PEM of a server key that
    Telethon does not bring. timeouts: of each phase of connecting.
    """

    session_file: Path
    api_id: int
    api_hash: str
    dc_id: int = 2
    dc_address: str | None = None
    dc_public_key_file: Path | None = None
    timeouts: PhaseTimeouts = field(default_factory=PhaseTimeouts)


class PhasedClient(TelegramClient):  # type: ignore[misc]
    """A client that tells which phase of connecting it is in.

    One method that it extends is Telethon's private one; tests/sandbox_telegram shows that this version calls it.
    """

    phases: Phases

    async def _auth_key_callback(self, auth_key: Any) -> None:
        await super()._auth_key_callback(auth_key)
        self.phases.enter(Phase.HANDSHAKE)

    async def get_me(self, input_peer: bool = False) -> Any:
        """As Telethon's, which asks for it as the last step of connecting."""
        if self.phases.phase is Phase.HANDSHAKE:
            self.phases.enter(Phase.LOGIN)
        return await super().get_me(input_peer)


class PushClient(PhasedClient):
    """A client that hands every push over as it came, instead of Telethon's own handling of updates.

    That handling loses what a gap hides (see docs/decisions/0011), and asks for differences on its own account. The
    method that is replaced is Telethon's private one; tests/sandbox_telegram shows that this version calls it.
    """

    on_updates: Callable[[Any], object] = staticmethod(lambda updates: None)

    async def _update_loop(self) -> None:
        with suppress(asyncio.CancelledError):
            while True:
                self.on_updates(await self._updates_queue.get())


def make_client(settings: ClientSettings) -> PhasedClient:
    """A client that is not connected yet; see `make_client_of`."""
    return make_client_of(PhasedClient, settings)


def make_client_of(kind: type[C], settings: ClientSettings) -> C:
    """A client that is not connected yet. Raises SessionUnusable when the session file cannot be opened."""
    if settings.dc_public_key_file is not None:
        rsa.add_key(settings.dc_public_key_file.read_text(encoding="ascii"), old=False)
    try:
        session = SQLiteSession(str(settings.session_file))
        if settings.dc_address is not None:
            host, _, port = settings.dc_address.rpartition(":")
            session.set_dc(settings.dc_id, host.strip("[]"), int(port))
    except Exception as error:
        # sqlite3 for a damaged or locked file, Exception itself for a schema that this Telethon does not know.
        raise SessionUnusable(
            f"the session {settings.session_file} cannot be opened ({error}); restore a copy of it, "
            "or run: telewarden session login"
        ) from error
    settings.session_file.chmod(0o600)
    bound_unpacking()
    phases = Phases(settings.timeouts)
    client = kind(
        session,
        settings.api_id,
        settings.api_hash,
        connection=phased(phases, has_key=session.auth_key is not None),
        timeout=None,
        connection_retries=0,
        retry_delay=0,
        auto_reconnect=False,
        request_retries=3,
        raise_last_call_error=True,
        flood_sleep_threshold=0,
        sequential_updates=True,
        catch_up=False,
        receive_updates=True,
        device_model="Telewarden",
        system_version="Linux",
        app_version="1",
        entity_cache_limit=5000,
    )
    client.phases = phases
    phases.address = f"{client.session.server_address}:{client.session.port}"
    return client
