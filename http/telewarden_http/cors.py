"""Which pages of other origins may ask (CORS, of the Fetch standard): none, unless the settings name them."""

from collections.abc import Collection
from typing import Final

_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS: Final = (
    b"Authorization, Content-Type, Last-Event-ID, X-API-Key, X-Gateway-Token, X-Request-Id"
)
_EXPOSED: Final = (
    b"Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, X-Telewarden-Degraded, "
    b"X-Telewarden-Source"
)
_MAX_AGE_S: Final = b"600"

Headers = tuple[tuple[bytes, bytes], ...]


class Cors:
    """origins: exact ones, such as https://board.example. Keys are sent as headers, so no credentials are allowed."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)

    def __bool__(self) -> bool:
        return bool(self._origins)

    def headers(self, origin: bytes) -> Headers:
        """Header fields of an answer to a request of an origin."""
        if origin not in self._origins:
            return ((b"vary", b"Origin"),)
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        )

    def preflight(self, origin: bytes) -> Headers | None:
        """Header fields of the answer to a preflight request; None for an origin that may not ask."""
        if origin not in self._origins:
            return None
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", _MAX_AGE_S),
            (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        )
