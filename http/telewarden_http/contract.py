"""The old contract's routes that live on messages, those that machines watch, and what the document says of them."""

from collections.abc import Sequence

from telewarden_http import contract_shapes as shapes
from telewarden_http.auth import Scope
from telewarden_http.changes import ChangeRoutes
from telewarden_http.messages import MessageRoutes
from telewarden_http.monitoring import MonitoringRoutes
from telewarden_http.routing import Operation, Route
from telewarden_http.sync import SyncRoute


def message_routes(messages: MessageRoutes, changes: ChangeRoutes) -> Sequence[Route]:
    """Those of /api/messages, and whether messages were seen."""
    return (
        Route(
            "GET",
            "/api/messages/unprocessed",
            messages.unprocessed,
            Scope.READ,
            Operation(
                "What waits in a channel",
                "The oldest first; deleted ones are left out. X-Telewarden-Source says which store answered. A blank "
                "parameter counts as absent, an unknown one is ignored.",
                query=shapes.UnprocessedParameters,
                answers={200: shapes.Unprocessed, 404: "There is no such channel"},
            ),
        ),
        Route(
            "POST",
            "/api/messages/mark-processed",
            messages.mark_processed,
            Scope.ACK,
            Operation(
                "Messages are done",
                "Without `channel` an id means the channel in which it waits. Harmless to repeat.",
                body=shapes.MarkProcessedBody,
                answers={
                    200: shapes.MarkProcessedAnswer,
                    404: "There is no such channel",
                    409: "An id waits in several channels, which the text names; nothing was changed",
                },
            ),
        ),
        Route(
            "GET",
            "/api/messages",
            messages.messages,
            Scope.READ,
            Operation(
                "Stored messages",
                "A blank parameter counts as absent, an unknown one is ignored.",
                query=shapes.ListParameters,
                answers={200: shapes.MessageList, 404: "There is no such channel"},
            ),
        ),
        Route(
            "GET",
            "/api/messages/<id>",
            messages.message,
            Scope.READ,
            Operation("A message", path=shapes.MessagePath, answers={200: shapes.OneMessage}),
        ),
        Route(
            "DELETE",
            "/api/messages/<id>",
            changes.delete,
            Scope.CHANGE,
            Operation(
                "Delete a message softly",
                "It is kept, as `deleted`, and served no more. The body may give a reason.",
                path=shapes.MessagePath,
                body=shapes.DeletionBody,
                answers={200: shapes.OneMessage},
            ),
        ),
        Route(
            "POST",
            "/api/messages/<id>/reprocess",
            changes.reprocess,
            Scope.CHANGE,
            Operation(
                "Have a message processed once more",
                path=shapes.MessagePath,
                body=shapes.ReprocessBody,
                answers={200: shapes.OneMessage, 409: "It is deleted"},
            ),
        ),
        Route(
            "GET",
            "/v1/messages/<channel>/<message>/seen",
            messages.seen,
            Scope.READ,
            Operation("Was a message taken in", path=shapes.SeenPath, answers={200: shapes.Seen}),
        ),
        Route(
            "POST",
            "/v1/messages/<channel>/seen",
            messages.seen_many,
            Scope.READ,
            Operation(
                "Which messages were taken in",
                path=shapes.SeenChannelPath,
                body=shapes.SeenBody,
                answers={200: shapes.SeenMany},
            ),
        ),
    )


def sync_routes(sync: SyncRoute) -> Sequence[Route]:
    """The one that has Telegram read again, at both of its addresses."""
    operation = Operation(
        "Read Telegram's newest messages again",
        "Of all channels, or of some; takes in what was missed. 503 while Telegram is not connected.",
        body=shapes.SyncBody,
        answers={200: shapes.SyncAnswer, 404: "There is no such channel"},
    )
    return tuple(
        Route("POST", rule, sync.sync_messages, Scope.CHANGE, operation)
        for rule in ("/sync-messages", "/api/telegram-gateway/sync-messages")
    )


def monitoring_routes(monitoring: MonitoringRoutes, scope: Scope | None) -> Sequence[Route]:
    """Health and metrics. scope: what a key needs for them; None: no key."""
    return (
        Route(
            "GET",
            "/health",
            monitoring.overall,
            scope,
            Operation("How the daemon is, with all facts", answers={200: shapes.Health, 503: shapes.Health}),
        ),
        Route(
            "GET",
            "/health/live",
            monitoring.live,
            scope,
            Operation(
                "Is no restart needed",
                answers={200: shapes.HealthAnswer, 503: shapes.HealthAnswer},
            ),
        ),
        Route(
            "GET",
            "/health/ready",
            monitoring.ready,
            scope,
            Operation(
                "Are polls answered right",
                answers={200: shapes.HealthAnswer, 503: shapes.HealthAnswer},
            ),
        ),
        Route(
            "GET",
            "/metrics",
            monitoring.metrics,
            scope,
            Operation(
                "Metrics for Prometheus", answers={200: "Prometheus's text format"}, media="text/plain"
            ),
        ),
    )
