"""See 0005_adopt.up.sql."""

from telewarden.storage.migrations import run

revision, down_revision = "0005", "0004"


def upgrade() -> None:
    """Apply it."""
    run("0005_adopt.up.sql")


def downgrade() -> None:
    """Take it back."""
    run("0005_adopt.down.sql")
