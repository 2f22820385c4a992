"""What an operator may set of the API. Secrets are held here and shown nowhere."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MIB = 1024 * 1024


def is_loopback(host: str) -> bool:
    """Only this machine can reach a server that is bound to `host` (an address, or the name localhost)."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Keys, limits and time-outs of the API; the defaults suit the live consumer (a poll every 5 s).

    api_keys: consumer's name → its secret (`X-API-Key`). gateway_tokens: administrator's name → token
    (`X-Gateway-Token`). `Authorization: Bearer` may carry either. Without any, every /api request is refused.
    monitoring_needs_key: /health* and /metrics ask for a key too. The contract: false on a loopback bind
    (`is_loopback`), true on any other; true by default, so that forgetting it opens nothing.
    body_limit_bytes: a larger request body is answered 413 and not kept.
    header_limit_bytes: request line and headers together; more is answered 431 by the server.
    body_timeout_s: a body that takes longer to arrive is answered 408.
    answer_timeout_s: a store that takes longer is answered 503, so that no request waits without end.
    send_timeout_s: a client that takes longer to read its answer is disconnected.
    keep_alive_s: how long an idle connection, or one that sends its headers slowly, stays open. Well above the
    poll interval: closing at the moment of the next poll would give the consumer a reset instead of an answer.
    max_connections: more are turned away at once; each takes a file descriptor.
    requests_per_s, burst: how often a stored key may ask, over time and at once; 0: as often as it likes. Keys of the
    settings are not limited.
    wrong_keys: how many an address may send in a row; then one a second is looked at.
    long_polls, long_polls_a_key: how many requests may wait at once, in all and of one key.
    trusted_proxies: networks whose X-Forwarded-For is believed.
    cors_origins: origins whose pages may ask; none by default.
    access_log: one line a request.
    retry_after_s: what `Retry-After` says on a 503.
    service: the name that /health gives.

    Raises ValueError for a secret or a limit that cannot work, without repeating the secret.
    """

    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    gateway_tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    monitoring_needs_key: bool = True
    body_limit_bytes: int = MIB
    header_limit_bytes: int = 16 * 1024
    body_timeout_s: float = 10.0
    answer_timeout_s: float = 30.0
    send_timeout_s: float = 60.0
    keep_alive_s: float = 30.0
    max_connections: int = 1000
    requests_per_s: float = 100.0
    burst: int = 200
    wrong_keys: int = 100
    long_polls: int = 800
    long_polls_a_key: int = 100
    trusted_proxies: Sequence[str] = ()
    cors_origins: Sequence[str] = ()
    access_log: bool = False
    retry_after_s: int = 5
    service: str = "telewarden"

    def __post_init__(self) -> None:
        for kind, secrets in (("API key", self.api_keys), ("gateway token", self.gateway_tokens)):
            for name, secret in secrets.items():
                # Anything else does not survive the way through an HTTP header (RFC 9110, section 5.5).
                if not secret or not all("!" <= character <= "~" for character in secret):
                    raise ValueError(
                        f"the {kind} of {name!r} must be printable ASCII without spaces, not empty"
                    )
        for name in (
            "body_limit_bytes",
            "header_limit_bytes",
            "body_timeout_s",
            "answer_timeout_s",
            "send_timeout_s",
            "keep_alive_s",
            "max_connections",
            "burst",
            "wrong_keys",
            "long_polls",
            "long_polls_a_key",
            "retry_after_s",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
