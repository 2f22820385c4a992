"""`telewarden db`: the database's schema."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from telewarden.cli.options import ConfigOption, SetOption, fail, load_or_exit

app = typer.Typer(help="The database's schema.", no_args_is_help=True)

EXIT_DIFFERS = 1
EXIT_CANNOT_LOOK = 3
T = TypeVar("T")

NumberArgument = Annotated[
    int, typer.Argument(help="A schema's number, as `telewarden db current` shows it.")
]


@app.command()
def upgrade(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Bring the database to the schema that this version needs, whole or not at all.

    A table `messages` of an old gateway is kept as messages_before, and its rows are taken over.
    """
    from telewarden.storage import migrate

    done = _run(config, set_, migrate.upgrade)
    for notice in done.notices:
        print(f"the server says: {notice}")
    for step in done.steps:
        print(f"applied {step.number:04} {step.name}")
    if done.adopted:
        print(f"took over {done.adopted} messages; the old table is telegram_gateway.messages_before")
    for reason, count in done.replaced.items():
        print(f"{count} rows: {reason}; as they were in telegram_gateway.messages_replaced")
    if not done.steps:
        print("nothing to do: the schema is up to date")


@app.command()
def current(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Show the schema that the database has, and the one that this version needs. Exit status 1 if they differ."""
    from telewarden.storage import migrate

    found = _run(config, set_, migrate.current, EXIT_CANNOT_LOOK)
    print(
        f"the database has schema {found if found is not None else 'none'}, this version needs {migrate.HEAD}"
    )
    if found != migrate.HEAD:
        raise typer.Exit(EXIT_DIFFERS)


@app.command()
def check(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Compare the live schema with the expected one, object by object: exit status 1 if anything differs."""
    from telewarden.storage import migrate

    differences = _run(config, set_, migrate.check, EXIT_CANNOT_LOOK)
    for difference in differences:
        print(difference)
    if differences:
        raise typer.Exit(EXIT_DIFFERS)
    print("the schema is as expected")


@app.command()
def stamp(number: NumberArgument, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Say that the database has a schema, and change nothing else: for one that was brought there by other means."""
    from telewarden.storage import migrate

    _run(config, set_, lambda dsn: migrate.stamp(dsn, number))
    print(f"the database is taken to have schema {number}; `telewarden db check` compares")


@app.command()
def downgrade(
    number: NumberArgument,
    config: ConfigOption = None,
    set_: SetOption = None,
    lose_data: Annotated[bool, typer.Option("--lose-data", help="Needed: tables are dropped.")] = False,
) -> None:
    """Take back the steps after a schema, with everything in the tables that they made."""
    from telewarden.storage import migrate

    if not lose_data:
        fail("this drops tables with what is in them; say so with --lose-data, after a backup")
    _run(config, set_, lambda dsn: migrate.downgrade(dsn, number))
    print(f"the database has schema {number}")


def _run(
    config: Path | None, set_: list[str] | None, action: Callable[[str], Awaitable[T]], failed: int = 1
) -> T:
    import anyio

    from telewarden.storage.migrate import MigrationError

    dsn = load_or_exit(config, set_).settings.database.dsn.get_secret_value()
    try:
        return anyio.run(action, dsn)
    except MigrationError as error:
        fail(str(error), failed)
