"""`telewarden session`: sign the account in."""

import getpass

import anyio
import typer

from telewarden.cli.options import ConfigOption, SetOption, fail, load_or_exit

app = typer.Typer(help="The account's session.", no_args_is_help=True)


@app.command()
def login(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Sign in with phone number, code and, where the account has one, its password."""
    from telewarden.app import client_settings
    from telewarden.telegram.login import LoginFailed, sign_in
    from telewarden.telegram.session import SessionInUse, SessionLock

    settings = load_or_exit(config, set_).settings
    try:
        lock = SessionLock(settings.session_file)
    except SessionInUse as error:
        fail(str(error))
    try:
        name = anyio.run(
            sign_in,
            client_settings(settings),
            lambda: input("Phone number, with country code: "),
            lambda: input("Code that Telegram sent: "),
            lambda: getpass.getpass("Password of the account (two-step verification): "),
        )
    except LoginFailed as error:
        fail(str(error), 1)
    except (EOFError, KeyboardInterrupt):
        fail("not signed in: it was interrupted", 1)
    finally:
        lock.release()
    print(
        f"Signed in as {name}. The session is {settings.session_file}; start the daemon with: telewarden run"
    )
