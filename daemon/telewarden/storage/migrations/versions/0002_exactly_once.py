"""See 0002_exactly_once.up.sql."""

from telewarden.storage.migrations import run

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    """Apply it."""
    run("0002_exactly_once.up.sql")


def downgrade() -> None:
    """Take it back."""
    run("0002_exactly_once.down.sql")
