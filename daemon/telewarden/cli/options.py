"""Options that several commands share, and how they turn into settings."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from telewarden.configuration import Loaded, SettingsInvalid, load

EXIT_WRONG = 2

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
