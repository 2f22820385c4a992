"""How alembic reaches the database: through the connection, and in the transaction, of `telewarden.storage.migrate`."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="telegram_gateway",
)
context.run_migrations()
