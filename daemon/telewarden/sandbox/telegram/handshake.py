"""Making an authorisation key (core.telegram.org/mtproto/auth_key), the server's side. No I/O."""

import os
import time
from hashlib import sha1
from typing import Any

from telethon.errors import TypeNotFoundError
from telethon.tl import functions, types

from telewarden.sandbox.telegram.crypto import (
    DH_GENERATOR,
    DH_PRIME,
    ServerKey,
    handshake_key,
    ige_decrypt,
    ige_encrypt,
)
from telewarden.sandbox.telegram.messages import BadMessage, read_object

_P, _Q = 1229739323, 1402015859
_SECRETS = (
    types.PQInnerData,
    types.PQInnerDataDc,
    types.PQInnerDataTemp,
    types.PQInnerDataTempDc,
)


class HandshakeFailed(Exception):
    """A client's step does not fit; the connection has to end."""


class Handshake:
    """One client's way to a key. `step` takes its requests in order; `auth_key` is there after the last."""

    def __init__(self, key: ServerKey) -> None:
        self._key = key
        self._nonce = self._server_nonce = 0
        self._new_nonce: int | None = None
        self._secret = int.from_bytes(os.urandom(256), "big")
        self.auth_key: bytes | None = None

    def step(self, request: Any) -> Any:
        """The answer to a request. Raises HandshakeFailed."""
        match request:
            case functions.ReqPqMultiRequest() | functions.ReqPqRequest():
                self._nonce = request.nonce
                self._server_nonce = int.from_bytes(os.urandom(16), "little", signed=True)
                return types.ResPQ(
                    nonce=self._nonce,
                    server_nonce=self._server_nonce,
                    pq=(_P * _Q).to_bytes(8, "big"),
                    server_public_key_fingerprints=[self._key.fingerprint],
                )
            case functions.ReqDHParamsRequest():
                self._check(request)
                return self._offer(request)
            case functions.SetClientDHParamsRequest():
                self._check(request)
                return self._accept(request)
            case _:
                raise HandshakeFailed(f"{type(request).__name__} is no step of the handshake")

    def _check(self, request: Any) -> None:
        if (request.nonce, request.server_nonce) != (self._nonce, self._server_nonce):
            raise HandshakeFailed("the nonces are not those of this handshake")

    def _offer(self, request: Any) -> Any:
        if request.public_key_fingerprint != self._key.fingerprint:
            raise HandshakeFailed("the client encrypted to another key; give it this server's public key")
        try:
            inner, _ = read_object(self._key.decrypt(request.encrypted_data))
        except (ValueError, BadMessage, TypeNotFoundError) as error:
            raise HandshakeFailed(f"the client's secret cannot be read: {error}") from error
        if not isinstance(inner, _SECRETS):
            raise HandshakeFailed(f"the client's secret is a {type(inner).__name__}")
        self._check(inner)
        self._new_nonce = inner.new_nonce
        answer = bytes(
            types.ServerDHInnerData(
                nonce=self._nonce,
                server_nonce=self._server_nonce,
                g=DH_GENERATOR,
                dh_prime=DH_PRIME.to_bytes(256, "big"),
                g_a=pow(DH_GENERATOR, self._secret, DH_PRIME).to_bytes(256, "big"),
                server_time=int(time.time()),
            )
        )
        with_hash = sha1(answer).digest() + answer  # noqa: S324
        padded = with_hash + os.urandom(-len(with_hash) % 16)
        encrypted = ige_encrypt(padded, *handshake_key(self._new_nonce, self._server_nonce))
        return types.ServerDHParamsOk(self._nonce, self._server_nonce, encrypted)

    def _accept(self, request: Any) -> Any:
        if self._new_nonce is None:
            raise HandshakeFailed("the client's half came before its secret")
        encrypted = request.encrypted_data
        if not encrypted or len(encrypted) % 16:
            raise HandshakeFailed("the client's half is not whole blocks of 16 bytes")
        data = ige_decrypt(encrypted, *handshake_key(self._new_nonce, self._server_nonce))
        try:
            inner, length = read_object(data[20:])
        except (BadMessage, TypeNotFoundError) as error:
            raise HandshakeFailed(f"the client's half cannot be read: {error}") from error
        if sha1(data[20 : 20 + length]).digest() != data[:20]:  # noqa: S324
            raise HandshakeFailed("the hash of the client's half does not match")
        if not isinstance(inner, types.ClientDHInnerData):
            raise HandshakeFailed(f"the client's half is a {type(inner).__name__}")
        self._check(inner)
        half = int.from_bytes(inner.g_b, "big")
        if not 1 < half < DH_PRIME - 1:
            raise HandshakeFailed("the client's half would make a key that anybody knows")
        shared = pow(half, self._secret, DH_PRIME)
        self.auth_key = shared.to_bytes(256, "big")
        new = self._new_nonce.to_bytes(32, "little", signed=True)
        auxiliary = sha1(self.auth_key).digest()[:8]  # noqa: S324
        confirmation = sha1(new + b"\x01" + auxiliary).digest()[4:]  # noqa: S324
        return types.DhGenOk(
            self._nonce, self._server_nonce, int.from_bytes(confirmation, "little", signed=True)
        )
