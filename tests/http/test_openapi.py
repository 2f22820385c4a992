"""The OpenAPI document: valid, kept in docs/, and about exactly what is served."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from telewarden_http.app import document_of
from telewarden_http.described import openapi_document
from telewarden_http.openapi import document, encoded
from telewarden_http.reference import ReferenceRoutes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.conftest import Api

KEPT = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in json.loads(openapi_document())["paths"].items():
        for method, told in methods.items():
            yield f"{method.upper()} {path}", told


def test_the_document_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(json.loads(openapi_document())).iter_errors()) == []


def test_the_kept_copy_is_what_is_served() -> None:
    assert KEPT.read_bytes() == openapi_document(), "run: make docs"


def test_an_operation_tells_what_it_is_and_what_it_needs() -> None:
    for name, told in operations():
        assert told["summary"], name
        assert told["tags"], name
        assert any(status < "400" for status in told["responses"]), name
        needed = {scope for scheme in told["security"] for scopes in scheme.values() for scope in scopes}
        if needed:
            (scope,) = needed
            assert f"scope `{scope}`" in told["description"], name
            assert {"401", "403", "429"} <= set(told["responses"]), name
        else:
            assert "Needs no key." in told["description"], name
        assert (" /v1/" in name) == ("Problem" in str(told["responses"])), name


def test_the_order_of_routes_changes_nothing() -> None:
    routes = ReferenceRoutes().routes()
    assert encoded(routes) == encoded(tuple(reversed(routes)))


def test_a_route_that_tells_nothing_of_itself_is_an_error() -> None:
    route = ReferenceRoutes().routes()[0]
    with pytest.raises(ValueError, match=r"GET /openapi\.json has no operation"):
        document([replace(route, operation=None)])


@pytest.mark.anyio
async def test_every_served_route_is_told_of_and_nothing_else(api: Api) -> None:
    served = {
        (method, re.sub(r"<(?:[a-z]+:)?([a-z_]+)>", r"{\1}", rule.rule))
        for rule in api.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }
    told = {
        (method.upper(), path)
        for path, methods in json.loads(document_of(api.app))["paths"].items()
        for method in methods
    }
    assert served == told


@pytest.mark.anyio
async def test_the_document_needs_no_key_and_is_not_sent_twice(api: Api) -> None:
    answer = await api.ask("GET", "/openapi.json", headers={})
    assert (answer.status, answer.body) == (200, document_of(api.app))
    assert answer.headers["content-type"] == "application/json"
    again = await api.ask("GET", "/openapi.json", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/reference.js", "text/javascript; charset=utf-8"),
        ("/docs/reference.css", "text/css; charset=utf-8"),
    ],
)
async def test_the_page_comes_with_a_policy_that_lets_nothing_in(api: Api, path: str, kind: str) -> None:
    answer = await api.ask("GET", path, headers={})
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"://" not in answer.body


@pytest.mark.anyio
async def test_a_fixed_path_is_not_taken_for_an_id(api: Api) -> None:
    answer = await api.ask("GET", "/api/messages/mark-processed")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.anyio
async def test_version_1_refuses_what_it_does_not_take(api: Api) -> None:
    answer = await api.ask("GET", "/v1/messages/-1001649127710/17/seen?x=1")
    assert answer.status == 400
    assert "no parameters" in answer.json["detail"]


@pytest.mark.anyio
async def test_the_number_seventeen_may_have_a_point(api: Api) -> None:
    answer = await api.acknowledge({"messageIds": [17.0], "processedBy": "x"})
    assert answer.status == 200
    assert api.acknowledger.requests[-1].message_ids == (17,)
