"""Composition root: settings in, supervision tree out. The only place that wires the parts together."""

import sys
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import structlog
from prometheus_client import CollectorRegistry

from telewarden import logs
from telewarden.acknowledged import CountedAcknowledger
from telewarden.administration import Common, IngestParts, ingest_administration
from telewarden.backfill import Backfiller
from telewarden.cache_admin import CacheAdmin
from telewarden.channel_admin import ChannelAdmin
from telewarden.channel_handover import ChannelHandover
from telewarden.channels import ChannelSet
from telewarden.consumer_metrics import ConsumerMetrics
from telewarden.consumer_wakes import WindowWakes, stored_in
from telewarden.control import ControlServer, socket_path
from telewarden.failpoints import FailPoint
from telewarden.fault_injection import WorkerFaults
from telewarden.feed_metrics import FeedMetrics
from telewarden.gateway import IngestGateway
from telewarden.health import Health
from telewarden.history import History
from telewarden.http_channels import HttpChannels
from telewarden.metrics import CacheErrors, DaemonMetrics, IntakeLags
from telewarden.notify import Notifier
from telewarden.processes import serve_by_processes
from telewarden.reload import Reloader
from telewarden.running import EXIT_GAVE_UP, EXIT_UNUSABLE, Daemon, supervise
from telewarden.serving import LOOP_TURN_S, log_blocked_loop, make_server
from telewarden.settings import ROLE_API, Settings
from telewarden.storage.acknowledger import JournalAcknowledger
from telewarden.storage.answers import Answers
from telewarden.storage.cache_keys import CacheKeys
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.cache_verify import CacheVerifier
from telewarden.storage.changer import JournalChanger
from telewarden.storage.channel_table import ChannelTable
from telewarden.storage.consumers import DatabaseConsumers
from telewarden.storage.feed import WindowedFeed
from telewarden.storage.feed_store import FeedStore
from telewarden.storage.feed_window import FeedWindow
from telewarden.storage.handed_over import take_over
from telewarden.storage.journal_file import JournalDamaged, JournalError
from telewarden.storage.keys import KeyStore
from telewarden.storage.poison import PoisonShelf
from telewarden.storage.reader import Reader
from telewarden.stores import Stores, open_shared_stores, open_stores, refused_schema
from telewarden.takers import api_settings, make_takers
from telewarden.telegram.client import ClientSettings
from telewarden.telegram.intake import IntakeSettings, TelegramState
from telewarden.telegram.phases import PhaseTimeouts
from telewarden.telegram.session import SessionInUse, SessionLock
from telewarden.telegram.synchroniser import ListenerSynchroniser
from telewarden.telegram.telethon_feed import TelethonFeed
from telewarden.tree import CACHE, INTAKE, SERVING, TreeShape
from telewarden.verify import Verifier
from telewarden.workers.api import ApiWorker
from telewarden.workers.channels import ChannelWriter
from telewarden.workers.feed import JournalFeed
from telewarden.workers.health import HealthWorker
from telewarden.workers.jobs import JobsWorker
from telewarden.workers.keys import KeyFollower
from telewarden.workers.listener import Listener
from telewarden.workers.redis import RedisWorker
from telewarden.workers.upkeep import UPKEEP_S, Upkeep
from telewarden.workers.warmer import Warmer
from telewarden.workers.writer import Writer
from telewarden_http.app import create_app, gate_of
from telewarden_http.channels import ChannelRoutes
from telewarden_http.gateway import GatewayRoutes
from telewarden_http.v1.consumers import ConsumerRoutes
from telewarden_http.v1.feed import FeedRoutes
from telewarden_http.v1.feed_protocols import FeedChannel
from telewarden_supervisors import (
    AnySpec,
    ChildSpec,
    LoopWatch,
    Supervisor,
    Worker,
    leaves,
)

log = structlog.get_logger(__name__)


