"""The routes of channels, for a key that is limited to some of them, and while the database is slow."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import anyio
import pytest
from msgspec import UnsetType

from telewarden_http.auth import Principal, Scope
from telewarden_http.channels import ChannelRoutes
from telewarden_http.gate import PRINCIPAL, Gate
from telewarden_http.gateway_protocols import ChannelEntry, NewChannel
from telewarden_http.routing import register

if TYPE_CHECKING:
    from http.conftest import Api

    from telewarden_http.gateway_protocols import ChannelChange

pytestmark = pytest.mark.anyio
OWN, OTHER = -1001000000001, -1001000000002


@dataclass
class FakeKeeper:
    entries: dict[int, ChannelEntry] = field(
        default_factory=lambda: {
            row: ChannelEntry(row, channel, None, None, True, 0, 0) for row, channel in ((1, OWN), (2, OTHER))
        }
    )
    hangs: bool = False

    async def channels(self) -> list[ChannelEntry]:
        if self.hangs:
            await anyio.sleep_forever()
        return list(self.entries.values())

    async def channel(self, row_id: int) -> ChannelEntry | None:
        return self.entries.get(row_id)

    async def create(self, wanted: NewChannel) -> ChannelEntry:
        self.entries[3] = ChannelEntry(3, wanted.channel_id, wanted.label, None, wanted.is_active, 0, 0)
        return self.entries[3]

    async def change(self, row_id: int, change: ChannelChange) -> ChannelEntry | None:
        if row_id in self.entries and not isinstance(change.channel_id, UnsetType):
            self.entries[row_id] = replace(self.entries[row_id], channel_id=change.channel_id)
        if row_id in self.entries and change.is_active is False:
            self.entries[row_id] = replace(self.entries[row_id], is_active=False)
        return self.entries.get(row_id)

    async def remove(self, row_id: int) -> ChannelEntry | None:
        return self.entries.pop(row_id, None)


class OneKey:
    """Takes everybody for the same one."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def admit(self, facts: dict[str, object], needed: Scope) -> Principal:
        facts[PRINCIPAL] = self._principal
        self._principal.needs(needed)
        return self._principal


def serve(api: Api, scopes: frozenset[Scope], keeper: FakeKeeper) -> None:
    guard = OneKey(Principal("limited", "limited", scopes, frozenset({str(OWN)})))
    for route in ChannelRoutes(keeper, 0.05).routes():
        register(api.app, route, cast("Gate", guard), {})


async def test_a_key_sees_and_changes_its_own_channels_alone(api: Api) -> None:
    keeper = FakeKeeper()
    serve(api, frozenset({Scope.READ, Scope.CHANGE}), keeper)
    listed = (await api.ask("GET", "/api/channels")).json["data"]
    assert [channel["channelId"] for channel in listed] == [str(OWN)]
    for method in ("PUT", "DELETE"):
        answer = await api.ask(method, "/api/channels/2", body=b"{}")
        assert (answer.status, answer.refusal) == (
            404,
            "There is no channel with the id '2'; GET /api/channels lists them",
        )
    answer = await api.ask("POST", "/api/channels", body=json.dumps({"channelId": OTHER}).encode())
    assert answer.status == 403
    assert str(OTHER) in answer.refusal
    answer = await api.ask("PUT", "/api/channels/1", body=json.dumps({"channelId": OTHER}).encode())
    assert (answer.status, answer.refusal) == (403, f"The key may not use the channel {OTHER}")
    assert keeper.entries[1].channel_id == OWN
    assert (await api.ask("PUT", "/api/channels/1", body=b'{"isActive":false}')).json["data"][
        "isActive"
    ] is False
    assert (await api.ask("DELETE", "/api/channels/1")).status == 200
    assert set(keeper.entries) == {2}


async def test_a_key_that_may_only_read_changes_nothing(api: Api) -> None:
    keeper = FakeKeeper()
    serve(api, frozenset({Scope.READ}), keeper)
    assert (await api.ask("GET", "/api/channels")).status == 200
    for method, path in (("POST", ""), ("PUT", "/1"), ("DELETE", "/1")):
        assert (await api.ask(method, f"/api/channels{path}", body=b"{}")).status == 403
    assert set(keeper.entries) == {1, 2}


async def test_a_database_that_does_not_answer_is_not_waited_for_without_end(api: Api) -> None:
    serve(api, frozenset({Scope.READ}), FakeKeeper(hangs=True))
    answer = await api.ask("GET", "/api/channels")
    assert answer.status == 503
    assert "did not answer in time" in answer.refusal
