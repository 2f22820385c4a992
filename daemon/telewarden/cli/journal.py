"""`telewarden journal`: what is in a journal that no daemon uses, such as one that was damaged and put aside."""

import fcntl
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from telewarden.cli.options import ConfigOption, SetOption, fail, settings_without_secrets

if TYPE_CHECKING:
    from msgspec import Struct

    from telewarden.storage.salvage import Salvaged

app = typer.Typer(help="The journal, while no daemon uses it.", no_args_is_help=True)

_LOCK_AT, _LOCK_BYTES = 0x4000_0002, 510
"""SHARED_FIRST and SHARED_SIZE of SQLite's file locks (sqlite.org/lockingv3.html)."""
EXIT_DAMAGED = 1
EXIT_CANNOT_LOOK = 3

FileOption = Annotated[
    Path | None, typer.Option("--file", help="Another file, such as one that was put aside.")
]


@app.command()
def stat(config: ConfigOption = None, set_: SetOption = None, file: FileOption = None) -> None:
    """Show how much it holds, and how far it has come."""
    found = _look(config, set_, file)
    kinds = Counter(type(event).__name__.lower() for _, event in found.events)
    print(f"format {found.meta.get('format', '?')}, epoch {found.meta.get('epoch', 'none yet')}")
    print(f"reached position {found.head}; the database has all up to {found.meta.get('flushed', 0)}")
    of_kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    print(f"{len(found.events)} events wait for the database{f': {of_kinds}' if of_kinds else ''}")
    print(f"{len(found.channels)} channels have a place; {len(found.registered)} were added or paused")


@app.command()
def dump(
    config: ConfigOption = None,
    set_: SetOption = None,
    file: FileOption = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many.")] = None,
) -> None:
    """Show the events that wait for the database, oldest first: one JSON object a line."""
    import msgspec

    found = _look(config, set_, file)
    for at_us, event in found.events[:limit]:
        line = {"event": type(event).__name__.lower(), "acceptedAtUs": at_us, **_fields(event)}
        print(msgspec.json.encode(line).decode())


@app.command()
def verify(config: ConfigOption = None, set_: SetOption = None, file: FileOption = None) -> None:
    """Read all of it and check every event: exit status 1 if it is damaged."""
    found = _look(config, set_, file)
    for problem in found.problems:
        print(problem)
    print(f"{len(found.events)} events are sound")
    if found.problems:
        print("a daemon that is started with it puts it aside and goes on with what is sound")
        raise typer.Exit(EXIT_DAMAGED)


def _look(config: Path | None, set_: list[str] | None, file: Path | None) -> "Salvaged":
    from telewarden.storage.salvage import inspect

    path = file or settings_without_secrets(config, set_).journal_file
    if not path.exists():
        fail(f"there is no journal {path}", EXIT_CANNOT_LOOK)
    try:
        if _in_use(path):
            fail(f"a daemon uses {path}: stop it first, or look at /health and /metrics", EXIT_CANNOT_LOOK)
        return inspect(path)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}", EXIT_CANNOT_LOOK)


def _in_use(path: Path) -> bool:
    """Whether a daemon holds SQLite's lock on it. Opening it with SQLite to find out would leave files behind."""
    with path.open("rb") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, _LOCK_BYTES, _LOCK_AT)
        except BlockingIOError:
            return True
    return False


def _fields(event: "Struct") -> dict[str, object]:
    import msgspec

    fields: dict[str, object] = msgspec.structs.asdict(event)
    content = fields.get("content")
    if isinstance(content, msgspec.Struct):
        inner = msgspec.structs.asdict(content)
        fields["content"] = {
            name: msgspec.json.decode(value) if isinstance(value, bytes) else value
            for name, value in inner.items()
        }
    return fields
