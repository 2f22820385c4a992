"""The SQL statements, each in a file of its own under `sql/`, read once."""

from functools import cache
from importlib.resources import files

from telewarden.storage.rows import MESSAGE_COLUMNS

_STATE = ", ".join([*(f"m.{name}" for name in MESSAGE_COLUMNS), "k.content_version", "k.status_at"])


@cache
def statement(name: str) -> str:
    """The text of sql/NAME.sql. {state} in it stands for the columns of messages m and message_keys k that
    `rows.state_of` takes."""
    text = files("telewarden.storage").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    return text.replace("{state}", _STATE)
