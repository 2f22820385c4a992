"""Every setting, typed, with its default and meaning. File (TOML) < environment (TELEWARDEN_…) < command line."""

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)


class Section(BaseModel):
    """What all sections share: they are fixed once read, and an unknown name is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


def _expanded(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) else value


def _none_if_empty(value: object) -> object:
    # So that a variable or an option can take back what the file sets.
    return None if value == "" else value


def _are_channels(channel_ids: list[int]) -> list[int]:
    unmarked = [channel_id for channel_id in channel_ids if not -(2**63) <= channel_id < -(10**12)]
    if unmarked:
        raise ValueError(f"ids in the marked form, which begins with -100; not so: {_listed(unmarked)}")
    twice = sorted({channel_id for channel_id in channel_ids if channel_ids.count(channel_id) > 1})
    if twice:
        raise ValueError(f"each channel once; given twice: {_listed(twice)}")
    return channel_ids


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _are_backup_folders(folders: list[Path]) -> list[Path]:
    if len(folders) > 3:
        raise ValueError(f"at most 3 folders, not {len(folders)}")
    relative = [folder for folder in folders if not folder.is_absolute()]
    if relative:
        raise ValueError(f"folders from the root, which begin with /; not so: {_listed(relative)}")
    if len(set(folders)) < len(folders):
        raise ValueError("each folder once")
    return folders


def _first_read(value: object) -> object:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if number in ("now", "all") or (type(number) is int and number >= 0):
        return number
    raise ValueError('"now", "all" or a whole number from 0')


def _has_a_port(address: str, *, needed: bool) -> bool:
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        return not needed
    return bool(host or not needed) and port.isdecimal() and 0 < int(port) <= 65535


def _is_an_address(address: str) -> str:
    if not _has_a_port(address, needed=True):
        raise ValueError("host:port, such as 149.154.167.50:443")
    return address


def _are_each_once(addresses: list[str]) -> list[str]:
    if len(set(addresses)) < len(addresses):
        raise ValueError("each address once")
    return addresses


def _is_a_readable_file(path: Path) -> Path:
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ValueError("a file that this user can read")
    return path


def _is_url(secret: SecretStr, *schemes: str) -> SecretStr:
    """Checked as far as no driver would check it before its first use. Messages never hold the URL: it may hold a
    password."""
    try:
        parts = urlsplit(secret.get_secret_value())
    except ValueError:
        raise ValueError("a well-formed URL") from None
    if parts.scheme not in schemes:
        raise ValueError(f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if not all(_has_a_port(host, needed=False) for host in parts.netloc.rpartition("@")[2].split(",")):
        raise ValueError("a URL whose port is a number from 1 to 65535")
    return secret


def _is_database_url(secret: SecretStr) -> SecretStr:
    return _is_url(secret, "postgresql", "postgres")


def _is_cache_url(secret: SecretStr) -> SecretStr:
    return _is_url(secret, "redis", "rediss", "unix")


def _travels_in_a_header(secret: SecretStr) -> bool:
    text = secret.get_secret_value()
    return len(text) >= 16 and all("!" <= character <= "~" for character in text)


_A_KEY = "at least 16 printable ASCII characters without spaces"


def _is_a_token(secret: SecretStr) -> SecretStr:
    if not _travels_in_a_header(secret):
        raise ValueError(_A_KEY)
    return secret


def _are_keys(keys: dict[str, SecretStr]) -> dict[str, SecretStr]:
    unfit = [name for name, secret in keys.items() if not name or not _travels_in_a_header(secret)]
    if unfit:
        raise ValueError(f"for each consumer {_A_KEY}; not so for {_listed(unfit)}")
    return keys


def _are_networks(networks: list[str]) -> list[str]:
    try:
        return [str(ipaddress.ip_network(network)) for network in networks]
    except ValueError:
        raise ValueError("addresses or networks, such as 10.0.0.0/8 or ::1") from None


def _are_origins(origins: list[str]) -> list[str]:
    for origin in origins:
        parts = urlsplit(origin)
        if (
            parts.scheme not in ("http", "https")
            or not parts.netloc
            or origin != f"{parts.scheme}://{parts.netloc}"
        ):
            raise ValueError("origins: scheme, host and, if it is not the usual one, port, and nothing more")
    return origins


Empty = BeforeValidator(_none_if_empty)
FilePath = Annotated[Path, BeforeValidator(_expanded)]
ReadableFile = Annotated[FilePath, AfterValidator(_is_a_readable_file)]
Seconds = Annotated[float, Field(gt=0)]
BackupFolders = Annotated[list[FilePath], AfterValidator(_are_backup_folders)]
Channels = Annotated[list[int], AfterValidator(_are_channels)]
FirstRead = Annotated[Literal["now", "all"] | int, BeforeValidator(_first_read)]
Address = Annotated[str, AfterValidator(_is_an_address)]
Addresses = Annotated[list[Address], AfterValidator(_are_each_once)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_is_database_url)]
CacheUrl = Annotated[SecretStr, AfterValidator(_is_cache_url)]
Networks = Annotated[list[str], AfterValidator(_are_networks)]
Origins = Annotated[list[str], AfterValidator(_are_origins)]
ApiKeys = Annotated[dict[str, SecretStr], AfterValidator(_are_keys)]
Token = Annotated[SecretStr, AfterValidator(_is_a_token)]


class TelegramSettings(Section):
    """The account, and what is taken in with it."""

    api_id: int = Field(gt=0, description="number of the application, from my.telegram.org")
    api_hash: SecretStr = Field(description="secret of the application, from my.telegram.org")
    session_file: Annotated[FilePath | None, Empty] = Field(
        None, description="the account's session; default: in state_dir"
    )
    channels: Channels = Field(default_factory=list, description="marked ids, such as -1001649127710")
    first_read: FirstRead = Field(
        "now",
        description='what to take of a channel never seen before: "now", "all", or that many newest posts',
    )
    history_page: int = Field(100, ge=1, le=100, description="posts asked for in one request")
    recheck_window: int = Field(
        200, ge=1, le=3000, description="newest posts compared for edits and deletions"
    )
    recheck_hours: Annotated[float, Field(ge=0, le=24 * 30)] = Field(
        48.0,
        description="age up to which more posts are compared, 3,000 at most, when Telegram cannot tell what changed",
    )
    requests_per_s: Annotated[float, Field(gt=0, le=100)] = Field(
        25.0, description="requests to Telegram a second, over all channels"
    )
    watch: bool = Field(True, description="ask channels again and again for changes that are not pushed")
    watch_interval_s: Seconds = Field(1.0, description="seconds between two questions to a channel with news")
    watch_max_interval_s: Seconds = Field(
        15.0, description="the same for quiet channels; fixes how many can be watched"
    )
    watch_first: Channels = Field(
        default_factory=list, description="channels that are always asked as often as one with news"
    )
    reconcile_interval_s: Seconds = Field(60.0, description="seconds between two comparisons of a channel")
    liveness_interval_s: Seconds = Field(10.0, description="seconds between two signs of life from Telegram")
    request_timeout_s: Seconds = Field(20.0, description="seconds that Telegram may take to answer")
    resolve_timeout_s: Seconds = Field(5.0, description="seconds for the host name of dc_address")
    tcp_timeout_s: Seconds = Field(10.0, description="seconds for the TCP connection")
    key_timeout_s: Seconds = Field(20.0, description="seconds to agree on an authorisation key")
    handshake_timeout_s: Seconds = Field(10.0, description="seconds for the first answer on a connection")
    login_timeout_s: Seconds = Field(20.0, description="seconds to learn whether the account is signed in")
    dialogs_timeout_s: Seconds = Field(60.0, description="seconds to learn which channels there are")
    dc_id: int = Field(2, ge=1, le=5, description="data centre of dc_address")
    dc_address: Annotated[Address | None, Empty] = Field(
        None, description='"host:port", if not Telegram\'s own'
    )
    dc_public_key_file: Annotated[ReadableFile | None, Empty] = Field(
        None, description="PEM of that server's RSA key"
    )

    @field_validator("session_file")
    @classmethod
    def _has_the_suffix(cls, session_file: Path | None) -> Path | None:
        if session_file is not None and session_file.suffix != ".session":
            # Telethon would add it, and the lock and the permissions would be another file's.
            raise ValueError("a path that ends in .session")
        return session_file


class SessionBackupSettings(Section):
    """Copies of the session, which `telewarden session backup` makes."""

    folders: BackupFolders = Field(
        default_factory=list, description="up to three folders, private; default: backups in state_dir"
    )
    keep: int = Field(7, ge=1, le=1000, description="newest copies kept in each folder")


class DatabaseSettings(Section):
    """PostgreSQL, with or without TimescaleDB and PgBouncer."""

    dsn: DatabaseUrl = Field(description="postgresql://user:password@host:port/telegram_gateway")
    reader_pool: int = Field(4, ge=1, le=100, description="connections for polls")
    writer_pool: int = Field(2, ge=1, le=100, description="connections for writing and warming")
    batch_size: int = Field(500, ge=1, le=10_000, description="events in one transaction")
    batch_age_s: Seconds = Field(
        0.05, description="seconds that the first event of a batch may wait for more"
    )
    statement_timeout_s: Seconds = Field(10.0, description="seconds that a statement may take")
    connect_timeout_s: Seconds = Field(2.0, description="seconds that connecting may take")
    tcp_user_timeout_s: Seconds = Field(
        10.0,
        description="seconds without a sign of life from the database's machine until a connection is lost",
    )
    statement_cache_size: int = Field(
        100, ge=0, description="prepared statements kept; 0 behind PgBouncer < 1.21"
    )
    auto_migrate: bool = Field(False, description="bring the schema up to date at start")
    keep_days: int = Field(90, ge=3, description="days of messages kept")
    upkeep_interval_s: Seconds = Field(
        3600.0,
        description="seconds between two rounds of upkeep: days made ahead, old ones dropped, roll-ups",
    )


class CacheSettings(Section):
    """Redis or Valkey. Without a url everything works, polls are answered by the database."""

    url: Annotated[CacheUrl | None, Empty] = Field(
        None,
        description="redis://user:password@host:port/0, or rediss://; with sentinels: the master's name as host",
    )
    sentinels: Addresses = Field(
        default_factory=list, description='"host:port" of each Sentinel that watches the master'
    )
    sentinel_username: Annotated[str | None, Empty] = Field(
        None, description="user at the Sentinels, if not the default one"
    )
    sentinel_password: Annotated[SecretStr | None, Empty] = Field(
        None, description="password of the Sentinels, if they have one"
    )
    prefix: str = Field("telegram:", min_length=1, description="what every key begins with")
    timeout_s: Seconds = Field(0.25, description="seconds that the cache may take to answer")
    lease_s: Seconds = Field(3.0, description="seconds that the proof of completeness lasts unrenewed")
    body_ttl_s: int = Field(3600, ge=1, description="seconds that a message is kept")
    dedup_ttl_s: int = Field(7200, ge=1, description="seconds that a message is known to have been seen")
    tombstone_ttl_s: int = Field(7200, ge=1, description="seconds that a message is known to be done")
    pending_bound: int = Field(
        10_000, ge=1, description="waiting messages of a channel that the cache serves"
    )

    @model_validator(mode="after")
    def _sentinels_know_the_master_by_name(self) -> "CacheSettings":
        if self.sentinels:
            parts = urlsplit(self.url.get_secret_value()) if self.url is not None else None
            if parts is None or parts.scheme == "unix" or not parts.hostname or parts.port is not None:
                raise ValueError(
                    "with cache.sentinels, cache.url names the master as they know it, without a port, "
                    "such as redis://:password@mymaster/0"
                )
        return self

    @property
    def sentinel_addresses(self) -> list[tuple[str, int]]:
        """Host and port of each Sentinel."""
        return [
            (host.strip("[]"), int(port)) for host, _, port in (a.rpartition(":") for a in self.sentinels)
        ]


class JournalSettings(Section):
    """Where what was accepted is kept until the database has it."""

    file: Annotated[FilePath | None, Empty] = Field(
        None, description="the journal's file; default: in state_dir"
    )
    max_bytes: int = Field(
        256 * 1024 * 1024, ge=1024 * 1024, description="events it may hold; then intake waits"
    )
    min_free_bytes: int = Field(
        64 * 1024 * 1024, ge=0, description="room that its disk must have; with less, intake waits"
    )
    retention_events: int = Field(
        50_000, ge=1, description="events kept for the cache after the database has them"
    )


class HttpSettings(Section):
    """The polling API."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(4010, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    api_keys: ApiKeys = Field(default_factory=dict, description="consumer's name = its key")
    gateway_token: Annotated[Token | None, Empty] = Field(
        None, description="token for the gateway's own administration"
    )
    body_limit_bytes: int = Field(1024 * 1024, ge=1024, description="larger request bodies are refused")
    requests_per_s: Annotated[float, Field(ge=0)] = Field(
        100.0, description="requests a second that a stored key may send over time; 0: as many as it likes"
    )
    burst: int = Field(200, ge=1, description="requests that a stored key may send at once")
    wrong_keys: int = Field(
        100, ge=1, description="wrong keys that an address may send in a row; then one a second is looked at"
    )
    long_polls: int = Field(800, ge=1, description="requests and streams that may wait at once, in all")
    long_polls_a_key: int = Field(100, ge=1, description="the same of one key")
    trusted_proxies: Networks = Field(
        default_factory=list, description="networks of proxies whose X-Forwarded-For is believed"
    )
    cors_origins: Origins = Field(
        default_factory=list, description="origins whose pages may ask, such as https://board.example"
    )
    access_log: bool = Field(False, description="one line in the log for each request")
    process_port: Annotated[int | None, Empty] = Field(
        None,
        ge=1,
        le=65535 - 64,
        description="first of the ports of 127.0.0.1 at which each of several processes answers by itself",
    )
    workers: int = Field(
        1, ge=1, le=64, description="processes that share the port; more than 1 only with role api"
    )


