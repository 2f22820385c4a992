"""Which address counts, and whom wrong keys from the same address hinder."""

from typing import Any

import pytest

from telewarden_http.auth import Keyring, Principal, Scope, StoredKey, key_digest, new_key, scopes_of
from telewarden_http.errors import KeyWrong, TooManyRequests
from telewarden_http.gate import Gate
from telewarden_http.settings import ApiSettings

FAILURES = 10
SETTINGS = ApiSettings(
    wrong_keys=FAILURES, api_keys={"parser": "a-key-of-the-settings"}, trusted_proxies=("127.0.0.0/8",)
)


def asked(key: str, *, peer: str = "192.0.2.1", forwarded: str | None = None) -> dict[str, Any]:
    headers = [(b"x-api-key", key.encode())]
    if forwarded is not None:
        headers.append((b"x-forwarded-for", forwarded.encode()))
    return {"client": (peer, 1), "headers": headers}


def new_gate() -> Gate:
    return Gate(Keyring(SETTINGS), SETTINGS, clock_s=lambda: 0.0)


def block(gate: Gate, peer: str = "192.0.2.1") -> None:
    for n in range(FAILURES):
        with pytest.raises(KeyWrong):
            gate.admit(asked(f"guess {n}", peer=peer), Scope.READ)


@pytest.mark.parametrize("peer", ["::1", "2001:db8::5", "fe80::1%eth0", "::ffff:192.0.2.1", "192.0.2.1"])
def test_wrong_keys_are_counted_from_any_kind_of_address(peer: str) -> None:
    gate = new_gate()
    block(gate, peer)

    with pytest.raises(TooManyRequests):
        gate.admit(asked("one guess more", peer=peer), Scope.READ)


def test_a_proxy_is_known_also_by_a_socket_for_both_kinds_of_address() -> None:
    scope = asked("", peer="::ffff:127.0.0.1", forwarded="::ffff:198.51.100.1")

    assert new_gate().address(scope) == "198.51.100.1"


@pytest.mark.parametrize(
    "forged", ["fe80::1%" + "x" * 9000, "fe80::1%\x1b[2J", "1" * 9000, "198.51.100.1:80"]
)
def test_what_is_no_address_is_not_taken_for_one(forged: str) -> None:
    assert new_gate().address(asked("", peer="127.0.0.1", forwarded=forged)) == "127.0.0.1"


def test_a_stored_key_is_let_in_whatever_else_comes_from_its_address() -> None:
    gate = new_gate()
    key_id, key = new_key()
    stored = Principal("board", "board", scopes_of(("read",)), is_stored=True)
    gate.keyring.learn([StoredKey(key_id, stored, key_digest(key_id, key.encode()))])
    block(gate)

    assert gate.admit(asked(key), Scope.READ) == stored
    with pytest.raises(TooManyRequests):
        gate.admit(asked("a-key-of-the-settings"), Scope.READ)


def test_a_client_that_repeats_its_wrong_key_shuts_nobody_out() -> None:
    gate = new_gate()
    for _ in range(10 * FAILURES):
        with pytest.raises(KeyWrong):
            gate.admit(asked("yesterday's key"), Scope.READ)

    assert gate.admit(asked("a-key-of-the-settings"), Scope.READ).name == "parser"
