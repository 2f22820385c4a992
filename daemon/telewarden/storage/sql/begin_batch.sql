-- For this transaction alone, so that it holds behind PgBouncer too: it gives rows their updated_at itself (see the trigger
-- messages_updated_at), and if its client falls silent, the server ends it, and its locks with it, for the client's successor.
-- Batches that bring messages ($1) run one at a time, and not beside one with acknowledgements alone: else a message and
-- an acknowledgement that came before it could both be committed without having seen each other.
select set_config('telewarden.sets_updated_at', 'on', true),
    set_config('idle_in_transaction_session_timeout', '30s', true),
    case when $1::boolean then pg_advisory_xact_lock(826401173) else pg_advisory_xact_lock_shared(826401173) end
