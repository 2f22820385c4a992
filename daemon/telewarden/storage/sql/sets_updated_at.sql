-- This transaction gives rows their updated_at itself; see the trigger messages_updated_at.
select set_config('telewarden.sets_updated_at', 'on', true)
