"""What stands behind the administrator's routes, put together for each role."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
from prometheus_client import CollectorRegistry

from telewarden.backfill import Backfiller
from telewarden.cache_admin import CacheAdmin
from telewarden.channel_admin import ChannelAdmin
from telewarden.channel_labels import ChannelLabels
from telewarden.channel_switch import IngestChannels
from telewarden.channels import ChannelSet
from telewarden.history import History
from telewarden.job_kinds import JobKinds
from telewarden.jobs import Jobs, NoJobs
from telewarden.lately import Lately
from telewarden.looking import (
    ACKNOWLEDGED,
    POLL,
    POLLS,
    POST,
    RECEIVED,
    Ingest,
    Looking,
    consumer_view,
    telegram_view,
)
from telewarden.metrics import INTAKE_LAG, IntakeLags, buckets_of
from telewarden.newest_messages import newest_messages
from telewarden.overview import Overviews
from telewarden.pulse import Buckets, Pulse
from telewarden.serving_channels import ServingChannels
from telewarden.settings import ROLE_ALL, ROLE_API
from telewarden.storage.answers import Answers
from telewarden.storage.cache import Cache
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal
from telewarden.storage.poison import PoisonShelf
from telewarden.storage.shared_cache import SharedCache
from telewarden.storage.signal import Signal
from telewarden.store_admin import IngestStores, ServingStores
from telewarden.telegram.intake import TelegramState
from telewarden.tree import SERVING
from telewarden.verify import Verifier
from telewarden.worker_admin import TreeAdmin
from telewarden_http.gateway_protocols import ChannelKeeper
from telewarden_http.metrics import DURATIONS
from telewarden_http.protocols import HealthReporter, Synchroniser
from telewarden_http.routing import Routes
from telewarden_http.v1.admin_consumers import ConsumerAdminRoutes
from telewarden_http.v1.admin_keys import KeyAdminRoutes
from telewarden_http.v1.administration import AdministrationRoutes
from telewarden_http.v1.consumers_protocols import ConsumerAdmin
from telewarden_http.v1.jobs import JobRoutes
from telewarden_http.v1.keys_protocols import KeyAdmin
from telewarden_http.v1.overview import OverviewRoutes
from telewarden_http.v1.overview_protocols import ConsumerView
from telewarden_supervisors import Supervisor

_SELDOM_S = 3.0
_MESSAGES_S = 0.3
_POLL_ROUTE = "/api/messages/unprocessed"


@dataclass(frozen=True, slots=True)
class Administration:
    """groups: the routes. pulse: beaten by the worker `health`."""

    groups: Sequence[Routes]
    pulse: Pulse


@dataclass(frozen=True, slots=True)
class IngestAdministration(Administration):
    """jobs: run by the worker of that name."""

    jobs: Jobs


@dataclass(frozen=True, slots=True)
class Common:
    """What a process of either role has. supervisor: gives the root, once it is there. history: a subscriber of it.

    acknowledged: how many messages were. served_by: workers that serve the API. keys: stored ones; None where only
    those of the settings are known.
    """

    supervisor: Callable[[], Supervisor]
    history: History
    health: HealthReporter
    registry: CollectorRegistry
    database: Database
    keeper: ChannelKeeper
    consumers: ConsumerAdmin
    answers: Answers
    acknowledged: Callable[[], int]
    answer_timeout_s: float
    served_by: frozenset[str] = frozenset({SERVING, "api"})
    keys: KeyAdmin | None = None

    @property
    def tree(self) -> TreeAdmin:
        """The workers."""
        return TreeAdmin(self.supervisor, self.history, self.served_by)

    def pulse(self, received: Callable[[], int] | None) -> Pulse:
        """Rates and latencies. received: what came in from Telegram; None where nothing does."""
        counters = {ACKNOWLEDGED: self.acknowledged, POLLS: lambda: self.answers.total}

        def polls() -> Buckets:
            return buckets_of(self.registry, DURATIONS, {"method": "GET", "route": _POLL_ROUTE})

        def posts() -> Buckets:
            return buckets_of(self.registry, INTAKE_LAG, {})

        if received is None:
            return Pulse(counters, {POLL: polls}, time.monotonic)
        return Pulse({**counters, RECEIVED: received}, {POLL: polls, POST: posts}, time.monotonic)

    def looked_at(self, looking: Looking, news: Signal | None = None) -> OverviewRoutes:
        """The overview's routes. news: fires when there may be new messages."""
        return OverviewRoutes(Overviews(looking.look, self.history, news=news))

    def stored(self) -> Sequence[Routes]:
        """Routes about what the database keeps, the same in both roles."""
        consumers = ConsumerAdminRoutes(self.consumers, self.answer_timeout_s)
        return (
            [consumers]
            if self.keys is None
            else [consumers, KeyAdminRoutes(self.keys, self.answer_timeout_s)]
        )

    def consumers_lately(self) -> Lately[list[ConsumerView]]:
        """Their backlogs."""

        async def ask() -> list[ConsumerView]:
            return [consumer_view(state) for state in await self.consumers.all()]

        return Lately(ask, each_s=_SELDOM_S)


