"""`telewarden cache`: how the cache stands, and what can be done to it, through the running daemon."""

import json
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from telewarden.cli.lines import ask_lines
from telewarden.cli.operator import EXIT_NOT_DONE, control_path
from telewarden.cli.options import ConfigOption, SetOption, fail, progress, settings_without_secrets

if TYPE_CHECKING:
    from telewarden.cache_admin import CacheStatus, ChannelWaiting, WarmShown
    from telewarden.control_cache import Action, CacheAnswer
    from telewarden.storage.cache_verify import Differs

EXIT_DIFFERENT, EXIT_CANNOT_LOOK = 1, 3

app = typer.Typer(help="The cache: how it stands, fill it, compare it, empty it.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@app.command()
def status(config: ConfigOption = None, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Show whether polls are answered by the cache, and everything that this depends on: exit status 0 if they are."""
    import msgspec

    found: CacheStatus | None = None
    channels: list[ChannelWaiting] = []
    for line in _ask(config, set_, "status"):
        found = line.status or found
        channels += line.channels
    assert found is not None
    if as_json:
        rows = [
            {"channelId": str(c.channel_id), "waiting": c.waiting, "overflow": c.overflow} for c in channels
        ]
        print(msgspec.json.encode({**msgspec.to_builtins(found), "channels": rows}).decode())
    else:
        _print_status(found, channels)
    if found.reason is not None:
        raise typer.Exit(EXIT_NOT_DONE)


@app.command()
def warm(config: ConfigOption = None, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Fill the cache anew from the database. Polls are answered by the database meanwhile."""
    steps = deque(_shown_warm(_ask(config, set_, "warm"), quiet=as_json), maxlen=1)
    last = steps[0] if steps else None
    if last is None or last.took_s is None:
        fail("the daemon did not say that the warm came to its end", EXIT_NOT_DONE)
    if as_json:
        print(json.dumps({"messages": last.written, "seconds": round(last.took_s, 3), "blips": last.blips}))
        return
    times = "once" if last.blips == 1 else f"{last.blips} times"
    waited = f"; it waited {times} for a store and went on" if last.blips else ""
    print(f"{last.written} messages in {last.took_s:.1f} s: the cache is complete{waited}")


@app.command()
def verify(config: ConfigOption = None, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Compare the cache with the database and the journal, message by message: exit status 0 if they agree, 1 if not, 3
    if that could not be found out.

    It disturbs nothing, and traffic makes no difference to it.
    """
    last: CacheAnswer | None = None
    differences: list[Differs] = []
    for last in _shown_verify(_ask(config, set_, "verify", EXIT_CANNOT_LOOK), quiet=as_json):
        differences += last.differences
    compared, changing = (last.compared, last.changing) if last is not None else (0, 0)
    if as_json:
        found = [
            {"channelId": str(d.channel_id), "messageId": d.message_id, "difference": d.kind.value}
            for d in differences
        ]
        print(json.dumps({"compared": compared, "changing": changing, "differences": found}))
    else:
        for d in differences:
            print(f"channel {d.channel_id}, message {d.message_id}: {d.kind.value}")
        left = f"; {changing} changed at every look and were left" if changing else ""
        verdict = (
            f"{len(differences)} differences; `telewarden cache warm` mends them" if differences else "equal"
        )
        print(f"{compared} messages compared: {verdict}{left}")
    if differences:
        raise typer.Exit(EXIT_DIFFERENT)


@app.command()
def flush(
    yes: Annotated[bool, typer.Option("--yes", help="Without asking.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove this system's keys from the cache, and no others. It is filled again by itself; polls go on meanwhile."""
    if not yes:
        _confirm(config, set_)
    removed = left = 0
    for line in _ask(config, set_, "flush"):
        if not line.done:
            removed, left = line.removed, line.left
    if as_json:
        print(json.dumps({"removed": removed, "left": left}))
        return
    others = f"; {left} others under the prefix are none of ours and stay" if left else ""
    print(f"{removed} keys removed{others}; the cache is filled again, see `telewarden cache status`")


def _confirm(config: Path | None, set_: list[str] | None) -> None:
    prefix = settings_without_secrets(config, set_).cache.prefix
    if not sys.stdin.isatty():
        fail("nobody is there to be asked: say --yes", EXIT_NOT_DONE)
    server = next((line.status.server for line in _ask(config, set_, "status") if line.status), None)
    typer.confirm(f"Remove Telewarden's keys under {prefix!r} from {server or 'the cache'}?", abort=True)


def _ask(
    config: Path | None, set_: list[str] | None, action: "Action", status: int = EXIT_NOT_DONE
) -> "Iterator[CacheAnswer]":
    from telewarden.control import Request
    from telewarden.control_cache import CacheAnswer, CacheRequest

    request = Request("cache", cache=CacheRequest(action))
    for answer in ask_lines(control_path(config, set_), request, CacheAnswer, status):
        if answer.error:
            fail(answer.error, status)
        yield answer


def _shown_warm(answers: "Iterator[CacheAnswer]", *, quiet: bool) -> "Iterator[WarmShown]":
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with progress(*columns, quiet=quiet) as bar:
        task = bar.add_task("beginning", total=None)
        for answer in answers:
            if answer.warm is not None:
                warm = answer.warm
                total = max(warm.total, warm.written) or None
                bar.update(task, total=total, completed=warm.written, description=warm.step)
                yield warm


def _shown_verify(answers: "Iterator[CacheAnswer]", *, quiet: bool) -> "Iterator[CacheAnswer]":
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.fields[compared]} messages compared"), TimeElapsedColumn())
    with progress(*columns, quiet=quiet) as bar:
        task = bar.add_task("", total=None, compared=0)
        for answer in answers:
            if not answer.done:
                bar.update(task, total=answer.total, completed=answer.channels_done, compared=answer.compared)
                yield answer


def _print_status(found: "CacheStatus", channels: "list[ChannelWaiting]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, value in _facts(found):
        table.add_row(name, value)
    console = Console()
    console.print(table, markup=False)
    if channels:
        waiting = Table("channel", "waiting", "served")
        for channel in channels:
            served = "by the database, since so many wait" if channel.overflow else "by the cache"
            waiting.add_row(str(channel.channel_id), str(channel.waiting), served)
        console.print(waiting, markup=False)


def _facts(found: "CacheStatus") -> "Iterator[tuple[str, str]]":
    yield "polls", "answered by the cache" if found.reason is None else f"not by the cache: {found.reason}"
    yield (
        "server",
        " ".join(filter(None, (found.server or "none yet", found.version and f"({found.version})"))),
    )
    if found.problem is not None:
        yield "problem", found.problem
    yield "history", found.history or "not connected"
    if found.mark is None:
        yield "mark", "none"
    else:
        yield "mark", f"{found.mark} ({'ours' if found.mark_ours else 'another process set it'})"
        yield "lease", f"{found.lease_ms / 1000:.1f} s left"
    yield "breaker", found.breaker
    yield (
        "applied",
        f"{found.applied} of {found.head}; behind: {found.lag_events} events, {found.lag_s:.1f} s",
    )
    yield "waiting", str(found.waiting)
    yield "in memory", f"{found.mirror}{'' if found.mirror_complete else ', not all that wait'}"
    if found.warm is not None:
        took = "" if found.warm.took_s is None else f" in {found.warm.took_s:.1f} s"
        yield "last warm", f"{found.warm.written} of {found.warm.total} messages{took}: {found.warm.step}"
    yield "warms", str(found.warms)
    polls = ", ".join(f"{count} by the {source}" for source, count in found.polls.items())
    yield "polls so far", polls
    yield "hit rate", "no poll yet" if found.hit_rate is None else f"{found.hit_rate:.1%}"
    if found.reasons:
        yield "why not", ", ".join(f"{reason}: {count}" for reason, count in found.reasons.items())
