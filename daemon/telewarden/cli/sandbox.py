"""`telewarden demo`, `telewarden bench`, `telewarden sandbox`: everything on this machine, nothing to set up."""

from pathlib import Path
from typing import Annotated

import typer

from telewarden.cli.options import fail
from telewarden.cli.telegram import telegram

app = typer.Typer(help="Servers for trying things out.", no_args_is_help=True)
app.command("telegram")(telegram)


def demo(
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long to post.")] = 20,
    rate: Annotated[float, typer.Option(min=0.1, max=2000, help="Posts a second, over all channels.")] = 50,
    channels: Annotated[int, typer.Option(min=1, max=300, help="How many channels.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object as the last output.")] = False,
    faults: Annotated[bool, typer.Option(help="Kill PostgreSQL and Valkey on the way.")] = True,
    keep: Annotated[Path | None, typer.Option(help="Leave data and logs in this folder.")] = None,
) -> None:
    """Show the main job at work: post, edit, delete, poll, acknowledge; kill servers; compare id by id.

    Exit status 1 if a message was lost, doubled or stale.
    """
    from telewarden.sandbox import demo as sandbox_demo
    from telewarden.sandbox.daemon import DaemonFailed
    from telewarden.sandbox.processes import ServerFailed

    try:
        status = sandbox_demo.run(
            seconds=seconds, rate=rate, channels=channels, as_json=as_json, faults=faults, keep=keep
        )
    except (ServerFailed, DaemonFailed) as error:
        fail(str(error), 1)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    raise typer.Exit(status)


def bench(
    only: Annotated[
        list[str] | None, typer.Option(help="A group to measure; repeatable; default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object as the last output.")] = False,
) -> None:
    """Measure, each figure beside a floor measured in the same run."""
    from telewarden.sandbox import bench as sandbox_bench

    try:
        status = sandbox_bench.run(only or [], as_json=as_json)
    except sandbox_bench.UnknownGroup as error:
        fail(str(error))
    raise typer.Exit(status)
