"""The administrator's routes about keys."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from quart import Response

from telewarden_http.answering import in_time
from telewarden_http.auth import Scope
from telewarden_http.errors import BadRequest
from telewarden_http.responses import json_response
from telewarden_http.routing import Operation, Route
from telewarden_http.v1.administration_protocols import Conflict, NotThere
from telewarden_http.v1.keys_protocols import CreatedKey, KeyAdmin, KeyInfo, KeyRefused, NewKey
from telewarden_http.v1.overview_protocols import Shape
from telewarden_http.v1.requests import parse_body
from telewarden_http.wire import iso_ms

_T = TypeVar("_T")
_BASE = "/v1/admin/keys"
_DOWN = "The database, which keeps keys, is down"
_OVERLAP_S = 86_400
_MOST_OVERLAP_S = 30 * 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
ChannelId = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,18}$", description="a channel's id")]


class KeyPath(msgspec.Struct):
    """key: its id, not the key itself."""

    key: str


class KeyView(Shape, frozen=True, kw_only=True):
    """What may be shown of a key. state: active, expired or revoked. channels: null for all. last_used_at: to the
    minute. rotated_from: the id of the key that it replaces."""

    id: str
    name: str
    consumer: str
    scopes: list[str]
    channels: list[str] | None
    state: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    rotated_from: str | None


class KeyShownOnce(KeyView, frozen=True, kw_only=True):
    """A new key. key: the secret, which is shown this once and kept nowhere."""

    key: str


class Keys(Shape, frozen=True, kw_only=True):
    """Stored keys, also revoked and expired ones, the newest first."""

    keys: list[KeyView]


class WantedKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """name: whose it is. channels: ids that it may read; null for all. expires_at: with a zone; null for never.
    consumer: whose place in the feed it uses; its name if left out."""

    name: Name
    scopes: Annotated[list[Literal["read", "ack", "admin"]], msgspec.Meta(min_length=1, max_length=3)]
    channels: Annotated[list[ChannelId], msgspec.Meta(max_length=1000)] | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    consumer: Name | None = None


class Rotation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """overlap_seconds: how long the old key is valid beside the new one; 0 to 30 days."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=_MOST_OVERLAP_S)] = _OVERLAP_S


class KeyAdminRoutes:
    """The handlers. answer_timeout_s: how long a request may take."""

    def __init__(
        self,
        keys: KeyAdmin,
        answer_timeout_s: float,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys, self._clock = keys, clock
        self._answer_timeout_s = answer_timeout_s

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return (
            Route(
                "GET", _BASE, self.all, Scope.ADMIN, Operation("The keys", answers={200: Keys, 503: _DOWN})
            ),
            Route(
                "POST",
                _BASE,
                self.create,
                Scope.ADMIN,
                Operation(
                    "Make a key",
                    "The answer shows the key this once.",
                    body=WantedKey,
                    answers={
                        201: KeyShownOnce,
                        400: "It is no key",
                        409: "No such key can be made",
                        503: _DOWN,
                    },
                ),
            ),
            Route(
                "POST",
                f"{_BASE}/<key>/rotate",
                self.rotate,
                Scope.ADMIN,
                Operation(
                    "Replace a key",
                    "The new one may do what the old one may, which expires after the overlap.",
                    path=KeyPath,
                    body=Rotation,
                    answers={
                        201: KeyShownOnce,
                        400: "The overlap is out of range",
                        404: "There is no such key",
                        409: "It is revoked or expired",
                        503: _DOWN,
                    },
                ),
            ),
            Route(
                "DELETE",
                f"{_BASE}/<key>",
                self.revoke,
                Scope.ADMIN,
                Operation(
                    "Revoke a key",
                    "Within seconds it is valid in no process any more. Harmless to repeat.",
                    path=KeyPath,
                    answers={200: KeyView, 404: "There is no such key", 503: _DOWN},
                ),
            ),
        )

    async def all(self) -> Response:
        """`GET /v1/admin/keys`"""
        found = await self._in_time(self._keys.keys())
        return _json(Keys(keys=[KeyView(**self._shown(info)) for info in found]))

    async def create(self) -> Response:
        """`POST /v1/admin/keys`"""
        wanted = await parse_body(WantedKey)
        if wanted.expires_at is not None and wanted.expires_at <= self._clock():
            raise BadRequest('"expiresAt" is over already; name a time to come, or null')
        created = await self._in_time(
            self._keys.create(
                NewKey(
                    wanted.name,
                    list(dict.fromkeys(wanted.scopes)),
                    # As routes compare them: a line break at the end, and zeros at the beginning, pass the pattern.
                    None if wanted.channels is None else list(dict.fromkeys(map(_plain, wanted.channels))),
                    _utc(wanted.expires_at),
                    wanted.consumer,
                )
            )
        )
        return self._shown_once(created)

    async def rotate(self, key: str) -> Response:
        """`POST /v1/admin/keys/{key}/rotate`"""
        rotation = await parse_body(Rotation)
        created = await self._in_time(self._keys.rotate(key, float(rotation.overlap_seconds)))
        return self._shown_once(_there(created, key))

    async def revoke(self, key: str) -> Response:
        """`DELETE /v1/admin/keys/{key}`"""
        info = _there(await self._in_time(self._keys.revoke(key)), key)
        return _json(KeyView(**self._shown(info)))

    def _shown_once(self, created: CreatedKey) -> Response:
        return _json(KeyShownOnce(**self._shown(created.info), key=created.key), 201)

    def _shown(self, info: KeyInfo) -> dict[str, Any]:
        """The members of a KeyView."""
        return {
            "id": info.id,
            "name": info.name,
            "consumer": info.consumer,
            "scopes": list(info.scopes),
            "channels": None if info.channels is None else list(info.channels),
            "state": info.state(self._clock()),
            "created_at": _iso(info.created_at),
            "expires_at": _iso(info.expires_at),
            "revoked_at": _iso(info.revoked_at),
            "last_used_at": _iso(info.last_used_at),
            "rotated_from": info.rotated_from,
        }

    async def _in_time(self, answer: Awaitable[_T]) -> _T:
        try:
            return await in_time(
                answer,
                self._answer_timeout_s,
                "The database did not answer in time; look at the keys before you try again",
            )
        except KeyRefused as error:
            raise Conflict(str(error)) from error


def _plain(channel: str) -> str:
    return str(int(channel))


def _utc(moment: datetime | None) -> datetime | None:
    """Not in the last year that there is: its end in another zone is no time, and its last moment the database's
    "infinity"."""
    if moment is None:
        return None
    if moment.year >= MAXYEAR:
        raise BadRequest(f'"expiresAt" must be before the year {MAXYEAR}; null is for never')
    return moment.astimezone(UTC)


def _there(found: _T | None, key: str) -> _T:
    if found is None:
        raise NotThere(f"There is no key with the id {key[:20]!r}; GET {_BASE} lists them")
    return found


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso_ms((moment - _EPOCH) // timedelta(microseconds=1))


def _json(value: Shape, status: int = 200) -> Response:
    return json_response(msgspec.json.encode(value), status)