class LogSettings(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least important line to write"
    )
    format: Literal["json", "console"] = Field("json", description="for machines or for people")


class TestingSettings(Section):
    """For tests only."""

    fail_point: Annotated[str | None, Empty] = Field(
        None, description='place at which the process kills itself, "NAME" or "NAME:N"'
    )
    worker_faults: bool = Field(False, description="whether the control socket may break workers")
    heartbeat_s: Annotated[Seconds | None, Empty] = Field(
        None, description="upper limit of every worker's heartbeat time-out"
    )
    restarts: Annotated[int | None, Empty] = Field(
        None, ge=0, description="restarts within a minute after which a supervisor gives up"
    )


def _default_state_dir() -> Path:
    # systemd sets it, to several folders if the unit names several.
    return Path(os.environ.get("STATE_DIRECTORY", "/var/lib/telewarden").split(":")[0])


ROLE_ALL, ROLE_API = "all", "api"


class Settings(Section):
    """All of it. state_dir: where the session and the journal are; $STATE_DIRECTORY under systemd.

    role: "all" takes in and serves; "api" only serves, beside one that takes in, and needs no [telegram].
    """

    state_dir: FilePath = Field(
        default_factory=_default_state_dir, description="folder of session and journal"
    )
    role: Literal["all", "api"] = Field(
        "all", description='"all", or "api" for a process that only serves, from the same database and cache'
    )
    telegram: TelegramSettings
    session_backup: SessionBackupSettings = SessionBackupSettings()
    database: DatabaseSettings
    cache: CacheSettings = CacheSettings()
    journal: JournalSettings = JournalSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    testing: TestingSettings = TestingSettings()

    @field_validator("http")
    @classmethod
    def _several_processes_only_serve(cls, http: HttpSettings, info: ValidationInfo) -> HttpSettings:
        if http.workers > 1 and info.data.get("role") == ROLE_ALL:
            raise ValueError(
                f"http.workers = {http.workers} needs role api: one process takes in, any number may serve beside it "
                f"(telewarden run --role api --workers {http.workers}, on a port of its own)"
            )
        return http

    @model_validator(mode="before")
    @classmethod
    def _default_files_are_in_the_state_folder(cls, data: Any) -> Any:
        """So that the settings show them."""
        if not isinstance(data, dict):
            return data
        folder = data.get("state_dir", _default_state_dir())
        if not isinstance(folder, str | Path):
            return data
        filled = dict(data)
        if data.get("role") == ROLE_API and isinstance(data.get("telegram", {}), dict):
            # It signs in nowhere.
            filled["telegram"] = {"api_id": 1, "api_hash": "unused", **data.get("telegram", {})}
        for section, name, file in (
            ("telegram", "session_file", "telewarden.session"),
            ("journal", "file", "journal.sqlite"),
        ):
            values = filled.get(section, {})
            if isinstance(values, dict) and values.get(name, "") == "":
                filled[section] = {**values, name: Path(folder).expanduser() / file}
        return filled

    @property
    def session_file(self) -> Path:
        """The account's session."""
        return self.telegram.session_file or self.state_dir / "telewarden.session"

    @property
    def session_backup_folders(self) -> list[Path]:
        """Where copies of the session are kept."""
        return self.session_backup.folders or [self.state_dir / "backups"]

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
