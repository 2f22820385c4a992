"""The OpenAPI document (3.1), made of the routes as they are served."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from telewarden_http.auth import Scope
from telewarden_http.contract_shapes import Failure
from telewarden_http.routing import Operation, Route
from telewarden_http.v1.feed_shapes import Problem

VERSION: Final = "1"
"""Of the API; grows with a change that clients would have to know of."""

_SCHEMA: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_EVENTS: Final = {"description": "Server-sent events."}
_BODIES: Final = {_JSON: {"type": "object"}, "text/event-stream": _EVENTS}
_METHODS: Final = ("get", "put", "post", "delete", "patch")
_KEYS: Final = ("apiKey", "gatewayToken", "bearer")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
}

_TAGS: Final = (
    (
        "Feed",
        ("/v1/feed", "/v1/channels"),
        "What happens to messages, in order, behind a token that you keep.",
    ),
    ("Messages", ("/v1/messages/{channel}",), "Whether messages were taken in."),
    ("Administration", ("/v1/admin",), "For operators."),
    ("Consumers", ("/v1/",), "A durable place in the feed, with a lease for each message."),
    ("Old contract: messages", ("/api/messages",), "As the gateway had it that Telewarden replaces."),
    ("Old contract: channels", ("/api/channels",), "As the gateway had it that Telewarden replaces."),
    (
        "Old contract: gateway",
        ("/api/telegram-gateway", "/sync-messages"),
        "As the gateway had it that Telewarden replaces.",
    ),
    ("Monitoring", ("/health", "/metrics"), "For machines that watch."),
    ("Pages", ("/console", "/docs", "/openapi.json"), "For people."),
)
_SCOPES: Final = {
    Scope.READ: "Needs a key with the scope `read`.",
    Scope.ACK: "Needs a key with the scope `ack`.",
    Scope.CHANGE: "Needs a key of the settings, or one with the scope `admin` (scope `change`).",
    Scope.ADMIN: "Needs a key with the scope `admin`.",
}
_REFUSALS: Final = {
    400: "The request cannot be understood; the text names what is wrong",
    401: "The request carries no key",
    403: "The key is not valid, or does not allow this",
    404: "There is no such thing for this key",
    408: "The body did not arrive in time",
    413: "The body is too large",
    429: "Too many requests, or too many that wait",
    503: "What answers this is down; try again",
}
_INFO: Final = """\
Telegram channel messages, never one lost. Below `/v1` errors are problems (RFC 9457), names are camelCase, times ISO
8601 in UTC, 64-bit ids strings. Below `/api` everything is as the gateway had it that Telewarden replaces.

The guide: docs/http-api-v1.md and docs/http-api.md of the sources."""


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document, in the same order whatever the order of the routes. Raises ValueError for a route that says nothing
    of itself."""
    served = sorted(routes, key=lambda route: (route.template, _METHODS.index(route.method.lower())))
    kinds = _Kinds(served)
    paths: dict[str, dict[str, Any]] = {}
    for route in served:
        if route.operation is None:
            raise ValueError(f"{route.method} {route.rule} has no operation, so no document can tell of it")
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route, route.operation, kinds)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Telewarden",
            "version": VERSION,
            "description": _INFO,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, _, text in _TAGS],
        "paths": paths,
        "components": {
            "schemas": kinds.components,
            "responses": {
                _refusal_name(status, is_v1=is_v1): _failure(text, status, shape, kinds)
                for is_v1, shape in ((True, Problem), (False, Failure))
                for status, text in _REFUSALS.items()
            },
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "gatewayToken": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Gateway-Token",
                    "description": "The operator's; it has every scope.",
                },
                "bearer": {"type": "http", "scheme": "bearer", "description": "Takes either."},
            },
        },
    }


def encoded(routes: Iterable[Route]) -> bytes:
    """The document as it is served and kept: JSON that people can read, and a line's end."""
    return msgspec.json.format(msgspec.json.encode(document(routes)), indent=2) + b"\n"


