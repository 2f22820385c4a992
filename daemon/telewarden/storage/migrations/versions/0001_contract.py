"""See 0001_contract.up.sql."""

from telewarden.storage.migrations import run

revision, down_revision = "0001", None


def upgrade() -> None:
    """Apply it."""
    run("0001_contract.up.sql")


def downgrade() -> None:
    """Take it back."""
    run("0001_contract.down.sql")
