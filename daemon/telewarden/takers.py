"""Which settings change while the daemon runs, and how each is brought into its parts; the rest needs a restart."""

from collections.abc import Callable
from dataclasses import replace

from quart import Quart

from telewarden import logs
from telewarden.channels import ChannelSet
from telewarden.reload import Taker
from telewarden.settings import Settings
from telewarden.workers.listener import Listener
from telewarden.workers.writer import Writer
from telewarden_http.app import replace_keys
from telewarden_http.settings import ApiSettings, is_loopback


def serving_takers(app: Quart) -> dict[str, Taker]:
    """Those of every process that serves."""

    def log_(settings: Settings) -> None:
        logs.configure(settings.log.level, settings.log.format)

    def keys(settings: Settings) -> None:
        replace_keys(app, api_settings(settings))

    return {
        "log.level": log_,
        "log.format": log_,
        "http.api_keys": keys,
        "http.gateway_token": keys,
        "http.requests_per_s": keys,
        "http.burst": keys,
        "http.trusted_proxies": keys,
    }


def make_takers(
    app: Quart, writer: Writer, listener: Listener, channels: ChannelSet, lost_cache: Callable[[str], object]
) -> dict[str, Taker]:
    """By the setting's name. lost_cache: told that the cache may lack what a channel has stored."""

    def batches(settings: Settings) -> None:
        writer.batch_size = settings.database.batch_size
        writer.batch_age_s = settings.database.batch_age_s

    def intervals(settings: Settings) -> None:
        listener.settings = replace(
            listener.settings,
            window=settings.telegram.recheck_window,
            probe_s=settings.telegram.liveness_interval_s,
            reconcile_s=settings.telegram.reconcile_interval_s,
        )

    def channels_(settings: Settings) -> None:
        channels.configure(settings.telegram.channels)
        # The database may hold messages of a new one that wait; the cache was filled without them.
        lost_cache("the channels of the settings changed")

    def first_read(settings: Settings) -> None:
        channels.first_read = settings.telegram.first_read

    return serving_takers(app) | {
        "telegram.channels": channels_,
        "telegram.first_read": first_read,
        "database.batch_size": batches,
        "database.batch_age_s": batches,
        "telegram.recheck_window": intervals,
        "telegram.liveness_interval_s": intervals,
        "telegram.reconcile_interval_s": intervals,
    }


def api_settings(settings: Settings) -> ApiSettings:
    """What the API is told."""
    http = settings.http
    token = http.gateway_token
    return ApiSettings(
        api_keys={name: secret.get_secret_value() for name, secret in http.api_keys.items()},
        gateway_tokens={"gateway": token.get_secret_value()} if token is not None else {},
        monitoring_needs_key=not is_loopback(http.host),
        body_limit_bytes=http.body_limit_bytes,
        requests_per_s=http.requests_per_s,
        burst=http.burst,
        wrong_keys=http.wrong_keys,
        long_polls=http.long_polls,
        long_polls_a_key=http.long_polls_a_key,
        trusted_proxies=http.trusted_proxies,
        cors_origins=http.cors_origins,
        access_log=http.access_log,
    )
