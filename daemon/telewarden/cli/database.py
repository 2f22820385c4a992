"""`telewarden db`: the database's schema."""

import typer

from telewarden.cli.options import ConfigOption, SetOption, fail, load_or_exit

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.command()
def upgrade(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Bring the database to the schema that this version needs."""
    import anyio

    from telewarden.storage import migrate

    settings = load_or_exit(config, set_).settings
    try:
        done = anyio.run(migrate.upgrade, settings.database.dsn.get_secret_value())
    except migrate.MigrationError as error:
        fail(str(error), 1)
    for step in done:
        print(f"applied {step.number:04} {step.name}")
    if not done:
        print("nothing to do: the schema is up to date")
