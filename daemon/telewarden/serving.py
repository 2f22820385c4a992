"""Composition root of a process of the role `api`: it serves what another one takes in, from the same stores."""

import time
from collections.abc import Sequence
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from telewarden import logs
from telewarden.acknowledged import CountedAcknowledger
from telewarden.administration import Common, serving_administration
from telewarden.consumer_metrics import ConsumerMetrics
from telewarden.consumer_wakes import WindowWakes
from telewarden.feed_metrics import FeedMetrics
from telewarden.gateway import ONLY_SERVES, ServingGateway
from telewarden.history import History
from telewarden.http_channels import HttpChannels
from telewarden.metrics import CacheErrors, ServingMetrics
from telewarden.notify import Notifier
from telewarden.running import Daemon
from telewarden.serving_channels import ServingChannels
from telewarden.serving_health import ServingHealth
from telewarden.settings import Settings
from telewarden.share import Share
from telewarden.storage.answers import Answers
from telewarden.storage.channel_table import ChannelTable
from telewarden.storage.consumers import DatabaseConsumers
from telewarden.storage.feed import WindowedFeed
from telewarden.storage.feed_store import FeedStore
from telewarden.storage.feed_window import FeedWindow
from telewarden.storage.keys import KeyStore
from telewarden.storage.shared_acknowledger import SharedAcknowledger
from telewarden.storage.shared_cache import SharedCache
from telewarden.storage.shared_changer import SharedChanger
from telewarden.storage.shared_reader import SharedReader
from telewarden.storage.signal import Signal
from telewarden.stores import SharedStores
from telewarden.takers import api_settings, serving_takers
from telewarden.tree import CACHE, SERVING, TreeShape
from telewarden.workers.api import ApiWorker
from telewarden.workers.channels import ChannelReader
from telewarden.workers.feed import StoredFeed
from telewarden.workers.health import HealthWorker
from telewarden.workers.keys import KeyFollower
from telewarden.workers.shared import SharedCacheWorker
from telewarden_http.app import create_app, gate_of
from telewarden_http.channels import ChannelRoutes
from telewarden_http.gateway import GatewayRoutes
from telewarden_http.protocols import SyncedChannel, SyncRequest, Unavailable
from telewarden_http.v1.consumers import ConsumerRoutes
from telewarden_http.v1.feed import FeedRoutes
from telewarden_http.v1.feed_protocols import FeedChannel
from telewarden_supervisors import AnySpec, LoopBlocked, LoopWatch, Supervisor

log = structlog.get_logger(__name__)

TAKEN: Final = frozenset(
    (
        "log.level",
        "log.format",
        "http.api_keys",
        "http.gateway_token",
        "http.requests_per_s",
        "http.burst",
        "http.trusted_proxies",
        "telegram.channels",
    )
)
"""Settings that a process that serves takes while it runs."""

LOOP_TURN_S = 2.0
"""The longest that a turn of the event loop may take."""


class _NoSession:
    """Implements Synchroniser where there is no session."""

    async def sync(self, request: SyncRequest) -> Sequence[SyncedChannel]:
        raise Unavailable(ONLY_SERVES)