def run(settings: Settings, read_again: Callable[[], Settings]) -> int:
    """Run the daemon until it is told to stop. Returns the process's exit status.

    read_again: reads the settings afresh, when SIGHUP asks for it; may raise SettingsInvalid.
    """
    logs.configure(settings.log.level, settings.log.format)
    if settings.role == ROLE_API:
        return _turn(serve_by_processes if settings.http.workers > 1 else _serve, settings, read_again)
    try:
        lock = SessionLock(settings.session_file)
    except SessionInUse as error:
        print(f"telewarden: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_UNUSABLE
    try:
        return _turn(_main, settings, read_again)
    finally:
        lock.release()


def _turn(
    main: Callable[[Settings, Callable[[], Settings]], Awaitable[int]],
    settings: Settings,
    read_again: Callable[[], Settings],
) -> int:
    return anyio.run(main, settings, read_again, backend="asyncio", backend_options={"use_uvloop": True})


async def _serve(settings: Settings, read_again: Callable[[], Settings]) -> int:
    """The role `api`: no session, no journal."""
    notifier = Notifier()
    try:
        refused = await refused_schema(settings)
        if refused is not None:
            print(f"telewarden: {refused}", file=sys.stderr)  # noqa: T201
            return EXIT_UNUSABLE
        async with open_shared_stores(settings) as stores:
            daemon = make_server(settings, stores, notifier)
            return await supervise(daemon, Reloader(settings, read_again, daemon.takers))
    finally:
        notifier.close()


async def _main(settings: Settings, read_again: Callable[[], Settings]) -> int:
    notifier = Notifier()
    status = EXIT_UNUSABLE
    opened = anyio.Event()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(notifier.extend_timeout_until, opened, "opening the journal")
            async with open_stores(settings) as stores:
                opened.set()
                refused = await refused_schema(settings)
                if refused is not None:
                    print(f"telewarden: {refused}", file=sys.stderr)  # noqa: T201
                    return EXIT_UNUSABLE
                daemon = make_daemon(settings, stores, notifier)
                return await supervise(daemon, Reloader(settings, read_again, daemon.takers))
    except* JournalDamaged as group:
        for error in leaves(group):
            print(f"telewarden: {error}; a fresh process saves what is good", file=sys.stderr)  # noqa: T201
        status = EXIT_GAVE_UP
    except* JournalError as group:
        for error in leaves(group):
            print(f"telewarden: {error}", file=sys.stderr)  # noqa: T201
    finally:
        notifier.close()
    return status


def make_daemon(settings: Settings, stores: Stores, notifier: Notifier) -> Daemon:
    """Every worker in one tree. One failing never takes another with it: one_for_one throughout.

    Stores come before those who use them; they stop in the reverse order, so that intake ends first.
    """
    journal, database, cache = stores.journal, stores.database, stores.cache
    channels = ChannelSet(journal, settings.telegram.channels, settings.telegram.first_read)
    registry = CollectorRegistry()
    telegram = TelegramState()
    sync = CacheSync(journal.changed)
    if cache is None:
        sync.reason = "no cache"

    def lost_cache(reason: str) -> None:
        if cache is not None:
            sync.distrust(reason)

    answers = Answers()
    reader = Reader(
        journal,
        database,
        cache,
        sync,
        channel_ids=channels.served,
        on_answer=answers.answered,
        on_seen=answers.settled,
    )
    window = FeedWindow()
    follower = JournalFeed(
        window, FeedStore(database), journal, cache, take_over=partial(take_over, database, journal)
    )
    acknowledger = CountedAcknowledger(
        JournalAcknowledger(journal, database, sync, channel_ids=channels.served)
    )
    writer = Writer(
        journal,
        database,
        sync,
        batch_size=settings.database.batch_size,
        batch_age_s=settings.database.batch_age_s,
        fail_point=FailPoint(settings.testing.fail_point),
        on_set_aside=follower.refused,
    )
    health = Health(journal, database, sync, telegram, cached=cache is not None)
    metrics = DaemonMetrics(journal, database, sync, writer, telegram, answers)
    registry.register(metrics)
    if cache is not None:
        registry.register(CacheErrors(cache))
    lags = IntakeLags(registry)
    listener = Listener(
        TelethonFeed(client_settings(settings), request_timeout_s=settings.telegram.request_timeout_s),
        journal,
        database,
        telegram,
        channels,
        intake_settings(settings),
        lags,
    )
    table = ChannelTable(database)
    handover = ChannelHandover(channels, table, lost_cache)
    http_channels = HttpChannels(table, handover.meet)
    gateway = IngestGateway(database, channels.served, telegram, settings.session_file)
    http_settings = api_settings(settings)
    answer_s = http_settings.answer_timeout_s
    consumers = DatabaseConsumers(database)
    registry.register(ConsumerMetrics(consumers.counts))
    feed = WindowedFeed(
        window,
        FeedStore(database),
        served=channels.served,
        described=lambda: [
            FeedChannel(
                channel, channels.name_of(channel) or listener.label(channel), channel in channels.taken_in
            )
            for channel in channels.served
        ],
    )
    registry.register(FeedMetrics(feed, window))
    faults = WorkerFaults() if settings.testing.worker_faults else None
    shape = TreeShape(restarts=settings.testing.restarts, heartbeat_s=settings.testing.heartbeat_s)

    def worker(name: str, run: Worker, *, heartbeat_s: float) -> ChildSpec:
        return shape.worker(name, faults.wrap(name, run) if faults else run, heartbeat_s=heartbeat_s)

    children: list[AnySpec] = []
    cache_admin = None
    if cache is not None:
        lease_s = settings.cache.lease_s
        redis = RedisWorker(cache, sync, journal, lease_s=lease_s)
        warmer = Warmer(
            cache,
            sync,
            journal,
            database,
            channel_ids=channels.served,
            lease_s=lease_s,
            traffic=lambda: answers.total,
        )
        cache_workers = [
            worker("redis", redis.run, heartbeat_s=30.0),
            worker("warmer", warmer.run, heartbeat_s=60.0),
        ]
        children.append(shape.part(CACHE, cache_workers))
        compared = CacheVerifier(CacheKeys(cache), sync, journal, database, lambda: list(channels.served))
        cache_admin = CacheAdmin(cache, sync, journal, compared, answers, redis.breaker)
    verifier = Verifier(lambda: listener.asking, journal, database, lambda: list(channels.taken_in))
    backfiller = Backfiller(
        lambda: listener.asking, journal, database, telegram, lambda: listener.settings.requests_per_s
    )
    admin = ChannelAdmin(channels, listener, journal, telegram, lost_cache)
    history = History()
    synchroniser = ListenerSynchroniser(
        lambda: listener.reader, lambda: list(channels.taken_in), listener.title
    )
    shelf = PoisonShelf(database, journal)
    key_store = KeyStore(database)
    administration = ingest_administration(
        Common(
            supervisor=lambda: supervisor,
            history=history,
            health=health,
            registry=registry,
            database=database,
            keeper=http_channels,
            consumers=consumers,
            answers=answers,
            acknowledged=lambda: acknowledger.count + consumers.counts.acknowledged,
            answer_timeout_s=answer_s,
            keys=key_store,
        ),
        IngestParts(
            journal=journal,
            cache=cache,
            sync=sync,
            telegram=telegram,
            channels=channels,
            lags=lags,
            channel_admin=admin,
            cache_admin=cache_admin,
            shelf=shelf,
            verifier=verifier,
            backfiller=backfiller,
            synchroniser=synchroniser,
        ),
    )
    app = create_app(
        reader=reader,
        acknowledger=acknowledger,
        changer=JournalChanger(journal, reader),
        synchroniser=synchroniser,
        health=health,
        settings=http_settings,
        registry=registry,
        groups=[
            ChannelRoutes(http_channels, answer_s),
            GatewayRoutes(gateway, http_channels, health, registry, answer_s),
            FeedRoutes(feed, answer_s),
            ConsumerRoutes(consumers, WindowWakes(window, consumers.returned, stored=stored_in(journal))),
            *administration.groups,
        ],
    )
    api = ApiWorker(app, host=settings.http.host, port=settings.http.port)
    health_worker = HealthWorker(health, database, journal, notifier, administration.pulse.beat)
    control = ControlServer(
        socket_path(settings),
        lambda: supervisor,
        verifier,
        admin,
        backfiller,
        shelf,
        faults,
        cache_admin,
    )
    upkeep = Upkeep(
        database, interval_s=settings.database.upkeep_interval_s, keep_days=settings.database.keep_days
    )
    children += [
        worker("writer", writer.run, heartbeat_s=60.0),
        worker("channels", ChannelWriter(handover).run, heartbeat_s=60.0),
        worker("keys", KeyFollower(gate_of(app).keyring, key_store).run, heartbeat_s=60.0),
        worker("feed", follower.run, heartbeat_s=60.0),
        shape.part(SERVING, [worker("api", api.run, heartbeat_s=30.0)]),
        shape.part(INTAKE, [worker("listener", listener.run, heartbeat_s=120.0)]),
        worker("upkeep", upkeep.run, heartbeat_s=UPKEEP_S),
        worker("health", health_worker.run, heartbeat_s=30.0),
        worker("loop-watch", LoopWatch(LOOP_TURN_S, log_blocked_loop), heartbeat_s=30.0),
        worker("control", control.run, heartbeat_s=30.0),
        worker("jobs", JobsWorker(administration.jobs).run, heartbeat_s=30.0),
    ]
    supervisor = Supervisor(
        "telewarden",
        children,
        intensity=shape.intensity,
        subscribers=[logs.log_supervision, metrics.count_restart, history.note],
    )
    health.supervisor = metrics.supervisor = supervisor
    return Daemon(
        supervisor, notifier, health_worker, make_takers(app, writer, listener, channels, lost_cache)
    )


def intake_settings(settings: Settings) -> IntakeSettings:
    """How channels are taken in."""
    telegram = settings.telegram
    return IntakeSettings(
        page=telegram.history_page,
        window=telegram.recheck_window,
        window_s=telegram.recheck_hours * 3600.0,
        probe_s=telegram.liveness_interval_s,
        reconcile_s=telegram.reconcile_interval_s,
        requests_per_s=telegram.requests_per_s,
        watched=telegram.watch,
        fastest_s=telegram.watch_interval_s,
        slowest_s=telegram.watch_max_interval_s,
        first=tuple(telegram.watch_first),
    )


def client_settings(settings: Settings) -> ClientSettings:
    """Which account, and where Telegram is."""
    telegram = settings.telegram
    return ClientSettings(
        session_file=settings.session_file,
        api_id=telegram.api_id,
        api_hash=telegram.api_hash.get_secret_value(),
        dc_id=telegram.dc_id,
        dc_address=telegram.dc_address,
        dc_public_key_file=telegram.dc_public_key_file,
        timeouts=PhaseTimeouts(
            resolve_s=telegram.resolve_timeout_s,
            tcp_s=telegram.tcp_timeout_s,
            key_s=telegram.key_timeout_s,
            handshake_s=telegram.handshake_timeout_s,
            login_s=telegram.login_timeout_s,
            dialogs_s=telegram.dialogs_timeout_s,
        ),
    )
