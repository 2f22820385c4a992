"""See 0006_feed.up.sql."""

from telewarden.storage.migrations import run

revision, down_revision = "0006", "0005"


def upgrade() -> None:
    """Apply it."""
    run("0006_feed.up.sql")


def downgrade() -> None:
    """Take it back."""
    run("0006_feed.down.sql")
