"""Which keys are stored: looked up again and again, so that no request asks the database for its key."""

import anyio
import structlog

from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.keys import KeyStore
from telewarden_http.auth import Keyring
from telewarden_supervisors import WorkerContext

log = structlog.get_logger(__name__)

LOOK_S = 2.0
"""Seconds between two looks; so long a revoked key may still be let in while the database answers."""
USE_S = 60.0
"""Seconds between two notes of when keys were last used."""


class KeyFollower:
    """Tells the keyring what is stored. With the database down, what was found last stays."""

    def __init__(
        self, keyring: Keyring, store: KeyStore, *, look_s: float = LOOK_S, use_s: float = USE_S
    ) -> None:
        self._keyring, self._store = keyring, store
        self._look_s, self._use_s = look_s, use_s

    async def run(self, ctx: WorkerContext) -> None:
        """Until cancelled."""
        ctx.ready()
        noted_s = anyio.current_time()
        while True:
            ctx.beat()
            try:
                found = await self._store.valid()
                self._keyring.learn(found)
                if self._keyring.used and anyio.current_time() - noted_s >= self._use_s:
                    await self._note()
                    noted_s = anyio.current_time()
            except DatabaseUnavailable as error:
                ctx.status(f"not looked: {error}")
            else:
                ctx.status(f"{len(found)} stored keys")
            await anyio.sleep(self._look_s)

    async def _note(self) -> None:
        used = dict(self._keyring.used)
        await self._store.note_use(used)
        for key_id, at_s in used.items():
            if self._keyring.used.get(key_id) == at_s:
                del self._keyring.used[key_id]
