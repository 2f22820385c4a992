"""Who may ask, and what a stranger learns."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from telewarden_http.settings import ApiSettings, is_loopback

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio

GUARDED = [
    ("GET", "/api/messages/unprocessed?channel=-1"),
    ("POST", "/api/messages/mark-processed"),
    ("POST", "/sync-messages"),
    ("POST", "/api/telegram-gateway/sync-messages"),
    ("GET", "/api/messages/6e9f4a52-0d0b-5a3e-9d55-0a4b9f1c2d3e"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_a_key_a_route_of_the_api_is_closed(api: Api, method: str, path: str) -> None:
    answer = await api.ask(method, path, headers={})

    assert answer.status == 401
    assert "X-API-Key" in answer.refusal
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (api.reader.queries, api.acknowledger.requests) == ([], [])


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_with_a_wrong_key_a_route_of_the_api_is_closed(api: Api, method: str, path: str) -> None:
    answer = await api.ask(method, path, headers={"X-API-Key": "wrong"})

    assert answer.status == 403
    assert "wrong" not in answer.refusal
    assert (api.reader.queries, api.acknowledger.requests) == ([], [])


def credentials(api: Api) -> dict[str, dict[str, str]]:
    return {
        "a consumer's key": {"X-API-Key": api.consumer_key},
        "another consumer's key": {"X-API-Key": api.other_key},
        "a gateway token": {"X-Gateway-Token": api.gateway_token},
        "a consumer's key as bearer": {"Authorization": f"Bearer {api.consumer_key}"},
        "a gateway token as bearer": {"Authorization": f"Bearer {api.gateway_token}"},
        "bearer in small letters": {"Authorization": f"bearer {api.consumer_key}"},
        "one right of two": {"X-API-Key": api.consumer_key, "Authorization": "Bearer wrong"},
    }


async def test_any_way_to_carry_a_right_key_opens(api: Api) -> None:
    for way, headers in credentials(api).items():
        answer = await api.ask("GET", GUARDED[0][1], headers=headers)
        assert answer.status == 200, way


async def test_a_key_in_the_wrong_header_is_wrong(api: Api) -> None:
    swapped = [{"X-API-Key": api.gateway_token}, {"X-Gateway-Token": api.consumer_key}]

    for headers in swapped:
        assert (await api.ask("GET", GUARDED[0][1], headers=headers)).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": ""},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic dTpw"},
        {"Authorization": "Bearer"},
    ],
)
async def test_an_empty_key_or_another_scheme_counts_as_none(api: Api, headers: dict[str, str]) -> None:
    assert (await api.ask("GET", GUARDED[0][1], headers=headers)).status == 401


async def test_nearly_the_key_is_wrong(api: Api) -> None:
    key = api.consumer_key

    for nearly in (key[:-1], key + "x", key.upper(), key.swapcase(), key.encode().hex()):
        answer = await api.ask("GET", GUARDED[0][1], headers={"X-API-Key": nearly})
        assert answer.status == 403, nearly


async def test_without_any_key_in_the_settings_everything_is_closed(make_api: Callable[..., Api]) -> None:
    api = make_api(api_keys={}, gateway_tokens={})

    assert (await api.ask("GET", GUARDED[0][1], headers={})).status == 401
    assert (await api.ask("GET", GUARDED[0][1], headers={"X-API-Key": "any"})).status == 403


async def test_every_key_is_compared_also_after_a_match(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    original = hmac.compare_digest

    def counting(a: Any, b: Any) -> bool:
        compared.append(len(a))
        assert len(a) == len(b)
        return original(a, b)

    monkeypatch.setattr("telewarden_http.auth.hmac.compare_digest", counting)

    for key in (api.consumer_key, api.other_key, "wrong", "x" * 500):
        compared.clear()
        await api.ask("GET", GUARDED[0][1], headers={"Authorization": f"Bearer {key}"})
        assert len(compared) == 3


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
async def test_monitoring_is_open_on_a_loopback_bind(api: Api, path: str) -> None:
    assert (await api.ask("GET", path, headers={})).status == 200


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
async def test_monitoring_asks_for_a_key_on_any_other_bind(make_api: Callable[..., Api], path: str) -> None:
    api = make_api(monitoring_needs_key=True)

    assert (await api.ask("GET", path, headers={})).status == 401
    assert (await api.ask("GET", path, headers={"X-API-Key": "wrong"})).status == 403
    assert (await api.ask("GET", path, headers={"X-Gateway-Token": api.gateway_token})).status == 200


def test_monitoring_is_closed_unless_somebody_opens_it() -> None:
    assert ApiSettings().monitoring_needs_key


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_a_loopback_address_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_any_other_address_is_no_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_settings_do_not_show_their_secrets() -> None:
    settings = ApiSettings(api_keys={"parser": "s3cret-key"}, gateway_tokens={"operator": "s3cret-token"})

    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings)


@pytest.mark.parametrize("secret", ["", " ", "k3y k3y", "k3y\t", "k3y\n", "k3yü", "k3y\x7f"])
def test_a_secret_that_no_header_carries_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(ValueError, match=r"API key of 'parser'") as caught:
        ApiSettings(api_keys={"parser": secret})

    assert "k3y" not in str(caught.value)


@pytest.mark.parametrize(
    "limit", ["body_limit_bytes", "header_limit_bytes", "keep_alive_s", "answer_timeout_s"]
)
def test_a_limit_of_nothing_is_refused_by_name(limit: str) -> None:
    settings: dict[str, Any] = {limit: 0}

    with pytest.raises(ValueError, match=limit):
        ApiSettings(**settings)
