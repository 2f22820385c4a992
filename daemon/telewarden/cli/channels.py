"""`telewarden channels` and `telewarden backfill`: which channels are taken in, through the running daemon."""

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from telewarden.cli.lines import ask_lines
from telewarden.cli.operator import EXIT_NOT_DONE, control_path
from telewarden.cli.options import ConfigOption, SetOption, SinceOption, fail, progress, since_s

if TYPE_CHECKING:
    from telewarden.backfill import Backfilled
    from telewarden.channel_admin import ChannelRow
    from telewarden.control_channels import ChannelAnswer, ChannelRequest
    from telewarden.telegram.feed import Found

app = typer.Typer(help="Which channels are taken in.", no_args_is_help=True)

_CHANNEL = "@name, a t.me link, or an id such as -1001649127710."
ChannelArgument = Annotated[str, typer.Argument(help=_CHANNEL)]
ChannelArguments = Annotated[list[str], typer.Argument(help=f"One or more: {_CHANNEL}")]
StartOption = Annotated[
    str,
    typer.Option(
        "--start",
        help='Where the reading of a new one begins: "now", "all", how many newest posts, or a date (2026-01-31, UTC).',
    ),
]
JoinOption = Annotated[bool, typer.Option("--join", help="Let the account join it, if it is not in it yet.")]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until what is there has been read.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@app.command("list")
def list_(config: ConfigOption = None, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Show every channel: where it comes from, how far it has been read, how it is."""
    from rich.console import Console
    from rich.table import Table

    rows = [row for answer in _ask(config, set_, "list") for row in answer.rows]
    if as_json:
        print(json.dumps({"channels": [_as_json(row) for row in rows]}))
        return
    table = Table("channel", "title", "name", "state", "source", "read up to", "newest", "left out up to")
    for row in rows:
        name = f"@{row.name}" if row.name else ""
        ids = (str(row.reached), str(row.top), str(row.origin or ""))
        table.add_row(str(row.channel_id), row.title, name, row.state, row.source, *ids)
    Console().print(table, markup=False)


@app.command(context_settings={"ignore_unknown_options": True})
def add(
    channels: ChannelArguments,
    start: StartOption = "now",
    join: JoinOption = False,
    wait: WaitOption = True,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Take channels in from now on; the daemon goes on meanwhile, and keeps it across restarts."""
    failures = 0
    for reference in channels:
        failures += not _add(config, set_, reference, start=start, join=join, wait=wait)
    if failures:
        raise typer.Exit(EXIT_NOT_DONE)


@app.command("import")
def import_(
    match: Annotated[
        str | None, typer.Option("--match", help="Only those with this text in title or name.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them, without asking.")] = False,
    groups: Annotated[bool, typer.Option("--groups", help="Groups too, not only channels.")] = False,
    start: StartOption = "now",
    wait: WaitOption = True,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Choose among the channels that the account is in, and take them in."""
    served = {row.channel_id for answer in _ask(config, set_, "list") for row in answer.rows}
    dialogs = [found for answer in _ask(config, set_, "dialogs") for found in answer.dialogs]
    wanted = match.casefold() if match else ""
    offered = [
        found
        for found in dialogs
        if found.channel_id not in served
        and (groups or not found.is_group)
        and (wanted in found.title.casefold() or wanted in found.name.casefold())
    ]
    if not offered:
        print("nothing to import: every channel of the account that matches is taken in already")
        return
    chosen = offered if all_ else _chosen(offered)
    failures = sum(
        not _add(config, set_, str(found.channel_id), start=start, join=False, wait=wait) for found in chosen
    )
    if failures:
        raise typer.Exit(EXIT_NOT_DONE)


@app.command(context_settings={"ignore_unknown_options": True})
def remove(channel: ChannelArgument, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Take a channel in no more, and serve it no more. What is stored stays; added again, it goes on from there."""
    _do(config, set_, "remove", channel)
    print(f"{channel} is no longer taken in; what is stored stays")


@app.command(context_settings={"ignore_unknown_options": True})
def pause(channel: ChannelArgument, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Stop taking a channel in for now; polls of it go on."""
    (row,) = _do(config, set_, "pause", channel)
    print(
        f"{row.channel_id} ({row.title}) is paused; `telewarden channels resume` reads what it misses meanwhile"
    )


@app.command(context_settings={"ignore_unknown_options": True})
def resume(channel: ChannelArgument, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Go on with a paused channel; what was posted meanwhile is read."""
    (row,) = _do(config, set_, "resume", channel)
    print(f"{row.channel_id} ({row.title}) is taken in again")


def backfill(
    channel: ChannelArgument,
    since: SinceOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many posts at most.")] = None,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Polls serve them like new posts; without it they are stored as processed already.",
        ),
    ] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Bring a channel's older posts, from before the place where its reading began, newest first.

    New posts go first. It can be stopped at any time: the same command goes on where it was.
    """
    from telewarden.control_channels import ChannelRequest

    request = ChannelRequest("backfill", channel, since_s=since_s(since), limit=limit, serve=serve)
    last = None
    for step in _shown(_lines(config, set_, request)):
        last = step
    if last is None or not last.posts:
        print("nothing older is missing")
        return
    oldest = datetime.fromtimestamp((last.oldest_us or 0) / 1_000_000, UTC)
    rest = "to the channel's beginning" if last.reached == 0 else f"down to message {last.reached + 1}"
    print(f"{last.posts} older posts, {rest}, the oldest of {oldest:%Y-%m-%d %H:%M} UTC")


def _shown(answers: "Iterator[ChannelAnswer]") -> "Iterator[Backfilled]":
    """The steps, with their progress on a terminal."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.fields[posts]} posts {task.description}"), TimeElapsedColumn())
    with progress(*columns) as bar:
        task = bar.add_task("", total=None, posts=0)
        for answer in answers:
            step = answer.backfilled
            if step is not None:
                done = step.top - step.reached
                bar.update(task, total=step.top, completed=done, posts=step.posts, description=step.waits)
                yield step


