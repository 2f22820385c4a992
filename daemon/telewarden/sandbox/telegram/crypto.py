"""MTProto's cryptography, the server's side (core.telegram.org/mtproto, "Mobile Protocol: Detailed Description")."""

import math
import os
import secrets
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path

import cryptg
import rsa
from rsa.prime import is_prime

DH_PRIME = int(
    "c71caeb9c6b1c9048e6c522f70f13f73980d40238e3e21c14934d037563d930f48198a0aa7c14058229493d22530f4dbfa336f6e0ac92513"
    "9543aed44cce7c3720fd51f69458705ac68cd4fe6b6b13abdc9746512969328454f18faf8c595f642477fe96bb2a941d5bcd1d4ac8cc4988"
    "0708fa9b378e3c4f3a9060bee67cf9a4a4a695811051907e162753b56b0f6b410dba74d8a84b2a14b3144e0ef1284754fd17ed950d5965b4"
    "b9dd46582db1178d169c6bc465b0d6ff9ca3928fef5b9ae4e418fc15e83ebea0f87fa9ff5eed70050ded2849f47bf959d956850ce929851f"
    "0d8115f635b105ee2e4e15d04b2454bf6f4fadf034b10403119cd8e3b92fcc5b",
    16,
)
"""The safe prime that Telegram uses, and that clients insist on. Public: every client carries it."""
DH_GENERATOR = 3


_SMALL_PRIMES = math.prod(n for n in range(3, 2000) if all(n % d for d in range(2, math.isqrt(n) + 1)))


def _prime(bits: int) -> int:
    """A random prime with its two highest bits set, so that a product of two has all its bits."""
    while True:
        candidate = secrets.randbits(bits) | 3 << bits - 2 | 1
        if (
            math.gcd(candidate, _SMALL_PRIMES) == 1
            and pow(2, candidate - 1, candidate) == 1
            and is_prime(candidate)
        ):
            return candidate


