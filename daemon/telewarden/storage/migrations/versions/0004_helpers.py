"""See 0004_helpers.up.sql."""

from telewarden.storage.migrations import run

revision, down_revision = "0004", "0003"


def upgrade() -> None:
    """Apply it."""
    run("0004_helpers.up.sql")


def downgrade() -> None:
    """Take it back."""
    run("0004_helpers.down.sql")
