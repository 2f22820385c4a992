"""The OpenAPI document as a daemon serves it, made without one: the handlers get nothing to stand on, and are not
called."""

from typing import Any

from prometheus_client import CollectorRegistry

from telewarden_http.app import create_app, document_of
from telewarden_http.channels import ChannelRoutes
from telewarden_http.gateway import GatewayRoutes
from telewarden_http.settings import ApiSettings
from telewarden_http.v1.admin_consumers import ConsumerAdminRoutes
from telewarden_http.v1.admin_keys import KeyAdminRoutes
from telewarden_http.v1.administration import AdministrationRoutes
from telewarden_http.v1.consumers import ConsumerRoutes
from telewarden_http.v1.feed import FeedRoutes
from telewarden_http.v1.jobs import JobRoutes
from telewarden_http.v1.overview import OverviewRoutes


def openapi_document() -> bytes:
    """The document of a daemon on a loopback address, where health and metrics need no key."""
    nothing: Any = None
    app = create_app(
        reader=nothing,
        acknowledger=nothing,
        changer=nothing,
        synchroniser=nothing,
        health=nothing,
        settings=ApiSettings(monitoring_needs_key=False),
        registry=CollectorRegistry(),
        groups=[
            ChannelRoutes(nothing, 1.0),
            GatewayRoutes(nothing, nothing, nothing, nothing, 1.0),
            FeedRoutes(nothing, 1.0),
            ConsumerRoutes(nothing, nothing),
            AdministrationRoutes(nothing, nothing, nothing, 1.0),
            JobRoutes(nothing),
            OverviewRoutes(nothing),
            ConsumerAdminRoutes(nothing, 1.0),
            KeyAdminRoutes(nothing, 1.0),
        ],
    )
    return document_of(app)
