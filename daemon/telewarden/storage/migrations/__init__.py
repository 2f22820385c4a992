"""The schema's steps: numbered SQL files, which alembic applies in order (`versions`, `env.py`)."""

from importlib.resources import files
from typing import Any


def text_of(name: str) -> str:
    """A file of this folder."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def run(name: str) -> None:
    """Execute one of the files in the transaction of the upgrade that is under way."""
    from alembic import op

    # The driver's own connection takes a file of many statements, which SQLAlchemy's interface does not.
    connection: Any = op.get_bind().connection.dbapi_connection
    connection.run_async(lambda driver: driver.execute(text_of(name)))
