"""`telewarden poison`: events that the database refused, through the running daemon."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from telewarden.cli.operator import ask, control_path
from telewarden.cli.options import ConfigOption, SetOption

if TYPE_CHECKING:
    from telewarden.control import Answer

Action: TypeAlias = Literal["list", "retry", "drop"]

app = typer.Typer(help="Events that the database refused.", no_args_is_help=True)

IdArguments = Annotated[list[str], typer.Argument(help="EPOCH:POSITION, as `poison list` shows them.")]


@app.command("list")
def list_(
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show them, oldest first, with what the database said."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    answer = _ask(config, set_, "list", ())
    if as_json:
        print(msgspec.json.encode({"total": answer.total, "events": answer.poison}).decode())
        return
    table = Table("id", "channel", "message", "event", "since", "error")
    for row in answer.poison:
        table.add_row(row.id, str(row.channel_id), str(row.message_id), row.kind, row.since, row.error)
    if answer.poison:
        Console().print(table, markup=False)
    shown = f"; the oldest {len(answer.poison)} are shown" if len(answer.poison) < answer.total else ""
    print(f"{answer.total} events wait for a decision{shown}")


@app.command()
def retry(ids: IdArguments, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Try them again, after what the database refused them for has been mended."""
    print(_ask(config, set_, "retry", tuple(ids)).text)


@app.command()
def drop(ids: IdArguments, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Decide that they are not tried again. Their rows stay in telegram_gateway.poison_events."""
    print(_ask(config, set_, "drop", tuple(ids)).text)


def _ask(config: Path | None, set_: list[str] | None, action: Action, ids: tuple[str, ...]) -> "Answer":
    from telewarden.control import Request

    return ask(control_path(config, set_), Request("poison", poison=action, ids=ids), timeout_s=15.0)
