"""See 0003_upkeep.up.sql."""

from telewarden.storage.migrations import run

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    """Apply it."""
    run("0003_upkeep.up.sql")


def downgrade() -> None:
    """Take it back."""
    run("0003_upkeep.down.sql")
