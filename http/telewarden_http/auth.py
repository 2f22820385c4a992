"""Who is asking: the keys of a request against the known ones, in time that tells nothing about either."""

import enum
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from telewarden_http.errors import KeyExpired, KeyMissing, KeysUnknown, KeyWrong, ScopeMissing
from telewarden_http.settings import ApiSettings


class Scope(enum.StrEnum):
    """What a key allows. A route names the one that it needs."""

    READ = "read"
    ACK = "ack"
    CHANGE = "change"
    """Changing messages and channels as the old contract has it: keys of the settings may, of the others `admin`."""
    ADMIN = "admin"


CREDENTIALS: Final = frozenset((b"x-api-key", b"x-gateway-token", b"authorization"))
"""Header fields that may carry a key."""

GRANTED: Final = ("read", "ack", "admin")
"""The scopes that a stored key is given; admin has all."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. name: of the key. consumer: whose place in the feed it is; several keys may share one.

    channels: ids that it may read, as consumers write them; None for all. is_stored: a key of the database, which is
    limited; not one of the settings.
    """

    name: str
    consumer: str
    scopes: frozenset[Scope]
    channels: frozenset[str] | None = None
    is_stored: bool = False

    def needs(self, scope: Scope) -> None:
        """Raises ScopeMissing if the key does not have it."""
        if scope not in self.scopes:
            raise ScopeMissing(scope.value)

    def may_read(self, channel: str) -> bool:
        """Whether a channel exists for this key."""
        return self.channels is None or channel in self.channels


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the database has it. digest: of the whole key, by `key_digest`. expires_at_s: since the epoch."""

    id: str
    principal: Principal
    digest: bytes
    expires_at_s: float | None = None


def scopes_of(granted: Collection[str]) -> frozenset[Scope]:
    """What a stored key's scopes allow."""
    if Scope.ADMIN.value in granted:
        return _ADMINISTRATOR
    return frozenset(Scope(name) for name in granted if name in GRANTED)


def new_key() -> tuple[str, str]:
    """(id, key) of a fresh key: the id names it, the key holds the id and 256 random bits."""
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
    return key_id, f"{_PREFIX.decode()}{key_id}_{secrets.token_urlsafe(32)}"


def key_digest(key_id: str, key: bytes) -> bytes:
    """What is stored of a key. A fast hash does here: of 256 random bits none can be found by trying, as of a password;
    the id keeps digests of different keys apart (BLAKE2's salt, RFC 7693)."""
    return hashlib.blake2b(key, salt=key_id.encode(), person=b"telewarden-key", digest_size=32).digest()


class Keyring:
    """The known keys, as digests.

    Those of the settings: digests have one length and are salted with a value that only this process knows, so the time
    of a comparison tells nothing of a key's length or beginning; every key is compared, also after a match. Stored ones
    are found by their id, which is no secret, and compared in constant time.
    used: when each stored key was last right, by id, in seconds since the epoch; whoever writes that down empties it.
    """

    def __init__(self, settings: ApiSettings, clock_s: Callable[[], float] = time.time) -> None:
        self._salt = secrets.token_bytes(32)
        self._clock_s = clock_s
        self._stored: dict[bytes, StoredKey] | None = None
        self.used: dict[str, float] = {}
        self.replace(settings)

    def replace(self, settings: ApiSettings) -> None:
        """Know the keys of these settings, and no others of settings, from the next request on."""
        self._consumers = [
            (Principal(name, name, _CONSUMER), self._digest(key.encode()))
            for name, key in settings.api_keys.items()
        ]
        self._administrators = [
            (Principal(name, name, _ADMINISTRATOR), self._digest(token.encode()))
            for name, token in settings.gateway_tokens.items()
        ]
        self._anyone = self._consumers + self._administrators

    def learn(self, stored: Iterable[StoredKey]) -> None:
        """Know these stored keys, and no others, from the next request on."""
        self._stored = {key.id.encode(): key for key in stored}

    def admit(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Whose key a request carries in `X-API-Key`, `X-Gateway-Token` or as Bearer token.

        headers: as ASGI gives them, names in lower case. Of a header given twice the first one counts.
        One right key is enough. Raises KeyMissing if there is none at all, KeyWrong if none is right, KeyExpired if
        that is why, KeysUnknown if it may be a stored one and these were not read yet.
        """
        presented: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in CREDENTIALS and value and name not in presented:
                presented[name] = value
        admitted: Principal | None = None
        tried = False
        trouble: KeyExpired | KeysUnknown | None = None
        for name, value in presented.items():
            if name == b"authorization":
                scheme, _, value = value.partition(b" ")
                value = value.strip()
                if scheme.lower() != b"bearer" or not value:
                    continue
                known = self._anyone
            else:
                known = self._consumers if name == b"x-api-key" else self._administrators
            tried = True
            admitted = self._match(value, known) or admitted
            if admitted is None and value.startswith(_PREFIX) and len(value) == _LENGTH:
                try:
                    admitted = self._match_stored(value)
                except (KeyExpired, KeysUnknown) as error:
                    trouble = error
        if admitted is not None:
            return admitted
        if trouble is not None:
            raise trouble
        raise KeyWrong if tried else KeyMissing

    def _match(self, value: bytes, known: Iterable[tuple[Principal, bytes]]) -> Principal | None:
        digest = self._digest(value)
        match: Principal | None = None
        for principal, candidate in known:
            if hmac.compare_digest(candidate, digest):
                match = principal
        return match

    def _match_stored(self, value: bytes) -> Principal | None:
        if self._stored is None:
            raise KeysUnknown
        key_id = value[len(_PREFIX) : len(_PREFIX) + _ID_LENGTH]
        stored = self._stored.get(key_id)
        if stored is None:
            return None
        if not hmac.compare_digest(stored.digest, key_digest(stored.id, value)):
            return None
        now_s = self._clock_s()
        if stored.expires_at_s is not None and stored.expires_at_s <= now_s:
            raise KeyExpired
        self.used[stored.id] = now_s
        return stored.principal

    def _digest(self, value: bytes) -> bytes:
        return hashlib.blake2b(value, key=self._salt, digest_size=32).digest()


_CONSUMER = frozenset((Scope.READ, Scope.ACK, Scope.CHANGE))
_ADMINISTRATOR = frozenset(Scope)
_PREFIX = b"tw_"
_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 8
_LENGTH = len(_PREFIX) + _ID_LENGTH + 1 + 43