def server_fingerprint(key: rsa.PublicKey) -> int:
    """A server key's fingerprint as clients name it: signed, from its TL serialisation."""
    n = key.n.to_bytes((key.n.bit_length() + 7) // 8, "big")
    e = key.e.to_bytes((key.e.bit_length() + 7) // 8, "big")
    return int.from_bytes(sha1(tl_bytes(n) + tl_bytes(e)).digest()[-8:], "little", signed=True)  # noqa: S324


def tl_bytes(data: bytes) -> bytes:
    """Bytes as TL serialises them: their length, they, zeros up to a whole word."""
    head = bytes([len(data)]) if len(data) < 254 else b"\xfe" + len(data).to_bytes(3, "little")
    return head + data + bytes(-(len(head) + len(data)) % 4)


@dataclass(frozen=True)
class ServerKey:
    """The key that clients encrypt their first secret to."""

    private: rsa.PrivateKey

    @classmethod
    def make(cls) -> "ServerKey":
        """A new one. (The library's own `newkeys` takes several seconds: it tests candidates without sieving them.)"""
        exponent = 65537
        while True:
            p, q = _prime(1024), _prime(1024)
            totient = (p - 1) * (q - 1)
            if p != q and totient % exponent:
                return cls(rsa.PrivateKey(p * q, exponent, pow(exponent, -1, totient), p, q))

    @classmethod
    def load(cls, path: Path) -> "ServerKey":
        """The one in a file; it is made, readable by its owner alone, if it is not there."""
        if path.exists():
            return cls(rsa.PrivateKey.load_pkcs1(path.read_bytes()))
        key = cls.make()
        path.touch(mode=0o600)
        path.write_bytes(key.private.save_pkcs1())
        return key

    @property
    def public(self) -> rsa.PublicKey:
        """What clients need."""
        return rsa.PublicKey(self.private.n, self.private.e)

    @property
    def public_pem(self) -> bytes:
        """The public key as PKCS#1 PEM."""
        return bytes(self.public.save_pkcs1())

    @property
    def fingerprint(self) -> int:
        """See `server_fingerprint`."""
        return server_fingerprint(self.public)

    def decrypt(self, encrypted: bytes) -> bytes:
        """The data that a client sent, with whatever padding follows it; by the old scheme or RSA_PAD.

        Raises ValueError if it is neither.
        """
        number = pow(int.from_bytes(encrypted, "big"), self.private.d, self.private.n)
        block = number.to_bytes(256, "big")
        temporary_key = bytes(a ^ b for a, b in zip(block[:32], sha256(block[32:]).digest(), strict=True))
        with_hash = ige_decrypt(block[32:], temporary_key, bytes(32))
        data = with_hash[:192][::-1]
        if sha256(temporary_key + data).digest() == with_hash[192:]:
            return data
        # Asked second: one block of 256 that RSA_PAD makes begins with a zero as well.
        if block[0] == 0:
            # SHA1(data) + data + padding: the data's length is not told, so that its hash cannot be checked here.
            return block[21:]
        raise ValueError("it is neither RSA_PAD nor the scheme before it")


def ige_encrypt(data: bytes, key: bytes, iv: bytes) -> bytes:
    """AES-256-IGE; data in whole blocks of 16 bytes."""
    return bytes(cryptg.encrypt_ige(data, key, iv))


def ige_decrypt(data: bytes, key: bytes, iv: bytes) -> bytes:
    """AES-256-IGE; data in whole blocks of 16 bytes."""
    return bytes(cryptg.decrypt_ige(data, key, iv))


def handshake_key(new_nonce: int, server_nonce: int) -> tuple[bytes, bytes]:
    """(key, iv) of the two encrypted messages of the handshake."""
    new, server = (
        new_nonce.to_bytes(32, "little", signed=True),
        server_nonce.to_bytes(16, "little", signed=True),
    )
    h1, h2, h3 = sha1(new + server).digest(), sha1(server + new).digest(), sha1(new + new).digest()  # noqa: S324
    return h1 + h2[:12], h2[12:] + h3 + new[:4]


def key_id(auth_key: bytes) -> bytes:
    """The 8 bytes that name an authorisation key on the wire."""
    return sha1(auth_key).digest()[-8:]  # noqa: S324


def message_key(auth_key: bytes, padded: bytes, *, from_server: bool) -> bytes:
    """msg_key of MTProto 2.0."""
    x = 8 if from_server else 0
    return sha256(auth_key[88 + x : 120 + x] + padded).digest()[8:24]


def message_keys(auth_key: bytes, msg_key: bytes, *, from_server: bool) -> tuple[bytes, bytes]:
    """(AES key, IV) of one message, MTProto 2.0."""
    x = 8 if from_server else 0
    a = sha256(msg_key + auth_key[x : x + 36]).digest()
    b = sha256(auth_key[40 + x : 76 + x] + msg_key).digest()
    return a[:8] + b[8:24] + a[24:], b[:8] + a[8:24] + b[24:]


def encrypt_message(auth_key: bytes, plain: bytes) -> bytes:
    """A message from the server, ready for a transport."""
    padding = 12 + (-(len(plain) + 12)) % 16
    padded = plain + os.urandom(padding)
    msg_key = message_key(auth_key, padded, from_server=True)
    key, iv = message_keys(auth_key, msg_key, from_server=True)
    return key_id(auth_key) + msg_key + ige_encrypt(padded, key, iv)


def decrypt_message(auth_key: bytes, packet: bytes) -> bytes:
    """A client's message with its padding. Raises ValueError if it was tampered with."""
    msg_key, body = packet[8:24], packet[24:]
    if not body or len(body) % 16:
        raise ValueError("an encrypted message is whole blocks of 16 bytes")
    key, iv = message_keys(auth_key, msg_key, from_server=False)
    plain = ige_decrypt(body, key, iv)
    if message_key(auth_key, plain, from_server=False) != msg_key:
        raise ValueError("msg_key does not match")
    return plain
