"""Every setting, typed, with its default and meaning. File (TOML) < environment (TELEWARDEN_…) < command line."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)


class Section(BaseModel):
    """What all sections share: they are fixed once read, and an unknown name is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def _expanded(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) else value


FilePath = Annotated[Path, BeforeValidator(_expanded)]
Seconds = Annotated[float, Field(gt=0)]
ChannelId = Annotated[int, Field(ge=-(2**63), lt=0)]


class TelegramSettings(Section):
    """The account, and what is taken in with it."""

    api_id: int = Field(gt=0, description="number of the application, from my.telegram.org")
    api_hash: SecretStr = Field(description="secret of the application, from my.telegram.org")
    session_file: FilePath | None = Field(None, description="the account's session; default: in state_dir")
    channels: list[ChannelId] = Field(default_factory=list, description="marked ids, such as -1001649127710")
    first_read: Literal["now", "all"] | Annotated[int, Field(ge=0)] = Field(
        "now",
        description='what to take of a channel never seen before: "now", "all", or that many newest posts',
    )
    history_page: int = Field(100, ge=1, le=100, description="posts asked for in one request")
    recheck_window: int = Field(
        200, ge=1, le=3000, description="newest posts compared for edits and deletions"
    )
    reconcile_interval_s: Seconds = Field(60.0, description="seconds between two comparisons of a channel")
    liveness_interval_s: Seconds = Field(10.0, description="seconds between two signs of life from Telegram")
    request_timeout_s: Seconds = Field(20.0, description="seconds that Telegram may take to answer")
    dc_id: int = Field(2, ge=1, le=5, description="data centre of dc_address")
    dc_address: str | None = Field(
        None, pattern=r"^.+:\d{1,5}$", description='"host:port", if not Telegram\'s own'
    )
    dc_public_key_file: FilePath | None = Field(None, description="PEM of that server's RSA key")

    @field_validator("session_file")
    @classmethod
    def _has_the_suffix(cls, session_file: Path | None) -> Path | None:
        if session_file is not None and session_file.suffix != ".session":
            # Telethon would add it, and the lock and the permissions would be another file's.
            raise ValueError("a path that ends in .session")
        return session_file

    @field_validator("channels")
    @classmethod
    def _no_channel_twice(cls, channels: list[int]) -> list[int]:
        twice = sorted({channel for channel in channels if channels.count(channel) > 1})
        if twice:
            raise ValueError(f"each channel once; given twice: {', '.join(map(str, twice))}")
        return channels


class DatabaseSettings(Section):
    """PostgreSQL, with or without TimescaleDB and PgBouncer."""

    dsn: SecretStr = Field(description="postgresql://user:password@host:port/telegram_gateway")
    reader_pool: int = Field(4, ge=1, le=100, description="connections for polls")
    writer_pool: int = Field(2, ge=1, le=100, description="connections for writing and warming")
    batch_size: int = Field(500, ge=1, le=10_000, description="events in one transaction")
    statement_timeout_s: Seconds = Field(10.0, description="seconds that a statement may take")
    connect_timeout_s: Seconds = Field(2.0, description="seconds that connecting may take")
    statement_cache_size: int = Field(
        100, ge=0, description="prepared statements kept; 0 behind PgBouncer < 1.21"
    )
    auto_migrate: bool = Field(False, description="bring the schema up to date at start")

    @field_validator("dsn")
    @classmethod
    def _is_a_postgresql_url(cls, dsn: SecretStr) -> SecretStr:
        if not dsn.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("a URL that begins with postgresql://")
        return dsn


class CacheSettings(Section):
    """Redis or Valkey. Without a url everything works, polls are answered by the database."""

    url: SecretStr | None = Field(None, description="redis://host:port/0")
    prefix: str = Field("telegram:", min_length=1, description="what every key begins with")
    timeout_s: Seconds = Field(0.25, description="seconds that the cache may take to answer")
    lease_s: Seconds = Field(3.0, description="seconds that the proof of completeness lasts unrenewed")
    body_ttl_s: int = Field(3600, ge=1, description="seconds that a message is kept")
    dedup_ttl_s: int = Field(7200, ge=1, description="seconds that a message is known to have been seen")
    tombstone_ttl_s: int = Field(7200, ge=1, description="seconds that a message is known to be done")
    pending_bound: int = Field(
        10_000, ge=1, description="waiting messages of a channel that the cache serves"
    )

    @field_validator("url")
    @classmethod
    def _is_a_redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("a URL that begins with redis://, rediss:// or unix://")
        return url


class JournalSettings(Section):
    """Where what was accepted is kept until the database has it."""

    file: FilePath | None = Field(None, description="the journal's file; default: in state_dir")
    max_bytes: int = Field(
        256 * 1024 * 1024, ge=1024 * 1024, description="events it may hold; then intake waits"
    )
    retention_events: int = Field(
        50_000, ge=1, description="events kept for the cache after the database has them"
    )


class HttpSettings(Section):
    """The polling API."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(4010, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    api_keys: dict[str, SecretStr] = Field(default_factory=dict, description="consumer's name = its key")
    gateway_token: SecretStr | None = Field(None, description="token for the gateway's own administration")
    body_limit_bytes: int = Field(1024 * 1024, ge=1024, description="larger request bodies are refused")

    @model_validator(mode="after")
    def _keys_can_travel_in_a_header(self) -> "HttpSettings":
        secrets = [*self.api_keys.values(), *([self.gateway_token] if self.gateway_token is not None else [])]
        for secret in secrets:
            text = secret.get_secret_value()
            if len(text) < 16 or not all("!" <= character <= "~" for character in text):
                raise ValueError("keys and tokens of at least 16 printable ASCII characters without spaces")
        return self


class LogSettings(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least important line to write"
    )
    format: Literal["json", "console"] = Field("json", description="for machines or for people")


class TestingSettings(Section):
    """For tests only."""

    fail_point: str | None = Field(
        None, description='place at which the process kills itself, "NAME" or "NAME:N"'
    )


def _default_state_dir() -> Path:
    # systemd sets it, to several folders if the unit names several.
    return Path(os.environ.get("STATE_DIRECTORY", "/var/lib/telewarden").split(":")[0])


class Settings(Section):
    """All of it. state_dir: where the session and the journal are; $STATE_DIRECTORY under systemd."""

    state_dir: FilePath = Field(
        default_factory=_default_state_dir, description="folder of session and journal"
    )
    telegram: TelegramSettings
    database: DatabaseSettings
    cache: CacheSettings = CacheSettings()
    journal: JournalSettings = JournalSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    testing: TestingSettings = TestingSettings()

    @property
    def session_file(self) -> Path:
        """The account's session."""
        return self.telegram.session_file or self.state_dir / "telewarden.session"

    @property
    def journal_file(self) -> Path:
        """The journal's file."""
        return self.journal.file or self.state_dir / "journal.sqlite"


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
"""The sections by name."""


def is_secret(section: str, name: str) -> bool:
    """Whether a setting's value must never be shown."""
    field = SECTIONS[section].model_fields.get(name) if section in SECTIONS else None
    return field is not None and "SecretStr" in str(field.annotation)


def field_of(section: str | None, name: str) -> Any:
    """A setting's declaration (pydantic FieldInfo), or None if there is no such setting."""
    model = Settings if section is None else SECTIONS.get(section)
    return None if model is None else model.model_fields.get(name)
