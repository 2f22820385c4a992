"""Options that several commands share, and how they turn into settings."""

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from telewarden.configuration import Loaded, SettingsInvalid, load

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from telewarden.settings import Settings

EXIT_WRONG = 2
_NOT_NEEDED = {
    "TELEWARDEN_TELEGRAM__API_ID": "1",
    "TELEWARDEN_TELEGRAM__API_HASH": "not needed here",
    "TELEWARDEN_DATABASE__DSN": "postgresql://not-needed-here",
}

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Settings file (TOML); default $TELEWARDEN_CONFIG or /etc/telewarden/telewarden.toml.",
    ),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="section.name=value, over file and environment; repeatable.")
]

SinceOption = Annotated[
    datetime | None,
    typer.Option("--since", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Only posts from then on (UTC)."),
]


def since_s(since: datetime | None) -> float:
    """What `SinceOption` gives as seconds since the epoch; 0 without it."""
    return 0.0 if since is None else since.replace(tzinfo=UTC).timestamp()


def progress(*columns: "ProgressColumn", quiet: bool = False) -> "Progress":
    """A bar on standard error that is gone in the end; none where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)


def fail(message: str, status: int = EXIT_WRONG) -> NoReturn:
    """Tell what is wrong in one line, and end."""
    print(f"telewarden: {message}", file=sys.stderr)
    raise typer.Exit(status)


def load_or_exit(config: Path | None, overrides: Sequence[str] | None) -> Loaded:
    """The settings, or every problem with them on standard error and exit status 2."""
    try:
        return load(config, overrides or ())
    except SettingsInvalid as invalid:
        count = len(invalid.problems)
        print(f"telewarden: {count} problem{'s' if count != 1 else ''} with the settings", file=sys.stderr)
        for problem in invalid.problems:
            print(f"  {problem}", file=sys.stderr)
        raise typer.Exit(EXIT_WRONG) from None


def settings_without_secrets(config: Path | None, overrides: Sequence[str] | None) -> "Settings":
    """The settings for commands that need no secrets: an operator's shell, and timers, do without the service's
    credentials. Ends the command where they are wrong."""
    try:
        return load(config, overrides or (), {**_NOT_NEEDED, **os.environ}).settings
    except SettingsInvalid as invalid:
        fail("; ".join(str(problem) for problem in invalid.problems))
