"""`telewarden session`: sign the account in and out, look at its session, copy it and put a copy back."""

import getpass
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from telewarden.cli.options import ConfigOption, SetOption, fail, load_or_exit, settings_without_secrets

if TYPE_CHECKING:
    from telewarden.settings import Settings
    from telewarden.telegram.session_status import SessionStatus

app = typer.Typer(help="The account's session.", no_args_is_help=True)

EXIT_NOT_DONE = 1


@app.command()
def login(
    config: ConfigOption = None,
    set_: SetOption = None,
    qr: Annotated[
        bool, typer.Option("--qr", help="Show a QR code for a signed-in Telegram app to scan.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also when a session is there that works; it is moved aside.")
    ] = False,
) -> None:
    """Sign in: by phone number and code, or by QR code; then the account's password, where it has one."""
    from telewarden.app import client_settings
    from telewarden.telegram.login import LoginFailed, Questions, log_in

    settings = load_or_exit(config, set_).settings
    questions = Questions(
        phone=_typed(lambda: input("Phone number, with country code: ")),
        code=_typed(lambda: input("Code that Telegram sent: ")),
        password=_typed(lambda: getpass.getpass("Password of the account (two-step verification): ")),
        tell=lambda line: print(line, flush=True),
        show_qr=_QrCode().show if qr else None,
    )
    with _owned(settings):
        try:
            if not replace:
                _refuse_over_a_session_that_works(settings)
            done = anyio.run(log_in, client_settings(settings), questions)
        except LoginFailed as error:
            fail(str(error), EXIT_NOT_DONE)
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            fail("not signed in: it was interrupted, and nothing was changed", EXIT_NOT_DONE)
    _tell_aside(done.aside)
    print(
        f"Signed in as {done.name}. The session is {settings.session_file}; start the daemon with: telewarden run"
    )


def _refuse_over_a_session_that_works(settings: "Settings") -> None:
    from telewarden.app import client_settings
    from telewarden.telegram.session_file import SessionDamaged, SessionUnreadable
    from telewarden.telegram.session_online import TelegramSilent, ask_telegram

    file = settings.session_file
    try:
        verdict = anyio.run(ask_telegram, client_settings(settings))
    except FileNotFoundError:
        return
    except SessionDamaged as error:
        print(f"The session that is there cannot be used ({error}).")
    except (SessionUnreadable, TelegramSilent) as error:
        fail(f"not signed in: there is a session, and whether it works is unknown: {error}", EXIT_NOT_DONE)
    else:
        if verdict.accepted:
            fail(
                f"{file} is signed in already, as {verdict.account}. To sign in anew, which moves it aside: --replace",
                EXIT_NOT_DONE,
            )
        print(f"Telegram no longer accepts the session that is there ({verdict.reason}).")


