"""Token buckets, addresses behind proxies, and how many may wait: the decisions alone."""

from typing import Any

import pytest

from telewarden_http.auth import Keyring, Principal, Scope
from telewarden_http.errors import TooManyRequests
from telewarden_http.gate import Gate
from telewarden_http.limits import MOST_ADDRESSES, RequestLimit, WrongKeys, source
from telewarden_http.settings import ApiSettings
from telewarden_http.v1.long_polls import LongPolls


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_bucket_fills_again_over_time() -> None:
    clock = Clock()
    limit = RequestLimit(2.0, 4, clock)

    def taken() -> bool:
        outcome = limit.take("board")
        assert outcome is not None
        return outcome.is_allowed

    assert [taken() for _ in range(5)] == [True] * 4 + [False]
    clock.now_s += 1.0
    assert [taken() for _ in range(3)] == [True, True, False]
    clock.now_s += 3600
    assert [taken() for _ in range(5)] == [True] * 4 + [False]
    assert RequestLimit(0, 1, clock).take("board") is None


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    wrong = WrongKeys(10, Clock())
    for n in range(MOST_ADDRESSES + 10):
        wrong.wrong(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
        wrong.right("127.0.0.1", f"key {n}")
    assert len(wrong._buckets) == len(wrong._right) == MOST_ADDRESSES
    assert not wrong.was_right("127.0.0.1", "key 0")


def test_an_address_is_looked_at_again_after_a_while() -> None:
    clock = Clock()
    wrong = WrongKeys(3, clock)
    for _ in range(3):
        wrong.wrong("192.0.2.1")
    assert wrong.blocked_s("192.0.2.1") == pytest.approx(1.0)
    assert wrong.blocked_s("192.0.2.2") == 0
    clock.now_s += 1.0
    assert wrong.blocked_s("192.0.2.1") == 0


def test_one_machine_has_many_addresses_of_ipv6() -> None:
    assert source("2001:db8::1") == source("2001:db8::ffff") != source("2001:db8:0:1::1")
    assert source("::ffff:192.0.2.1") == "192.0.2.1" == source("192.0.2.1")
    assert source("unknown") == "unknown"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: list[str], address: str) -> None:
    settings = ApiSettings(trusted_proxies=("10.0.0.0/8",))
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    scope: dict[str, Any] = {"client": (peer, 1), "headers": headers}
    assert Gate(Keyring(settings), settings).address(scope) == address


def test_one_keys_waiting_takes_nobody_elses_place() -> None:
    polls = LongPolls(3, 2)
    a, b = (Principal(name, name, frozenset({Scope.READ})) for name in "ab")
    with polls.entered(a), polls.entered(a):
        with pytest.raises(TooManyRequests, match="2 requests of this key wait"), polls.entered(a):
            pass
        with polls.entered(b), pytest.raises(TooManyRequests, match="3 requests wait"), polls.entered(b):
            pass
    assert polls.count == 0
    with polls.entered(a):
        assert polls.count == 1
