"""Signing in by QR code, the server's side (core.telegram.org/api/qr-login). A control request stands for the phone
that scans the code."""

import os
from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

from telethon.tl import functions, types

from telewarden.sandbox.telegram.account import Account, RpcFailed

OPEN = (functions.auth.ExportLoginTokenRequest, functions.auth.ImportLoginTokenRequest)
_VALID = timedelta(seconds=30)
_HELD = 1000


class LoginTokens:
    """The tokens that are shown, each with the key that asked for it. signed_in: keys that have signed in."""

    def __init__(self, account: Account, signed_in: set[bytes]) -> None:
        self._account, self._signed_in = account, signed_in
        self._tokens: dict[bytes, tuple[bytes, datetime]] = {}
        self._accepted: set[bytes] = set()
        self._moved: set[bytes] = set()
        self._elsewhere = False

    def export(self, request: Any, key_id: bytes) -> Any:
        """The answer to auth.exportLoginToken. Raises RpcFailed."""
        token = os.urandom(32)
        if key_id in self._accepted:
            if not self._elsewhere:
                return self._let_in(key_id)
            self._accepted.discard(key_id)
            self._moved.add(token)
            return types.auth.LoginTokenMigrateTo(2, token)
        expires = datetime.now(UTC) + _VALID
        self._tokens[token] = (key_id, expires)
        if len(self._tokens) > _HELD:
            del self._tokens[next(iter(self._tokens))]
        return types.auth.LoginToken(expires, token)

    def take_over(self, request: Any, key_id: bytes) -> Any:
        """The answer to auth.importLoginToken, which a client asks in the other data centre. Raises RpcFailed."""
        if request.token not in self._moved:
            raise RpcFailed(400, "AUTH_TOKEN_INVALID")
        self._moved.discard(request.token)
        return self._let_in(key_id)

    def accept(self, token: bytes, *, elsewhere: bool) -> bytes:
        """The phone scanned a token. Returns the key that asked for it. Raises ValueError.

        elsewhere: the account lives in another data centre, where the client has to go.
        """
        key_id, expires = self._tokens.pop(token, (None, datetime.min.replace(tzinfo=UTC)))
        if key_id is None or expires < datetime.now(UTC):
            raise ValueError("that token has expired, or never was")
        self._accepted.add(key_id)
        self._elsewhere = elsewhere
        return key_id

    def _let_in(self, key_id: bytes) -> Any:
        self._account.check_second_step()
        self._accepted.discard(key_id)
        self._signed_in.add(key_id)
        return types.auth.LoginTokenSuccess(types.auth.Authorization(self._account.user()))


def scan(tokens: LoginTokens, request: dict[str, Any]) -> tuple[bytes, bytes | None]:
    """The control request "scan_qr": address; silent: without telling the client; elsewhere: see `accept`.

    Returns the key that asked for the token, and what its clients are told. Raises ValueError.
    """
    encoded = str(request["address"]).partition("token=")[2]
    token = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    key_id = tokens.accept(token, elsewhere=bool(request.get("elsewhere")))
    if request.get("silent"):
        return key_id, None
    return key_id, bytes(types.UpdateShort(types.UpdateLoginToken(), datetime.now(UTC)))
