"""`telewarden keys`: keys that are stored in the database."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from telewarden.cli.options import ConfigOption, SetOption, fail, load_or_exit

if TYPE_CHECKING:
    from telewarden.storage.keys import KeyStore
    from telewarden_http.v1.keys_protocols import CreatedKey, KeyInfo

app = typer.Typer(
    help="Keys that are stored in the database; those of the settings are not shown.", no_args_is_help=True
)
T = TypeVar("T")

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_NOT_DONE = 1

KeyId = Annotated[str, typer.Argument(help="The id of a key, as `telewarden keys list` shows it.")]


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter("a number and a unit: 90d, 24h, 30m or 45s")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _channel(text: str) -> str:
    if re.fullmatch(r"-100[0-9]{1,13}", text) is None:
        raise typer.BadParameter(f"{text} is no channel's id; these begin with -100")
    return text


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is; also the name of its place in the feed.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="read, ack or admin; repeatable. Default: read and ack."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            "--channel", parser=_channel, help="Id of a channel that it may read; repeatable. Default: all."
        ),
    ] = None,
    expires: Annotated[
        timedelta | None,
        typer.Option("--expires", parser=_duration, help="For how long it is valid, such as 90d."),
    ] = None,
    consumer: Annotated[
        str | None, typer.Option("--consumer", help="Whose place in the feed it uses, if not its own.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Make a key, and print it: this once, alone on standard output."""
    from telewarden_http.v1.keys_protocols import NewKey

    wanted = NewKey(
        name,
        tuple(scope or ("read", "ack")),
        None if channel is None else tuple(channel),
        None if expires is None else datetime.now(UTC) + expires,
        consumer,
    )
    _tell(_run(config, set_, lambda store: store.create(wanted)))


@app.command("list")
def list_(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Show all stored keys, without their secrets."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    keys = _run(config, set_, lambda store: store.keys())
    table = Table("id", "name", "scopes", "channels", "state", "expires", "last used", box=box.SIMPLE)
    now = datetime.now(UTC)
    for key in keys:
        consumer = "" if key.consumer == key.name else f" (consumer {key.consumer})"
        table.add_row(
            key.id,
            escape(key.name + consumer),
            ", ".join(key.scopes),
            "all" if key.channels is None else ", ".join(key.channels) or "none",
            key.state(now),
            _time(key.expires_at, "never"),
            _time(key.last_used_at, "not yet"),
        )
    Console().print(table)


@app.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[
        timedelta, typer.Option("--overlap", parser=_duration, help="How long the old key stays valid.")
    ] = "24h",  # type: ignore[assignment]
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Make a key in the place of another one, which expires after the overlap. Prints the new one, this once."""
    created = _run(config, set_, lambda store: store.rotate(key_id, overlap.total_seconds()))
    if created is None:
        fail(f"there is no key {key_id}; see `telewarden keys list`", _NOT_DONE)
    _tell(created)


@app.command()
def revoke(key_id: KeyId, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Take a key back: within seconds no process lets it in any more."""
    revoked = _run(config, set_, lambda store: store.revoke(key_id))
    if revoked is None:
        fail(f"there is no key {key_id}; see `telewarden keys list`", _NOT_DONE)
    print(f"the key {revoked.id} of {revoked.name} is revoked")


def _tell(created: "CreatedKey") -> None:
    typer.echo(f"{_described(created.info)}. This is shown once:", err=True)
    print(created.key)


def _described(info: "KeyInfo") -> str:
    expires = _time(info.expires_at, "never")
    channels = "all channels" if info.channels is None else ", ".join(info.channels)
    return f"Key {info.id} of {info.name}: {', '.join(info.scopes)}; {channels}; expires {expires}"


def _time(moment: datetime | None, otherwise: str) -> str:
    return otherwise if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _run(config: Path | None, set_: list[str] | None, action: "Callable[[KeyStore], Awaitable[T]]") -> T:
    import anyio

    from telewarden.storage.database import open_database
    from telewarden.storage.keys import KeyStore
    from telewarden_http.protocols import Unavailable
    from telewarden_http.v1.keys_protocols import KeyRefused

    database = load_or_exit(config, set_).settings.database

    async def act() -> T:
        async with open_database(
            database.dsn.get_secret_value(),
            connect_timeout_s=database.connect_timeout_s,
            statement_cache_size=database.statement_cache_size,
        ) as opened:
            return await action(KeyStore(opened))

    try:
        return anyio.run(act)
    except KeyRefused as error:
        fail(str(error))
    except Unavailable as error:
        fail(str(error), _NOT_DONE)
