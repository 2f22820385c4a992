"""The SQL statements, each in a file of its own under `sql/`, read once."""

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> str:
    """The text of sql/NAME.sql."""
    return files("telewarden.storage").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
