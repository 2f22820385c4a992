"""`telewarden run`: the daemon."""

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from telewarden.cli.options import ConfigOption, SetOption, load_or_exit


def run(
    config: ConfigOption = None,
    set_: SetOption = None,
    sandbox: Annotated[
        bool,
        typer.Option("--sandbox", help="Use an embedded PostgreSQL and Valkey, kept in the state folder."),
    ] = False,
    role: Annotated[
        str | None,
        typer.Option("--role", help='"all", or "api" to serve only, beside a process that takes in.'),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="With --role api: so many processes share the port.", min=1),
    ] = None,
) -> None:
    """Take in the configured channels and serve them, until stopped."""
    if role is not None:
        set_ = [*(set_ or ()), f"role={role}"]
    if workers is not None:
        set_ = [*(set_ or ()), f"http.workers={workers}"]
    if sandbox:
        from telewarden.sandbox.embedded import run_with_servers

        raise typer.Exit(run_with_servers(config, tuple(set_ or ())))
    from telewarden.app import run as run_daemon
    from telewarden.configuration import load

    settings = load_or_exit(config, set_).settings
    raise typer.Exit(run_daemon(settings, lambda: load(config, set_ or ()).settings))


def version() -> None:
    """Print the version."""
    print(version_of("telewarden"))
