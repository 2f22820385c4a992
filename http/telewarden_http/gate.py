"""The gate that every request with a key passes: right key, right scope, not too often."""

import ipaddress
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from telewarden_http.auth import CREDENTIALS, Keyring, Principal, Scope
from telewarden_http.errors import KeyExpired, KeyWrong, TooManyRequests
from telewarden_http.limits import RequestLimit, WrongKeys
from telewarden_http.settings import ApiSettings

PRINCIPAL: Final = "telewarden.principal"
"""Key of the ASGI scope under which the Principal of a request is."""
EXTRA_HEADERS: Final = "telewarden.headers"
"""Key of the ASGI scope under which header fields are that its answer gets besides."""

_TRUSTED_HOPS = 16
_LONGEST_ADDRESS = 45
"""Characters of an IPv6 address that is written with an IPv4 one at its end."""


class Gate:
    """keyring: the known keys. The rest of what it decides by comes from the settings."""

    def __init__(
        self, keyring: Keyring, settings: ApiSettings, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.keyring = keyring
        self._clock_s = clock_s
        self._wrong = WrongKeys(settings.wrong_keys, clock_s)
        self.configure(settings)

    def configure(self, settings: ApiSettings) -> None:
        """Decide by these settings from the next request on."""
        self._requests = RequestLimit(settings.requests_per_s, settings.burst, self._clock_s)
        self._trusted = [ipaddress.ip_network(network) for network in settings.trusted_proxies]

    def admit(self, scope: dict[str, Any], needed: Scope) -> Principal:
        """Who sent a request, which is left in its scope. Raises ApiError: 401, 403, 429, 503."""
        address = self.address(scope)
        blocked_s = self._wrong.blocked_s(address)
        try:
            principal = self.keyring.admit(scope["headers"])
        except (KeyWrong, KeyExpired):
            if blocked_s:
                raise _too_many_wrong(blocked_s) from None
            self._wrong.wrong(address, _tried(scope["headers"]))
            raise
        # A stored key is never guessed, so it may always come; a key that somebody thought up might be.
        if blocked_s and not principal.is_stored and not self._wrong.was_right(address, principal.name):
            raise _too_many_wrong(blocked_s)
        self._wrong.right(address, principal.name)
        scope[PRINCIPAL] = principal
        if principal.is_stored and (taken := self._requests.take(principal.name)) is not None:
            scope[EXTRA_HEADERS] = (*scope.get(EXTRA_HEADERS, ()), *taken.headers)
            if not taken.is_allowed:
                raise TooManyRequests("This key asks more often than it may", taken.retry_after_s)
        principal.needs(needed)
        return principal

    def is_still_right(self, scope: dict[str, Any]) -> bool:
        """Whether the key of a request that was admitted opens as much as it did: a stream outlives many a key."""
        admitted: Principal = scope[PRINCIPAL]
        try:
            return self.keyring.admit(scope["headers"]) == admitted
        except (KeyWrong, KeyExpired):
            return False

    def address(self, scope: dict[str, Any]) -> str:
        """Where a request comes from: the peer, or what trusted proxies say of it."""
        client = scope.get("client")
        peer = str(client[0]) if client else "unknown"
        return self._behind(peer, scope["headers"]) if self._trusted else peer

    def _behind(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The right-most address of X-Forwarded-For that is no trusted proxy's: left of it anybody may write."""
        if not self._trusts(peer):
            return peer
        lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        hops = [hop.strip() for hop in ",".join(lines).split(",")][-_TRUSTED_HOPS:]
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                break
            peer = str(address)
            if not self._trusts(hop):
                break
        return peer

    def _trusts(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)


@lru_cache(maxsize=4096)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address; an IPv4 one also where it is written within IPv6, as a socket for both has it. None for any other
    text, also with a zone (`%…`), in which a stranger may write whatever."""
    if len(text) > _LONGEST_ADDRESS or "%" in text:
        return None
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else parsed


def _tried(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Tells sets of wrong keys apart, and nothing of them: salted by the interpreter, and kept in memory alone."""
    return hash(tuple(value for name, value in headers if name in CREDENTIALS))


def _too_many_wrong(blocked_s: float) -> TooManyRequests:
    return TooManyRequests("Too many wrong keys came from this address; try again later", blocked_s)
