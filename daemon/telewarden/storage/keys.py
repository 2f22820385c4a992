"""Stored keys in the database: made, shown, replaced and revoked there; known to every process that serves."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from telewarden.storage.database import Database, DatabaseUnavailable
from telewarden.storage.pool import Connection
from telewarden.storage.statements import statement
from telewarden_http.auth import GRANTED, Principal, StoredKey, key_digest, new_key, scopes_of
from telewarden_http.protocols import Unavailable
from telewarden_http.v1.keys_protocols import CreatedKey, KeyInfo, KeyRefused, NewKey

_NAME_MAX = 100


class KeyStore:
    """Implements KeyAdmin; and tells the keyring what there is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def valid(self) -> list[StoredKey]:
        """The keys that are not revoked; those that have expired too, so that this can be told. Raises
        DatabaseUnavailable."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(statement("keys"), None)
        return [_stored(row) for row in rows if row["revoked_at"] is None]

    async def note_use(self, used: Mapping[str, float]) -> None:
        """When keys were last used, by id, in seconds since the epoch. Raises DatabaseUnavailable."""
        times = [datetime.fromtimestamp(at_s, UTC) for at_s in used.values()]
        async with self._database.writing() as connection:
            await connection.execute(statement("keys_used"), list(used), times)

    async def keys(self) -> Sequence[KeyInfo]:
        """All of them, the newest first. Raises Unavailable."""
        try:
            async with self._database.reading() as connection:
                return [_info(row) for row in await connection.fetch(statement("keys"), None)]
        except DatabaseUnavailable as error:
            raise _down(error) from error

    async def create(self, wanted: NewKey) -> CreatedKey:
        """A new key. Raises KeyRefused, Unavailable."""
        _check(wanted)
        try:
            async with self._database.writing() as connection:
                return await _insert(connection, wanted, None)
        except DatabaseUnavailable as error:
            raise _down(error) from error

    async def rotate(self, key_id: str, overlap_s: float) -> CreatedKey | None:
        """A new key in the place of one that expires after the overlap. The new one lasts as long as the old one was
        meant to. Raises KeyRefused, Unavailable."""
        try:
            async with self._database.writing() as connection, connection.transaction():
                await connection.execute(
                    "select from telegram_gateway.api_keys where id = $1 for update", key_id
                )
                row = await connection.fetchrow(statement("keys"), key_id)
                if row is None:
                    return None
                old, now = _info(row), datetime.now(UTC)
                if (state := old.state(now)) != "active":
                    raise KeyRefused(f"The key {key_id} is {state}; create another one")
                wanted = NewKey(old.name, old.scopes, old.channels, _renewed(old, now), old.consumer)
                created = await _insert(connection, wanted, key_id)
                await connection.execute(statement("key_expire"), key_id, timedelta(seconds=overlap_s))
                return created
        except DatabaseUnavailable as error:
            raise _down(error) from error

    async def revoke(self, key_id: str) -> KeyInfo | None:
        """It is valid no more. Raises Unavailable."""
        try:
            async with self._database.writing() as connection:
                row = await connection.fetchrow(statement("key_revoke"), key_id)
        except DatabaseUnavailable as error:
            raise _down(error) from error
        return None if row is None else _info(row)


def _renewed(old: KeyInfo, now: datetime) -> datetime | None:
    """When the key in the place of another one expires."""
    try:
        return None if old.expires_at is None else now + (old.expires_at - old.created_at)
    except OverflowError:
        # Beyond the last year that there is.
        return old.expires_at


def _check(wanted: NewKey) -> None:
    for what, text in (("name", wanted.name), ("consumer", wanted.consumer)):
        if text is not None and not (0 < len(text) <= _NAME_MAX and text.isprintable()):
            raise KeyRefused(f"The {what} of a key has 1 to {_NAME_MAX} printable characters")
    if not wanted.scopes or not set(wanted.scopes) <= set(GRANTED):
        raise KeyRefused(f"A key has one or more of the scopes {', '.join(GRANTED)}")
    if wanted.expires_at is not None and wanted.expires_at <= datetime.now(UTC):
        raise KeyRefused("A key's expiry lies in the future")


async def _insert(connection: Connection, wanted: NewKey, rotated_from: str | None) -> CreatedKey:
    key_id, key = new_key()
    row = await connection.fetchrow(
        statement("key_create"),
        key_id,
        wanted.name,
        wanted.consumer or wanted.name,
        key_digest(key_id, key.encode()),
        sorted(set(wanted.scopes), key=GRANTED.index),
        None if wanted.channels is None else sorted(set(wanted.channels)),
        wanted.expires_at,
        rotated_from,
    )
    assert row is not None
    return CreatedKey(_info(row), key)


def _stored(row: asyncpg.Record) -> StoredKey:
    channels = None if row["channels"] is None else frozenset(row["channels"])
    principal = Principal(row["name"], row["consumer"], scopes_of(row["scopes"]), channels, is_stored=True)
    expires_at = row["expires_at"]
    return StoredKey(row["id"], principal, row["digest"], expires_at.timestamp() if expires_at else None)


def _info(row: asyncpg.Record) -> KeyInfo:
    return KeyInfo(**{name: row[name] for name in KeyInfo.__dataclass_fields__})


def _down(error: DatabaseUnavailable) -> Unavailable:
    return Unavailable(f"the database, which keeps keys, is down ({error}); try again")
