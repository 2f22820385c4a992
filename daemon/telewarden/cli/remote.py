"""Commands that ask a server over HTTP, as any consumer does: where it is, with which key, and what its errors mean."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from telewarden.cli.options import fail, settings_without_secrets
from telewarden.configuration import DEFAULT_FILE, KEY_VARIABLE

if TYPE_CHECKING:
    from telewarden.settings import Settings
    from telewarden_http.client import Client

EXIT_REFUSED = 1
EXIT_INTERRUPTED = 130
_DEFAULT_URL = "http://127.0.0.1:4010"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- what a server listens on, asked on this machine

UrlOption = Annotated[
    str | None,
    typer.Option("--url", help=f"The server; default http.host and http.port, else {_DEFAULT_URL}."),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file", help=f"File that holds the key. Else ${KEY_VARIABLE}, else the one in http.api_keys."
    ),
]
AsOption = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Whose key of http.api_keys, if there are several.")
]
JsonLinesOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@contextmanager
def server(
    url: str | None,
    key_file: Path | None,
    as_: str | None,
    config: Path | None,
    set_: list[str] | None,
    *,
    admin: bool = False,
) -> Iterator["Client"]:
    """A client of the server. Ends the command with words where that cannot be reached or refuses, and quietly by
    Ctrl-C, or when nobody reads the output any more.

    admin: the gateway's token is the key, where the settings have one.
    """
    from telewarden_http.client import Client, ClientError

    given_key = _given_key(key_file) if as_ is None else None
    settings = None if url is not None and given_key is not None else _settings(config, set_)
    try:
        client = Client(url or _url(settings), given_key or _key_of(settings, as_, admin=admin))
    except ValueError as error:
        fail(str(error))
    try:
        with client:
            yield client
    except ClientError as error:
        fail(str(error), EXIT_REFUSED)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        # So that the interpreter does not stumble over it again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def _settings(config: Path | None, set_: list[str] | None) -> "Settings | None":
    """None where there is no file; then the defaults hold."""
    if config is None and not set_ and not os.environ.get("TELEWARDEN_CONFIG") and not DEFAULT_FILE.exists():
        return None
    return settings_without_secrets(config, set_)


def _url(settings: "Settings | None") -> str:
    if settings is None:
        return _DEFAULT_URL
    if settings.http.port == 0:
        fail("http.port is 0, so the daemon takes a free one; give its address with --url")
    host = _EVERYWHERE.get(settings.http.host, settings.http.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http.port}"


def _given_key(key_file: Path | None) -> str | None:
    if key_file is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        mode, text = key_file.stat().st_mode, key_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"the key cannot be read from {key_file}: {getattr(error, 'strerror', None) or error}")
    # A pipe, such as <(command), belongs to nobody else anyway.
    if stat.S_ISREG(mode) and mode & 0o007:
        fail(f"everybody can read {key_file}, which holds a key; chmod 600 {key_file}")
    if not text:
        fail(f"{key_file} is empty; it should hold a key")
    return text


def _key_of(settings: "Settings | None", as_: str | None, *, admin: bool) -> str:
    keys = {} if settings is None else settings.http.api_keys
    if as_ is not None:
        if as_ not in keys:
            known = f"; there are {', '.join(sorted(keys))}" if keys else ""
            fail(f"http.api_keys has no key of {as_!r}{known}")
        return keys[as_].get_secret_value()
    if admin and settings is not None and settings.http.gateway_token is not None:
        return settings.http.gateway_token.get_secret_value()
    if len(keys) > 1:
        names = ", ".join(sorted(keys))
        fail(f"which key? http.api_keys has {names}; choose with --as NAME, or give --key-file")
    if not keys:
        fail(f"a key is needed: give --key-file, set {KEY_VARIABLE}, or name the settings file with --config")
    return next(iter(keys.values())).get_secret_value()
