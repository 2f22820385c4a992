"""`telewarden ps` and `telewarden restart`: the running daemon, over its UNIX socket."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from telewarden.cli.lines import answers
from telewarden.cli.options import ConfigOption, SetOption, fail, settings_without_secrets

if TYPE_CHECKING:
    from telewarden.control import Answer, Request
    from telewarden_supervisors import Snapshot

EXIT_NOT_DONE = 1


def ps(
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show the running daemon's workers: states, restarts, last errors."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from telewarden.control import Request

    tree = ask(control_path(config, set_), Request("ps"), timeout_s=5.0).tree
    assert tree is not None
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(tree)).decode())
        return
    table = Table("worker", "state", "uptime", "restarts", "next restart", "status", "last error")
    for depth, node in _rows(tree):
        table.add_row(
            "  " * depth + node.name,
            node.state.value,
            _duration(node.uptime_s),
            str(node.restarts) if depth else "",
            _duration(node.next_restart_in_s),
            node.status,
            node.last_error or "",
        )
    Console().print(table, markup=False)


def restart(
    worker: Annotated[str, typer.Argument(help="Its name, as `telewarden ps` shows it.")],
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Restart one worker of the running daemon, and wait until it is ready."""
    from telewarden.control import Request
    from telewarden.restarting import RESTART_S

    print(ask(control_path(config, set_), Request("restart", worker), timeout_s=RESTART_S + 5.0).text)


def control_path(config: Path | None, set_: list[str] | None) -> Path:
    """Where the daemon listens to its operator. Ends with an error where no daemon can."""
    from telewarden.control import path_problem, socket_path

    path = socket_path(settings_without_secrets(config, set_))
    problem = path_problem(path)
    if problem is not None:
        fail(problem, EXIT_NOT_DONE)
    return path


def ask(path: Path, request: "Request", *, timeout_s: float) -> "Answer":
    """One line for one line. Ends the command where it was not done."""
    import msgspec

    from telewarden.control import LINE_BYTES, Answer

    with answers(
        path,
        request,
        timeout_s=timeout_s,
        status=EXIT_NOT_DONE,
        silent=f"the daemon did not answer on {path} within {timeout_s:g} s",
        ended=f"the daemon on {path} ended before it answered",
    ) as lines:
        answer = msgspec.json.decode(lines.readline(LINE_BYTES), type=Answer)
    if not answer.ok:
        fail(answer.text, EXIT_NOT_DONE)
    return answer


def _rows(node: "Snapshot", depth: int = 0) -> "Iterable[tuple[int, Snapshot]]":
    yield depth, node
    for child in node.children:
        yield from _rows(child, depth + 1)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds) // 60
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
