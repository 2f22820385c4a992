"""`telewarden config`: look at the settings before anything runs."""

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from telewarden.cli.options import ConfigOption, SetOption, load_or_exit
from telewarden.configuration import effective

app = typer.Typer(help="Check and show the settings.", no_args_is_help=True)


@app.command()
def check(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Print every problem with the settings at once; exit status 2 if there is one."""
    loaded = load_or_exit(config, set_)
    channels = len(loaded.settings.telegram.channels)
    print(f"The settings are fine: {channels} channel{'' if channels == 1 else 's'}.")
    if not channels:
        print("Nothing will be taken in: telegram.channels is empty.", file=sys.stderr)


@app.command()
def show(
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Print the settings in force, and where each came from; secrets are hidden."""
    rows = effective(load_or_exit(config, set_))
    if as_json:
        print(
            json.dumps({name: {"value": value, "source": source} for name, value, source in rows}, indent=2)
        )
        return
    table = Table("setting", "value", "from")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