class _Kinds:
    """The schemas of everything that routes speak of. components: of those that are referred to, by name."""

    def __init__(self, routes: Sequence[Route]) -> None:
        operations = [route.operation for route in routes if route.operation is not None]
        shown: list[Any] = [Problem, Failure]
        for operation in operations:
            shown += [kind for kind in operation.answers.values() if not isinstance(kind, str)]
            if operation.body is not None:
                shown.append(operation.body)
        schemas, components = msgspec.json.schema_components(shown, ref_template=_SCHEMA)
        self._schemas = list(zip(shown, schemas, strict=True))
        self.components = {name: _readable(components[name]) for name in sorted(components)}

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of one of them: a reference."""
        schema = next(schema for known, schema in self._schemas if known is kind)
        return dict(_readable(schema))


def _operation(route: Route, operation: Operation, kinds: _Kinds) -> dict[str, Any]:
    words = [operation.description, _SCOPES[route.scope] if route.scope else "Needs no key."]
    shown: dict[str, Any] = {
        "operationId": _name(route),
        "tags": [_tag(route.template)],
        "summary": operation.summary,
        "description": " ".join(word for word in words if word),
    }
    parameters = [
        *_parameters(operation.path, "path", _PLACEHOLDER.findall(route.template)),
        *_query(operation.query, takes_blanks=not route.rule.startswith("/v1/")),
    ]
    if parameters:
        shown["parameters"] = parameters
    if operation.body is not None:
        shown["requestBody"] = {
            "required": operation.needs_body or not _may_be_empty(operation.body),
            "content": {_JSON: {"schema": kinds.of(operation.body)}},
        }
    shown["responses"] = {
        str(status): _answer(route, operation, status, kind, kinds)
        for status, kind in sorted({**_refusals(route, operation), **operation.answers}.items())
    }
    shown["security"] = [{name: [str(route.scope)]} for name in _KEYS] if route.scope else []
    return shown


def _name(route: Route) -> str:
    """The operation's: "get_v1_channels_channel_messages"."""
    words = re.findall(r"[A-Za-z0-9]+", route.template)
    return "_".join((route.method.lower(), *words, *(["slash"] if route.template.endswith("/") else ())))


def _refusals(route: Route, operation: Operation) -> Mapping[int, str]:
    """What may be answered besides what the operation itself tells of."""
    statuses = [400]
    if route.scope is not None:
        statuses += [401, 403, 429, 503]
    if "{" in route.template:
        statuses.append(404)
    if operation.body is not None:
        statuses += [408, 413]
    return {status: _REFUSALS[status] for status in statuses}


def _answer(route: Route, operation: Operation, status: int, kind: Any, kinds: _Kinds) -> dict[str, Any]:
    if status >= HTTPStatus.BAD_REQUEST:
        return _refusal(route, status, kind, kinds)
    if not isinstance(kind, str):
        content = {_JSON: {"schema": kinds.of(kind)}}
        if operation.events:
            content["text/event-stream"] = {"schema": _EVENTS}
        return {"description": _description(kind), "content": content}
    if operation.media is None or status != HTTPStatus.OK:
        return {"description": kind}
    schema = _BODIES.get(operation.media, {"type": "string"})
    return {"description": kind, "content": {operation.media: {"schema": schema}}}


def _refusal(route: Route, status: int, kind: Any, kinds: _Kinds) -> dict[str, Any]:
    is_v1 = route.rule.startswith("/v1/")
    if kind is Problem or kind == _REFUSALS.get(status):
        return {"$ref": f"#/components/responses/{_refusal_name(status, is_v1=is_v1)}"}
    if isinstance(kind, str):
        return _failure(kind, status, Problem if is_v1 else Failure, kinds)
    return _failure(_description(kind), status, kind, kinds)


def _refusal_name(status: int, *, is_v1: bool) -> str:
    return f"{'Problem' if is_v1 else 'Failure'}{status}"


def _failure(text: str, status: int, shape: Any, kinds: _Kinds) -> dict[str, Any]:
    media = "application/problem+json" if issubclass(shape, Problem) else _JSON
    shown: dict[str, Any] = {"description": text, "content": {media: {"schema": kinds.of(shape)}}}
    return shown | ({"headers": _RETRY_AFTER} if status in (429, 503) else {})


def _parameters(kind: type | None, place: str, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The members of a struct as parameters; where there is none, texts of these names."""
    if kind is None:
        return [
            {"name": name, "in": place, "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    (_,), components = msgspec.json.schema_components([kind])
    described = components[kind.__name__]
    shown = []
    for name, schema in described["properties"].items():
        own = _readable(_without_null(schema))
        parameter = {"name": name, "in": place, "required": name in described["required"] or place == "path"}
        if text := own.pop("description", ""):
            parameter["description"] = text
        shown.append(parameter | {"schema": own})
    return shown


def _query(kind: type | None, *, takes_blanks: bool) -> list[dict[str, Any]]:
    """takes_blanks: to the old contract what is blank is not given."""
    found = _parameters(kind, "query")
    for parameter in found:
        if takes_blanks and not parameter["required"]:
            parameter["allowEmptyValue"] = True
    return found


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Of what may be left out: in a path or a query there is no null."""
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf" and value is not None}
    if len(choices) == 1:
        return {**rest, **choices[0]}
    return rest | {"anyOf": choices} if choices else rest


def _readable(schema: Any) -> Any:
    """The same with texts on one line, as docstrings have them on several."""
    match schema:
        case dict():
            return {
                name: " ".join(value.split())
                if name == "description" and isinstance(value, str)
                else _readable(value)
                for name, value in schema.items()
            }
        case list():
            return [_readable(each) for each in schema]
        case _:
            return schema


def _description(kind: Any) -> str:
    return " ".join((inspect.getdoc(kind) or "").split()) or "The answer"


def _may_be_empty(kind: Any) -> bool:
    return (
        isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and not any(field.required for field in msgspec.structs.fields(kind))
    )


def _tag(template: str) -> str:
    return next(name for name, prefixes, _ in _TAGS if template.startswith(prefixes))
