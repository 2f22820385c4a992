"""The one account: signing in with a code and, where set, with a password (core.telegram.org/api/auth, /api/srp)."""

import hashlib
import hmac
import os
from typing import Any

from telethon.tl import types

from telewarden.sandbox.telegram.crypto import DH_GENERATOR, DH_PRIME

USER_ID = 7_000_001
_CHALLENGES_HELD = 100


class RpcFailed(Exception):
    """A request is answered with an error. code, message: as Telegram names them, such as 400 PHONE_CODE_INVALID."""

    def __init__(self, code: int, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(f"{code} {message}")


def _sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _number(value: int) -> bytes:
    return value.to_bytes(256, "big")


class Account:
    """phone, code: what signs in; password: the second step, None without one."""

    def __init__(self, phone: str, code: str, password: str | None) -> None:
        self._phone, self._code, self._password = phone, code, password
        self._salts = os.urandom(8), os.urandom(16)
        self._challenges: dict[int, int] = {}
        self._verifier = self._make_verifier()
        self._code_hash = "0"

    def user(self) -> Any:
        """The account as its owner sees it."""
        return types.User(
            id=USER_ID, is_self=True, access_hash=1, first_name="Sandbox", phone=self._phone.lstrip("+")
        )

    def send_code(self, phone: str) -> Any:
        """The answer to auth.sendCode. Raises RpcFailed."""
        if phone.lstrip("+") != self._phone.lstrip("+"):
            raise RpcFailed(400, "PHONE_NUMBER_INVALID")
        self._code_hash = os.urandom(8).hex()
        return types.auth.SentCode(types.auth.SentCodeTypeApp(len(self._code)), self._code_hash)

    def check_code(self, phone: str, code: str | None, code_hash: str) -> None:
        """auth.signIn's first step. Raises RpcFailed."""
        if phone.lstrip("+") != self._phone.lstrip("+") or code_hash != self._code_hash:
            raise RpcFailed(400, "PHONE_CODE_EXPIRED")
        if code != self._code:
            raise RpcFailed(400, "PHONE_CODE_INVALID")
        self.check_second_step()

    def check_second_step(self) -> None:
        """What comes after the first step. Raises RpcFailed where the account has a password."""
        if self._password is not None:
            raise RpcFailed(401, "SESSION_PASSWORD_NEEDED")

    def expire_code(self) -> None:
        """The code that was sent is no longer good."""
        self._code_hash = os.urandom(8).hex()

    def _algorithm(self) -> Any:
        return types.PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow(
            *self._salts, DH_GENERATOR, _number(DH_PRIME)
        )

    def _make_verifier(self) -> int:
        first, second = self._salts
        password = (self._password or "").encode()
        inner = _sha256(second, _sha256(first, password, first), second)
        stretched = hashlib.pbkdf2_hmac("sha512", inner, first, 100_000)
        return pow(DH_GENERATOR, int.from_bytes(_sha256(second, stretched, second), "big"), DH_PRIME)

    def password(self) -> Any:
        """The answer to account.getPassword."""
        challenge: dict[str, Any] = {}
        if self._password is not None:
            srp_id, secret = int.from_bytes(os.urandom(7), "big"), int.from_bytes(os.urandom(256), "big")
            self._challenges[srp_id] = secret
            if len(self._challenges) > _CHALLENGES_HELD:
                del self._challenges[next(iter(self._challenges))]
            k = int.from_bytes(_sha256(_number(DH_PRIME), _number(DH_GENERATOR)), "big")
            public = (k * self._verifier + pow(DH_GENERATOR, secret, DH_PRIME)) % DH_PRIME
            challenge = {"current_algo": self._algorithm(), "srp_B": _number(public), "srp_id": srp_id}
        return types.account.Password(
            new_algo=self._algorithm(),
            new_secure_algo=types.SecurePasswordKdfAlgoUnknown(),
            secure_random=os.urandom(16),
            has_password=self._password is not None,
            **challenge,
        )

    def check_password(self, proof: Any) -> None:
        """auth.checkPassword, verified as SRP 6a asks. Raises RpcFailed."""
        secret = self._challenges.pop(getattr(proof, "srp_id", 0), None)
        if secret is None:
            raise RpcFailed(400, "SRP_ID_INVALID")
        p, g, verifier = DH_PRIME, DH_GENERATOR, self._verifier
        k = int.from_bytes(_sha256(_number(p), _number(g)), "big")
        public = (k * verifier + pow(g, secret, p)) % p
        a = int.from_bytes(proof.A, "big")
        if not 1 < a < p - 1:
            # With 0 or a multiple of p anybody could tell the session key.
            raise RpcFailed(400, "PASSWORD_HASH_INVALID")
        u = int.from_bytes(_sha256(_number(a), _number(public)), "big")
        session_key = _sha256(_number(pow(a * pow(verifier, u, p) % p, secret, p)))
        mixed = bytes(x ^ y for x, y in zip(_sha256(_number(p)), _sha256(_number(g)), strict=True))
        first, second = self._salts
        expected = _sha256(mixed, _sha256(first), _sha256(second), _number(a), _number(public), session_key)
        if not hmac.compare_digest(expected, proof.M1):
            raise RpcFailed(400, "PASSWORD_HASH_INVALID")
