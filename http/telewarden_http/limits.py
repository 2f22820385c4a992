"""How often may be asked: token buckets of keys, and of addresses that send wrong keys. Pure, but for the clock."""

import ipaddress
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

MOST_ADDRESSES = 10_000
"""Addresses, and pairs of address and key, that are remembered; the longest unseen are forgotten."""
WRONG_KEYS_A_SECOND = 1.0
"""How many an address may send over time."""
_TRIED = 16
"""Wrong keys of an address that are known again."""


@dataclass(slots=True)
class Bucket:
    """A token bucket: `burst` at once, `rate` a second over time."""

    rate: float
    burst: float
    tokens: float
    at_s: float
    tried: deque[int] = field(default_factory=lambda: deque(maxlen=_TRIED))
    """Of an address: which wrong keys came lately."""

    def left(self, now_s: float) -> float:
        """How many tokens there are now."""
        self.tokens = min(self.burst, self.tokens + (now_s - self.at_s) * self.rate)
        self.at_s = now_s
        return self.tokens

    def take(self, now_s: float) -> bool:
        """One token, if there is one."""
        if self.left(now_s) < 1:
            return False
        self.tokens -= 1
        return True

    def wait_s(self) -> float:
        """Seconds until there is one again."""
        return max(0.0, (1 - self.tokens) / self.rate)


@dataclass(frozen=True, slots=True)
class Taken:
    """The outcome for one request of a limited key. headers: the RateLimit fields of its answer
    (draft-ietf-httpapi-ratelimit-headers)."""

    is_allowed: bool
    retry_after_s: float
    headers: tuple[tuple[bytes, bytes], ...]


class RequestLimit:
    """Requests a second of each key. rate: 0 limits nobody. burst: how many may come at once."""

    def __init__(self, rate: float, burst: int, clock_s: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock_s = rate, burst, clock_s
        self._buckets: dict[str, Bucket] = {}
        window_s = math.ceil(burst / rate) if rate else 0
        self._policy = (b"ratelimit-policy", f'"key";q={burst};w={window_s}'.encode())

    def take(self, name: str) -> Taken | None:
        """Count a request of a key, by its name; None where nothing is limited. As many buckets as keys."""
        if not self._rate:
            return None
        now_s = self._clock_s()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._rate, self._burst, self._burst, now_s)
        is_allowed = bucket.take(now_s)
        wait_s = bucket.wait_s()
        remaining = f'"key";r={int(bucket.tokens)};t={math.ceil(wait_s)}'.encode()
        return Taken(is_allowed, wait_s, (self._policy, (b"ratelimit", remaining)))


class WrongKeys:
    """Addresses that send wrong keys. While one has sent too many, only keys that were right from there before are
    looked at: behind one address there may be many consumers, and one that is set up wrongly stops no other. Nor does
    it by sending the same wrong key for ever: that is no guess, and counts once.

    burst: how many an address may send in a row."""

    def __init__(self, burst: int, clock_s: Callable[[], float]) -> None:
        self._burst, self._clock_s = burst, clock_s
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._right: OrderedDict[tuple[str, str], None] = OrderedDict()

    def blocked_s(self, address: str) -> float:
        """Seconds until keys from an address are looked at again; 0 if they are."""
        if not self._buckets:
            return 0.0
        bucket = self._buckets.get(source(address))
        return bucket.wait_s() if bucket is not None and bucket.left(self._clock_s()) < 1 else 0.0

    def was_right(self, address: str, name: str) -> bool:
        """Whether that key was right from that address before."""
        return (address, name) in self._right

    def right(self, address: str, name: str) -> None:
        """A key was right."""
        pair = (address, name)
        if pair in self._right:
            self._right.move_to_end(pair)
            return
        self._right[pair] = None
        if len(self._right) > MOST_ADDRESSES:
            self._right.popitem(last=False)

    def wrong(self, address: str, tried: int | None = None) -> None:
        """A key was wrong. tried: tells it from other wrong keys; None if it counts however often it comes."""
        of, now_s = source(address), self._clock_s()
        bucket = self._buckets.pop(of, None) or Bucket(WRONG_KEYS_A_SECOND, self._burst, self._burst, now_s)
        if tried is None or tried not in bucket.tried:
            bucket.take(now_s)
            if tried is not None:
                bucket.tried.append(tried)
        self._buckets[of] = bucket
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)


@lru_cache(maxsize=4096)
def source(address: str) -> str:
    """What counts as one source: an IPv4 address, or an IPv6 network of 64 bits, all of which one machine may have."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
