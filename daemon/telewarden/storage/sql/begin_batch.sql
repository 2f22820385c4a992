-- For this transaction alone, so that it holds behind PgBouncer too: it gives rows their updated_at itself (see the trigger
-- messages_updated_at), and if its client falls silent, the server ends it, and its locks with it, for the client's successor.
select set_config('telewarden.sets_updated_at', 'on', true),
    set_config('idle_in_transaction_session_timeout', '30s', true)