@app.command()
def status(
    config: ConfigOption = None,
    set_: SetOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Ask Telegram too, unless a daemon uses the session.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell whether there is a session that can be used, never what it holds. Exit status 0 if it can, 1 if not."""
    from telewarden.telegram.session_status import look_at

    settings = load_or_exit(config, set_).settings if online else settings_without_secrets(config, set_)
    found = look_at(settings.session_file)
    if online and found.usable:
        found = _ask_telegram(found, settings)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        for name, value in found.lines():
            print(f"{name:<12} {value}")
        if found.problem is not None:
            print(f"telewarden: {found.problem}", file=sys.stderr)
    raise typer.Exit(0 if found.usable else EXIT_NOT_DONE)


def _ask_telegram(status: "SessionStatus", settings: "Settings") -> "SessionStatus":
    from telewarden.app import client_settings
    from telewarden.telegram.session_file import SessionDamaged, SessionUnreadable
    from telewarden.telegram.session_online import TelegramSilent, ask_telegram

    if status.owner_pid is not None:
        return status.not_asked(
            f"not asked: process {status.owner_pid} uses it, and /health tells how it fares"
        )
    with _owned(settings):
        try:
            return status.judged(anyio.run(ask_telegram, client_settings(settings)))
        except (TelegramSilent, SessionDamaged, SessionUnreadable, OSError) as error:
            return status.unanswered(str(error))


@app.command()
def backup(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Up to three folders; default: session_backup.folders.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Copy the session, also while the daemon uses it; each copy is private and checked. Exit status 1 if one fails."""
    from telewarden.telegram.session_backup import MAX_FOLDERS, BackupFailed, back_up

    settings = settings_without_secrets(config, set_)
    wanted = list(
        dict.fromkeys(f.expanduser().absolute() for f in folders or settings.session_backup_folders)
    )
    if len(wanted) > MAX_FOLDERS:
        fail(f"at most {MAX_FOLDERS} folders, not {len(wanted)}")
    _check_user(settings)
    try:
        facts, copies = back_up(
            settings.session_file, wanted, keep=settings.session_backup.keep, now=datetime.now(UTC)
        )
    except BackupFailed as error:
        fail(str(error), EXIT_NOT_DONE)
    for copy in copies:
        if copy.file is not None:
            print(f"{copy.file}: copied and checked, key {facts.digest}; {copy.removed} older removed")
    failed = [copy for copy in copies if copy.problem is not None]
    for copy in failed:
        print(f"telewarden: no copy in {copy.folder}: {copy.problem}", file=sys.stderr)
    raise typer.Exit(EXIT_NOT_DONE if failed else 0)


@app.command()
def restore(
    copy: Annotated[Path, typer.Argument(help="A copy that `telewarden session backup` made.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also beside a session that works, which is moved aside.")
    ] = False,
) -> None:
    """Make a copy the session. Refused while a process owns the session, and beside one that works."""
    from telewarden.app import client_settings
    from telewarden.telegram import session_backup
    from telewarden.telegram.session import SessionInUse
    from telewarden.telegram.session_file import SessionDamaged, SessionUnreadable
    from telewarden.telegram.session_online import TelegramSilent, ask_telegram

    settings = load_or_exit(config, set_).settings
    _check_user(settings)
    _hush()

    async def is_alive() -> str | None:
        try:
            verdict = await ask_telegram(client_settings(settings))
        except (TelegramSilent, SessionDamaged, SessionUnreadable, OSError) as error:
            return f"may still work ({error})"
        return f"works, as {verdict.account}" if verdict.accepted else None

    async def put_back() -> session_backup.Restored:
        return await session_backup.restore(
            copy, settings.session_file, replace=replace, now=datetime.now(UTC), is_alive=is_alive
        )

    try:
        restored = anyio.run(put_back)
    except SessionInUse as error:
        fail(f"nothing was restored: {error}")
    except session_backup.RestoreRefused as error:
        fail(str(error), EXIT_NOT_DONE)
    except OSError as error:
        fail(f"nothing was restored: {error.strerror or error} ({error.filename})", EXIT_NOT_DONE)
    _tell_aside(restored.aside)
    print(
        f"{settings.session_file}: restored and checked, key {restored.facts.digest}. "
        "Whether Telegram accepts it: telewarden session status --online"
    )


@app.command()
def logout(
    config: ConfigOption = None,
    set_: SetOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End the session at Telegram and remove it. With Telegram out of reach nothing is removed."""
    from telewarden.app import client_settings
    from telewarden.telegram.session_file import SessionDamaged, SessionUnreadable, remove, sync
    from telewarden.telegram.session_online import TelegramSilent, log_out

    settings = load_or_exit(config, set_).settings
    file = settings.session_file
    with _owned(settings):
        if not file.exists():
            fail(f"there is no session at {file}: nothing to do", EXIT_NOT_DONE)
        try:
            if not yes and not typer.confirm(f"End the session {file} at Telegram, and remove it?"):
                fail("nothing was changed", EXIT_NOT_DONE)
            ended = anyio.run(log_out, client_settings(settings))
        except (TelegramSilent, SessionUnreadable) as error:
            fail(f"not signed out, and {file} is as it was: {error}", EXIT_NOT_DONE)
        except SessionDamaged as error:
            fail(
                f"not signed out: {error}. End it in a Telegram app, under Devices, and remove the file",
                EXIT_NOT_DONE,
            )
        except (KeyboardInterrupt, typer.Abort):
            fail("interrupted; the file was left, see: telewarden session status --online", EXIT_NOT_DONE)
        remove(file)
        sync(file.parent)
    how = "Signed out" if ended else "Telegram had ended the session before"
    print(f"{how}; {file} is removed. Copies of it no longer work: remove them too.")


def _typed(ask: Callable[[], str]) -> Callable[[], str]:
    """A question that the first Ctrl-C ends. anyio's own handler would wait for the event loop, which waits for input;
    a terminal that is closed must end it in order too."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def asked() -> str:
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, interrupted) for number in signals]
        try:
            return ask()
        finally:
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)

    return asked


class _QrCode:
    """Draws QR codes, each over the one before, where a terminal can do that."""

    def __init__(self) -> None:
        self._height = 0

    def show(self, address: str) -> None:
        from telewarden.telegram.qr_login import drawn

        lines = drawn(address, colours=sys.stdout.isatty())
        if sys.stdout.isatty() and self._height:
            print(f"\x1b[{self._height}A\x1b[J", end="")
        lines += ["In a signed-in Telegram app: Settings > Devices > Link Desktop Device, and scan this."]
        self._height = len(lines)
        print("\n".join(lines), flush=True)


@contextmanager
def _owned(settings: "Settings") -> Iterator[None]:
    """Own the session for the length of a command."""
    from telewarden.telegram.session import SessionInUse
    from telewarden.telegram.session_file import owned

    _hush()
    _check_user(settings)
    try:
        with owned(settings.session_file):
            yield
    except SessionInUse as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error} ({error.filename or settings.session_file})", EXIT_NOT_DONE)


def _check_user(settings: "Settings") -> None:
    """Files of another user's would keep the daemon from its session."""
    folder = settings.session_file.parent
    try:
        owner = folder.stat().st_uid
    except OSError:
        return
    if owner != os.geteuid():
        fail(f"{folder} belongs to the user with the id {owner}; run this as that user, as the daemon runs")


def _hush() -> None:
    """Telethon's log has nothing that the command does not say itself."""
    logging.getLogger("telethon").setLevel(logging.CRITICAL)


def _tell_aside(aside: Path | None) -> None:
    if aside is not None:
        print(
            f"The file that was there is now {aside}. It is a key to the account: remove it when it is not needed."
        )
