"""See 0007_channel_intake.up.sql."""

from telewarden.storage.migrations import run

revision, down_revision = "0007", "0006"


def upgrade() -> None:
    """Apply it."""
    run("0007_channel_intake.up.sql")


def downgrade() -> None:
    """Take it back."""
    run("0007_channel_intake.down.sql")
