"""What the API asks about stored keys, as a protocol and plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from telewarden_http.protocols import RequestRefused


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a stored key: never the secret, nor its digest.

    id: names the key itself; name: whose it is, the same after a rotation. consumer: whose place in the feed it uses.
    scopes: of read, ack, admin. channels: ids that it may read; None for all. All times are aware. last_used_at: to the
    minute. rotated_from: the id of the key that it replaces.
    """

    id: str
    name: str
    consumer: str
    scopes: Sequence[str]
    channels: Sequence[str] | None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    rotated_from: str | None = None

    def state(self, now: datetime) -> str:
        """One word: active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is wanted. consumer: None for the name. expires_at: aware; None for never."""

    name: str
    scopes: Sequence[str]
    channels: Sequence[str] | None = None
    expires_at: datetime | None = None
    consumer: str | None = None


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key; `key` is its secret, which is told this once."""

    info: KeyInfo
    key: str


class KeyRefused(RequestRefused):
    """No such key can be made, or this one cannot be changed so (409)."""


class KeyAdmin(Protocol):
    """Manages stored keys. Its methods raise Unavailable while the database is down."""

    async def keys(self) -> Sequence[KeyInfo]:
        """All of them, also those that are revoked or expired; the newest first."""
        ...

    async def create(self, wanted: NewKey) -> CreatedKey:
        """A new key. Raises KeyRefused."""
        ...

    async def rotate(self, key_id: str, overlap_s: float) -> CreatedKey | None:
        """A new key in the place of one that then expires after the overlap; None if there is none with that id.

        Raises KeyRefused for one that is revoked or expired.
        """
        ...

    async def revoke(self, key_id: str) -> KeyInfo | None:
        """It is valid no more, within seconds in every process; harmless to repeat; None if there is none."""
        ...