def make_server(
    settings: Settings, stores: SharedStores, notifier: Notifier, share: Share | None = None
) -> Daemon:
    """The workers of a process that only serves, in one tree. share: its part, where it is one of several."""
    database, cache = stores.database, stores.cache
    shared = SharedCache(Signal(), remember_s=settings.cache.tombstone_ttl_s, clock_s=time.monotonic)
    if cache is None:
        shared.reason = "no cache"
    registry = CollectorRegistry() if share is None else share.registry()
    answers = Answers()
    table = ChannelTable(database)
    channels = ChannelReader(table, settings.telegram.channels)
    http_channels = HttpChannels(table, channels.look)
    gateway = ServingGateway(database, channels.served)
    http_settings = api_settings(settings)
    answer_s = http_settings.answer_timeout_s
    acknowledger = CountedAcknowledger(
        SharedAcknowledger(database, cache, shared, channel_ids=channels.served, clock_s=time.monotonic)
    )
    history = History()
    health = ServingHealth(database, shared, cached=cache is not None)
    told_health = health if share is None else share.health(health)
    metrics = ServingMetrics(database, shared, answers)
    registry.register(metrics)
    if cache is not None:
        registry.register(CacheErrors(cache))
    consumers = DatabaseConsumers(database)
    registry.register(ConsumerMetrics(consumers.counts))
    window = FeedWindow()
    feed = WindowedFeed(
        window,
        FeedStore(database),
        served=channels.served,
        described=lambda: [
            # Which of them are paused only the process that takes in knows.
            FeedChannel(channel, channels.label(channel), active=True)
            for channel in channels.served
        ],
    )
    registry.register(FeedMetrics(feed, window))
    key_store = KeyStore(database)
    administration = serving_administration(
        Common(
            supervisor=lambda: supervisor,
            history=history,
            health=told_health,
            registry=registry,
            database=database,
            keeper=http_channels,
            consumers=consumers,
            answers=answers,
            acknowledged=lambda: acknowledger.count + consumers.counts.acknowledged,
            answer_timeout_s=answer_s,
            keys=key_store,
        ),
        shared,
        cache,
        ServingChannels(http_channels, channels.served),
    )
    app = create_app(
        reader=SharedReader(
            database,
            cache,
            shared,
            channel_ids=channels.served,
            on_answer=answers.answered,
            on_seen=answers.settled,
        ),
        acknowledger=acknowledger,
        changer=SharedChanger(database, cache, shared, clock_s=time.monotonic),
        synchroniser=_NoSession(),
        health=told_health,
        settings=http_settings,
        registry=registry,
        groups=[
            ChannelRoutes(http_channels, answer_s),
            GatewayRoutes(gateway, http_channels, health, registry, answer_s),
            FeedRoutes(feed, answer_s),
            ConsumerRoutes(consumers, WindowWakes(window, consumers.returned)),
            *administration.groups,
        ],
    )
    api = ApiWorker(
        app,
        host=settings.http.host,
        port=settings.http.port,
        listener=None if share is None else share.listener,
        own_port=None if share is None else share.own_port(settings.http.process_port),
    )
    health_worker = HealthWorker(health, database, None, notifier, administration.pulse.beat)
    shape = TreeShape(restarts=settings.testing.restarts, heartbeat_s=settings.testing.heartbeat_s)
    children: list[AnySpec] = []
    if cache is not None:
        redis = SharedCacheWorker(cache, shared)
        children.append(shape.part(CACHE, [shape.worker("redis", redis.run, heartbeat_s=30.0)]))
    children += [
        shape.worker("channels", channels.run, heartbeat_s=60.0),
        shape.worker("keys", KeyFollower(gate_of(app).keyring, key_store).run, heartbeat_s=60.0),
        shape.worker("feed", StoredFeed(window, FeedStore(database), cache).run, heartbeat_s=60.0),
        shape.part(SERVING, [shape.worker("api", api.run, heartbeat_s=30.0)]),
        shape.worker("health", health_worker.run, heartbeat_s=30.0),
        shape.worker("loop-watch", LoopWatch(LOOP_TURN_S, log_blocked_loop), heartbeat_s=30.0),
    ]
    supervisor = Supervisor(
        "telewarden",
        children,
        intensity=shape.intensity,
        subscribers=[logs.log_supervision, metrics.count_restart, history.note],
    )
    health.supervisor = metrics.supervisor = supervisor
    takers = serving_takers(app) | {
        "telegram.channels": lambda settings: channels.configure(settings.telegram.channels)
    }
    assert takers.keys() == TAKEN, "the parent of several processes has to know them"
    return Daemon(supervisor, notifier, health_worker, takers)


def log_blocked_loop(blocked: LoopBlocked) -> None:
    """Name who blocks it; called in the watching thread. The service manager's watchdog ends the process."""
    log.critical(
        "event_loop_blocked",
        worker=blocked.worker,
        after_s=round(blocked.after_s, 1),
        stack="\n".join(blocked.stack),
        effect="nothing is answered or taken in until it turns again",
    )
