"""The administrator's routes about keys, on a store that a test speaks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from telewarden_http.app import create_app, settings_of
from telewarden_http.protocols import Unavailable
from telewarden_http.v1.admin_keys import KeyAdminRoutes
from telewarden_http.v1.keys_protocols import CreatedKey, KeyInfo, KeyRefused, NewKey

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
INFO = KeyInfo("abcd2345", "parser", "parser", ("read", "ack"), None, NOW)
SECRET = "tw_abcd2345_" + "x" * 43


@dataclass
class FakeKeys:
    found: dict[str, KeyInfo] = field(default_factory=lambda: {INFO.id: INFO})
    error: Exception | None = None
    asked: list[Any] = field(default_factory=list)

    async def keys(self) -> Sequence[KeyInfo]:
        self._note("keys")
        return list(self.found.values())

    async def create(self, wanted: NewKey) -> CreatedKey:
        self._note(wanted)
        return CreatedKey(INFO, SECRET)

    async def rotate(self, key_id: str, overlap_s: float) -> CreatedKey | None:
        self._note(overlap_s)
        found = self.found.get(key_id)
        return None if found is None else CreatedKey(replace(found, rotated_from=key_id), SECRET)

    async def revoke(self, key_id: str) -> KeyInfo | None:
        self._note(key_id)
        found = self.found.get(key_id)
        return None if found is None else replace(found, revoked_at=NOW)

    def _note(self, asked: object) -> None:
        if self.error is not None:
            raise self.error
        self.asked.append(asked)


@dataclass
class Keys:
    api: Api
    store: FakeKeys

    async def ask(self, method: str, path: str, body: object = None, *, status: int) -> Any:
        """The answer's JSON; of a problem what it says."""
        answer = await self.api.ask(
            method,
            f"/v1/admin/keys{path}",
            body=None if body is None else json.dumps(body).encode(),
            headers={"X-Gateway-Token": self.api.gateway_token},
        )
        assert answer.status == status, answer.body
        assert answer.headers["cache-control"] == "no-store"
        if status < 400:
            return answer.json
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.json["detail"]


@pytest.fixture
def keys(api: Api) -> Keys:
    store = FakeKeys()
    app = create_app(
        reader=api.reader,
        acknowledger=api.acknowledger,
        changer=api.changer,
        synchroniser=api.synchroniser,
        health=api.health,
        settings=settings_of(api.app),
        registry=CollectorRegistry(),
        groups=[KeyAdminRoutes(store, 5.0, clock=lambda: NOW)],
    )
    return Keys(replace(api, app=app), store)


async def test_keys_are_listed_without_their_secrets(keys: Keys) -> None:
    assert await keys.ask("GET", "", status=200) == {
        "keys": [
            {
                "id": "abcd2345",
                "name": "parser",
                "consumer": "parser",
                "scopes": ["read", "ack"],
                "channels": None,
                "state": "active",
                "createdAt": "2026-01-05T09:30:00.000Z",
                "expiresAt": None,
                "revokedAt": None,
                "lastUsedAt": None,
                "rotatedFrom": None,
            }
        ]
    }


async def test_a_new_key_is_shown_once(keys: Keys) -> None:
    wanted = {
        "name": "parser",
        "scopes": ["read", "ack", "read"],
        "channels": ["-1001", "-1001\n", "-01001"],
        "expiresAt": "2027-01-01T00:00:00Z",
    }
    assert (await keys.ask("POST", "", wanted, status=201))["key"] == SECRET
    expires_at = datetime(2027, 1, 1, tzinfo=UTC)
    assert keys.store.asked == [NewKey("parser", ["read", "ack"], ["-1001"], expires_at)]


async def test_a_key_is_rotated_with_an_overlap_and_revoked(keys: Keys) -> None:
    rotated = await keys.ask("POST", "/abcd2345/rotate", status=201)
    assert (rotated["rotatedFrom"], rotated["key"]) == ("abcd2345", SECRET)
    await keys.ask("POST", "/abcd2345/rotate", {"overlapSeconds": 0}, status=201)
    assert keys.store.asked == [86_400.0, 0.0]
    assert (await keys.ask("DELETE", "/abcd2345", status=200))["state"] == "revoked"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "", {"name": "a"}, 400, "scopes"),
        ("POST", "", {"name": "a", "scopes": []}, 400, "scopes"),
        ("POST", "", {"name": "a", "scopes": ["change"]}, 400, "scopes"),
        ("POST", "", {"name": "a\0", "scopes": ["read"]}, 400, "name"),
        ("POST", "", {"name": "a", "scopes": ["read"], "channels": ["x"]}, 400, "channels"),
        ("POST", "", {"name": "a", "scopes": ["read"], "expiresAt": "2026-01-05T09:30:00"}, 400, "expiresAt"),
        ("POST", "", {"name": "a", "scopes": ["read"], "expiresAt": "2026-01-05T09:30:00Z"}, 400, "is over"),
        ("POST", "", {"name": "a", "scopes": ["read"], "more": 1}, 400, "more"),
        ("POST", "/abcd2345/rotate", {"overlapSeconds": -1}, 400, "overlapSeconds"),
        ("POST", "/none/rotate", None, 404, "no key with the id 'none'"),
        ("DELETE", "/none", None, 404, "no key with the id 'none'"),
        ("DELETE", "/%00", None, 404, "no such route"),
        (
            "POST",
            "",
            {"name": "a", "scopes": ["read"], "expiresAt": "9999-12-31T23:59:59.999999Z"},
            400,
            "before the year 9999",
        ),
    ],
)
async def test_what_is_wrong_is_said(
    keys: Keys, method: str, path: str, body: object, status: int, told: str
) -> None:
    assert told in await keys.ask(method, path, body, status=status)


async def test_what_the_store_refuses_is_a_conflict_and_without_it_is_503(keys: Keys) -> None:
    keys.store.error = KeyRefused("abcd2345 is revoked")
    assert await keys.ask("POST", "/abcd2345/rotate", status=409) == "abcd2345 is revoked"
    keys.store.error = Unavailable("the database is down")
    assert await keys.ask("GET", "", status=503) == "the database is down"


async def test_a_consumers_key_may_not_manage_keys(keys: Keys) -> None:
    assert (await keys.api.ask("GET", "/v1/admin/keys")).status == 403
    assert keys.store.asked == []
