"""Who is asking: the keys of a request against the known ones, in time that tells nothing about either."""

import enum
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from telewarden_http.errors import KeyMissing, KeyWrong, ScopeMissing
from telewarden_http.settings import ApiSettings


class Scope(enum.StrEnum):
    """What a key allows. A route names the one that it needs."""

    READ = "read"
    ACK = "ack"
    CHANGE = "change"
    """Changing messages and channels as the old contract has it: keys of the settings may, of the others `admin`."""
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. name: of the key. consumer: whose place in the feed it is; several keys may share one.

    channels: ids that it may read, as consumers write them; None for all.
    """

    name: str
    consumer: str
    scopes: frozenset[Scope]
    channels: frozenset[str] | None = None

    def needs(self, scope: Scope) -> None:
        """Raises ScopeMissing if the key does not have it."""
        if scope not in self.scopes:
            raise ScopeMissing(scope.value)

    def may_read(self, channel: str) -> bool:
        """Whether a channel exists for this key."""
        return self.channels is None or channel in self.channels


_CONSUMER = frozenset((Scope.READ, Scope.ACK, Scope.CHANGE))
_ADMINISTRATOR = frozenset(Scope)


class Keyring:
    """The known keys, as digests.

    Digests have one length and are salted with a value that only this process knows, so the time of a
    comparison tells nothing of a key's length or beginning; every key is compared, also after a match.
    """

    def __init__(self, settings: ApiSettings) -> None:
        self._salt = secrets.token_bytes(32)
        self.replace(settings)

    def replace(self, settings: ApiSettings) -> None:
        """Know the keys of these settings, and no others, from the next request on."""
        self._consumers = [
            (Principal(name, name, _CONSUMER), self._digest(key.encode()))
            for name, key in settings.api_keys.items()
        ]
        self._administrators = [
            (Principal(name, name, _ADMINISTRATOR), self._digest(token.encode()))
            for name, token in settings.gateway_tokens.items()
        ]
        self._anyone = self._consumers + self._administrators

    def admit(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Whose key a request carries in `X-API-Key`, `X-Gateway-Token` or as Bearer token.

        headers: as ASGI gives them, names in lower case. Of a header given twice the first one counts.
        One right key is enough. Raises KeyMissing if there is none at all, KeyWrong if none is right.
        """
        presented: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _CREDENTIALS and value and name not in presented:
                presented[name] = value
        admitted: Principal | None = None
        tried = False
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
        if admitted is not None:
            return admitted
        raise KeyWrong if tried else KeyMissing

    def _match(self, value: bytes, known: Iterable[tuple[Principal, bytes]]) -> Principal | None:
        digest = self._digest(value)
        match: Principal | None = None
        for principal, candidate in known:
            if hmac.compare_digest(candidate, digest):
                match = principal
        return match

    def _digest(self, value: bytes) -> bytes:
        return hashlib.blake2b(value, key=self._salt, digest_size=32).digest()


_CREDENTIALS = frozenset((b"x-api-key", b"x-gateway-token", b"authorization"))