def _add(
    config: Path | None, set_: list[str] | None, reference: str, *, start: str, join: bool, wait: bool
) -> bool:
    """Add one, show how it is read, and say how it ended. Returns whether it is taken in."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    from telewarden.control_channels import ChannelRequest

    request = ChannelRequest("add", reference, start=start, join=join, follow=wait)
    row: ChannelRow | None = None
    columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with progress(*columns) as bar:
        task = bar.add_task(reference, total=None)
        for answer in _lines(config, set_, request, fatal=False):
            if answer.error:
                print(f"telewarden: {answer.error}", file=sys.stderr)
                return False
            for row in answer.rows:
                total, done = row.top - row.origin, row.reached - row.origin
                bar.update(task, total=total or None, completed=done, description=f"{row.title}: {row.state}")
    if row is None:
        print(f"telewarden: the daemon said nothing of {reference}", file=sys.stderr)
        return False
    print(f"{row.channel_id} ({row.title}): {row.state}")
    return not row.state.startswith("closed")


def _chosen(offered: "Sequence[Found]") -> "list[Found]":
    """Let a person choose by numbers. Ends the command where nobody can be asked."""
    for number, found in enumerate(offered, 1):
        name = f" @{found.name}" if found.name else ""
        print(f"{number:4}  {found.title}{name}  ({found.channel_id})")
    if not sys.stdin.isatty():
        fail("nobody is there to choose: say --all, or --match TEXT with --all", EXIT_NOT_DONE)
    while True:
        answer = typer.prompt(
            "Which ones (such as 1,3-5, or all; empty for none)", default="", show_default=False
        )
        try:
            return [offered[n - 1] for n in chosen_numbers(answer, len(offered))]
        except ValueError as error:
            print(error)


def chosen_numbers(text: str, most: int) -> list[int]:
    """The numbers that a person chose: "1,3-5" or "all". Raises ValueError for what is none of them."""
    if text.strip().casefold() == "all":
        return list(range(1, most + 1))
    numbers: list[int] = []
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            raise ValueError(f"{part!r} is no number and no range of numbers")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= most:
            raise ValueError(f"{part}: the numbers go from 1 to {most}")
        numbers += [number for number in range(low, high + 1) if number not in numbers]
    return numbers


def _do(config: Path | None, set_: list[str] | None, action: str, channel: str) -> "list[ChannelRow]":
    return [row for answer in _ask(config, set_, action, channel) for row in answer.rows]


def _ask(
    config: Path | None, set_: list[str] | None, action: str, reference: str = ""
) -> "list[ChannelAnswer]":
    import msgspec

    from telewarden.control_channels import ChannelRequest

    request = msgspec.convert({"action": action, "reference": reference}, ChannelRequest)
    return list(_lines(config, set_, request))


def _lines(
    config: Path | None, set_: list[str] | None, about: "ChannelRequest", *, fatal: bool = True
) -> "Iterator[ChannelAnswer]":
    from telewarden.control import Request
    from telewarden.control_channels import ChannelAnswer

    request = Request("channels", about=about)
    for answer in ask_lines(control_path(config, set_), request, ChannelAnswer, EXIT_NOT_DONE):
        if answer.error and fatal:
            fail(answer.error, EXIT_NOT_DONE)
        yield answer


def _as_json(row: "ChannelRow") -> dict[str, object]:
    return {
        "channelId": str(row.channel_id),
        "title": row.title,
        "name": row.name,
        "state": row.state,
        "source": row.source,
        "readUpTo": row.reached,
        "newest": row.top,
        "leftOutUpTo": row.origin,
    }
