"""The command line. Each command imports what it needs when it runs, so that `--help` is quick."""

import typer

from telewarden.cli import (
    cache,
    channels,
    config,
    consuming,
    database,
    feed,
    journal,
    keys,
    operator,
    poison,
    run,
    sandbox,
    session,
    verify,
)

app = typer.Typer(
    name="telewarden",
    help="Takes in Telegram channel messages, never loses one, serves them over HTTP in milliseconds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("demo")(sandbox.demo)
app.command("bench")(sandbox.bench)
app.command("ps")(operator.ps)
app.command("restart")(operator.restart)
# A marked id begins with a minus sign.
app.command("verify", context_settings={"ignore_unknown_options": True})(verify.verify)
app.command("backfill", context_settings={"ignore_unknown_options": True})(channels.backfill)
app.command("tail", context_settings={"ignore_unknown_options": True})(feed.tail)
app.command("poll", context_settings={"ignore_unknown_options": True})(consuming.poll)
app.command("ack", context_settings={"ignore_unknown_options": True})(consuming.ack)
app.command("lag")(consuming.lag)
app.command("version")(run.version)
app.add_typer(config.app, name="config")
app.add_typer(cache.app, name="cache")
app.add_typer(channels.app, name="channels")
app.add_typer(database.app, name="db")
app.add_typer(journal.app, name="journal")
app.add_typer(keys.app, name="keys")
app.add_typer(poison.app, name="poison")
app.add_typer(session.app, name="session")
app.add_typer(sandbox.app, name="sandbox")


def main() -> None:
    """The console script."""
    app()