@dataclass(frozen=True, slots=True)
class IngestParts:
    """What a process that takes in has besides. cache_admin: None where no cache is configured."""

    journal: Journal
    cache: Cache | None
    sync: CacheSync
    telegram: TelegramState
    channels: ChannelSet
    lags: IntakeLags
    channel_admin: ChannelAdmin
    cache_admin: CacheAdmin | None
    shelf: PoisonShelf
    verifier: Verifier
    backfiller: Backfiller
    synchroniser: Synchroniser


def ingest_administration(common: Common, parts: IngestParts) -> IngestAdministration:
    """In a process that takes in."""
    sync, database = parts.sync, common.database

    def waiting(channel_id: int) -> int | None:
        is_known = sync.trusted is not None and sync.mirror.complete
        return sync.mirror.waiting(channel_id) if is_known else None

    labels = ChannelLabels(common.keeper)
    channels = IngestChannels(parts.channel_admin, parts.channels, labels, parts.lags.newest, waiting)
    stores = IngestStores(parts.journal, parts.shelf, sync, parts.cache, parts.cache_admin, common.answers)
    tree, pulse = common.tree, common.pulse(lambda: parts.telegram.received)
    called = Lately(labels.all, each_s=_SELDOM_S)
    poisoned = Lately(parts.shelf.count, each_s=_SELDOM_S)
    consumers = common.consumers_lately()
    messages = Lately(lambda: newest_messages(database), each_s=_MESSAGES_S)
    looking = Looking(
        ROLE_ALL,
        health=common.health,
        pulse=pulse,
        tree=tree,
        database=database,
        channels=lambda: channels.views(called.value or {}),
        cache=stores.cache_view,
        consumers=consumers,
        messages=messages,
        asked=[called, poisoned, consumers, messages],
        ingest=Ingest(
            journal=lambda: stores.journal_view(poisoned.value),
            telegram=lambda: telegram_view(parts.telegram, anyio.current_time()),
        ),
    )
    kinds = JobKinds(
        parts.verifier,
        parts.backfiller,
        parts.synchroniser,
        parts.cache_admin,
        lambda: list(parts.channels.taken_in),
    )
    jobs = Jobs(kinds.carry_out)
    groups: list[Routes] = [
        AdministrationRoutes(tree, channels, stores, common.answer_timeout_s),
        JobRoutes(jobs),
        *common.stored(),
        common.looked_at(looking, parts.journal.changed),
    ]
    return IngestAdministration(groups, pulse, jobs)


def serving_administration(
    common: Common, shared: SharedCache, cache: Cache | None, channels: ServingChannels
) -> Administration:
    """In a process that only serves."""
    database = common.database
    stores = ServingStores(shared, cache, common.answers)
    tree, pulse = common.tree, common.pulse(None)
    found = Lately(channels.channels, each_s=_SELDOM_S)
    consumers = common.consumers_lately()
    messages = Lately(lambda: newest_messages(database), each_s=_MESSAGES_S)
    asked: list[Lately[Any]] = [found, consumers, messages]
    looking = Looking(
        ROLE_API,
        health=common.health,
        pulse=pulse,
        tree=tree,
        database=database,
        channels=lambda: found.value or [],
        cache=stores.cache_view,
        consumers=consumers,
        messages=messages,
        asked=asked,
    )
    groups: list[Routes] = [
        AdministrationRoutes(tree, channels, stores, common.answer_timeout_s),
        JobRoutes(NoJobs()),
        *common.stored(),
        common.looked_at(looking),
    ]
    return Administration(groups, pulse)
