"""`telewarden verify`: Telegram's history and the database, compared id by id through the running daemon."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from telewarden.cli.lines import ask_lines
from telewarden.cli.operator import control_path
from telewarden.cli.options import ConfigOption, SetOption, SinceOption, fail, progress, since_s

if TYPE_CHECKING:
    from telewarden.control import Verified
    from telewarden.verify import Difference

EXIT_DIFFERENT, EXIT_CANNOT_LOOK = 1, 3


def verify(
    channels: Annotated[
        list[int] | None,
        typer.Argument(help="Marked ids, such as -1001649127710; all channels if none is given."),
    ] = None,
    since: SinceOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Bring what is missing or differs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Compare Telegram with the database: exit status 0 if they are equal, 1 if not, 3 if that could not be found out.

    It goes through the running daemon, which owns the session, and disturbs nothing.
    """
    from telewarden.control import Request, Verified

    request = Request("verify", channels=tuple(channels or ()), since_s=since_s(since), repair=repair)
    compared = repaired = 0
    differences: list[Difference] = []
    for line in _shown(
        ask_lines(control_path(config, set_), request, Verified, EXIT_CANNOT_LOOK), quiet=as_json
    ):
        if line.error:
            fail(line.error, EXIT_CANNOT_LOOK)
        if not line.done:
            compared, repaired = line.compared, line.repaired
            differences += line.differences
    _print(compared, repaired, differences, as_json=as_json)
    if differences:
        raise typer.Exit(EXIT_DIFFERENT)


def _shown(lines: "Iterator[Verified]", *, quiet: bool) -> "Iterator[Verified]":
    """The lines, with their progress on a terminal."""
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed} ids compared"), TimeElapsedColumn())
    with progress(*columns, quiet=quiet) as bar:
        task = bar.add_task("", total=None)
        for line in lines:
            if not line.done:
                bar.update(task, completed=line.compared)
            yield line


def _print(compared: int, repaired: int, differences: "list[Difference]", *, as_json: bool) -> None:
    if as_json:
        found = [
            {"channelId": d.channel_id, "messageId": d.message_id, "difference": d.kind.value}
            for d in differences
        ]
        print(json.dumps({"compared": compared, "repaired": repaired, "differences": found}))
        return
    for difference in differences:
        print(f"channel {difference.channel_id}, message {difference.message_id}: {difference.kind.value}")
    mended = f", {repaired} mended" if repaired else ""
    verdict = f"{len(differences)} differ" if differences else "equal"
    print(f"{compared} ids compared{mended}: {verdict}")
