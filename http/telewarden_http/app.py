"""The app: routes, who may use them, and what errors turn into."""

import math
import re
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry
from quart import Quart, Response, request
from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    RequestTimeout,
)

from telewarden_http.auth import Keyring, Scope
from telewarden_http.boundary import Boundary, internal_error, log_unexpected
from telewarden_http.changes import ChangeRoutes
from telewarden_http.console import ConsoleRoutes
from telewarden_http.contract import message_routes, monitoring_routes, sync_routes
from telewarden_http.errors import ApiError, KeyMissing, KeysUnknown, TooManyRequests
from telewarden_http.gate import Gate
from telewarden_http.hot import HotRoute, HotRoutes
from telewarden_http.messages import MessageRoutes
from telewarden_http.metrics import ApiMetrics
from telewarden_http.monitoring import MonitoringRoutes
from telewarden_http.protocols import (
    Acknowledger,
    AmbiguousMessage,
    HealthReporter,
    MessageChanger,
    MessageIsDeleted,
    MessageReader,
    RequestRefused,
    Synchroniser,
    Unavailable,
    UnknownChannel,
)
from telewarden_http.reference import ReferenceRoutes
from telewarden_http.responses import failure
from telewarden_http.routing import Routes, fixed_paths, register
from telewarden_http.settings import ApiSettings
from telewarden_http.stopping import stopping_of
from telewarden_http.sync import SyncRoute
from telewarden_http.v1.long_polls import keep_long_polls

_SETTINGS = "TELEWARDEN_API"
_GATE = "telewarden_gate"
_DOCUMENT = "telewarden_document"


def create_app(
    *,
    reader: MessageReader,
    acknowledger: Acknowledger,
    changer: MessageChanger,
    synchroniser: Synchroniser,
    health: HealthReporter,
    settings: ApiSettings,
    registry: CollectorRegistry,
    groups: Sequence[Routes] = (),
) -> Quart:
    """The polling API as CONTRACT.md §1 has it, on whatever stands behind the protocols.

    groups: further routes, those of version 1.
    registry: where the API's metrics are put, and what /metrics shows.
    Raises ValueError if the registry already holds an API's metrics.
    """
    metrics = ApiMetrics(registry)
    app = Quart("telewarden_http", static_folder=None)
    app.config[_SETTINGS] = settings
    app.config["MAX_CONTENT_LENGTH"] = settings.body_limit_bytes
    app.config["BODY_TIMEOUT"] = settings.body_timeout_s
    app.config["RESPONSE_TIMEOUT"] = settings.send_timeout_s
    # Errors are answers here, also under test; a redirect would be one that the contract does not know.
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False

    keep_long_polls(app, settings)
    messages = MessageRoutes(reader, acknowledger, metrics, settings.answer_timeout_s)
    changes = ChangeRoutes(changer, reader, settings.answer_timeout_s)
    monitoring = MonitoringRoutes(health, registry, settings.service)
    sync = SyncRoute(synchroniser)
    gate = app.extensions[_GATE] = Gate(Keyring(settings), settings)
    reference = ReferenceRoutes()
    every_group: Sequence[Routes] = (ConsoleRoutes(), reference, *groups)
    routes = [
        *message_routes(messages, changes),
        *sync_routes(sync),
        *monitoring_routes(monitoring, Scope.READ if settings.monitoring_needs_key else None),
        *(route for group in every_group for route in group.routes()),
    ]
    fixed = fixed_paths(routes)
    for route in routes:
        register(app, route, gate, fixed)
    app.extensions[_DOCUMENT] = reference.describe(routes)
    _answer_errors(app, settings, fixed)
    hot = (
        HotRoute(
            re.compile("/api/messages/unprocessed"), "/api/messages/unprocessed", messages.poll, Scope.READ
        ),
        HotRoute(
            re.compile("/v1/messages/([^/]+)/([^/]+)/seen"),
            "/v1/messages/{channel}/{message}/seen",
            messages.look,
            Scope.READ,
        ),
    )
    routed = HotRoutes(app.asgi_app, gate, hot, send_timeout_s=settings.send_timeout_s)
    app.asgi_app = Boundary(routed, metrics, stopping_of(app), settings, gate.address)  # type: ignore[method-assign]
    return app


def settings_of(app: Quart) -> ApiSettings:
    """The settings that an app of `create_app` was made with; the defaults for any other app."""
    settings = app.config.get(_SETTINGS)
    return settings if isinstance(settings, ApiSettings) else ApiSettings()


def gate_of(app: Quart) -> Gate:
    """The gate of an app of `create_app`; its keyring is told of stored keys."""
    gate: Gate = app.extensions[_GATE]
    return gate


def document_of(app: Quart) -> bytes:
    """The OpenAPI document of an app of `create_app`, as it is served."""
    document: bytes = app.extensions[_DOCUMENT]
    return document


def replace_keys(app: Quart, settings: ApiSettings) -> None:
    """From the next request on an app of `create_app` knows the keys of these settings, and no others of settings, and
    has their limits."""
    gate = gate_of(app)
    gate.keyring.replace(settings)
    gate.configure(settings)


def _answer_errors(app: Quart, settings: ApiSettings, fixed: Mapping[str, Sequence[str]]) -> None:
    @app.errorhandler(ApiError)
    async def wrong_request(error: ApiError) -> Response:
        headers = {}
        match error:
            case KeyMissing():
                headers["WWW-Authenticate"] = 'Bearer realm="telewarden"'
            case KeysUnknown():
                headers["Retry-After"] = str(settings.retry_after_s)
            case TooManyRequests():
                headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        return failure(error.status, str(error), headers)

    @app.errorhandler(RequestRefused)
    async def refused(error: RequestRefused) -> Response:
        match error:
            case Unavailable():
                return failure(503, str(error), {"Retry-After": str(settings.retry_after_s)})
            case UnknownChannel():
                return failure(404, str(error))
            case AmbiguousMessage() | MessageIsDeleted():
                return failure(409, str(error))
            case _:
                return failure(400, str(error))

    @app.errorhandler(HTTPException)
    async def framework(error: HTTPException) -> Response:
        match error:
            case NotFound():
                return failure(404, "There is no such route")
            case MethodNotAllowed():
                # A view may take fewer than its route does, a pattern that matches besides more.
                methods = frozenset(error.valid_methods or ())
                allowed = ", ".join(sorted(methods.intersection(fixed.get(request.path, methods))))
                return failure(
                    405,
                    f"The method {request.method[:20]} is not allowed here; use {allowed}",
                    {"Allow": allowed},
                )
            case RequestEntityTooLarge():
                return failure(413, f"The body is larger than {settings.body_limit_bytes} bytes")
            case RequestTimeout():
                return failure(408, f"The body did not arrive within {settings.body_timeout_s:g} s")
            case _:
                return failure(error.code or 400, error.name)

    @app.errorhandler(Exception)
    async def unexpected(error: Exception) -> Response:
        return failure(500, internal_error(log_unexpected(error, request.scope)))
